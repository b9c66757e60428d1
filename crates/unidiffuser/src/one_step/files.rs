//! A one-step generator on disk: found and compared with its model, and no weight is read yet.

use std::path::Path;

use trefoil_core::weights::{Precision, StoredTensor};
use trefoil_core::{Error, Result, fs};

use super::{CONFIG, OneStepConfig};
use crate::folder::{Component, Part, write_component};
use crate::uvit::{UVit, UVitConfig};

/// The files of a one-step generator.
#[derive(Debug)]
pub(crate) struct OneStepFiles {
    /// The network.
    pub(crate) network: Part<UVit>,
    /// How it is called.
    pub(crate) config: OneStepConfig,
}

impl OneStepFiles {
    /// Opens a folder with `one_step.json` and `unet/`, for a model of these sizes.
    ///
    /// # Errors
    /// Those of reading and configuring; [`Error::Format`] for a generator of other sizes.
    pub(crate) fn open(folder: &Path, expected: &UVitConfig) -> Result<Self> {
        let path = folder.join(CONFIG);
        let config: OneStepConfig = fs::read_json(&path)?;
        let network = UVit::open(folder)?;
        let sizes = &network.config;
        if sizes != expected {
            let reason = format!("expected the sizes of the model, {expected:?}; found {sizes:?}");
            return Err(Error::format(folder, reason));
        }
        if !(config.level > 0.0 && config.level.is_finite()) {
            let reason = format!("`level`: expected a positive number, found {}", config.level);
            return Err(Error::format(path, reason));
        }
        Ok(Self { network, config })
    }

    /// Writes the generator into a folder in another precision, with tensors from [`Part::stored`].
    ///
    /// # Errors
    /// [`Error::Write`]; [`Error::NonFinite`] when a weight does not survive the conversion.
    pub(crate) fn write(
        &self,
        tensors: Vec<(String, StoredTensor)>,
        out: &Path,
        precision: Precision,
    ) -> Result<()> {
        let tensors = UVit::published(tensors);
        write_component::<UVit, _>(&self.network.config, &tensors, out, precision)?;
        fs::write_json(&out.join(CONFIG), &self.config)
    }
}
