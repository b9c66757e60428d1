//! U-ViT, the joint noise predictor (arXiv 2303.06555, section 4; arXiv 2209.12152 for the backbone).
//!
//! Every input becomes tokens of one sequence: two time tokens, an optional data-type token, the text
//! code, the CLIP embedding and the latent's patches. Blocks are post-norm, and the first half sends
//! long skip connections to the second. Field names are the keys of the authors' checkpoint.

mod block;

use burn::module::{Module, Param};
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use trefoil_core::nn::{
    Bias, Conv2d, Conv2dOptions, Embedding, Init, LayerNorm, Linear, WeightInit,
};
use trefoil_core::{Error, Result};

use self::block::Skip;
pub use self::block::{Attention, Block, Mlp};

/// Standard deviation of fresh weights.
const STD: f64 = 0.02;
/// Longest period of the time embedding.
const MAX_PERIOD: f64 = 10_000.0;

/// Hyper-parameters of the network; the default is the published UniDiffuser-v1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UVitConfig {
    /// Side of the square latent that the position table is made for.
    pub sample_size: usize,
    /// Channels of the latent.
    pub in_channels: usize,
    /// Side of a patch.
    pub patch_size: usize,
    /// Width of the residual stream, `D`.
    pub embed_dim: usize,
    /// Blocks besides the middle one; even. 30 means 15 + 1 + 15.
    pub num_layers: usize,
    /// Attention heads; divides `embed_dim`.
    pub num_heads: usize,
    /// Hidden width of the MLP over `embed_dim`.
    pub mlp_ratio: usize,
    /// Tokens of the text code.
    pub num_text_tokens: usize,
    /// Channels of the text code.
    pub text_dim: usize,
    /// Channels of the CLIP image embedding.
    pub clip_img_dim: usize,
    /// Whether a token says which data a sample comes from (v1).
    pub use_data_type_embedding: bool,
}

impl Default for UVitConfig {
    fn default() -> Self {
        Self {
            sample_size: 64,
            in_channels: 4,
            patch_size: 2,
            embed_dim: 1536,
            num_layers: 30,
            num_heads: 24,
            mlp_ratio: 4,
            num_text_tokens: 77,
            text_dim: 64,
            clip_img_dim: 512,
            use_data_type_embedding: true,
        }
    }
}

impl UVitConfig {
    /// The published UniDiffuser-v0.
    pub fn v0() -> Self {
        Self { use_data_type_embedding: false, ..Self::default() }
    }

    /// A network of a few thousand weights for tests.
    pub fn tiny() -> Self {
        Self {
            sample_size: 4,
            embed_dim: 16,
            num_layers: 2,
            num_heads: 2,
            num_text_tokens: 5,
            text_dim: 6,
            clip_img_dim: 7,
            ..Self::default()
        }
    }

