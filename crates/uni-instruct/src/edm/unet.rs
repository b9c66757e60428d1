//! The U-Nets of EDM: SongUNet (DDPM++ and NCSN++) and DhariwalUNet (ADM).
//!
//! The encoder goes down the levels and leaves the output of every layer; the decoder takes them back, one
//! for each of its blocks.

use burn::module::Module;
use burn::tensor::Tensor;
use trefoil_core::Result;
use trefoil_core::nn::{Conv2d, GroupNorm, Init, Padding};

use super::block::{BlockShape, Resample, UNetBlock};
use super::config::{DecoderAttention, UNetConfig, groups};
use super::dropout::Masks;
use super::embedding::Embedding;
use super::init::{Layers, Role};
use super::resample::halve_padded;

/// What a network is told about a batch besides picture and noise level.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    /// `[B, classes]`: one-hot rows, or zeros for no class; absent means zeros.
    pub label: Option<Tensor<2>>,
    /// `[B, 9]`: how the pictures were augmented; absent means not at all.
    pub augment: Option<Tensor<2>>,
}

/// What a network returns.
#[derive(Debug, Clone)]
pub struct UNetOutput {
    /// `[B, channels, H, W]`
    pub output: Tensor<4>,
    /// Output of the last encoder layer, `[B, C, H', W']` at the lowest resolution.
    pub encoded: Tensor<4>,
}

/// The raw network `F(x, c_noise, condition)`.
#[derive(Module, Debug)]
pub struct UNet {
    pub(super) embedding: Embedding,
    pub(super) enc: Vec<EncoderLevel>,
    pub(super) dec: Vec<DecoderLevel>,
    pub(super) out_norm: GroupNorm,
    pub(super) out_conv: Conv2d,
    #[module(skip)]
    pub(super) config: UNetConfig,
}

/// Layers of one resolution on the way down.
#[derive(Module, Debug)]
pub(super) struct EncoderLevel {
    conv: Option<Conv2d>,
    pub(super) down: Option<UNetBlock>,
    pub(super) aux_residual: Option<Conv2d>,
    blocks: Vec<UNetBlock>,
}

/// Layers of one resolution on the way up.
#[derive(Module, Debug)]
pub(super) struct DecoderLevel {
    in0: Option<UNetBlock>,
    in1: Option<UNetBlock>,
    pub(super) up: Option<UNetBlock>,
    blocks: Vec<UNetBlock>,
}

impl UNetConfig {
    /// A network with fresh weights.
    ///
    /// # Errors
    /// As [`UNetConfig::validate`].
    pub fn init(&self, init: &mut Init) -> Result<UNet> {
        self.validate()?;
        let layers = &mut Layers { family: self.family, init };
        let embedding = Embedding::new(self, layers);
        let (mut channels, mut auxiliary) = (self.channels, self.channels);
        let mut skips = Vec::new();
        let mut enc = Vec::new();
        for level in 0..self.channel_mult.len() {
            let attention = self.attn_resolutions.contains(&self.side(level));
            let width = self.width(level);
            let mut block =
                EncoderLevel { conv: None, down: None, aux_residual: None, blocks: vec![] };
            if level == 0 {
                // ADM's first convolution has the width of its level already.
                let first = if self.family.is_adm() { width } else { self.model_channels };
                block.conv = Some(layers.conv([channels, first], 3, Role::Plain));
                channels = first;
            } else {
                let shape = BlockShape::resampling(channels, Resample::Down);
                block.down = Some(UNetBlock::new(self, layers, shape));
                if self.family.has_input_residual() {
                    block.aux_residual = Some(layers.conv([auxiliary, channels], 3, Role::Plain));
                    auxiliary = channels;
                }
            }
            skips.push(channels);
            for _ in 0..self.num_blocks {
                let shape = BlockShape::plain([channels, width], attention);
                block.blocks.push(UNetBlock::new(self, layers, shape));
                channels = width;
                skips.push(channels);
            }
            enc.push(block);
        }
        let mut dec = Vec::new();
        for level in (0..self.channel_mult.len()).rev() {
            let attention = self.attn_resolutions.contains(&self.side(level));
            let width = self.width(level);
            let mut block = DecoderLevel { in0: None, in1: None, up: None, blocks: vec![] };
            if level + 1 == self.channel_mult.len() {
                let mut input = |attention| {
                    UNetBlock::new(self, layers, BlockShape::plain([channels; 2], attention))
                };
                block.in0 = Some(input(true));
                block.in1 = Some(input(false));
            } else {
                let shape = BlockShape::resampling(channels, Resample::Up);
                block.up = Some(UNetBlock::new(self, layers, shape));
            }
            for i in 0..=self.num_blocks {
                let attention = attention
                    && match self.family.decoder_attention() {
                        DecoderAttention::Last => i == self.num_blocks,
                        DecoderAttention::All => true,
                    };
                let skip = skips.pop().unwrap_or_default();
                let shape = BlockShape::plain([channels + skip, width], attention);
                block.blocks.push(UNetBlock::new(self, layers, shape));
                channels = width;
            }
            dec.push(block);
        }
        let epsilon = if self.family.is_adm() { 1e-5 } else { 1e-6 };
        let out_norm = GroupNorm::new(layers.init, groups(channels), channels, epsilon);
        let out_conv = layers.conv([channels, self.channels], 3, Role::Closing);
        Ok(UNet { embedding, enc, dec, out_norm, out_conv, config: self.clone() })
    }
}

impl UNet {
    /// Its sizes.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// # Shapes
    /// - `x`: `[B, channels, H, W]`
    /// - `noise`: `c_noise` of each picture
    /// - `dropout`: masks while training
    pub fn forward(
        &self,
        x: Tensor<4>,
        noise: &[f64],
        condition: Condition,
        mut dropout: Option<&mut Masks>,
    ) -> UNetOutput {
        let Condition { label, augment } = condition;
        let embedding = self.embedding.forward(noise, label, augment, &x.device());
        let mut run = |block: &UNetBlock, x: Tensor<4>| {
            block.forward(x, embedding.clone(), dropout.as_deref_mut())
        };
        let mut auxiliary = x.clone();
        let mut x = x;
        let mut skips: Vec<Tensor<4>> = Vec::new();
        for level in &self.enc {
            if let Some(conv) = &level.conv {
                x = conv.forward(x);
            }
            if let Some(down) = &level.down {
                x = run(down, x);
            }
            if let Some(conv) = &level.aux_residual {
                // The filter follows the convolution here, with the borders that both need.
                let small = conv.forward_padded(auxiliary, Padding::all(2));
                let small = halve_padded(small, self.config.family.filter());
                x = (x + small) * std::f64::consts::FRAC_1_SQRT_2;
                auxiliary = x.clone();
            }
            skips.push(x.clone());
            for block in &level.blocks {
                x = run(block, x);
                skips.push(x.clone());
            }
        }
        let encoded = x.clone();
        for level in &self.dec {
            for block in [&level.in0, &level.in1, &level.up].into_iter().flatten() {
                x = run(block, x);
            }
            for block in &level.blocks {
                let inputs = [Some(x), skips.pop()].into_iter().flatten().collect();
                x = run(block, Tensor::cat(inputs, 1));
            }
        }
        let output = self.out_conv.forward(self.out_norm.forward_silu(x));
        UNetOutput { output, encoded }
    }
}
