//! Another model in the place of one that answers.
//!
//! The new one is [`Copied`] first, loaded, and has to answer. Only then it takes the place, and what has begun ends
//! with the old one.

use std::path::{Path, PathBuf};

use crate::app::{App, blocking};
use crate::copied::Copied;
use crate::error::ApiError;
use crate::metrics::Ended;
use crate::paint::model::Loaded;
use crate::shop::NAMES;

/// Loads the model of a name from a folder below that of `--models`, or again from where it was.
///
/// # Errors
/// [`ApiError::NotFound`] for the name, [`ApiError::Conflict`] when the model cannot be used; the old one stays.
pub(crate) async fn load(app: &App, name: &str, folder: Option<PathBuf>) -> Result<(), ApiError> {
    let folder = folder.map(|folder| below(app, &folder)).transpose()?;
    let _turn = app.loading.lock().await;
    let slot = app.shop.as_ref().and_then(|shop| shop.slots().find(|(_, other)| *other == name));
    let result = if name == app.painter.name {
        painting(app, folder).await
    } else if let Some((slot, _)) = slot {
        answering(app, slot, folder).await
    } else {
        return Err(ApiError::NotFound { what: "model", id: name.into() });
    };
    let status = if result.is_ok() { "succeeded" } else { "failed" };
    app.metrics.swaps.get_or_create(&Ended { status }).inc();
    match &result {
        Ok(()) => tracing::info!(model = name, "another model answers"),
        Err(error) => tracing::warn!(model = name, "the old model stays: {error}"),
    }
    result
}

/// Loads all models again, as SIGHUP asks for.
pub(crate) async fn reload(app: &App) {
    let painters = std::iter::once(app.painter.name);
    let slots = app.shop.iter().flat_map(|shop| shop.slots().map(|(_, name)| name));
    for name in painters.chain(slots).collect::<Vec<_>>() {
        // What went wrong is in the log, and the others are tried all the same.
        let _ = load(app, name, None).await;
    }
    let task = app.clone();
    if let Err(error) = blocking(move || task.read_tokens()).await {
        tracing::warn!("the tokens stay as they were: {error}");
    }
}

/// A folder that a request names, which must be below that of `--models`.
fn below(app: &App, folder: &Path) -> Result<PathBuf, ApiError> {
    let message = "the server was started without `--models DIR`, below which folders can be named";
    let root = app.config().models.as_ref().ok_or_else(|| ApiError::field("folder", message))?;
    let fail =
        |reason: String| ApiError::field("folder", format!("{}: {reason}", folder.display()));
    let root = root.canonicalize().map_err(|error| fail(error.to_string()))?;
    let found = root.join(folder).canonicalize().map_err(|_| fail("no such folder".into()))?;
    // After links were followed, so that none leads out.
    if !found.starts_with(&root) || !found.is_dir() {
        return Err(fail("no such folder".into()));
    }
    Ok(found)
}

fn unusable(copied: &Copied, error: &dyn std::error::Error) -> ApiError {
    let text = copied.explain(error);
    ApiError::Conflict(format!("the model cannot be used, the old one stays: {text}"))
}

async fn painting(app: &App, folder: Option<PathBuf>) -> Result<(), ApiError> {
    let folder = folder.unwrap_or_else(|| app.painter.model().folder.clone());
    let (device, one_step) = (app.config().device.clone(), app.config().one_step.clone());
    let loaded = blocking(move || {
        let generator = one_step.as_deref().map(copy).transpose()?;
        let copied = copy(&folder)?;
        let one_step = generator.as_ref().map(Copied::path);
        let loaded = Loaded::open(copied.path(), &folder, one_step, &device);
        let loaded = loaded.map_err(|error| unusable(&copied, &error))?;
        loaded.warm_up().map_err(|error| unusable(&copied, &error))?;
        Ok(loaded)
    })
    .await?;
    app.painter.install(loaded);
    Ok(())
}

async fn answering(app: &App, slot: usize, folder: Option<PathBuf>) -> Result<(), ApiError> {
    let shop = app.shop()?;
    let folder = folder.unwrap_or_else(|| shop.variant(slot).folder.clone());
    let task = app.clone();
    let variant = blocking(move || {
        let copied = copy(&folder)?;
        task.shop()?.prepare(slot, copied.path(), &folder).map_err(|error| match error {
            ApiError::Conflict(_) | ApiError::Unavailable(_) => error,
            other => unusable(&copied, &other),
        })
    })
    .await?;
    debug_assert!(NAMES.contains(&variant.name));
    shop.install(slot, variant).await
}

fn copy(folder: &Path) -> Result<Copied, ApiError> {
    Copied::of(folder).map_err(|error| {
        ApiError::Conflict(format!(
            "{} cannot be read, the old model stays: {error}",
            folder.display()
        ))
    })
}
