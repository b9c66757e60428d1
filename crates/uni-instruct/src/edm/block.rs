//! The residual block of all three networks.
//!
//! ```text
//! h = conv0(SiLU(norm0(x)))                       at the new resolution, if it changes
//! h = SiLU(norm1(h + p))  or  SiLU(norm1(h) (1 + scale) + shift)
//! y = (conv1(dropout(h)) + skip(x)) s
//! z = (proj(attention(qkv(norm2(y)))) + y) s      where there is attention
//! ```

use burn::module::Module;
use burn::tensor::Tensor;
use trefoil_core::nn::{
    AttentionMask, Bias, Conv2d, GroupNorm, Linear, PackedAttention, linear, packed_attention,
};
use trefoil_kernels::{GroupNormOptions, NormActivation, group_norm_scale_shift};

use super::config::{Conditioning, Family, Filter, UNetConfig, groups};
use super::dropout::Masks;
use super::init::{Layers, Role};
use super::resample::{double, halve};

/// What a block does to the resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resample {
    /// Nothing.
    Keep,
    /// Halves it.
    Down,
    /// Doubles it.
    Up,
}

/// What makes a block different from the others of its network.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockShape {
    pub(super) channels: [usize; 2],
    pub(super) resample: Resample,
    pub(super) attention: bool,
}

impl BlockShape {
    pub(super) fn plain(channels: [usize; 2], attention: bool) -> Self {
        Self { channels, resample: Resample::Keep, attention }
    }

    pub(super) fn resampling(channels: usize, resample: Resample) -> Self {
        Self { channels: [channels; 2], resample, attention: false }
    }
}

/// A residual block, with attention or without.
#[derive(Module, Debug)]
pub(super) struct UNetBlock {
    norm0: GroupNorm,
    conv0: Conv2d,
    affine: Linear,
    norm1: GroupNorm,
    conv1: Conv2d,
    skip: Option<Conv2d>,
    norm2: Option<GroupNorm>,
    qkv: Option<Conv2d>,
    proj: Option<Conv2d>,
    #[module(skip)]
    family: Family,
    heads: usize,
    #[module(skip)]
    pub(super) resample: Resample,
}

impl UNetBlock {
    pub(super) fn new(config: &UNetConfig, layers: &mut Layers<'_>, shape: BlockShape) -> Self {
        let family = config.family;
        let BlockShape { channels: [c_in, c_out], resample, attention } = shape;
        let outputs = match family.conditioning() {
            Conditioning::Shift => c_out,
            Conditioning::ScaleShift => 2 * c_out,
        };
        let projected =
            c_in != c_out || (resample != Resample::Keep && family.projects_resampled_skip());
        Self {
            norm0: norm(family, layers, c_in),
            conv0: layers.conv([c_in, c_out], 3, Role::Plain),
            affine: layers.linear([config.embedding(), outputs], Bias::Yes, Role::Plain),
            norm1: norm(family, layers, c_out),
            conv1: layers.conv([c_out; 2], 3, Role::Closing),
            skip: projected.then(|| layers.conv([c_in, c_out], 1, Role::Plain)),
            norm2: attention.then(|| norm(family, layers, c_out)),
            qkv: attention.then(|| layers.conv([c_out, 3 * c_out], 1, Role::Attention)),
            proj: attention.then(|| layers.conv([c_out; 2], 1, Role::Closing)),
            family,
            heads: config.heads(c_out),
            resample,
        }
    }

