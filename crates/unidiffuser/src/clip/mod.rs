//! The two CLIP towers: the text encoder whose hidden states condition UniDiffuser, and the image
//! encoder whose embedding is one of the generated modalities.
//!
//! CLIP: Radford et al., *Learning Transferable Visual Models From Natural Language Supervision*,
//! <https://arxiv.org/abs/2103.00020>. UniDiffuser: <https://arxiv.org/abs/2303.06555>.
//!
//! Both towers are stacks of the same pre-norm block,
//!
//! ```text
//! x <- x + Attn(LN1(x));   x <- x + MLP(LN2(x))
//! ```
//!
//! with causal attention in the text tower and full attention in the image tower.

mod config;
mod text;
mod vision;

use burn::module::Module;
use burn::tensor::Tensor;
use trefoil_core::nn::{
    Activation, AttentionMask, Bias, Init, LayerNorm, Linear, WeightInit, attention, merge_heads,
    split_heads,
};

pub use self::config::{ClipTextConfig, ClipVisionConfig, TextProjection};
pub(crate) use self::config::{check_positive, from_known_fields};
pub use self::text::ClipText;
pub use self::vision::ClipVision;

/// Sizes that the two towers share.
#[derive(Debug, Clone, Copy)]
struct EncoderShape {
    width: usize,
    hidden: usize,
    heads: usize,
    layers: usize,
    activation: Activation,
    norm_eps: f64,
}

/// The stack of blocks.
#[derive(Module, Debug)]
struct Encoder {
    layers: Vec<EncoderLayer>,
}

impl Encoder {
    fn new(init: &mut Init, shape: EncoderShape) -> Self {
        Self { layers: (0..shape.layers).map(|_| EncoderLayer::new(init, shape)).collect() }
    }

    /// # Shapes
    /// - `x`: `[B, L, D]`
    /// - returns: `[B, L, D]`, before the final norm
    fn forward(&self, x: Tensor<3>, mask: AttentionMask) -> Tensor<3> {
        self.layers.iter().fold(x, |x, layer| layer.forward(x, mask))
    }
}

/// One pre-norm block.
#[derive(Module, Debug)]
struct EncoderLayer {
    self_attn: SelfAttention,
    layer_norm1: LayerNorm,
    mlp: Mlp,
    layer_norm2: LayerNorm,
}

impl EncoderLayer {
    fn new(init: &mut Init, shape: EncoderShape) -> Self {
        Self {
            self_attn: SelfAttention::new(init, shape),
            layer_norm1: LayerNorm::new(init, shape.width, shape.norm_eps),
            mlp: Mlp::new(init, shape),
            layer_norm2: LayerNorm::new(init, shape.width, shape.norm_eps),
        }
    }

    fn forward(&self, x: Tensor<3>, mask: AttentionMask) -> Tensor<3> {
        let x = self.self_attn.forward(self.layer_norm1.forward(x.clone()), mask) + x;
        self.mlp.forward(self.layer_norm2.forward(x.clone())) + x
    }
}

/// Multi-head self-attention with separate projections, as the checkpoints store it.
#[derive(Module, Debug)]
struct SelfAttention {
    k_proj: Linear,
    v_proj: Linear,
    q_proj: Linear,
    out_proj: Linear,
    heads: usize,
}

impl SelfAttention {
    /// The residual branch is scaled by `1 / sqrt(2 layers)`, as in GPT-2.
    fn new(init: &mut Init, shape: EncoderShape) -> Self {
        let width = shape.width;
        let std = (width as f64).powf(-0.5);
        let out_std = std * (2.0 * shape.layers as f64).powf(-0.5);
        let mut linear = |std| Linear::new(init, [width; 2], Bias::Yes, WeightInit::Normal(std));
        Self {
            k_proj: linear(std),
            v_proj: linear(std),
            q_proj: linear(std),
            out_proj: linear(out_std),
            heads: shape.heads,
        }
    }

    fn forward(&self, x: Tensor<3>, mask: AttentionMask) -> Tensor<3> {
        let q = split_heads(self.q_proj.forward(x.clone()), self.heads); // [B, H, L, d]
        let k = split_heads(self.k_proj.forward(x.clone()), self.heads);
        let v = split_heads(self.v_proj.forward(x), self.heads);
        self.out_proj.forward(merge_heads(attention(q, k, v, mask))) // [B, L, D]
    }
}

/// The two-layer perceptron of a block.
#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    activation: Activation,
}

impl Mlp {
    fn new(init: &mut Init, shape: EncoderShape) -> Self {
        let (width, hidden) = (shape.width, shape.hidden);
        let fc1_std = (2.0 * width as f64).powf(-0.5);
        let fc2_std = (width as f64).powf(-0.5) * (2.0 * shape.layers as f64).powf(-0.5);
        Self {
            fc1: Linear::new(init, [width, hidden], Bias::Yes, WeightInit::Normal(fc1_std)),
            fc2: Linear::new(init, [hidden, width], Bias::Yes, WeightInit::Normal(fc2_std)),
            activation: shape.activation,
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(self.fc1.forward_activated(x, self.activation))
    }
}
