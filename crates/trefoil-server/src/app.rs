//! What all routes share.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use trefoil_core::Picture;

use crate::auth::{RateLimiter, Token};
use crate::catalogue::Pictures;
use crate::config::Config;
use crate::copied::Copied;
use crate::error::ApiError;
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::paint::model::Loaded;
use crate::paint::queue::Queue;
use crate::shop::Shop;
use crate::store::ledger::Ledger;
use crate::store::tokens::TokenBook;
use crate::store::{self, Backend};

/// The model that draws, under the name that it is loaded by.
pub(crate) struct Painter {
    pub(crate) name: &'static str,
    current: RwLock<Arc<Loaded>>,
}

impl Painter {
    fn open(config: &Config) -> Result<Self, ApiError> {
        let folder = &*config.model;
        let copied = Copied::if_small(folder);
        let one_step = config.one_step.as_deref().map(Copied::if_small);
        let generator = one_step.as_ref().map(Copied::path);
        let loaded = Loaded::open(copied.path(), folder, generator, &config.device);
        let loaded = loaded.map_err(|error| loading(&copied, folder, &error))?;
        Ok(Self { name: "unidiffuser", current: RwLock::new(Arc::new(loaded)) })
    }

    /// The model that draws now.
    pub(crate) fn model(&self) -> Arc<Loaded> {
        Arc::clone(&self.current.read())
    }

    /// Puts another in its place; what has begun ends with the one that it began with.
    pub(crate) fn install(&self, loaded: Loaded) {
        *self.current.write() = Arc::new(loaded);
    }
}

fn loading(copied: &Copied, folder: &Path, error: &dyn std::error::Error) -> ApiError {
    ApiError::Internal(format!("{}: {}", folder.display(), copied.explain(error)))
}

/// Everything; cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) painter: Painter,
    pub(crate) queue: Queue,
    pub(crate) shop: Option<Shop>,
    pub(crate) pictures: Pictures,
    pub(crate) jobs: Jobs,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) rates: RateLimiter,
    /// Models that are being loaded; one at a time.
    pub(crate) loading: tokio::sync::Mutex<()>,
    /// Pictures that are being decoded.
    decoding: tokio::sync::Semaphore,
    tokens: RwLock<Vec<Token>>,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What the one-step generator of the model is called among the models.
pub(crate) const ONE_STEP: &str = "one-step";
/// Pictures that are decoded at a time: each may need the memory of its pixels several times.
const DECODING: usize = 2;

impl App {
    /// Opens state and models.
    ///
    /// # Errors
    /// What cannot be opened, and why.
    pub(crate) fn open(
        config: Config,
        backend: Arc<dyn Backend>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ApiError> {
        let painter = Painter::open(&config)?;
        let failed = |error: std::io::Error| ApiError::Internal(error.to_string());
        let queue =
            Queue::start(config.queue, config.batch, Arc::clone(&metrics)).map_err(failed)?;
        let ledger = Ledger::new(Arc::clone(&backend));
        let (folders, split) = (&config.recommenders, config.split);
        let is_shared = backend.is_shared();
        let shop = if folders.is_empty() {
            None
        } else {
            Some(Shop::open(folders, split, ledger, is_shared, Arc::clone(&metrics))?)
        };
        let pictures = Pictures::open(config.pictures.as_ref())?;
        let jobs = Jobs::new(Arc::clone(&backend), &config, Arc::clone(&metrics));
        let app = Self(Arc::new(Inner {
            metrics,
            painter,
            queue,
            shop,
            pictures,
            jobs,
            backend,
            rates: RateLimiter::default(),
            loading: tokio::sync::Mutex::default(),
            decoding: tokio::sync::Semaphore::new(DECODING),
            tokens: RwLock::default(),
            config,
        }));
        app.read_tokens()?;
        Ok(app)
    }

    /// The settings.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The recommender, if the server has one.
    pub(crate) fn shop(&self) -> Result<&Shop, ApiError> {
        let message = "this server has no recommender; start it with `--recommender DIR`";
        self.shop.as_ref().ok_or_else(|| ApiError::Conflict(message.into()))
    }

    /// The model that a request names, and whether the name is that of its one-step generator.
    pub(crate) fn model(&self, asked: Option<&str>) -> Result<(Arc<Loaded>, bool), ApiError> {
        let loaded = self.painter.model();
        let has_one_step = !loaded.one_step_tasks().is_empty();
        match asked {
            Some(ONE_STEP) if has_one_step => Ok((loaded, true)),
            Some(name) if name != self.painter.name && name != loaded.id.name => {
                let one_step = if has_one_step { format!(", `{ONE_STEP}`") } else { String::new() };
                let (first, second) = (self.painter.name, &loaded.id.name);
                let message =
                    format!("expected one of `{first}`, `{second}`{one_step}, found `{name}`");
                Err(ApiError::field("model", message))
            }
            _ => Ok((loaded, false)),
        }
    }

    /// Tokens of the command line and of the database.
    pub(crate) fn tokens(&self) -> parking_lot::RwLockReadGuard<'_, Vec<Token>> {
        self.tokens.read()
    }

    /// Reads the tokens of the database again.
    pub(crate) fn read_tokens(&self) -> Result<(), ApiError> {
        let mut tokens = self.config.tokens.clone();
        tokens.extend(TokenBook::new(Arc::clone(&self.backend)).all()?);
        *self.tokens.write() = tokens;
        Ok(())
    }

    /// Decodes a picture of a request, on a thread that may take its time.
    pub(crate) async fn decode(
        &self,
        name: &'static str,
        bytes: Vec<u8>,
    ) -> Result<Picture, ApiError> {
        let pixels = self.config.limits.pixels;
        let _permit = self.decoding.acquire().await;
        blocking(move || {
            Picture::decode_within(&bytes, name, [255; 3], pixels)
                .map_err(|error| ApiError::field(name, error))
        })
        .await
    }
}

/// Runs what waits for a disk or takes long on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let result = tokio::task::spawn_blocking(work).await;
    result.unwrap_or_else(|error| Err(ApiError::Internal(error.to_string())))
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64)
}

/// A random name of 24 hexadecimal digits.
pub(crate) fn random_id(prefix: &str) -> Result<String, ApiError> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(format!("{prefix}{}", store::ledger::hex(&bytes)))
}
