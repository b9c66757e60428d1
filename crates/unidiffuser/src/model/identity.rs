//! What a model folder recommends, and a fingerprint of its weights.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use trefoil_core::weights::Storage;
use trefoil_core::{Error, Result, fs};
use trefoil_diffusion::{GuidanceScale, SolverConfig, SolverKind};

use super::ModelFiles;
use crate::mode::Mode;
use crate::pipeline::{Procedure, Request};

/// Steps of a run when neither the user nor the model says how many.
pub const DEFAULT_STEPS: usize = 50;
/// File with recommended settings.
pub const SETTINGS: &str = "trefoil.json";

/// Settings that a model folder recommends in `trefoil.json`; all of them may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Recommended {
    /// Guidance scale in the common form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance: Option<GuidanceScale>,
    /// Steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Solver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solver: Option<SolverKind>,
}

impl Recommended {
    /// Of a model folder; nothing when the file is absent.
    ///
    /// # Errors
    /// The file cannot be read, or is not of this form.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(SETTINGS);
        if path.is_file() { fs::read_json(&path) } else { Ok(Self::default()) }
    }

    /// A request with these settings where the caller has none; the solver is meant for the authors' sampling.
    pub fn request(&self, mode: Mode, procedure: Procedure, asked: &Self) -> Request {
        let solver = self.solver.filter(|_| procedure == Procedure::Original);
        let steps = asked.steps.or(self.steps).unwrap_or(DEFAULT_STEPS);
        let mut request = Request::new(mode);
        request.procedure = procedure;
        request.solver = match asked.solver.or(solver) {
            Some(kind) => SolverConfig::new(kind, steps),
            None => procedure.solver(steps),
        };
        request.guidance = asked.guidance.or(self.guidance).unwrap_or_default();
        request
    }
}

/// Which model drew a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelId {
    /// Name of its folder.
    pub name: String,
    /// SHA-256 of the weights of its noise predictor, in hexadecimal.
    pub sha256: String,
    /// Number format in which its weights were held.
    #[serde(default, skip_serializing_if = "is_f32")]
    pub precision: Storage,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_f32(precision: &Storage) -> bool {
    *precision == Storage::F32
}

impl ModelId {
    /// Of a model that is held in this format.
    ///
    /// # Errors
    /// A file of weights cannot be read.
    pub fn of(files: &ModelFiles, precision: Storage) -> Result<Self> {
        let name = files.folder.canonicalize().unwrap_or_else(|_| files.folder.clone());
        let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, sha256: sha256(files.uvit.weights.files())?, precision })
    }
}

/// Of the bytes of these files, one after another.
fn sha256(paths: &[PathBuf]) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for path in paths {
        let fail = |source| Error::Read { path: path.into(), source };
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
