//! The names of the published files.
//!
//! A module path is a key but for the levels, which published files name by their resolution:
//! `enc.1.blocks.0.conv0.weight` is `model.enc.16x16_block0.conv0.weight`. Resampling filters are buffers
//! there; here they follow from the family and are checked, not stored.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use trefoil_core::nn::Init;
use trefoil_core::{Error, Result, params, weights};

use super::config::UNetConfig;
use super::unet::UNet;

/// What every key begins with.
const PREFIX: &str = "model.";
/// Random frequencies of the Fourier features.
const FREQUENCIES: &str = "model.map_noise.freqs";

/// The published name of a parameter.
fn published(config: &UNetConfig, path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    let side = |level: &str, is_decoder: bool| {
        let level: usize = level.parse().unwrap_or_default();
        let level = if is_decoder { config.channel_mult.len() - 1 - level } else { level };
        config.side(level)
    };
    let top = config.side(0);
    let name = match parts[..] {
        ["embedding", ref rest @ ..] => rest.join("."),
        [half @ ("enc" | "dec"), level, "blocks", index, ref rest @ ..] => {
            let side = side(level, half == "dec");
            format!("{half}.{side}x{side}_block{index}.{}", rest.join("."))
        }
        [half @ ("enc" | "dec"), level, layer, ref rest @ ..] => {
            let side = side(level, half == "dec");
            format!("{half}.{side}x{side}_{layer}.{}", rest.join("."))
        }
        [layer @ ("out_norm" | "out_conv"), ref rest @ ..] if !config.family.is_adm() => {
            let layer = layer.replace("out", "aux");
            format!("dec.{top}x{top}_{layer}.{}", rest.join("."))
        }
        _ => path.to_string(),
    };
    format!("{PREFIX}{name}")
}

/// Names and values of the buffers.
fn buffers(network: &UNet) -> Vec<(String, TensorData)> {
    let config = &network.config;
    let taps = config.family.filter().taps();
    let values: Vec<f32> = taps.iter().flat_map(|a| taps.iter().map(move |b| a * b)).collect();
    let filter = TensorData::new(values, [1, 1, taps.len(), taps.len()]);
    let mut names = Vec::new();
    for (level, layers) in network.enc.iter().enumerate() {
        let side = config.side(level);
        if layers.down.is_some() {
            names.push(format!("enc.{side}x{side}_down.conv0"));
            names.push(format!("enc.{side}x{side}_down.skip"));
        }
        if layers.aux_residual.is_some() {
            names.push(format!("enc.{side}x{side}_aux_residual"));
        }
    }
    let levels = config.channel_mult.len();
    for (place, layers) in network.dec.iter().enumerate() {
        let side = config.side(levels - 1 - place);
        if layers.up.is_some() {
            names.push(format!("dec.{side}x{side}_up.conv0"));
            names.push(format!("dec.{side}x{side}_up.skip"));
        }
    }
    let mut buffers: Vec<(String, TensorData)> = names
        .into_iter()
        .map(|name| (format!("{PREFIX}{name}.resample_filter"), filter.clone()))
        .collect();
    let drawn = &network.embedding.frequencies;
    if !drawn.is_empty() {
        let data = TensorData::new(drawn.clone(), [drawn.len()]);
        buffers.push((FREQUENCIES.into(), data));
    }
    buffers
}

/// All tensors of a network under the published names, parameters and buffers.
pub fn export(network: &UNet) -> Vec<(String, TensorData)> {
    let parameters = params::export(network).into_iter();
    let named = parameters.map(|(path, data)| (published(&network.config, &path), data));
    named.chain(buffers(network)).collect()
}

/// Names and shapes of all tensors, parameters first.
pub fn shapes(network: &UNet) -> Vec<(String, Vec<usize>)> {
    let parameters = params::shapes(network).into_iter();
    let named = parameters.map(|(path, shape)| (published(&network.config, &path), shape));
    let buffers = buffers(network).into_iter().map(|(name, data)| (name, data.shape().to_vec()));
    named.chain(buffers).collect()
}

/// [`shapes`] of a configuration; no weights are made for it.
///
/// # Errors
/// As [`UNetConfig::validate`].
pub fn published_shapes(config: &UNetConfig) -> Result<Vec<(String, Vec<usize>)>> {
    let network = config.init(&mut Init::zeros(&Device::flex()))?;
    Ok(shapes(&network))
}

/// Puts tensors with published names into a network; `path` is for messages.
///
/// # Errors
/// Missing, unexpected and misshapen tensors by name; [`Error::Format`] for a resampling filter that is not
/// the family's.
pub fn import(
    mut network: UNet,
    path: &Path,
    mut tensors: BTreeMap<String, TensorData>,
) -> Result<UNet> {
    let mut missing = Vec::new();
    for (name, expected) in buffers(&network) {
        let Some(found) = tensors.remove(&name) else {
            missing.push(name);
            continue;
        };
        let shapes = [&expected, &found].map(|data| data.shape().to_vec());
        if shapes[0] != shapes[1] {
            let [expected, found] = shapes;
            return Err(Error::TensorShape { path: path.into(), name, expected, found });
        }
        let values: Vec<f32> = found.iter::<f32>().collect();
        if name == FREQUENCIES {
            network.embedding.frequencies = values;
        } else if expected.iter::<f32>().zip(values).any(|(a, b)| (a - b).abs() > 1e-6) {
            let reason = format!("`{name}` is not the filter of {:?}", network.config.family);
            return Err(Error::format(path, reason));
        }
    }
    if !missing.is_empty() {
        return Err(Error::MissingTensors { path: path.into(), missing });
    }
    let config = network.config.clone();
    let names: BTreeMap<String, String> =
        params::shapes(&network).into_iter().map(|(p, _)| (published(&config, &p), p)).collect();
    let renamed = tensors
        .into_iter()
        .map(|(name, data)| (names.get(&name).cloned().unwrap_or(name), data))
        .collect();
    weights::load_tensors(network, path, renamed).map_err(|error| with_published(error, &config))
}

/// The same error with the names of the file.
fn with_published(error: Error, config: &UNetConfig) -> Error {
    match error {
        Error::TensorMismatch { path, mut missing, unexpected, mut misshapen } => {
            let absent = missing.iter_mut().map(|tensor| &mut tensor.name);
            for name in absent.chain(misshapen.iter_mut().map(|tensor| &mut tensor.name)) {
                *name = published(config, name);
            }
            Error::TensorMismatch { path, missing, unexpected, misshapen }
        }
        Error::TensorShape { path, name, expected, found } => {
            Error::TensorShape { path, name: published(config, &name), expected, found }
        }
        other => other,
    }
}

/// Number of trained values.
pub fn parameters(network: &UNet) -> usize {
    network.num_params()
}
