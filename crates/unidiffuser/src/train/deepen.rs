//! More blocks for a trained U-ViT without a change of what it computes, so that training goes on from there.
//!
//! The idea is that of function-preserving growth (arXiv 1511.05641, "Net2DeeperNet"), for blocks that normalise after
//! each sum. A new block adds nothing to the residual stream: the last matrix of its attention and of its MLP is zero.
//! What remains are its normalisations. They change nothing either when their input is already normalised and
//! neither scaled nor shifted, so the scale and shift of the last old block move to the last new one.

use std::collections::HashMap;

use burn::tensor::TensorData;
use trefoil_core::nn::Init;
use trefoil_core::{Error, Result, params};

use crate::uvit::{UVit, UVitConfig};

/// A network of `num_layers` blocks besides the middle one that computes what `network` does.
///
/// The new blocks lie around the middle block, half of them before it and half behind it, and their attention and MLP start
/// from fresh weights of `init`.
///
/// # Errors
/// [`Error::Config`] when `num_layers` is odd or less than the network has.
pub fn deepen(
    (network, config): (&UVit, &UVitConfig),
    num_layers: usize,
    init: &mut Init,
) -> Result<(UVit, UVitConfig)> {
    if num_layers < config.num_layers {
        let reason = format!("{num_layers} is less than the {} of the model", config.num_layers);
        return Err(Error::config("num_layers", reason));
    }
    if config.num_layers == 0 {
        return Err(Error::config("num_layers", "a network without blocks cannot grow"));
    }
    let deeper = UVitConfig { num_layers, ..config.clone() };
    let target = deeper.init(init)?;
    if num_layers == config.num_layers {
        return Ok((network.clone(), deeper));
    }
    let (old_half, half) = (config.num_layers / 2, num_layers / 2);
    let new = half - old_half;
    let mut weights = Weights(values(&target));
    for (name, value) in values(network) {
        weights.0.insert(behind_new_blocks(&name, new), value);
    }

    let (scale, shift) = weights.take_norm(&format!("in_blocks.{}.norm3", old_half - 1));
    weights.fold_into_skip(&format!("out_blocks.{new}.skip_linear"), &scale, &shift);
    (old_half..half).for_each(|i| weights.silence(&format!("in_blocks.{i}")));
    weights.put_norm(&format!("in_blocks.{}.norm3", half - 1), scale, shift);

    let (scale, shift) = weights.take_norm("mid_block.norm3");
    for i in 0..new {
        weights.silence(&format!("out_blocks.{i}"));
        weights.pass_first(&format!("out_blocks.{i}.skip_linear"));
    }
    weights.put_norm(&format!("out_blocks.{}.norm3", new - 1), scale, shift);

    let grown = params::import(target, &mut |name, shape| {
        let missing = || Error::config(name, "is not a weight of the deeper network");
        let value = weights.0.remove(name).ok_or_else(missing)?;
        Ok(TensorData::new(value, shape.to_vec()))
    })?;
    Ok((grown, deeper))
}

/// All weights by name.
fn values(network: &UVit) -> HashMap<String, Vec<f32>> {
    let flat = |data: TensorData| data.iter::<f32>().collect();
    params::export(network).into_iter().map(|(name, data)| (name, flat(data))).collect()
}

/// The name in the deeper network: blocks behind the middle one move away from it.
fn behind_new_blocks(name: &str, new: usize) -> String {
    let moved = name.strip_prefix("out_blocks.").and_then(|rest| {
        let (index, field) = rest.split_once('.')?;
        Some(format!("out_blocks.{}.{field}", index.parse::<usize>().ok()? + new))
    });
    moved.unwrap_or_else(|| name.to_owned())
}

/// Weights by name; a name that does not exist has no effect, and `params::import` reports it.
struct Weights(HashMap<String, Vec<f32>>);

impl Weights {
    fn set(&mut self, name: &str, value: f32) {
        if let Some(weights) = self.0.get_mut(name) {
            weights.fill(value);
        }
    }

    /// Scale and shift of a normalisation, which then has neither.
    fn take_norm(&mut self, norm: &str) -> (Vec<f32>, Vec<f32>) {
        let [weight, bias] = ["weight", "bias"].map(|field| format!("{norm}.{field}"));
        let taken = [&weight, &bias].map(|name| self.0.get(name).cloned().unwrap_or_default());
        self.set(&weight, 1.0);
        self.set(&bias, 0.0);
        taken.into()
    }

    fn put_norm(&mut self, norm: &str, scale: Vec<f32>, shift: Vec<f32>) {
        self.0.insert(format!("{norm}.weight"), scale);
        self.0.insert(format!("{norm}.bias"), shift);
    }

