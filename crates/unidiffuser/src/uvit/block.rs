//! The transformer block of the U-ViT.

use burn::module::Module;
use burn::tensor::Tensor;
use trefoil_core::nn::{
    Activation, AttentionMask, Bias, Init, LayerNorm, Linear, PackedAttention, WeightInit,
    packed_attention,
};

use super::{STD, UVitConfig};

/// Whether a block receives a long skip connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    With,
    Without,
}

/// Post-norm transformer block: `x <- LN2(x + Attn(x))`, `x <- LN3(x + MLP(x))`.
#[derive(Module, Debug)]
pub struct Block {
    skip_linear: Option<Linear>,
    norm1: Option<LayerNorm>,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
    norm3: LayerNorm,
}

impl Block {
    pub(super) fn new(config: &UVitConfig, init: &mut Init, skip: Skip) -> Self {
        let d = config.embed_dim;
        let hidden = d * config.mlp_ratio;
        let linear =
            |init: &mut Init, shape, bias| Linear::new(init, shape, bias, WeightInit::Normal(STD));
        let with_skip = skip == Skip::With;
        Self {
            skip_linear: with_skip.then(|| linear(init, [2 * d, d], Bias::Yes)),
            norm1: with_skip.then(|| LayerNorm::new(init, d, 1e-5)),
            attn: Attention {
                qkv: linear(init, [d, 3 * d], Bias::No),
                proj: linear(init, [d, d], Bias::Yes),
                heads: config.num_heads,
            },
            norm2: LayerNorm::new(init, d, 1e-5),
            mlp: Mlp {
                fc1: linear(init, [d, hidden], Bias::Yes),
                fc2: linear(init, [hidden, d], Bias::Yes),
            },
            norm3: LayerNorm::new(init, d, 1e-5),
        }
    }

    /// # Shapes
    /// - `x`: `[B, L, D]`
    /// - returns: `[B, L, D]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.norm2.forward_add(self.attn.forward(x.clone()), x);
        self.norm3.forward_add(self.mlp.forward(x.clone()), x)
    }

    /// `x <- LN1(W [x, skip])`, then as [`Block::forward`].
    ///
    /// # Shapes
    /// - `x`, `skip`: `[B, L, D]`
    /// - returns: `[B, L, D]`
    pub fn forward_skip(&self, x: Tensor<3>, skip: Tensor<3>) -> Tensor<3> {
        match (&self.skip_linear, &self.norm1) {
            (Some(linear), Some(norm)) => {
                self.forward(norm.forward(linear.forward(Tensor::cat(vec![x, skip], 2))))
            }
            _ => self.forward(x),
        }
    }
}

/// Multi-head self-attention over one packed projection, rows ordered (q, k, v), each (head, dim).
#[derive(Module, Debug)]
pub struct Attention {
    qkv: Linear,
    proj: Linear,
    heads: usize,
}

impl Attention {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let qkv = self.qkv.forward(x); // [B, L, 3D]
        let options = PackedAttention { heads: self.heads, mask: AttentionMask::Full };
        self.proj.forward(packed_attention(qkv, options))
    }
}

/// `W2 GELU(W1 x)` with the exact GELU.
#[derive(Module, Debug)]
pub struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

impl Mlp {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.fc2.forward(self.fc1.forward_activated(x, Activation::Gelu))
    }
}
