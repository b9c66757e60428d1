//! Networks in files.
//!
//! | path | what it is |
//! |---|---|
//! | folder | `config.json` and `model.safetensors`: what training leaves |
//! | `.safetensors` | tensors with the published names; sizes follow from their shapes |
//! | `.pkl` | a published file, read without running any of it (see [`super::published`]) |

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, TensorData};
use serde::{Deserialize, Serialize};
use trefoil_core::nn::Init;
use trefoil_core::weights::{self, Precision, WeightFile};
use trefoil_core::{Error, Result, fs};

use super::config::{Family, UNetConfig};
use super::unet::UNet;
use super::{keys, published};

/// Name of the weight file of a model folder.
const WEIGHTS: &str = "model.safetensors";
/// Name of the file with the sizes.
const CONFIG: &str = "config.json";

/// What a model folder says about its network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherConfig {
    /// Sizes.
    pub network: UNetConfig,
    /// Standard deviation of the data.
    pub sigma_data: f64,
    /// Names of the classes; empty when they have none, or there are no classes.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Noise level from which one pass of the network makes a picture; absent: it takes many steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub one_step: Option<f64>,
}

/// A network that is ready to be used.
#[derive(Debug, Clone)]
pub struct Teacher {
    /// The network, without gradients.
    pub network: UNet,
    /// What is known about it.
    pub config: TeacherConfig,
}

impl Teacher {
    /// A checksum of all weights.
    pub fn checksum(&self) -> u32 {
        let weights = trefoil_core::params::export(&self.network);
        weights.iter().fold(0, |crc, (_, data)| crc32c::crc32c_append(crc, data.as_bytes()))
    }

    /// Opens a model folder or a file.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Format`], and missing, unexpected or misshapen tensors by name.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if extension == "pkl" {
            let (tensors, sigma_data) = published::read(path)?;
            return Self::from_tensors(path, tensors, sigma_data, device);
        }
        if path.is_dir() {
            let file = path.join(CONFIG);
            let config: TeacherConfig = fs::read_json(&file)?;
            let network = config
                .network
                .init(&mut Init::zeros(device))
                .map_err(|e| Error::format(&file, e.to_string()))?;
            let weights = path.join(WEIGHTS);
            let network = keys::import(network, &weights, tensors(&weights)?)?;
            return Ok(Self { network, config });
        }
        Self::from_tensors(path, tensors(path)?, 0.5, device)
    }

    /// Writes a model folder.
    ///
    /// # Errors
    /// [`Error::Write`]; [`Error::NonFinite`] when a weight does not survive the conversion to `precision`.
    pub fn save(&self, folder: &Path, precision: Precision) -> Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        let tensors = keys::export(&self.network);
        weights::save(&folder.join(WEIGHTS), &tensors, precision, metadata)?;
        fs::write_json(&folder.join(CONFIG), &self.config)?;
        Ok(folder.into())
    }

    fn from_tensors(
        path: &Path,
        tensors: BTreeMap<String, TensorData>,
        sigma_data: f64,
        device: &Device,
    ) -> Result<Self> {
        let shapes = tensors.iter().map(|(name, data)| (name.as_str(), data.shape().to_vec()));
        let network =
            config_of(&shapes.collect()).map_err(|e| Error::format(path, e.to_string()))?;
        let fresh = network
            .init(&mut Init::zeros(device))
            .map_err(|e| Error::format(path, e.to_string()))?;
        let loaded = keys::import(fresh, path, tensors)?;
        let config = TeacherConfig { network, sigma_data, classes: Vec::new(), one_step: None };
        Ok(Self { network: loaded, config })
    }
}

fn tensors(path: &Path) -> Result<BTreeMap<String, TensorData>> {
    let file = WeightFile::open(path)?;
    file.names()?.into_iter().map(|name| Ok((name.clone(), file.get(&name)?))).collect()
}

/// The sizes that follow from the names and shapes of the tensors. Dropout, which leaves no trace, is 0.
///
/// # Errors
/// [`Error::Config`] when something that every network has is absent.
pub fn config_of(shapes: &BTreeMap<&str, Vec<usize>>) -> Result<UNetConfig> {
    let absent = |name: &str| {
        Error::config(
            name,
            "absent: not the tensors of DDPM++, NCSN++ or ADM with the prefix `model.`",
        )
    };
    let size = |name: &str, axis: usize| -> Option<usize> { shapes.get(name)?.get(axis).copied() };
    let required = |name: &str, axis: usize| size(name, axis).ok_or_else(|| absent(name));
    // enc.32x32_block0.conv0.weight: sides of the levels, largest first
    let side = |name: &str| -> Option<usize> {
        name.strip_prefix("model.enc.")?.split_once('x')?.0.parse().ok()
    };
    let sides: BTreeSet<usize> = shapes.keys().filter_map(|name| side(name)).collect();
    let sides: Vec<usize> = sides.into_iter().rev().collect();
    let resolution = *sides.first().ok_or_else(|| absent("model.enc.*"))?;
    let family = if shapes.contains_key("model.out_conv.weight") {
        Family::Adm
    } else if shapes.contains_key("model.map_noise.freqs") {
        Family::NcsnPlusPlus
    } else {
        Family::DdpmPlusPlus
    };
    let model_channels = required("model.map_layer0.weight", 0)? / 4;
    let block = |side: usize, i: usize, layer: &str| {
        format!("model.enc.{side}x{side}_block{i}.{layer}.weight")
    };
    let mut channel_mult = Vec::new();
    let mut attn_resolutions = Vec::new();
    for &side in &sides {
        let channels = required(&block(side, 0, "conv0"), 0)?;
        channel_mult.push(channels / model_channels.max(1));
        if shapes.contains_key(block(side, 0, "qkv").as_str()) {
            attn_resolutions.push(side);
        }
    }
    let blocks = (0..).take_while(|&i| shapes.contains_key(block(resolution, i, "conv0").as_str()));
    Ok(UNetConfig {
        family,
        resolution,
        channels: required(&format!("model.enc.{resolution}x{resolution}_conv.weight"), 1)?,
        label_dim: size("model.map_label.weight", 1).unwrap_or(0),
        augment_dim: size("model.map_augment.weight", 1).unwrap_or(0),
        model_channels,
        channel_mult,
        num_blocks: blocks.count(),
        attn_resolutions,
        head_channels: None,
        dropout: 0.0,
    })
}