    /// The attention and the MLP of a block add nothing.
    fn silence(&mut self, block: &str) {
        for field in ["attn.proj.weight", "attn.proj.bias", "mlp.fc2.weight", "mlp.fc2.bias"] {
            self.set(&format!("{block}.{field}"), 0.0);
        }
    }

    /// `W [x, skip] + b` becomes `x`.
    fn pass_first(&mut self, linear: &str) {
        self.set(&format!("{linear}.weight"), 0.0);
        self.set(&format!("{linear}.bias"), 0.0);
        let width = self.0.get(&format!("{linear}.bias")).map_or(0, Vec::len);
        if let Some(matrix) = self.0.get_mut(&format!("{linear}.weight")) {
            // [D, 2D], a row for each output
            matrix.chunks_exact_mut(2 * width).enumerate().for_each(|(i, row)| row[i] = 1.0);
        }
    }

    /// `W [x, skip]` for a skip connection that used to come as `scale * skip + shift`.
    fn fold_into_skip(&mut self, linear: &str, scale: &[f32], shift: &[f32]) {
        let width = scale.len();
        let mut added = Vec::with_capacity(width);
        if let Some(matrix) = self.0.get_mut(&format!("{linear}.weight")) {
            for row in matrix.chunks_exact_mut(2 * width) {
                let skip = &mut row[width..];
                added.push(skip.iter().zip(shift).map(|(w, b)| f64::from(w * b)).sum::<f64>());
                skip.iter_mut().zip(scale).for_each(|(w, s)| *w *= s);
            }
        }
        if let Some(bias) = self.0.get_mut(&format!("{linear}.bias")) {
            bias.iter_mut().zip(added).for_each(|(b, a)| *b += a as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};
    use trefoil_core::rng::Seed;

    use super::*;
    use crate::uvit::{Levels, Modalities};

    /// A network whose normalisations scale and shift, as after training.
    fn trained(config: &UVitConfig, device: &Device) -> UVit {
        let network = config.init(&mut Init::random(Seed(3), device)).unwrap();
        let mut count = 0.0_f32;
        params::import(network, &mut |name, shape| {
            let len = shape.iter().product();
            count += 1.0;
            let around = if name.contains("norm") && name.ends_with("weight") { 1.0 } else { 0.0 };
            let value = |i: usize| around + 0.3 * (count + i as f32 * 1.7).sin();
            Ok(TensorData::new((0..len).map(value).collect::<Vec<f32>>(), shape.to_vec()))
        })
        .unwrap()
    }

    #[test]
    fn a_deeper_network_computes_the_same() {
        let device = Device::flex();
        let config = UVitConfig { num_layers: 4, ..UVitConfig::tiny() };
        let network = trained(&config, &device);
        let (deeper, grown) =
            deepen((&network, &config), 8, &mut Init::random(Seed(5), &device)).unwrap();
        assert_eq!(grown.num_layers, 8);
        assert_eq!(params::export(&deeper).len(), params::export(&grown_twin(&grown)).len());

        let (c, s) = (config.in_channels, config.sample_size);
        let normal = Distribution::Default;
        let input = Modalities {
            z: Tensor::random([2, c, s, s], normal, &device),
            clip: Tensor::random([2, 1, config.clip_img_dim], normal, &device),
            text: Tensor::random([2, config.num_text_tokens, config.text_dim], normal, &device),
        };
        let levels = Levels::uniform(2, 300.0, 700.0);
        let before = network.forward(input.clone(), &levels);
        let after = deeper.forward(input, &levels);
        for (before, after) in [
            (before.z.into_data(), after.z.into_data()),
            (before.clip.into_data(), after.clip.into_data()),
            (before.text.into_data(), after.text.into_data()),
        ] {
            let (before, after): (Vec<f32>, Vec<f32>) =
                (before.iter::<f32>().collect(), after.iter::<f32>().collect());
            let size = before.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!(size > 0.1, "{size}");
            for (b, a) in before.iter().zip(&after) {
                assert!((a - b).abs() <= 1e-4 * size, "{b} became {a}");
            }
        }
    }

    fn grown_twin(config: &UVitConfig) -> UVit {
        config.init(&mut Init::random(Seed(1), &Device::flex())).unwrap()
    }

    #[test]
    fn fewer_blocks_are_refused() {
        let device = Device::flex();
        let config = UVitConfig { num_layers: 4, ..UVitConfig::tiny() };
        let network = trained(&config, &device);
        let error =
            deepen((&network, &config), 2, &mut Init::random(Seed(5), &device)).unwrap_err();
        assert!(error.to_string().contains("num_layers"), "{error}");
    }
}