    /// # Shapes
    /// - `x`: `[B, in, H, W]`
    /// - `embedding`: `[B, embedding]`
    /// - returns: `[B, out, H', W']`
    pub(super) fn forward(
        &self,
        x: Tensor<4>,
        embedding: Tensor<2>,
        dropout: Option<&mut Masks>,
    ) -> Tensor<4> {
        let filter = self.family.filter();
        let h = self.norm0.forward_silu(x.clone());
        let h = match (self.resample, filter) {
            (Resample::Keep, _) => self.conv0.forward(h),
            (Resample::Down, _) => self.conv0.forward(halve(h, filter)),
            (Resample::Up, Filter::Box) => self.conv0.forward_upsampled(h),
            (Resample::Up, Filter::Smooth) => self.conv0.forward(double(h, filter)),
        };
        let mut h = self.condition(h, self.affine.forward(embedding)); // [B, out, H', W']
        if let Some(masks) = dropout {
            h = masks.apply(h);
        }
        let scale = self.family.skip_scale();
        let y = scaled(self.conv1.forward(h) + self.skip(x, filter), scale);
        match (&self.norm2, &self.qkv, &self.proj) {
            (Some(norm), Some(qkv), Some(proj)) => {
                scaled(self.attend(norm.forward(y.clone()), qkv, proj) + y, scale)
            }
            _ => y,
        }
    }

    /// The second normalisation with the embedding, and SiLU.
    fn condition(&self, h: Tensor<4>, parameters: Tensor<2>) -> Tensor<4> {
        let [b, c, _, _] = h.dims();
        match self.family.conditioning() {
            Conditioning::Shift => self.norm1.forward_silu(h + parameters.reshape([b, c, 1, 1])),
            Conditioning::ScaleShift => {
                let part = |i: usize| parameters.clone().narrow(1, i * c, c); // [B, C]
                let options = GroupNormOptions {
                    groups: self.norm1.groups,
                    epsilon: self.norm1.eps,
                    activation: NormActivation::Silu,
                };
                let weights = [self.norm1.weight.val(), self.norm1.bias.val()];
                group_norm_scale_shift(h, weights, [part(0), part(1)], options)
            }
        }
    }

    /// The input at the output's size.
    fn skip(&self, x: Tensor<4>, filter: Filter) -> Tensor<4> {
        let project = |x: Tensor<4>| match &self.skip {
            Some(conv) => conv.forward(x),
            None => x,
        };
        match (self.resample, filter) {
            (Resample::Keep, _) => project(x),
            (Resample::Down, _) => project(halve(x, filter)),
            // Repeating pixels after the projection is the same and four times cheaper.
            (Resample::Up, Filter::Box) => double(project(x), filter),
            (Resample::Up, Filter::Smooth) => project(double(x, filter)),
        }
    }

    /// Attention over the pixels. The projection has query, key and value of each channel of a head next to
    /// one another; its rows are brought into the order of the kernel, which is cheaper than its output.
    fn attend(&self, x: Tensor<4>, qkv: &Conv2d, proj: &Conv2d) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let heads = self.heads;
        let tokens = x.reshape([b, c, h * w]).swap_dims(1, 2); // [B, HW, C]
        let weight = qkv.weight.val().reshape([heads, c / heads, 3, c]);
        let weight = weight.permute([2, 0, 1, 3]).reshape([3 * c, c]);
        let bias = qkv.bias.as_ref().map(|bias| {
            bias.val().reshape([heads, c / heads, 3]).permute([2, 0, 1]).reshape([3 * c])
        });
        let packed = linear(tokens, weight, bias, None); // [B, HW, 3C]
        let options = PackedAttention { heads, mask: AttentionMask::Full };
        let mixed = packed_attention(packed, options); // [B, HW, C]
        let bias = proj.bias.as_ref().map(burn::module::Param::val);
        let out = linear(mixed, proj.weight.val().reshape([c, c]), bias, None);
        out.swap_dims(1, 2).reshape([b, c, h, w])
    }
}

fn norm(family: Family, layers: &mut Layers<'_>, channels: usize) -> GroupNorm {
    GroupNorm::new(layers.init, groups(channels), channels, family.epsilon())
}

fn scaled(x: Tensor<4>, factor: f64) -> Tensor<4> {
    if factor == 1.0 { x } else { x * factor }
}
