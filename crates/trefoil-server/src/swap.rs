//! Another model in the place of one that answers.
//!
//! The new one is copied first: a training that writes into the folder meanwhile, or a file that is cut while it is
//! mapped into memory, cannot harm the process. Then it is loaded and has to answer. Only then it takes the place, and
//! what has begun ends with the old one.

use std::fs;
use std::path::{Path, PathBuf};

use crate::app::{App, blocking};
use crate::error::{ApiError, chain};
use crate::metrics::Ended;
use crate::paint::model::Loaded;
use crate::shop::NAMES;

/// Deepest folder of a model.
const DEPTH: usize = 8;

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

fn unusable(error: &dyn std::error::Error) -> ApiError {
    ApiError::Conflict(format!("the model cannot be used, the old one stays: {}", chain(error)))
}

async fn painting(app: &App, folder: Option<PathBuf>) -> Result<(), ApiError> {
    let folder = folder.unwrap_or_else(|| app.painter.model().folder.clone());
    let (device, one_step) = (app.config().device.clone(), app.config().one_step.clone());
    let loaded = blocking(move || {
        let generator = one_step.as_deref().map(copy).transpose()?;
        let generator = generator.as_ref().map(tempfile::TempDir::path);
        let copy = copy(&folder)?;
        let loaded = Loaded::open(copy.path(), &folder, generator, &device);
        let loaded = loaded.map_err(|e| unusable(&e))?;
        loaded.warm_up().map_err(|error| unusable(&error))?;
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
        let copy = copy(&folder)?;
        task.shop()?.prepare(slot, copy.path(), &folder).map_err(|error| match error {
            ApiError::Conflict(_) | ApiError::Unavailable(_) => error,
            other => unusable(&other),
        })
    })
    .await?;
    debug_assert!(NAMES.contains(&variant.name));
    shop.install(slot, variant).await
}

/// A copy that nobody else writes to.
fn copy(folder: &Path) -> Result<tempfile::TempDir, ApiError> {
    let fail = |error: std::io::Error| {
        ApiError::Conflict(format!(
            "{} cannot be read, the old model stays: {error}",
            folder.display()
        ))
    };
    let copy = tempfile::tempdir().map_err(fail)?;
    copy_folder(folder, copy.path(), 0).map_err(fail)?;
    Ok(copy)
}

fn copy_folder(from: &Path, to: &Path, depth: usize) -> std::io::Result<()> {
    if depth > DEPTH {
        return Err(std::io::Error::other("its folders are too deep"));
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if fs::metadata(entry.path())?.is_dir() {
            fs::create_dir(&target)?;
            copy_folder(&entry.path(), &target, depth + 1)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
