//! Hyper-parameters that follow from the shapes of the weights.

use trefoil_core::weights::WeightFile;
use trefoil_core::{Error, Result};

use crate::autoencoder::AutoencoderConfig;
use crate::caption::CaptionDecoderConfig;
use crate::clip::{ClipTextConfig, ClipVisionConfig};
use crate::uvit::UVitConfig;

/// Width of one attention head in every published network.
const HEAD: usize = 64;

/// Of the noise predictor, whose text has `tokens` tokens.
pub(super) fn uvit(file: &WeightFile, tokens: usize) -> Result<UVitConfig> {
    let [embed_dim, in_channels, patch_size, _] = shape(file, "patch_embed.proj.weight")?;
    let [_, positions, _] = shape(file, "pos_embed")?;
    let [hidden, _] = shape(file, "mid_block.mlp.fc1.weight")?;
    let [_, text_dim] = shape(file, "text_embed.weight")?;
    let [_, clip_img_dim] = shape(file, "clip_img_embed.weight")?;
    let patches = positions.saturating_sub(tokens + 3);
    let side = patches.isqrt();
    if side * side != patches || patches == 0 {
        let reason = format!("{positions} rows are not 3 + {tokens} text tokens and a square");
        return Err(Error::config("pos_embed", reason));
    }
    Ok(UVitConfig {
        sample_size: side * patch_size,
        in_channels,
        patch_size,
        embed_dim,
        num_layers: 2 * count(file, |i| format!("in_blocks.{i}.norm2.weight")),
        num_heads: heads(embed_dim),
        mlp_ratio: hidden / embed_dim.max(1),
        num_text_tokens: tokens,
        text_dim,
        clip_img_dim,
        use_data_type_embedding: file.tensor("token_embedding.weight").is_some(),
    })
}

/// Of the autoencoder, whose latents have sides of `latent` numbers.
pub(super) fn autoencoder(file: &WeightFile, latent: usize) -> Result<AutoencoderConfig> {
    let resnet =
        |level: usize, j: usize| format!("encoder.down_blocks.{level}.resnets.{j}.conv1.weight");
    let levels = count(file, |i| resnet(i, 0));
    let widths = (0..levels).map(|i| Ok(shape::<4>(file, &resnet(i, 0))?[0]));
    let [_, in_channels, _, _] = shape(file, "encoder.conv_in.weight")?;
    let [latent_channels, ..] = shape::<4>(file, "post_quant_conv.weight")?;
    let defaults = AutoencoderConfig::default();
    let config = AutoencoderConfig {
        in_channels,
        latent_channels,
        block_out_channels: widths.collect::<Result<_>>()?,
        layers_per_block: count(file, |j| resnet(0, j)),
        ..defaults
    };
    Ok(AutoencoderConfig { sample_size: latent * config.downsampling(), ..config })
}

/// Of the caption decoder, whose code has `tokens` tokens.
pub(super) fn caption_decoder(file: &WeightFile, tokens: usize) -> Result<CaptionDecoderConfig> {
    let [prefix_hidden_dim, prefix_inner_dim] = shape(file, "encode_prefix.weight")?;
    let gpt = |name: &str| format!("transformer.transformer.{name}");
    let [vocab_size, n_embd] = shape(file, &gpt("wte.weight"))?;
    let [n_positions, _] = shape(file, &gpt("wpe.weight"))?;
    let [_, n_inner] = shape(file, &gpt("h.0.mlp.c_fc.weight"))?;
    Ok(CaptionDecoderConfig {
        prefix_length: tokens,
        prefix_inner_dim,
        prefix_hidden_dim,
        vocab_size,
        n_positions,
        n_embd,
        n_layer: count(file, |i| gpt(&format!("h.{i}.ln_1.weight"))),
        n_head: heads(n_embd),
        n_inner: Some(n_inner),
        ..CaptionDecoderConfig::default()
    })
}

/// Of CLIP's text tower.
pub(super) fn clip_text(file: &WeightFile) -> Result<ClipTextConfig> {
    let name = |name: &str| format!("text_model.{name}");
    let [vocab_size, hidden_size] = shape(file, &name("embeddings.token_embedding.weight"))?;
    let [positions, _] = shape(file, &name("embeddings.position_embedding.weight"))?;
    let [intermediate_size, _] = shape(file, &name("encoder.layers.0.mlp.fc1.weight"))?;
    Ok(ClipTextConfig {
        vocab_size,
        hidden_size,
        intermediate_size,
        num_hidden_layers: layers(file, "text_model"),
        num_attention_heads: heads(hidden_size),
        max_position_embeddings: positions,
        eos_token_id: vocab_size.saturating_sub(1) as u32,
        ..ClipTextConfig::default()
    })
}

/// Of CLIP's image tower.
pub(super) fn clip_vision(file: &WeightFile) -> Result<ClipVisionConfig> {
    let name = |name: &str| format!("vision_model.{name}");
    let [hidden_size, num_channels, patch_size, _] =
        shape(file, &name("embeddings.patch_embedding.weight"))?;
    let [positions, _] = shape(file, &name("embeddings.position_embedding.weight"))?;
    let [intermediate_size, _] = shape(file, &name("encoder.layers.0.mlp.fc1.weight"))?;
    let [projection_dim, _] = shape(file, "visual_projection.weight")?;
    Ok(ClipVisionConfig {
        image_size: positions.saturating_sub(1).isqrt() * patch_size,
        patch_size,
        num_channels,
        hidden_size,
        intermediate_size,
        num_hidden_layers: layers(file, "vision_model"),
        num_attention_heads: heads(hidden_size),
        projection_dim,
        ..ClipVisionConfig::default()
    })
}

/// Zero, which no network accepts, where heads of another width must be named.
fn heads(width: usize) -> usize {
    if width.is_multiple_of(HEAD) { width / HEAD } else { 0 }
}

fn layers(file: &WeightFile, tower: &str) -> usize {
    count(file, |i| format!("{tower}.encoder.layers.{i}.layer_norm1.weight"))
}

/// How many names of a series there are.
fn count(file: &WeightFile, name: impl Fn(usize) -> String) -> usize {
    (0..usize::MAX).take_while(|&i| file.tensor(&name(i)).is_some()).count()
}

/// The shape of a tensor that the sizes follow from.
fn shape<const D: usize>(file: &WeightFile, name: &str) -> Result<[usize; D]> {
    let Some(tensor) = file.tensor(name) else {
        let missing = vec![name.to_string()];
        return Err(Error::MissingTensors { path: file.path().into(), missing });
    };
    tensor.shape().try_into().map_err(|_| {
        let reason = format!("`{name}`: expected {D} axes, found shape {:?}", tensor.shape());
        Error::format(file.path(), reason)
    })
}
