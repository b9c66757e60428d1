//! Model folders in the layout of diffusers: `model_index.json` and one folder per component, each with
//! its `config.json` and its weights.

mod part;

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use serde_json::{Value, json};
use trefoil_core::nn::Init;
use trefoil_core::weights::{Precision, WeightFile};
use trefoil_core::{Error, Result, fs, params};

use crate::autoencoder::{Autoencoder, AutoencoderConfig};
use crate::caption::{CaptionDecoder, CaptionDecoderConfig};
use crate::clip::{ClipText, ClipTextConfig, ClipVision, ClipVisionConfig};
use crate::keys::{self, Rows};
use crate::uvit::{UVit, UVitConfig};

pub use self::part::{Part, write_component};

/// Names of a weight file that diffusers writes.
const DIFFUSERS: &[&str] = &[
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.bin",
    "diffusion_pytorch_model.bin.index.json",
    "diffusion_pytorch_model.fp16.bin",
    "diffusion_pytorch_model.bin.index.fp16.json",
];
/// Names of a weight file that transformers writes.
const TRANSFORMERS: &[&str] = &[
    "model.safetensors",
    "model.safetensors.index.json",
    "model.fp16.safetensors",
    "model.safetensors.index.fp16.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model.fp16.bin",
    "pytorch_model.bin.index.fp16.json",
];

/// Name of the file that lists the components.
pub const INDEX: &str = "model_index.json";

/// A network with a folder of its own inside a model folder.
pub trait Component: Module {
    /// Its hyper-parameters.
    type Config: Clone;
    /// Name of its folder.
    const FOLDER: &'static str;
    /// Names that its weight file may have, the one that is written first.
    const WEIGHTS: &'static [&'static str];
    /// Tensors of a file that are passed over: exact names, or prefixes that end in `*`.
    const IGNORED: &'static [&'static str] = &[];

    /// Reads a published `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    fn config_from_json(json: &Value) -> Result<Self::Config>;

    /// Writes the same as a published `config.json`.
    fn config_to_json(config: &Self::Config) -> Value;

    /// Gives a file in any published layout the names of this network (see [`keys`]).
    ///
    /// # Errors
    /// [`Error::Format`] or [`Error::MissingTensors`] when a packed tensor is not complete.
    fn canonical(file: WeightFile) -> Result<WeightFile>;

    /// Corrects what the weights know better than their configuration.
    fn adapt(config: Self::Config, _weights: &WeightFile) -> Self::Config {
        config
    }

    /// Builds the network.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    fn build(config: &Self::Config, init: &mut Init) -> Result<Self>;

    /// Its tensors under the names of the published file.
    fn tensors(&self) -> Vec<(String, TensorData)> {
        Self::published(params::export(self))
    }

    /// Our names to those of the published file.
    fn published<T: Rows>(tensors: Vec<(String, T)>) -> Vec<(String, T)> {
        tensors
    }

    /// Opens the component of a model folder: the configuration is read, the weights are not.
    ///
    /// # Errors
    /// Those of reading and configuring, each with the path.
    fn open(model: &Path) -> Result<Part<Self>> {
        let folder = model.join(Self::FOLDER);
        let source = folder.join("config.json");
        let config = Self::config_from_json(&fs::read_json(&source)?)
            .map_err(|e| Error::format(&source, e.to_string()))?;
        let file = WeightFile::open_first(&folder, Self::WEIGHTS)?;
        Part::new(config, file, source)
    }

    /// Loads the component of a model folder.
    ///
    /// # Errors
    /// Those of reading, configuring and strict loading, each with the path.
    fn load(model: &Path, device: &Device) -> Result<(Self, Self::Config)> {
        let part = Self::open(model)?;
        Ok((part.load(device)?, part.config))
    }

    /// Writes the component into a model folder.
    ///
    /// # Errors
    /// [`Error::Write`] with the path.
    fn save(&self, config: &Self::Config, model: &Path, precision: Precision) -> Result<()> {
        write_component::<Self, _>(config, &self.tensors(), model, precision)
    }
}