    /// Tokens of the whole sequence at the native size.
    pub fn num_tokens(&self) -> usize {
        let side = self.sample_size / self.patch_size;
        2 + usize::from(self.use_data_type_embedding) + self.num_text_tokens + 1 + side * side
    }

    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let divides = |field: &str, part: usize, whole: usize, name: &str| {
            if part == 0 || !whole.is_multiple_of(part) {
                let reason = format!("{part} does not divide {name} = {whole}");
                return Err(Error::config(field, reason));
            }
            Ok(())
        };
        divides("num_heads", self.num_heads, self.embed_dim, "embed_dim")?;
        divides("patch_size", self.patch_size, self.sample_size, "sample_size")?;
        for (field, value) in [
            ("sample_size", self.sample_size),
            ("in_channels", self.in_channels),
            ("embed_dim", self.embed_dim / 2),
            ("mlp_ratio", self.mlp_ratio),
            ("num_text_tokens", self.num_text_tokens),
            ("text_dim", self.text_dim),
            ("clip_img_dim", self.clip_img_dim),
        ] {
            if value == 0 {
                return Err(Error::config(field, "must be positive"));
            }
        }
        if self.num_layers % 2 == 1 || self.embed_dim % 2 == 1 {
            let reason = "num_layers and embed_dim must be even";
            return Err(Error::config("num_layers", reason));
        }
        Ok(())
    }

    /// Builds the network.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn init(&self, init: &mut Init) -> Result<UVit> {
        self.validate()?;
        let d = self.embed_dim;
        let side = self.sample_size / self.patch_size;
        let patch = self.patch_size * self.patch_size * self.in_channels;
        let half = self.num_layers / 2;
        let linear =
            |init: &mut Init, shape| Linear::new(init, shape, Bias::Yes, WeightInit::Normal(STD));
        let tokens = 2 + self.num_text_tokens + 1 + side * side;
        let blocks = |init: &mut Init, skip: Skip| -> Vec<Block> {
            (0..half).map(|_| Block::new(self, init, skip)).collect()
        };
        Ok(UVit {
            patch_embed: PatchEmbed {
                proj: Conv2d::new(
                    init,
                    [self.in_channels, d],
                    Conv2dOptions::patches(self.patch_size, Bias::Yes),
                ),
            },
            text_embed: linear(init, [self.text_dim, d]),
            clip_img_embed: linear(init, [self.clip_img_dim, d]),
            token_embedding: self
                .use_data_type_embedding
                .then(|| Embedding::new(init, [2, d], 1.0)),
            pos_embed: init.normal([1, tokens, d], STD),
            pos_embed_token: self.use_data_type_embedding.then(|| init.full([1, 1, d], 0.0)),
            in_blocks: blocks(init, Skip::Without),
            mid_block: Block::new(self, init, Skip::Without),
            out_blocks: blocks(init, Skip::With),
            norm: LayerNorm::new(init, d, 1e-5),
            decoder_pred: linear(init, [d, patch]),
            clip_img_out: linear(init, [d, self.clip_img_dim]),
            text_out: linear(init, [d, self.text_dim]),
            patch_size: self.patch_size,
            grid: side,
            num_text_tokens: self.num_text_tokens,
        })
    }
}

/// The convolution that turns patches into tokens.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// Kernel and stride are the patch size.
    pub proj: Conv2d,
}

/// The joint noise predictor.
#[derive(Module, Debug)]
pub struct UVit {
    patch_embed: PatchEmbed,
    text_embed: Linear,
    clip_img_embed: Linear,
    token_embedding: Option<Embedding>,
    pos_embed: Param<Tensor<3>>,
    pos_embed_token: Option<Param<Tensor<3>>>,
    in_blocks: Vec<Block>,
    mid_block: Block,
    out_blocks: Vec<Block>,
    norm: LayerNorm,
    decoder_pred: Linear,
    clip_img_out: Linear,
    text_out: Linear,
    patch_size: usize,
    grid: usize,
    num_text_tokens: usize,
}

/// The three modalities, or the noise of each.
#[derive(Debug, Clone)]
pub struct Modalities {
    /// Scaled latent, `[B, C, H, W]`.
    pub z: Tensor<4>,
    /// CLIP image embedding, `[B, 1, E]`.
    pub clip: Tensor<3>,
    /// Text code, `[B, L, T]`.
    pub text: Tensor<3>,
}

/// Noise levels of the two modalities and the source of the data, one of each per sample.
#[derive(Debug, Clone)]
pub struct Levels {
    /// Level of the picture on the scale 0 (clean) to 1000 (noise), `[B]`; may be fractional.
    pub image: Vec<f32>,
    /// Level of the text, `[B]`.
    pub text: Vec<f32>,
    /// 0 for web data, 1 for internal data, `[B]`; used by v1 only.
    pub data_type: Vec<i32>,
}

impl Levels {
    /// The same levels for a whole batch, with the authors' default data type 1.
    pub fn uniform(batch: usize, image: f64, text: f64) -> Self {
        Self {
            image: vec![image as f32; batch],
            text: vec![text as f32; batch],
            data_type: vec![1; batch],
        }
    }
}

impl UVit {
    /// Predicts the noise of all three modalities.
    ///
    /// Latents of another size than the native one use bilinearly interpolated positions.
    ///
    /// # Shapes
    /// - `input.z`: `[B, C, H, W]`, sides divisible by the patch size; `levels.*`: `[B]`
    /// - returns: the shapes of `input`
    pub fn forward(&self, input: Modalities, levels: &Levels) -> Modalities {
        self.forward_seen(input, levels, &mut |_, _| {})
    }

