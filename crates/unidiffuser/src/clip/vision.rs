//! The image tower.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use trefoil_core::Result;
use trefoil_core::nn::{
    AttentionMask, Bias, Conv2d, Conv2dOptions, Embedding, Init, LayerNorm, Linear, WeightInit,
};
use trefoil_core::weights::{WeightFile, load_strict};

use super::{ClipVisionConfig, Encoder};
use crate::keys;

/// Spread of positions at the start of training.
const EMBEDDING_STD: f64 = 0.02;

/// CLIP's image encoder; its embedding is **not** normalised, as UniDiffuser models it.
#[derive(Module, Debug)]
pub struct ClipVision {
    vision_model: VisionTransformer,
    visual_projection: Linear,
}

/// Embeddings, blocks and the norms around them.
#[derive(Module, Debug)]
struct VisionTransformer {
    embeddings: VisionEmbeddings,
    // The published checkpoints spell it so.
    pre_layrnorm: LayerNorm,
    encoder: Encoder,
    post_layernorm: LayerNorm,
}

/// Class token, patches and positions.
#[derive(Module, Debug)]
#[expect(clippy::struct_field_names, reason = "the published keys")]
struct VisionEmbeddings {
    class_embedding: Param<Tensor<1>>,
    patch_embedding: Conv2d,
    position_embedding: Embedding,
}

impl ClipVision {
    pub(super) fn new(init: &mut Init, config: &ClipVisionConfig) -> Self {
        let (width, patch) = (config.hidden_size, config.patch_size);
        let std = (width as f64).powf(-0.5);
        let positions = (config.image_size / patch).pow(2) + 1;
        let options = Conv2dOptions::patches(patch, Bias::No);
        let vision_model = VisionTransformer {
            embeddings: VisionEmbeddings {
                class_embedding: init.normal([width], std),
                patch_embedding: Conv2d::new(init, [config.num_channels, width], options),
                position_embedding: Embedding::new(init, [positions, width], EMBEDDING_STD),
            },
            pre_layrnorm: LayerNorm::new(init, width, config.layer_norm_eps),
            encoder: Encoder::new(init, config.shape()),
            post_layernorm: LayerNorm::new(init, width, config.layer_norm_eps),
        };
        let dim = config.projection_dim;
        let visual_projection = Linear::new(init, [width, dim], Bias::No, WeightInit::Normal(std));
        Self { vision_model, visual_projection }
    }

    /// Loads a weight file in any published layout (see [`crate::keys::clip_vision`]).
    ///
    /// # Errors
    /// The errors of [`load_strict`].
    pub fn load(self, file: &WeightFile) -> Result<Self> {
        load_strict(self, &keys::clip_vision(file.clone())?, &[])
    }

    /// The embedding of each image: the class token after the last norm, projected.
    ///
    /// # Shapes
    /// - `pixels`: `[B, 3, S, S]`, normalised, `S = image_size`
    /// - returns: `[B, P]`
    pub fn forward(&self, pixels: Tensor<4>) -> Tensor<2> {
        let hidden = self.hidden(pixels); // [B, 1 + patches, D]
        let [b, _, d] = hidden.dims();
        let class = hidden.narrow(1, 0, 1).reshape([b, d]); // [B, D]
        self.visual_projection.forward(self.vision_model.post_layernorm.forward(class)) // [B, P]
    }

    /// Hidden states of the class token and all patches, before the last norm.
    ///
    /// # Shapes
    /// - `pixels`: `[B, 3, S, S]`
    /// - returns: `[B, 1 + (S / patch)^2, D]`
    pub fn hidden(&self, pixels: Tensor<4>) -> Tensor<3> {
        let model = &self.vision_model;
        let patches = model.embeddings.patch_embedding.forward(pixels); // [B, D, h, w]
        let [b, d, h, w] = patches.dims();
        let patches = patches.reshape([b, d, h * w]).swap_dims(1, 2); // [B, h w, D]
        let class = model.embeddings.class_embedding.val().reshape([1, 1, d]).expand([b, 1, d]);
        let x = Tensor::cat(vec![class, patches], 1); // [B, 1 + h w, D]
        let x = x + model.embeddings.position_embedding.rows(0, 1 + h * w).unsqueeze::<3>();
        model.encoder.forward(model.pre_layrnorm.forward(x), AttentionMask::Full)
    }
}
