//! Search and recommendation: the recommenders, and the one thread through which their world changes.
//!
//! Every change goes to the log of the database first, and from there to the recommenders, in the order of its
//! numbers. So a change that was acknowledged is durable and counts, and what another server writes to the same
//! database arrives in the same way.

mod clicks;
mod pool;
mod variant;
mod writer;

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use uditsr::recommender::Answer;
use uditsr::{Error as ShopError, Recommender};

use crate::copied::Copied;
use crate::error::ApiError;
use crate::metrics::{Metrics, Model};
use crate::store::ledger::{Change, Entry, Ledger};

use self::clicks::Clicks;
use self::pool::Pool;
pub(crate) use self::variant::Variant;
use self::writer::{Command, Writer};

/// Names of the recommenders, the first for everybody whom the split does not give to the second.
pub(crate) const NAMES: [&str; 2] = ["recommender", "recommender-b"];
/// Threads that answer; the pool of the kernels is busy with pictures.
const THREADS: usize = 2;
/// Requests that may wait for them.
const WAITING: usize = 256;

/// The recommenders and what changes them.
pub(crate) struct Shop {
    shared: Arc<Shared>,
    split: f64,
    pool: Pool,
    clicks: Clicks,
    commands: mpsc::Sender<Command>,
    pub(crate) ledger: Ledger,
}

/// What readers and the writer have in common.
pub(crate) struct Shared {
    pub(crate) slots: Vec<RwLock<Arc<Variant>>>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What was asked for a user and found, and by whom.
pub(crate) struct Answered {
    pub(crate) variant: &'static str,
    pub(crate) answer: Answer,
}

impl Shop {
    /// Opens the recommenders of some folders, at most two, after everything that the log says.
    pub(crate) fn open(
        folders: &[std::path::PathBuf],
        split: f64,
        ledger: Ledger,
        is_shared: bool,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ApiError> {
        let open = |(name, folder): (&'static str, &std::path::PathBuf)| {
            let copied = Copied::if_small(folder);
            let variant = Variant::open(name, copied.path(), folder);
            let variant = variant.map_err(|error| ApiError::Internal(copied.explain(&error)))?;
            variant.follow(&ledger, &metrics)?;
            Ok(RwLock::new(Arc::new(variant)))
        };
        let slots: Result<Vec<_>, ApiError> = NAMES.into_iter().zip(folders).map(open).collect();
        let shared = Arc::new(Shared { slots: slots?, metrics });
        let commands = Writer::start(Arc::clone(&shared), ledger.clone(), is_shared)
            .map_err(|error| ApiError::Internal(error.to_string()))?;
        let pool = Pool::start(THREADS, WAITING).map_err(ApiError::Internal)?;
        Ok(Self { shared, split, pool, clicks: Clicks::default(), commands, ledger })
    }

    /// The recommender of a user: the same one every time, on every server.
    pub(crate) fn slot_of(&self, user: Option<&str>) -> usize {
        let Some(user) = user.filter(|_| self.shared.slots.len() > 1) else { return 0 };
        let hash = Sha256::digest(format!("split:{user}"));
        let place = hash[..8].iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
        usize::from((place as f64) < self.split * 2f64.powi(64))
    }

    /// The recommender in a slot.
    pub(crate) fn variant(&self, slot: usize) -> Arc<Variant> {
        Arc::clone(&self.shared.slots[slot].read())
    }

    /// Slots that are in use, with the names of their recommenders.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (usize, &'static str)> {
        NAMES.into_iter().enumerate().take(self.shared.slots.len())
    }

    /// Lets the recommender of a user answer, on a thread of its own pool.
    pub(crate) async fn ask(
        &self,
        kind: &'static str,
        user: Option<String>,
        work: impl FnOnce(&Recommender) -> Result<Answer, ShopError> + Send + 'static,
    ) -> Result<Answered, ApiError> {
        let begin = Instant::now();
        let variant = self.variant(self.slot_of(user.as_deref()));
        let name = variant.name;
        let answer = self.with(variant, work).await?;
        self.shared.metrics.answered(name, kind, begin.elapsed());
        if let Some(user) = user {
            let items = answer.hits.iter().map(|hit| hit.item.clone()).collect();
            self.clicks.answered(user, items);
        }
        Ok(Answered { variant: name, answer })
    }

    /// Runs `work` with a recommender, on a thread of its own pool.
    pub(crate) async fn with<T: Send + 'static, E: Into<ApiError> + Send + 'static>(
        &self,
        variant: Arc<Variant>,
        work: impl FnOnce(&Recommender) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ApiError> {
        let work = move |threads: &rayon::ThreadPool| {
            let recommender = variant.recommender.read();
            threads.install(|| work(&recommender))
        };
        let result = self.pool.run(work).await?;
        result.map_err(Into::into)
    }

    /// Adds changes. When this returns they are durable, and the next answer knows them.
    pub(crate) async fn append(&self, changes: Vec<Change>) -> Result<Vec<Entry>, ApiError> {
        let about = |change: &Change| match change {
            Change::Event(event) => Some((event.user.clone(), event.item.clone())),
            _ => None,
        };
        let events: Vec<_> = changes.iter().map(about).collect();
        let entries = self.command(|reply| Command::Append { changes, reply }).await?;
        let accepted = events.into_iter().zip(&entries).filter(|(_, entry)| !entry.is_duplicate);
        for (user, item) in accepted.filter_map(|(event, _)| event) {
            self.count(&user, &item);
        }
        Ok(entries)
    }

    /// Counts an event that was accepted.
    fn count(&self, user: &str, item: &str) {
        let model = Model { model: NAMES[self.slot_of(Some(user))].into() };
        let metrics = &self.shared.metrics;
        metrics.events.get_or_create(&model).inc();
        if let Some(rank) = self.clicks.rank(user, item) {
            metrics.clicks.get_or_create(&model).inc();
            metrics.click_ranks.get_or_create(&model).inc_by(1.0 / (rank + 1) as f64);
        }
    }

    /// Deletes the events of a user, and lets the recommenders forget. Returns the number of events.
    pub(crate) async fn erase_user(&self, user: String) -> Result<usize, ApiError> {
        self.clicks.forget(&user);
        self.command(|reply| Command::Erase { user, reply }).await
    }

    /// Puts a recommender that was opened beside into a slot, when it knows all that the other knows.
    pub(crate) async fn install(&self, slot: usize, variant: Variant) -> Result<(), ApiError> {
        self.command(|reply| Command::Install { slot, variant: Box::new(variant), reply }).await
    }

    /// Reads what other servers wrote.
    pub(crate) async fn follow(&self) -> Result<(), ApiError> {
        self.command(|reply| Command::Follow { reply }).await
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, ApiError>>) -> Command,
    ) -> Result<T, ApiError> {
        let stopped = || ApiError::Unavailable("the server is shutting down".into());
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Opens a recommender beside those that answer, and checks that it does.
    pub(crate) fn prepare(
        &self,
        slot: usize,
        folder: &Path,
        name: &Path,
    ) -> Result<Variant, ApiError> {
        let variant = Variant::open(NAMES[slot], folder, name)?;
        variant.follow(&self.ledger, &self.shared.metrics)?;
        variant.check()?;
        Ok(variant)
    }
}

/// How long the writer waits for changes of other servers.
pub(crate) const POLL: Duration = Duration::from_millis(200);
