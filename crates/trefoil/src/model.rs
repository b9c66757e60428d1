//! Finding a model folder.

use std::path::{Path, PathBuf};

use trefoil_core::hub::{HubCache, HubId};

pub(crate) use unidiffuser::model::{ModelId, Recommended, SETTINGS};

use crate::fetch::fetch;
use crate::hints::hinted;
use crate::output::Talk;

/// The model that comes with the repository.
pub(crate) const SHIPPED: &str = "models/openmoji-32";
/// What was asked for, or the model of the repository: a model folder, the file of a noise predictor, or the name of a
/// model in the cache of the Hugging Face libraries, which is fetched where it is missing.
pub(crate) fn find(asked: Option<&Path>, talk: Talk) -> anyhow::Result<PathBuf> {
    let Some(path) = asked else {
        return shipped(SHIPPED).ok_or_else(|| {
            let message = format!("no model: {SHIPPED} is neither here nor beside the program");
            hinted(message, "name a model with `--model MODEL` or in TREFOIL_MODEL")
        });
    };
    if path.exists() {
        return Ok(path.into());
    }
    let id = path.to_str().and_then(|text| text.parse::<HubId>().ok());
    let (Some(id), Some(cache)) = (id, HubCache::of_user()) else {
        let message = format!("no such model folder: {}", path.display());
        return Err(hinted(message, "give a folder with model_index.json by `--model`"));
    };
    match cache.find(&id) {
        Some(folder) => Ok(folder),
        None => fetch(&cache, &id, talk),
    }
}

/// Looks for a folder of the repository above the current folder, above the program, and in the source tree of
/// this build.
pub(crate) fn shipped(name: &str) -> Option<PathBuf> {
    let above = |start: Option<PathBuf>| {
        let start = start?;
        start.ancestors().map(|folder| folder.join(name)).find(|folder| folder.is_dir())
    };
    above(std::env::current_dir().ok())
        .or_else(|| above(std::env::current_exe().ok()))
        .or_else(|| above(Some(env!("CARGO_MANIFEST_DIR").into())))
}