/// Writes the list of components that diffusers reads first. The published list has its own two classes below
/// `unidiffuser`, a pipeline module that diffusers 0.42 no longer finds; in all versions they are part of `diffusers`.
///
/// # Errors
/// [`Error::Write`] with the path.
pub fn write_index(model: &Path) -> Result<()> {
    let index = json!({
        "_class_name": "UniDiffuserPipeline",
        "clip_image_processor": ["transformers", "CLIPImageProcessor"],
        "clip_tokenizer": ["transformers", "CLIPTokenizer"],
        "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
        "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
        "text_decoder": ["diffusers", "UniDiffuserTextDecoder"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_tokenizer": ["transformers", "GPT2Tokenizer"],
        "unet": ["diffusers", "UniDiffuserModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    });
    fs::write_json(&model.join(INDEX), &index)
}

impl Component for Autoencoder {
    type Config = AutoencoderConfig;
    const FOLDER: &'static str = "vae";
    const WEIGHTS: &'static [&'static str] = DIFFUSERS;

    fn config_from_json(json: &Value) -> Result<AutoencoderConfig> {
        let defaults = AutoencoderConfig::default();
        let widths = match json.get("block_out_channels") {
            None => defaults.block_out_channels,
            Some(list) => serde_json::from_value(list.clone())
                .map_err(|e| Error::config("block_out_channels", e.to_string()))?,
        };
        let scaling_factor = match json.get("scaling_factor") {
            None => defaults.scaling_factor,
            Some(value) => value
                .as_f64()
                .ok_or_else(|| Error::config("scaling_factor", "expected a number"))?,
        };
        Ok(AutoencoderConfig {
            in_channels: integer(json, "in_channels", defaults.in_channels)?,
            latent_channels: integer(json, "latent_channels", defaults.latent_channels)?,
            block_out_channels: widths,
            layers_per_block: integer(json, "layers_per_block", 1)?,
            norm_num_groups: integer(json, "norm_num_groups", defaults.norm_num_groups)?,
            scaling_factor,
            sample_size: integer(json, "sample_size", defaults.sample_size)?,
        })
    }

    fn config_to_json(config: &AutoencoderConfig) -> Value {
        let levels = config.block_out_channels.len();
        json!({
            "_class_name": "AutoencoderKL",
            "act_fn": "silu",
            "block_out_channels": config.block_out_channels,
            "down_block_types": vec!["DownEncoderBlock2D"; levels],
            "in_channels": config.in_channels,
            "latent_channels": config.latent_channels,
            "layers_per_block": config.layers_per_block,
            "norm_num_groups": config.norm_num_groups,
            "out_channels": config.in_channels,
            "sample_size": config.sample_size,
            "scaling_factor": config.scaling_factor,
            "up_block_types": vec!["UpDecoderBlock2D"; levels],
        })
    }

    fn build(config: &AutoencoderConfig, init: &mut Init) -> Result<Self> {
        config.init(init)
    }

    fn canonical(file: WeightFile) -> Result<WeightFile> {
        Ok(keys::autoencoder(file))
    }
}

impl Component for UVit {
    type Config = UVitConfig;
    const FOLDER: &'static str = "unet";
    const WEIGHTS: &'static [&'static str] = DIFFUSERS;

    fn config_from_json(json: &Value) -> Result<UVitConfig> {
        let defaults = UVitConfig::default();
        let heads = integer(json, "num_attention_heads", 16)?;
        let fixed = [
            ("block_type", json!("unidiffuser")),
            ("use_timestep_embedding", json!(false)),
            ("pre_layer_norm", json!(false)),
            ("norm_type", json!("layer_norm")),
            ("activation_fn", json!("gelu")),
            ("attention_bias", json!(false)),
        ];
        for (field, supported) in fixed {
            match json.get(field) {
                Some(found) if *found != supported => {
                    let reason = format!("only {supported} is supported, found {found}");
                    return Err(Error::config(field, reason));
                }
                _ => {}
            }
        }
        Ok(UVitConfig {
            sample_size: integer(json, "sample_size", defaults.sample_size)?,
            in_channels: integer(json, "in_channels", defaults.in_channels)?,
            patch_size: integer(json, "patch_size", defaults.patch_size)?,
            embed_dim: heads * integer(json, "attention_head_dim", 88)?,
            num_layers: integer(json, "num_layers", 1)?,
            num_heads: heads,
            mlp_ratio: defaults.mlp_ratio,
            num_text_tokens: integer(json, "num_text_tokens", defaults.num_text_tokens)?,
            text_dim: integer(json, "text_dim", 768)?,
            clip_img_dim: integer(json, "clip_img_dim", defaults.clip_img_dim)?,
            use_data_type_embedding: json
                .get("use_data_type_embedding")
                .is_some_and(|v| v == &Value::Bool(true)),
        })
    }

    fn config_to_json(config: &UVitConfig) -> Value {
        json!({
            "_class_name": "UniDiffuserModel",
            "activation_fn": "gelu",
            "attention_bias": false,
            "attention_head_dim": config.embed_dim / config.num_heads,
            "block_type": "unidiffuser",
            "clip_img_dim": config.clip_img_dim,
            "ff_final_dropout": true,
            "in_channels": config.in_channels,
            "norm_type": "layer_norm",
            "num_attention_heads": config.num_heads,
            "num_embeds_ada_norm": 1000,
            "num_layers": config.num_layers,
            "num_text_tokens": config.num_text_tokens,
            "out_channels": config.in_channels,
            "patch_size": config.patch_size,
            "pre_layer_norm": false,
            "sample_size": config.sample_size,
            "text_dim": config.text_dim,
            "use_data_type_embedding": config.use_data_type_embedding,
            "use_timestep_embedding": false,
        })
    }

    fn build(config: &UVitConfig, init: &mut Init) -> Result<Self> {
        config.init(init)
    }

    fn canonical(file: WeightFile) -> Result<WeightFile> {
        Ok(keys::uvit(file))
    }

    /// v0 and v1 differ by a table that is there or not.
    fn adapt(config: UVitConfig, weights: &WeightFile) -> UVitConfig {
        let use_data_type_embedding = weights.tensor("token_embedding.weight").is_some();
        UVitConfig { use_data_type_embedding, ..config }
    }

    fn published<T: Rows>(tensors: Vec<(String, T)>) -> Vec<(String, T)> {
        keys::uvit_to_diffusers(tensors)
    }
}

impl Component for ClipText {
    type Config = ClipTextConfig;
    const FOLDER: &'static str = "text_encoder";
    const WEIGHTS: &'static [&'static str] = TRANSFORMERS;
    // A file of both towers has it; ours may have it too, when it was trained here.
    const IGNORED: &'static [&'static str] = &["text_projection.weight"];

    fn config_from_json(json: &Value) -> Result<ClipTextConfig> {
        ClipTextConfig::from_hub_json(json)
    }

    fn config_to_json(config: &ClipTextConfig) -> Value {
        config.to_hub_json()
    }

    fn build(config: &ClipTextConfig, init: &mut Init) -> Result<Self> {
        config.init(init)
    }

    fn canonical(file: WeightFile) -> Result<WeightFile> {
        keys::clip_text(file)
    }
}

