//! The files of the authors' program: `uvit_v0.pth` or `uvit_v1.pth`, `autoencoder_kl.pth`, `caption_decoder.pth`, and
//! the two CLIP models and tokenizers that their program fetches by itself.
//!
//! They have no configuration: sizes follow from the shapes of the weights. Only the number of attention heads does
//! not; it is the width over 64, as in every published network, unless a `config.json` in the folder says otherwise,
//! in the form of [`ModelConfig`](super::ModelConfig).

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use trefoil_core::weights::WeightFile;
use trefoil_core::{Error, Result, fs};
use trefoil_diffusion::ScheduleConfig;

use super::{CLIP_TOKENIZER, Layout, ModelFiles, TEXT_TOKENIZER, shapes};
use crate::clip::ClipText;
use crate::folder::{Component, Part};
use crate::uvit::UVit;

const UVIT: [&str; 4] =
    ["uvit_v1.pth", "uvit_v0.pth", "uvit_v1.safetensors", "uvit_v0.safetensors"];
const AUTOENCODER: [&str; 2] = ["autoencoder_kl.pth", "autoencoder_kl.safetensors"];
const CAPTION_DECODER: [&str; 2] = ["caption_decoder.pth", "caption_decoder.safetensors"];
/// The text tower: a folder of transformers with one or both towers.
const TEXT_ENCODER: [&str; 3] =
    ["text_encoder", "clip-vit-large-patch14", "openai/clip-vit-large-patch14"];
/// The image tower: the same, or a file of the package `clip`.
const IMAGE_ENCODER: [&str; 5] = [
    "image_encoder",
    "clip-vit-base-patch32",
    "openai/clip-vit-base-patch32",
    "ViT-B-32.pt",
    "ViT-B-32.safetensors",
];
const GPT2: [&str; 4] = [TEXT_TOKENIZER, "gpt2", "openai-community/gpt2", "gpt2_bpe"];
const CONFIG: &str = "config.json";

/// The weight file of the noise predictor: `path` itself, or in the folder `path`; v1 before v0.
pub(super) fn find_uvit(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.into());
    }
    UVIT.iter().map(|name| path.join(name)).find(|path| path.is_file())
}

/// Finds all parts.
pub(super) fn open(path: &Path) -> Result<ModelFiles> {
    let uvit = find_uvit(path).unwrap_or_else(|| path.join(UVIT[0]));
    let folder = uvit.parent().unwrap_or(Path::new(".")).to_path_buf();
    let given = folder.join(CONFIG);
    let given: Value = if given.is_file() { fs::read_json(&given)? } else { Value::Null };

    let text_encoder: Part<ClipText> =
        tower(&find(&folder, &TEXT_ENCODER)?, &given["text_encoder"], shapes::clip_text)?;
    let image_encoder =
        tower(&find(&folder, &IMAGE_ENCODER)?, &given["image_encoder"], shapes::clip_vision)?;
    let positions = text_encoder.config.max_position_embeddings;
    let caption_decoder =
        file(&find(&folder, &CAPTION_DECODER)?, &given["caption_decoder"], |f| {
            shapes::caption_decoder(f, positions)
        })?;
    let uvit: Part<UVit> = file(&uvit, &given["uvit"], |f| shapes::uvit(f, positions))?;
    let autoencoder = file(&find(&folder, &AUTOENCODER)?, &given["autoencoder"], |f| {
        shapes::autoencoder(f, uvit.config.sample_size)
    })?;

    // CLIP's vocabulary lies beside its weights, unless it has a folder of its own.
    let own = [CLIP_TOKENIZER, "clip_bpe"].map(|name| folder.join(name));
    let clip_tokenizer = own.into_iter().find(|path| path.is_dir());
    let beside = text_encoder.weights.path().parent().unwrap_or(&folder).to_path_buf();
    Ok(ModelFiles {
        layout: Layout::Authors,
        clip_tokenizer: clip_tokenizer.unwrap_or(beside),
        text_tokenizer: find(&folder, &GPT2)?,
        schedule: ScheduleConfig::default(),
        folder,
        uvit,
        autoencoder,
        text_encoder,
        image_encoder,
        caption_decoder,
    })
}

/// The first of these files or folders that exists.
fn find(folder: &Path, names: &[&str]) -> Result<PathBuf> {
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.exists());
    found.ok_or_else(|| {
        let reason = format!("expected one of {}, found none", names.join(", "));
        Error::format(folder, reason)
    })
}

/// A weight file whose hyper-parameters follow from it.
fn file<C>(
    path: &Path,
    given: &Value,
    shapes: impl FnOnce(&WeightFile) -> Result<C::Config>,
) -> Result<Part<C>>
where
    C: Component<Config: Serialize + DeserializeOwned>,
{
    let canonical = C::canonical(WeightFile::open(path)?)?;
    let config = shapes(&canonical).map_err(|e| match e {
        Error::Config { .. } => Error::format(path, e.to_string()),
        other => other,
    })?;
    Part::new(overridden(config, given, path)?, canonical, path.into())
}

/// A folder of transformers with a `config.json`, or a file without one.
fn tower<C>(
    path: &Path,
    given: &Value,
    shapes: impl FnOnce(&WeightFile) -> Result<C::Config>,
) -> Result<Part<C>>
where
    C: Component<Config: Serialize + DeserializeOwned>,
{
    if path.is_file() {
        return file(path, given, shapes);
    }
    let source = path.join(CONFIG);
    let config = C::config_from_json(&fs::read_json(&source)?)
        .map_err(|e| Error::format(&source, e.to_string()))?;
    let weights = WeightFile::open_first(path, C::WEIGHTS)?;
    Part::new(overridden(config, given, &source)?, weights, source)
}

/// A configuration with the fields that the folder gives.
fn overridden<T: Serialize + DeserializeOwned>(
    config: T,
    given: &Value,
    source: &Path,
) -> Result<T> {
    let Value::Object(given) = given else { return Ok(config) };
    let fail = |e: serde_json::Error| Error::format(source, format!("with {CONFIG}: {e}"));
    let mut fields = serde_json::to_value(config).map_err(fail)?;
    if let Value::Object(fields) = &mut fields {
        fields.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    serde_json::from_value(fields).map_err(fail)
}
