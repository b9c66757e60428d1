//! The parts of the autoencoder: residual blocks, resampling, attention in the middle.

use super::{
    AttentionMask, AutoencoderConfig, Bias, Conv2d, Conv2dOptions, EPS, GroupNorm, Init, Linear,
    Module, Padding, Tensor, WeightInit, attention,
};

/// `x + conv(SiLU(GN(conv(SiLU(GN(x))))))`, with a 1x1 convolution on `x` when the width changes.
#[derive(Module, Debug)]
pub(super) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock {
    fn new(config: &AutoencoderConfig, init: &mut Init, [c_in, c_out]: [usize; 2]) -> Self {
        let groups = config.norm_num_groups;
        Self {
            norm1: GroupNorm::new(init, groups, c_in, EPS),
            conv1: Conv2d::new(init, [c_in, c_out], Conv2dOptions::same(3)),
            norm2: GroupNorm::new(init, groups, c_out, EPS),
            conv2: Conv2d::new(init, [c_out, c_out], Conv2dOptions::same(3)),
            conv_shortcut: (c_in != c_out)
                .then(|| Conv2d::new(init, [c_in, c_out], Conv2dOptions::same(1))),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        let h = self.conv2.forward(self.norm2.forward_silu(h));
        let x = match &self.conv_shortcut {
            Some(conv) => conv.forward(x),
            None => x,
        };
        x + h
    }
}

/// Several residual blocks, the first of which changes the width.
fn resnets(
    config: &AutoencoderConfig,
    init: &mut Init,
    [c_in, c_out]: [usize; 2],
    count: usize,
) -> Vec<ResnetBlock> {
    (0..count)
        .map(|i| ResnetBlock::new(config, init, [if i == 0 { c_in } else { c_out }, c_out]))
        .collect()
}

/// A level of the encoder.
#[derive(Module, Debug)]
pub(super) struct DownBlock {
    resnets: Vec<ResnetBlock>,
    downsamplers: Vec<Downsample>,
}

impl DownBlock {
    pub(super) fn new(
        config: &AutoencoderConfig,
        init: &mut Init,
        shape: [usize; 2],
        halves: bool,
    ) -> Self {
        let resnets = resnets(config, init, shape, config.layers_per_block);
        let options = Conv2dOptions { kernel: 3, stride: 2, padding: 0, bias: Bias::Yes };
        let downsamplers = halves
            .then(|| Downsample { conv: Conv2d::new(init, [shape[1]; 2], options) })
            .into_iter()
            .collect();
        Self { resnets, downsamplers }
    }

    pub(super) fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        for block in &self.resnets {
            x = block.forward(x);
        }
        for down in &self.downsamplers {
            let padding = Padding { bottom: 1, right: 1, ..Padding::default() };
            x = down.conv.forward_padded(x, padding);
        }
        x
    }
}

/// Halves both sides.
#[derive(Module, Debug)]
pub(super) struct Downsample {
    conv: Conv2d,
}

/// A level of the decoder.
#[derive(Module, Debug)]
pub(super) struct UpBlock {
    resnets: Vec<ResnetBlock>,
    upsamplers: Vec<Upsample>,
}

impl UpBlock {
    pub(super) fn new(
        config: &AutoencoderConfig,
        init: &mut Init,
        shape: [usize; 2],
        doubles: bool,
    ) -> Self {
        let resnets = resnets(config, init, shape, config.layers_per_block + 1);
        let upsamplers = doubles
            .then(|| Upsample { conv: Conv2d::new(init, [shape[1]; 2], Conv2dOptions::same(3)) })
            .into_iter()
            .collect();
        Self { resnets, upsamplers }
    }

    pub(super) fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        for block in &self.resnets {
            x = block.forward(x);
        }
        for up in &self.upsamplers {
            x = up.conv.forward_upsampled(x);
        }
        x
    }
}

/// Doubles both sides.
#[derive(Module, Debug)]
pub(super) struct Upsample {
    conv: Conv2d,
}

/// The bottom: residual block, attention, residual block.
#[derive(Module, Debug)]
pub(super) struct MidBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<SpatialAttention>,
}

impl MidBlock {
    pub(super) fn new(config: &AutoencoderConfig, init: &mut Init, width: usize) -> Self {
        let resnets = resnets(config, init, [width; 2], 2);
        let attentions = vec![SpatialAttention::new(config, init, width)];
        Self { resnets, attentions }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.resnets[0].forward(x);
        for (attention, resnet) in self.attentions.iter().zip(&self.resnets[1..]) {
            x = resnet.forward(attention.forward(x));
        }
        x
    }
}

/// Single-head attention over all positions, `x + W softmax(q k^T / sqrt(C)) v`.
#[derive(Module, Debug)]
pub(super) struct SpatialAttention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Vec<Linear>,
}

impl SpatialAttention {
    fn new(config: &AutoencoderConfig, init: &mut Init, width: usize) -> Self {
        let mut linear = || Linear::new(init, [width; 2], Bias::Yes, WeightInit::FanIn);
        let (to_q, to_k, to_v, to_out) = (linear(), linear(), linear(), vec![linear()]);
        let group_norm = GroupNorm::new(init, config.norm_num_groups, width, EPS);
        Self { group_norm, to_q, to_k, to_v, to_out }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let tokens = self.group_norm.forward(x.clone()).reshape([b, c, h * w]).swap_dims(1, 2); // [B, HW, C]
        let head = |linear: &Linear| linear.forward(tokens.clone()).unsqueeze_dim::<4>(1); // [B, 1, HW, C]
        let (q, k, v) = (head(&self.to_q), head(&self.to_k), head(&self.to_v));
        let mut out: Tensor<3> = attention(q, k, v, AttentionMask::Full).squeeze_dim(1); // [B, HW, C]
        for linear in &self.to_out {
            out = linear.forward(out);
        }
        x + out.swap_dims(1, 2).reshape([b, c, h, w])
    }
}