impl Component for ClipVision {
    type Config = ClipVisionConfig;
    const FOLDER: &'static str = "image_encoder";
    const WEIGHTS: &'static [&'static str] = TRANSFORMERS;

    fn config_from_json(json: &Value) -> Result<ClipVisionConfig> {
        ClipVisionConfig::from_hub_json(json)
    }

    fn config_to_json(config: &ClipVisionConfig) -> Value {
        config.to_hub_json()
    }

    fn build(config: &ClipVisionConfig, init: &mut Init) -> Result<Self> {
        config.init(init)
    }

    fn canonical(file: WeightFile) -> Result<WeightFile> {
        keys::clip_vision(file)
    }
}

impl Component for CaptionDecoder {
    type Config = CaptionDecoderConfig;
    const FOLDER: &'static str = "text_decoder";
    const WEIGHTS: &'static [&'static str] = DIFFUSERS;

    fn config_from_json(json: &Value) -> Result<CaptionDecoderConfig> {
        CaptionDecoderConfig::from_hub_json(json)
    }

    fn config_to_json(config: &CaptionDecoderConfig) -> Value {
        config.to_hub_json()
    }

    fn build(config: &CaptionDecoderConfig, init: &mut Init) -> Result<Self> {
        config.init(init)
    }

    fn canonical(file: WeightFile) -> Result<WeightFile> {
        Ok(keys::caption_decoder(file))
    }

    fn published<T: Rows>(tensors: Vec<(String, T)>) -> Vec<(String, T)> {
        keys::with_head(tensors)
    }
}

/// A non-negative integer field, or its default when absent.
fn integer(json: &Value, field: &str, default: usize) -> Result<usize> {
    match json.get(field) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_u64()
            .map(|v| v as usize)
            .ok_or_else(|| Error::config(field, format!("expected an integer, found {value}"))),
    }
}
