//! A component on disk: found and configured, not yet read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use trefoil_core::nn::Init;
use trefoil_core::weights::{self, Precision, Storage, Store, StoredTensor, WeightFile};
use trefoil_core::{Error, Result, fs, params};

use super::Component;

/// A component that is found and configured, with its weights still in their file.
#[derive(Debug, Clone)]
pub struct Part<C: Component> {
    /// Hyper-parameters.
    pub config: C::Config,
    /// The weights, under the names of the network.
    pub weights: WeightFile,
    /// What the hyper-parameters were taken from.
    pub source: PathBuf,
}

impl<C: Component> Part<C> {
    /// Joins a configuration, read from `source`, and a weight file in any published layout.
    ///
    /// # Errors
    /// As [`Component::canonical`].
    pub fn new(config: C::Config, file: WeightFile, source: PathBuf) -> Result<Self> {
        let weights = C::canonical(file)?;
        let config = C::adapt(config, &weights);
        Ok(Self { config, weights, source })
    }

    /// Builds the network and fills it, reading each tensor once.
    ///
    /// # Errors
    /// Those of configuring and strict loading, each with the path.
    pub fn load(&self, device: &Device) -> Result<C> {
        self.load_as(device, Storage::F32)
    }

    /// As [`Self::load`], with matrices, kernels and tables held in another number format.
    ///
    /// # Errors
    /// As [`Self::load`], and [`Error::NonFinite`] when a weight is too large for the format.
    pub fn load_as(&self, device: &Device, storage: Storage) -> Result<C> {
        let network = C::build(&self.config, &mut Init::zeros(device))
            .map_err(|e| Error::format(&self.source, e.to_string()))?;
        weights::load_strict_as(network, &self.weights, C::IGNORED, storage)
    }

    /// Number of the weights that the network will have.
    ///
    /// # Errors
    /// [`Error::Format`] when the configuration is not possible.
    pub fn parameters(&self) -> Result<usize> {
        Ok(self.resident(Storage::F32)? / Precision::F32.size())
    }

    /// Bytes that the weights take in memory when they are held in this format.
    ///
    /// # Errors
    /// [`Error::Format`] when the configuration is not possible.
    pub fn resident(&self, storage: Storage) -> Result<usize> {
        let network = C::build(&self.config, &mut Init::zeros(&Device::flex()))
            .map_err(|e| Error::format(&self.source, e.to_string()))?;
        let bytes = |shapes: Vec<(String, Vec<usize>)>, storage: Storage| -> usize {
            shapes.iter().map(|(_, shape)| storage.bytes(shape)).sum()
        };
        let weights = params::weights(&network);
        let rest =
            bytes(params::shapes(&network), Storage::F32) - bytes(weights.clone(), Storage::F32);
        Ok(rest + bytes(weights, storage))
    }

    /// The tensors of the network, still in their file, after names and shapes were checked.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn stored(&self) -> Result<Vec<(String, StoredTensor)>> {
        let network = C::build(&self.config, &mut Init::zeros(&Device::flex()))
            .map_err(|e| Error::format(&self.source, e.to_string()))?;
        weights::check_strict(&network, &self.weights, C::IGNORED)?;
        let names = params::shapes(&network).into_iter().map(|(name, _)| name);
        Ok(names.filter_map(|n| Some((n.clone(), self.weights.tensor(&n)?.clone()))).collect())
    }
}

/// Writes weights, under their published names, and configuration of a component.
///
/// # Errors
/// [`Error::Write`] with the path.
pub fn write_component<C: Component, T: Store>(
    config: &C::Config,
    tensors: &[(String, T)],
    model: &Path,
    precision: Precision,
) -> Result<()> {
    let folder = model.join(C::FOLDER);
    fs::create_dir_all(&folder)?;
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    weights::save(&folder.join(C::WEIGHTS[0]), tensors, precision, metadata)?;
    fs::write_json(&folder.join("config.json"), &C::config_to_json(config))
}
