//! A model ready to serve, as one folder.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::data::Prepared;
use crate::files::{read, read_json, write_json};
use crate::model::Scorer;
use crate::train::{load_model, save_model};
use crate::{Error, Result};

const MANIFEST: &str = "recommender.json";
const MODEL: &str = "model";
const DATA: &str = "data";
const VERSION: u32 = 1;

/// What the folder says about itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: u32,
    /// SHA-256 of the files that decide what is answered.
    fingerprint: String,
}

/// A trained model with the log, the vocabularies and the catalogue that it serves.
///
/// As a folder it has `model/` (configuration, weights and propagated nodes, see
/// [`save_model`]), `data/` (a prepared log, see [`Prepared`]) and `recommender.json`.
pub struct Bundle {
    /// The model.
    pub scorer: Scorer<f32>,
    /// What it was trained on.
    pub prepared: Prepared,
    /// SHA-256 of both, in hexadecimal digits.
    pub fingerprint: String,
}

fn fingerprint(folder: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    for name in [
        "model/config.json",
        "model/model.safetensors",
        "model/nodes.safetensors",
        "data/prepare.json",
    ] {
        hash.update(Sha256::digest(read(&folder.join(name))?));
    }
    let digits: Vec<String> = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(digits.concat())
}

impl Bundle {
    /// Writes the folder: it appears whole or not at all, and replaces an old one of its kind.
    ///
    /// # Errors
    /// The folder cannot be written, or has other content.
    pub fn save(folder: &Path, scorer: &Scorer<f32>, prepared: &Prepared) -> Result<()> {
        let fail = |source| Error::Write { path: folder.into(), source };
        let mut entries = std::fs::read_dir(folder).into_iter().flatten();
        if entries.next().is_some() && !folder.join(MANIFEST).is_file() {
            let reason = format!("`{}` has other files than a model to serve", folder.display());
            return Err(Error::config("out", reason));
        }
        check_sizes(scorer, prepared)?;
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(fail)?;
        let mut builder = tempfile::Builder::new();
        let staged = builder.prefix(".uditsr-").suffix(".tmp").tempdir_in(parent).map_err(fail)?;
        save_model(&staged.path().join(MODEL), scorer)?;
        prepared.save(&staged.path().join(DATA))?;
        let fingerprint = fingerprint(staged.path())?;
        write_json(&staged.path().join(MANIFEST), &Manifest { version: VERSION, fingerprint })?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let permissions = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(staged.path(), permissions).map_err(fail)?;
        }
        let old = builder.tempdir_in(parent).map_err(fail)?;
        if folder.exists() {
            std::fs::rename(folder, old.path().join("old")).map_err(fail)?;
        }
        std::fs::rename(staged.keep(), folder).map_err(fail)
    }

    /// Reads a folder.
    ///
    /// # Errors
    /// A file is missing, was changed since it was written, or does not fit the others.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let manifest: Manifest = read_json(&path)?;
        if manifest.version != VERSION {
            let reason = format!("version {}, this program reads {VERSION}", manifest.version);
            return Err(Error::format(&path, reason));
        }
        if fingerprint(folder)? != manifest.fingerprint {
            return Err(Error::format(folder, "changed since it was written"));
        }
        let scorer = load_model(&folder.join(MODEL))?;
        let prepared = Prepared::load(&folder.join(DATA))?;
        check_sizes(&scorer, &prepared)?;
        Ok(Self { scorer, prepared, fingerprint: manifest.fingerprint })
    }
}

fn check_sizes(scorer: &Scorer<f32>, prepared: &Prepared) -> Result<()> {
    let (model, data) = (scorer.parameters().sizes, &prepared.dataset);
    if [model.users, model.items, model.words] == [data.users, data.items, data.words] {
        return Ok(());
    }
    let found = format!("{} users, {} items, {} words", data.users, data.items, data.words);
    let expected = format!("{} users, {} items, {} words", model.users, model.items, model.words);
    Err(Error::config("data", format!("the model has {expected}, the log {found}")))
}