    /// [`UVit::forward`] with a look at the tokens, `[B, L, D]`: before the first block as `tokens`, after each block
    /// and after the last norm under the name of the module.
    pub fn forward_seen(
        &self,
        input: Modalities,
        levels: &Levels,
        see: &mut dyn FnMut(&str, &Tensor<3>),
    ) -> Modalities {
        let [b, c, h, w] = input.z.dims();
        let p = self.patch_size;
        let (rows, columns) = (h / p, w / p);
        let device = input.z.device();
        let width = self.norm.weight.dims()[0];

        let patches = self.patch_embed.proj.forward(input.z); // [B, D, H/p, W/p]
        let patches = patches.flatten::<3>(2, 3).swap_dims(1, 2); // [B, HW/p^2, D]
        let mut tokens = vec![
            time_token(&levels.image, width, &device),
            time_token(&levels.text, width, &device),
        ];
        if let Some(table) = &self.token_embedding {
            let ids = TensorData::new(levels.data_type.clone(), [b, 1]);
            tokens.push(table.forward(Tensor::<2, Int>::from_data(ids, &device)));
        }
        tokens.push(self.text_embed.forward(input.text));
        tokens.push(self.clip_img_embed.forward(input.clip));
        tokens.push(patches);
        let mut x = Tensor::cat(tokens, 1) + self.positions(rows, columns); // [B, L, D]

        see("tokens", &x);
        let mut skips = Vec::with_capacity(self.in_blocks.len());
        for (i, block) in self.in_blocks.iter().enumerate() {
            x = block.forward(x);
            see(&format!("in_blocks.{i}"), &x);
            skips.push(x.clone());
        }
        x = self.mid_block.forward(x);
        see("mid_block", &x);
        for (i, block) in self.out_blocks.iter().enumerate() {
            let skip = skips.pop().expect("as many blocks after the middle as before it");
            x = block.forward_skip(x, skip);
            see(&format!("out_blocks.{i}"), &x);
        }
        let x = self.norm.forward(x);
        see("norm", &x);

        let text_at = x.dims()[1] - rows * columns - 1 - self.num_text_tokens;
        let clip_at = text_at + self.num_text_tokens;
        let text = x.clone().narrow(1, text_at, self.num_text_tokens);
        let clip = x.clone().narrow(1, clip_at, 1);
        let patches = self.decoder_pred.forward(x.narrow(1, clip_at + 1, rows * columns));
        let z = patches
            .reshape([b, rows, columns, p, p, c]) // channel fastest
            .permute([0, 5, 1, 3, 2, 4]) // [B, C, H/p, p, W/p, p]
            .reshape([b, c, h, w]);
        Modalities { z, clip: self.clip_img_out.forward(clip), text: self.text_out.forward(text) }
    }

    /// Position vectors of the whole sequence, `[1, L, D]`.
    fn positions(&self, rows: usize, columns: usize) -> Tensor<3> {
        let table = self.pos_embed.val();
        let [_, length, d] = table.dims();
        let extra = length - self.grid * self.grid;
        let mut parts = vec![table.clone().narrow(1, 0, 2)];
        if let Some(token) = &self.pos_embed_token {
            parts.push(token.val());
        }
        parts.push(table.clone().narrow(1, 2, extra - 2));
        let image = table.narrow(1, extra, self.grid * self.grid);
        parts.push(if (rows, columns) == (self.grid, self.grid) {
            image
        } else {
            let map = image.swap_dims(1, 2).reshape([1, d, self.grid, self.grid]);
            let options = InterpolateOptions::new(InterpolateMode::Bilinear)
                .with_output_size([rows, columns])
                .with_align_corners(false);
            interpolate(map, options).flatten::<3>(2, 3).swap_dims(1, 2) // [1, HW/p^2, D]
        });
        Tensor::cat(parts, 1)
    }
}

/// Sinusoidal token of a noise level: cosines first, then sines of `t exp(-ln(10000) i / (D/2))`.
///
/// # Shapes
/// - returns: `[B, 1, D]`
fn time_token(levels: &[f32], width: usize, device: &Device) -> Tensor<3> {
    let half = width / 2;
    let frequency = |i: usize| ((-MAX_PERIOD.ln()) * i as f64 / half as f64).exp();
    let angles: Vec<f64> = (0..half).map(frequency).collect();
    let mut values = Vec::with_capacity(levels.len() * width);
    for &t in levels {
        values.extend(angles.iter().map(|w| (f64::from(t) * w).cos() as f32));
        values.extend(angles.iter().map(|w| (f64::from(t) * w).sin() as f32));
    }
    Tensor::from_data(TensorData::new(values, [levels.len(), 1, width]), device)
}
