//! A recorded run of the reference implementations, compared with this one.
//!
//! A folder holds a tiny model in both published layouts, inputs, outputs, intermediates and all random numbers
//! of diffusers, transformers and an independent reference in double precision; `reference/unidiffuser_oracle.py`
//! writes one for any seed. Every file of the folder is a group with tolerances of its own.

mod encoders;
mod layouts;
mod networks;
mod replay;
mod report;
mod runs;
mod solvers;
mod training;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use trefoil_core::weights::WeightFile;
use trefoil_core::{Error, fs};

use crate::model::UniDiffuser;
use crate::pipeline::GenerateError;

pub use self::report::{Check, Group, Tolerance};

/// Why a folder could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A file is missing or damaged.
    #[error(transparent)]
    Core(#[from] Error),
    /// A run ended early.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// A solver cannot be set up.
    #[error(transparent)]
    Solver(#[from] trefoil_diffusion::Error),
    /// A training step failed.
    #[error(transparent)]
    Train(#[from] trefoil_train::Error),
}

type Result<T> = std::result::Result<T, VerifyError>;

/// U-ViT and its blocks.
const NETWORK: Tolerance = Tolerance::Relative(1e-5);
/// Encoders, autoencoder and language model.
const ENCODER: Tolerance = Tolerance::Relative(1e-4);
/// Whole runs, whose guidance amplifies rounding.
const RUN: Tolerance = Tolerance::Relative(1e-3);
/// Losses, gradients and updated weights.
const TRAINING: Tolerance = Tolerance::Relative(1e-4);

/// A recorded folder with its model.
struct Oracle {
    folder: PathBuf,
    manifest: Value,
    model: UniDiffuser,
    device: Device,
}

/// What compares a group.
type Compare = fn(&Oracle, &str) -> Result<Vec<Check>>;
/// The groups of a folder in the order of comparison.
const GROUPS: [(&str, Compare); 21] = [
    ("layouts", layouts::compare),
    ("uvit", networks::uvit),
    ("solvers", solvers::compare),
    ("text_encoder", encoders::text),
    ("image_side", encoders::image),
    ("text_decoder", networks::text_decoder),
    ("original_t2i", runs::original),
    ("original_t2i_empty", runs::original),
    ("original_i2t", runs::original),
    ("original_i", runs::original),
    ("original_t", runs::original),
    ("original_joint", runs::original),
    ("original_i2t2i", runs::original),
    ("original_t2i2t", runs::original),
    ("pipeline_joint", runs::pipeline),
    ("pipeline_text2img", runs::pipeline),
    ("pipeline_text2img_noguidance_np", runs::pipeline),
    ("pipeline_img2text", runs::pipeline),
    ("pipeline_img", runs::pipeline),
    ("pipeline_text", runs::pipeline),
    // Last, because it is the slowest.
    ("train", training::compare),
];

/// Compares every group that the manifest of a folder lists; `on_group` is called after each.
///
/// # Errors
/// [`VerifyError`] when the folder is not what an oracle writes; a difference is no error.
pub fn verify(
    folder: &Path,
    device: &Device,
    on_group: &mut dyn FnMut(&Group),
) -> Result<Vec<Group>> {
    let manifest: Value = fs::read_python_json(&folder.join("manifest.json"))?;
    let model = UniDiffuser::load(&folder.join("hf"), device)?;
    let oracle = Oracle { folder: folder.into(), manifest, model, device: device.clone() };
    let mut groups = Vec::new();
    for (name, compare) in GROUPS {
        if !oracle.has(name) {
            continue;
        }
        let group = Group { name: name.into(), checks: compare(&oracle, name)? };
        on_group(&group);
        groups.push(group);
    }
    if groups.is_empty() {
        let path = folder.join("manifest.json");
        return Err(Error::format(path, "it lists no group that is known").into());
    }
    Ok(groups)
}

impl Oracle {
    /// Whether a group is part of the folder.
    fn has(&self, group: &str) -> bool {
        match group {
            "layouts" => self.folder.join("orig").is_dir(),
            _ => self.facts(group).is_object(),
        }
    }

    /// The tensors of a group.
    fn open(&self, name: &str) -> Result<WeightFile> {
        Ok(WeightFile::open(&self.folder.join(format!("{name}.safetensors")))?)
    }

    /// What the manifest says about a group.
    fn facts(&self, group: &str) -> &Value {
        &self.manifest["groups"][group]
    }

    /// A number of the manifest.
    fn number(&self, place: &str) -> Result<usize> {
        let value = self.manifest.pointer(place).and_then(Value::as_u64).map(|n| n as usize);
        value.ok_or_else(|| {
            let path = self.folder.join("manifest.json");
            Error::format(path, format!("expected a number at {place}")).into()
        })
    }

    /// A float tensor on the device.
    fn tensor<const D: usize>(&self, file: &WeightFile, name: &str) -> Result<Tensor<D>> {
        let data = file.get(name)?;
        if data.shape().num_dims() != D {
            let found = data.shape().to_vec();
            let reason = format!("tensor `{name}`: expected {D} axes, found shape {found:?}");
            return Err(Error::format(file.path(), reason).into());
        }
        Ok(Tensor::from_data(data, &self.device))
    }
}

/// Compares a tensor with the recorded one of this name.
fn check<const D: usize>(
    file: &WeightFile,
    name: &str,
    found: Tensor<D>,
    tolerance: Tolerance,
) -> Result<Check> {
    Ok(Check::tensors(name, &data(found), &file.get(name)?, tolerance))
}

/// The numbers of a tensor, in f32.
fn data<const D: usize>(tensor: Tensor<D>) -> TensorData {
    tensor.into_data().convert::<f32>()
}
