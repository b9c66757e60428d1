//! AutoencoderKL of Stable Diffusion v1 (arXiv 2112.10752), with the key names of diffusers.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use trefoil_core::nn::{
    AttentionMask, Bias, Conv2d, Conv2dOptions, GroupNorm, Init, Linear, Padding, WeightInit,
    attention,
};
use trefoil_core::{Error, Result};

mod blocks;

use blocks::{DownBlock, MidBlock, UpBlock};

/// Epsilon of every group normalisation.
const EPS: f64 = 1e-6;

/// Hyper-parameters; the default is the published autoencoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderConfig {
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Width of each level; each level but the last halves the sides.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks per level of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Groups of the normalisation; divides every width.
    pub norm_num_groups: usize,
    /// The latent is multiplied by this before diffusion.
    pub scaling_factor: f64,
    /// Side of the pictures that it was trained on.
    pub sample_size: usize,
}

impl Default for AutoencoderConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            latent_channels: 4,
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            norm_num_groups: 32,
            scaling_factor: 0.18215,
            sample_size: 512,
        }
    }
}

impl AutoencoderConfig {
    /// An autoencoder of a few thousand weights for tests.
    pub fn tiny() -> Self {
        Self {
            block_out_channels: vec![8, 16],
            layers_per_block: 1,
            norm_num_groups: 4,
            sample_size: 8,
            ..Self::default()
        }
    }

    /// Side of a picture over the side of its latent.
    pub fn downsampling(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }

    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.block_out_channels.is_empty() {
            return Err(Error::config("block_out_channels", "must not be empty"));
        }
        for (field, value) in [
            ("in_channels", self.in_channels),
            ("latent_channels", self.latent_channels),
            ("layers_per_block", self.layers_per_block),
            ("norm_num_groups", self.norm_num_groups),
        ] {
            if value == 0 {
                return Err(Error::config(field, "must be positive"));
            }
        }
        let groups = self.norm_num_groups;
        match self.block_out_channels.iter().find(|&&c| c == 0 || c % groups != 0) {
            Some(c) => {
                let reason = format!("{groups} does not divide the width {c}");
                Err(Error::config("norm_num_groups", reason))
            }
            None if self.scaling_factor > 0.0 => Ok(()),
            None => Err(Error::config("scaling_factor", "must be positive")),
        }
    }

    /// Builds the autoencoder.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn init(&self, init: &mut Init) -> Result<Autoencoder> {
        self.validate()?;
        let z = self.latent_channels;
        Ok(Autoencoder {
            encoder: Encoder::new(self, init),
            decoder: Decoder::new(self, init),
            quant_conv: Conv2d::new(init, [2 * z, 2 * z], Conv2dOptions::same(1)),
            post_quant_conv: Conv2d::new(init, [z, z], Conv2dOptions::same(1)),
            scaling_factor: self.scaling_factor,
        })
    }
}

/// Diagonal Gaussian over latents.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// `[B, Z, h, w]`, not scaled.
    pub mean: Tensor<4>,
    /// `[B, Z, h, w]`, clamped to `[-30, 20]`.
    pub logvar: Tensor<4>,
}

impl Posterior {
    /// A sample, `mean + exp(logvar / 2) noise`, not scaled.
    ///
    /// # Shapes
    /// - `noise`: `[B, Z, h, w]`
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + (self.logvar.clone() * 0.5).exp() * noise
    }

    /// Kullback-Leibler divergence from the standard normal, in nats, summed over a latent.
    ///
    /// # Shapes
    /// - returns: `[B]`
    pub fn kl(&self) -> Tensor<1> {
        let mean = self.mean.clone();
        let terms = mean.clone() * mean + self.logvar.clone().exp() - self.logvar.clone() - 1.0;
        let [b, ..] = terms.dims();
        (terms.flatten::<2>(1, 3).sum_dim(1) * 0.5).reshape([b])
    }
}

/// Picture to latent and back.
#[derive(Module, Debug)]
pub struct Autoencoder {
    encoder: Encoder,
    decoder: Decoder,
    quant_conv: Conv2d,
    post_quant_conv: Conv2d,
    scaling_factor: f64,
}

impl Autoencoder {
    /// Factor between latents of the autoencoder and latents of the diffusion.
    pub fn scaling_factor(&self) -> f64 {
        self.scaling_factor
    }

    /// # Shapes
    /// - `images`: `[B, 3, H, W]` in `[-1, 1]`
    pub fn encode(&self, images: Tensor<4>) -> Posterior {
        let moments = self.quant_conv.forward(self.encoder.forward(images)); // [B, 2Z, h, w]
        let z = moments.dims()[1] / 2;
        Posterior {
            mean: moments.clone().narrow(1, 0, z),
            logvar: moments.narrow(1, z, z).clamp(-30.0, 20.0),
        }
    }

    /// Decodes a latent that is not scaled.
    ///
    /// # Shapes
    /// - `latent`: `[B, Z, h, w]`
    /// - returns: `[B, 3, H, W]`, about `[-1, 1]`
    pub fn decode(&self, latent: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(self.post_quant_conv.forward(latent))
    }

    /// Decodes a latent of the diffusion.
    ///
    /// # Shapes
    /// - `z`: `[B, Z, h, w]`
    /// - returns: `[B, 3, H, W]`, about `[-1, 1]`
    pub fn decode_scaled(&self, z: Tensor<4>) -> Tensor<4> {
        self.decode(z / self.scaling_factor)
    }
}

/// Picture to moments.
#[derive(Module, Debug)]
pub struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    fn new(config: &AutoencoderConfig, init: &mut Init) -> Self {
        let widths = &config.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let conv_in = Conv2d::new(init, [config.in_channels, first], Conv2dOptions::same(3));
        let down_blocks = (0..widths.len())
            .map(|i| {
                let shape = [widths[i.saturating_sub(1)], widths[i]];
                DownBlock::new(config, init, shape, i + 1 < widths.len())
            })
            .collect();
        Self {
            conv_in,
            down_blocks,
            mid_block: MidBlock::new(config, init, last),
            conv_norm_out: GroupNorm::new(init, config.norm_num_groups, last, EPS),
            conv_out: Conv2d::new(init, [last, 2 * config.latent_channels], Conv2dOptions::same(3)),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut x = self.conv_in.forward(images);
        for block in &self.down_blocks {
            x = block.forward(x);
        }
        let x = self.mid_block.forward(x);
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}

/// Latent to picture.
#[derive(Module, Debug)]
pub struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    fn new(config: &AutoencoderConfig, init: &mut Init) -> Self {
        let widths: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let (deepest, last) = (widths[0], widths[widths.len() - 1]);
        let conv_in = Conv2d::new(init, [config.latent_channels, deepest], Conv2dOptions::same(3));
        let mid_block = MidBlock::new(config, init, deepest);
        let up_blocks = (0..widths.len())
            .map(|i| {
                let shape = [widths[i.saturating_sub(1)], widths[i]];
                UpBlock::new(config, init, shape, i + 1 < widths.len())
            })
            .collect();
        Self {
            conv_in,
            mid_block,
            up_blocks,
            conv_norm_out: GroupNorm::new(init, config.norm_num_groups, last, EPS),
            conv_out: Conv2d::new(init, [last, config.in_channels], Conv2dOptions::same(3)),
        }
    }

    fn forward(&self, latent: Tensor<4>) -> Tensor<4> {
        let mut x = self.mid_block.forward(self.conv_in.forward(latent));
        for block in &self.up_blocks {
            x = block.forward(x);
        }
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}
