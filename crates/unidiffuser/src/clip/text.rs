//! The text tower.

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use trefoil_core::Result;
use trefoil_core::nn::{AttentionMask, Bias, Embedding, Init, LayerNorm, Linear, WeightInit};
use trefoil_core::weights::{WeightFile, load_strict};

use super::{ClipTextConfig, Encoder, TextProjection};
use crate::folder::Component;
use crate::keys;

/// Spread of the token table at the start of training.
const TOKEN_STD: f64 = 0.02;
/// Spread of the position table at the start of training.
const POSITION_STD: f64 = 0.01;
/// The end token of old published files, which says "take the largest id".
const LEGACY_EOS: u32 = 2;

/// CLIP's text encoder; UniDiffuser takes the hidden states of **all** positions, padding included.
#[derive(Module, Debug)]
pub struct ClipText {
    text_model: TextTransformer,
    text_projection: Option<Linear>,
    eos: u32,
}

/// Embeddings, blocks and final norm.
#[derive(Module, Debug)]
struct TextTransformer {
    embeddings: TextEmbeddings,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
}

/// Token and position tables.
#[derive(Module, Debug)]
struct TextEmbeddings {
    token_embedding: Embedding,
    position_embedding: Embedding,
}

impl ClipText {
    pub(super) fn new(init: &mut Init, config: &ClipTextConfig) -> Self {
        let width = config.hidden_size;
        let positions = config.max_position_embeddings;
        let text_model = TextTransformer {
            embeddings: TextEmbeddings {
                token_embedding: Embedding::new(init, [config.vocab_size, width], TOKEN_STD),
                position_embedding: Embedding::new(init, [positions, width], POSITION_STD),
            },
            encoder: Encoder::new(init, config.shape()),
            final_layer_norm: LayerNorm::new(init, width, config.layer_norm_eps),
        };
        let text_projection = match config.projection {
            TextProjection::Absent => None,
            TextProjection::Linear => {
                let std = (width as f64).powf(-0.5);
                let dim = config.projection_dim;
                Some(Linear::new(init, [width, dim], Bias::No, WeightInit::Normal(std)))
            }
        };
        Self { text_model, text_projection, eos: config.eos_token_id }
    }

    /// Loads a weight file in any published layout (see [`crate::keys::clip_text`]).
    ///
    /// # Errors
    /// The errors of [`load_strict`].
    pub fn load(self, file: &WeightFile) -> Result<Self> {
        load_strict(self, &keys::clip_text(file.clone())?, <Self as Component>::IGNORED)
    }

    /// Hidden states of all positions after the final layer norm, with causal attention.
    ///
    /// # Shapes
    /// - `ids`: `[B, L]`, `L` at most `max_position_embeddings`
    /// - returns: `[B, L, D]`
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, length] = ids.dims();
        let tables = &self.text_model.embeddings;
        let positions = tables.position_embedding.rows(0, length); // [L, D]
        let x = tables.token_embedding.forward(ids) + positions.unsqueeze::<3>(); // [B, L, D]
        let x = self.text_model.encoder.forward(x, AttentionMask::Causal);
        self.text_model.final_layer_norm.forward(x)
    }

    /// The embedding of each text: the hidden state at its first end token, projected when the tower
    /// has a projection; not normalised.
    ///
    /// # Shapes
    /// - `hidden`: `[B, L, D]`, from [`Self::forward`]
    /// - `ids`: `[B, L]`
    /// - returns: `[B, P]`, or `[B, D]` without a projection
    pub fn pooled(&self, hidden: Tensor<3>, ids: Tensor<2, Int>) -> Tensor<2> {
        let [b, length, d] = hidden.dims();
        let device = ids.device();
        let is_end = if self.eos == LEGACY_EOS {
            ids.clone().equal(ids.max_dim(1).expand([b, length]))
        } else {
            ids.equal_elem(i64::from(self.eos))
        };
        // Earlier positions count more, so that the largest value stands at the first end token.
        let order = Tensor::<1, Int>::arange(0..length as i64, &device).neg() + length as i64;
        let position = (is_end.int() * order.unsqueeze::<2>()).argmax(1); // [B, 1]
        let index = position.unsqueeze_dim::<3>(2).expand([b, 1, d]); // [B, 1, D]
        let pooled = hidden.gather(1, index).reshape([b, d]); // [B, D]
        match &self.text_projection {
            Some(projection) => projection.forward(pooled), // [B, P]
            None => pooled,
        }
    }
}
