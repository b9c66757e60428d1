//! What a network is told besides the picture: noise level, class and augmentation as one vector.

use std::f64::consts::TAU;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use trefoil_core::nn::{Activation, Bias, Linear};

use super::config::{NoiseEmbedding, UNetConfig};
use super::init::{Layers, Role};

/// Standard deviation of random frequencies.
const FOURIER_SCALE: f64 = 16.0;

/// Noise level, class and augmentation to one vector.
///
/// ```text
/// DDPM++, NCSN++   SiLU(W_1 SiLU(W_0 (n + W_label sqrt(K) label + W_augment a)))
/// ADM              SiLU(W_1 SiLU(W_0 (n + W_augment a)) + W_label label)
/// ```
#[derive(Module, Debug)]
pub(super) struct Embedding {
    /// Frequencies of the Fourier features, which files hold as a buffer; else empty.
    #[module(skip)]
    pub(super) frequencies: Vec<f32>,
    #[module(skip)]
    kind: NoiseEmbedding,
    #[module(skip)]
    is_adm: bool,
    channels: usize,
    map_label: Option<Linear>,
    map_augment: Option<Linear>,
    map_layer0: Linear,
    map_layer1: Linear,
}

impl Embedding {
    pub(super) fn new(config: &UNetConfig, layers: &mut Layers<'_>) -> Self {
        let (family, width) = (config.family, config.embedding());
        let channels = config.model_channels * family.noise_channels();
        let label = if family.is_adm() { width } else { channels };
        let label_bias = if family.is_adm() { Bias::No } else { Bias::Yes };
        let frequencies = match family.noise_embedding() {
            NoiseEmbedding::Fourier => {
                let drawn = layers.init.normal([channels / 2], FOURIER_SCALE);
                drawn.val().into_data().iter::<f32>().collect()
            }
            _ => Vec::new(),
        };
        Self {
            frequencies,
            kind: family.noise_embedding(),
            is_adm: family.is_adm(),
            channels,
            map_label: (config.label_dim > 0)
                .then(|| layers.linear([config.label_dim, label], label_bias, Role::Label)),
            map_augment: (config.augment_dim > 0)
                .then(|| layers.linear([config.augment_dim, channels], Bias::No, Role::Augment)),
            map_layer0: layers.linear([channels, width], Bias::Yes, Role::Plain),
            map_layer1: layers.linear([width, width], Bias::Yes, Role::Plain),
        }
    }

    /// # Shapes
    /// - `noise`: one `c_noise` per picture
    /// - `label`: `[B, classes]`, rows that are one-hot, or zero for no class
    /// - `augment`: `[B, augment_dim]`; absent means zeros
    /// - returns: `[B, embedding]`
    pub(super) fn forward(
        &self,
        noise: &[f64],
        label: Option<Tensor<2>>,
        augment: Option<Tensor<2>>,
        device: &Device,
    ) -> Tensor<2> {
        let mut x = self.noise(noise, device); // [B, channels]
        if let (Some(map), Some(augment)) = (&self.map_augment, augment) {
            x = x + map.forward(augment);
        }
        let label = self.map_label.as_ref().map(|map| {
            let classes = map.weight.dims()[1];
            let label = label.unwrap_or_else(|| Tensor::zeros([noise.len(), classes], device));
            let factor = if self.is_adm { 1.0 } else { (classes as f64).sqrt() };
            map.forward(label * factor)
        });
        match label {
            Some(label) if self.is_adm => {
                let x = self.map_layer0.forward_activated(x, Activation::Silu);
                Activation::Silu.apply(self.map_layer1.forward(x) + label)
            }
            label => {
                let x = match label {
                    Some(label) => x + label,
                    None => x,
                };
                let x = self.map_layer0.forward_activated(x, Activation::Silu);
                self.map_layer1.forward_activated(x, Activation::Silu)
            }
        }
    }

    /// Sines and cosines of the noise level, `[B, channels]`.
    fn noise(&self, noise: &[f64], device: &Device) -> Tensor<2> {
        let values = features(self.kind, &self.frequencies, self.channels, noise);
        Tensor::from_data(TensorData::new(values, [noise.len(), self.channels]), device)
    }
}

/// Features of noise levels, row after row: sines and then cosines, for ADM in the other order.
fn features(kind: NoiseEmbedding, drawn: &[f32], channels: usize, noise: &[f64]) -> Vec<f32> {
    let half = channels / 2;
    let last = match kind {
        NoiseEmbedding::PositionalClosed => (half.max(2) - 1) as f64,
        _ => half as f64,
    };
    let frequency = |i: usize| match kind {
        NoiseEmbedding::Fourier => TAU * f64::from(drawn[i]),
        _ => 1e-4_f64.powf(i as f64 / last),
    };
    let mut values = Vec::with_capacity(noise.len() * channels);
    for &level in noise {
        let angles = (0..half).map(|i| level * frequency(i));
        let cosines = angles.clone().map(|angle| angle.cos() as f32);
        let sines = angles.map(|angle| angle.sin() as f32);
        if kind == NoiseEmbedding::PositionalOpen {
            values.extend(cosines.chain(sines));
        } else {
            values.extend(sines.chain(cosines));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sixteen channels at -1 and 0.25, computed independently.
    #[test]
    fn positions_equal_the_reference() {
        let closed = features(NoiseEmbedding::PositionalClosed, &[], 16, &[-1.0, 0.25]);
        let expected = [
            (0, -0.841470984808),
            (1, -0.265063309288),
            (7, -1e-4),
            (8, 0.540302305868),
            (9, 0.964231010738),
            (17, 0.0670171276018),
            (24, 0.968912421711),
        ];
        for (index, value) in expected {
            assert!((f64::from(closed[index]) - value).abs() < 1e-7, "{index}");
        }
        let open = features(NoiseEmbedding::PositionalOpen, &[], 16, &[-1.0, 0.25]);
        let expected = [
            (0, 0.540302305868),
            (1, 0.950415280255),
            (8, -0.841470984808),
            (9, -0.310983592907),
            (15, -0.000316227760746),
            (25, 0.0789746162543),
        ];
        for (index, value) in expected {
            assert!((f64::from(open[index]) - value).abs() < 1e-7, "{index}");
        }
    }
}
