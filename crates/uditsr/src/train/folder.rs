//! A trained model as a folder: configuration, weights, and the propagated nodes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{Stored, TensorFile, read, read_json, write_json, write_tensors};
use crate::model::{ModelConfig, Parameters, Scorer, Sizes};
use crate::{Error, Result};

/// `config.json` of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// What the folder is, for other programs.
    pub model_type: String,
    /// Rows of the tables.
    pub sizes: Sizes,
    /// The model.
    pub model: ModelConfig,
}

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const NODES: &str = "nodes.safetensors";

/// Writes a model folder: `config.json`, `model.safetensors` with the published names, and
/// `nodes.safetensors` with the propagated nodes and the words of users and items, so that a model
/// answers without its log. The folder appears whole or not at all; an old one is replaced.
///
/// # Errors
/// The folder cannot be written.
pub fn save_model(folder: &Path, scorer: &Scorer<f32>) -> Result<()> {
    let fail = |source| Error::Write { path: folder.into(), source };
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(fail)?;
    let next = tempfile::Builder::new().prefix(".uditsr-").tempdir_in(parent).map_err(fail)?;
    let (config, sizes) = (scorer.config(), scorer.parameters().sizes);
    let file = ModelFile { model_type: "uditsr".to_owned(), sizes, model: config.clone() };
    write_json(&next.path().join(CONFIG), &file)?;
    scorer.parameters().save(&next.path().join(WEIGHTS))?;
    let [users, items] = scorer.nodes();
    let [user_words, item_words] = scorer.words();
    let stored = [
        Stored::indices("item_words", &[sizes.items, config.item_words], item_words),
        Stored::indices("user_words", &[sizes.users, config.user_words], user_words),
        Stored::numbers("items", &[sizes.items, config.dim], items),
        Stored::numbers("users", &[sizes.users, config.dim], users),
    ];
    write_tensors(&next.path().join(NODES), &stored, None)?;
    replace(next.keep(), folder).map_err(fail)
}

/// Renames a folder into place, over an old one.
fn replace(next: PathBuf, folder: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&next, std::fs::Permissions::from_mode(0o755))?;
    }
    if !folder.exists() {
        return std::fs::rename(next, folder);
    }
    let mut old = next.clone().into_os_string();
    old.push(".old");
    std::fs::rename(folder, &old)?;
    std::fs::rename(next, folder)?;
    std::fs::remove_dir_all(old)
}

/// Reads what [`save_model`] wrote.
///
/// # Errors
/// A file is missing or does not fit the configuration.
pub fn load_model(folder: &Path) -> Result<Scorer<f32>> {
    let ModelFile { sizes, model, .. } = read_json(&folder.join(CONFIG))?;
    model.validate()?;
    let parameters = Parameters::load(&model, sizes, &folder.join(WEIGHTS))?;
    let path = folder.join(NODES);
    let bytes = read(&path)?;
    let file = TensorFile::new(&path, &bytes)?;
    let nodes = [
        file.numbers("users", &[sizes.users, model.dim])?,
        file.numbers("items", &[sizes.items, model.dim])?,
    ];
    let words = [
        file.indices("user_words", &[sizes.users, model.user_words])?,
        file.indices("item_words", &[sizes.items, model.item_words])?,
    ];
    let is_word = |word: &u32| *word == u32::MAX || (*word as usize) < sizes.words;
    if !words.iter().flatten().all(is_word) {
        return Err(Error::Format { path, reason: "a word is out of range".to_owned() });
    }
    Ok(Scorer::from_parts(&model, parameters, nodes, words))
}
