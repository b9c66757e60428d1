//! The models that are here, whole or not.

use std::path::{Path, PathBuf};

use serde_json::json;
use trefoil_core::hub::HubCache;
use trefoil_core::{Error, Result};
use unidiffuser::caption::CaptionDecoder;
use unidiffuser::folder::{Component, INDEX};
use unidiffuser::model::{Layout, ModelFiles};

use super::info::{self, Info};
use crate::Answer;
use crate::model;
use crate::output;

/// The class of the pipeline and of its own networks, in the index of diffusers.
const CLASS: &str = "UniDiffuser";

/// Prints a line for every model; those that do not open say why.
pub(super) fn list(as_json: bool) -> anyhow::Result<Answer> {
    let mut models: Vec<(String, PathBuf)> = Vec::new();
    models.extend(
        model::shipped(model::SHIPPED).map(|path| ("(comes with Trefoil)".to_string(), path)),
    );
    let cache = HubCache::of_user();
    for id in cache.iter().flat_map(HubCache::list) {
        models.extend(cache.as_ref().and_then(|c| c.find(&id)).map(|path| (id.to_string(), path)));
    }
    let mut found = Answer::No;
    for (name, path) in models {
        match open(&path) {
            Ok((files, info)) => {
                let parameters = info.components.iter().map(|c| c.parameters).sum();
                print(as_json, (&name, &path), files.layout, parameters)?;
            }
            Err(error) if is_ours(&path) => print_broken(as_json, (&name, &path), error)?,
            // Other models of the cache are not ours to run.
            Err(_) => continue,
        }
        found = Answer::Yes;
    }
    Ok(found)
}

/// Finds all parts of a model and compares their names and shapes; no weight is read.
pub(super) fn open(path: &Path) -> Result<(ModelFiles, Info)> {
    let files = ModelFiles::open(path)?;
    info::stored(&files)?;
    let info = Info::of(&files)?;
    Ok((files, info))
}

/// What is wrong with the model in a folder, in one line that does not repeat the folder.
pub(super) fn problem(error: Error, path: &Path) -> String {
    let folder = format!("{}{}", path.display(), std::path::MAIN_SEPARATOR);
    format!("{:#}", anyhow::Error::from(error)).replace(&folder, "")
}

fn print(
    as_json: bool,
    (name, path): (&str, &Path),
    layout: Layout,
    parameters: usize,
) -> anyhow::Result<()> {
    if as_json {
        return output::print_json(&json!({
            "name": name, "path": path, "layout": layout.to_string(), "parameters": parameters,
        }));
    }
    let (millions, path) = (parameters as f64 / 1e6, path.display());
    output::print(format_args!("{name:<32}{millions:>10.1} M parameters  {layout:<10}  {path}"))
}

fn print_broken(as_json: bool, (name, path): (&str, &Path), error: Error) -> anyhow::Result<()> {
    let problem = problem(error, path);
    if as_json {
        return output::print_json(&json!({"name": name, "path": path, "problem": problem}));
    }
    output::print(format_args!("{name:<32}{:>10} {problem}  {}", "broken:", path.display()))
}

/// Whether a folder that does not open was meant to be a UniDiffuser: its index says so, or it has a part that no
/// other model has.
fn is_ours(path: &Path) -> bool {
    let index = std::fs::read_to_string(path.join(INDEX));
    index.is_ok_and(|text| text.contains(CLASS))
        || ModelFiles::layout_of(path) == Layout::Authors
        || path.join(CaptionDecoder::FOLDER).is_dir()
}
