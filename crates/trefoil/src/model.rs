//! Finding a model folder, what it recommends, and a fingerprint of its weights.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use trefoil_core::hub::{HubCache, HubId};
use trefoil_core::weights::Storage;
use trefoil_core::{Error as CoreError, Result as CoreResult, fs};
use trefoil_diffusion::{GuidanceScale, SolverKind};

use unidiffuser::model::ModelFiles;

use crate::fetch::fetch;
use crate::hints::hinted;
use crate::output::Talk;

/// The model that comes with the repository.
pub(crate) const SHIPPED: &str = "models/openmoji-32";
/// File with recommended settings.
pub(crate) const SETTINGS: &str = "trefoil.json";

/// Settings that a model folder recommends in `trefoil.json`; all of them may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recommended {
    /// Guidance scale in the common form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) guidance: Option<GuidanceScale>,
    /// Steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) steps: Option<usize>,
    /// Solver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) solver: Option<SolverKind>,
}

impl Recommended {
    /// Of a model folder; nothing when the file is absent.
    pub(crate) fn read(folder: &Path) -> CoreResult<Self> {
        let path = folder.join(SETTINGS);
        if path.is_file() { fs::read_json(&path) } else { Ok(Self::default()) }
    }
}

/// Which model drew a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModelId {
    /// Name of its folder.
    pub(crate) name: String,
    /// SHA-256 of the weights of its noise predictor, in hexadecimal.
    pub(crate) sha256: String,
    /// Number format in which its weights were held.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub(crate) precision: Storage,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_f32(precision: &Storage) -> bool {
    *precision == Storage::F32
}

impl ModelId {
    /// Of a model that is held in this format.
    pub(crate) fn of(files: &ModelFiles, precision: Storage) -> CoreResult<Self> {
        let name = files.folder.canonicalize().unwrap_or_else(|_| files.folder.clone());
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, sha256: sha256(files.uvit.weights.files())?, precision })
    }
}

/// Of the bytes of these files, one after another.
fn sha256(paths: &[PathBuf]) -> CoreResult<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for path in paths {
        let fail = |source| CoreError::Read { path: path.into(), source };
        let mut file = File::open(path).map_err(fail)?;
        loop {
            match file.read(&mut buffer).map_err(fail)? {
                0 => break,
                n => hash.update(&buffer[..n]),
            }
        }
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

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
