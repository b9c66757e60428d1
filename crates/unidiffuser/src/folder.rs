//! Model folders in the layout of diffusers: `model_index.json` and one folder per component, each with
//! its `config.json` and its weights.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use serde_json::{Value, json};
use trefoil_core::nn::Init;
use trefoil_core::weights::{self, Precision, WeightFile};
use trefoil_core::{Error, Result, fs, params};

use crate::autoencoder::{Autoencoder, AutoencoderConfig};
use crate::caption::{CaptionDecoder, CaptionDecoderConfig};
use crate::clip::{ClipText, ClipTextConfig, ClipVision, ClipVisionConfig};
use crate::keys;
use crate::uvit::{UVit, UVitConfig};

/// Name of the file that lists the components.
pub const INDEX: &str = "model_index.json";

/// A network with a folder of its own inside a model folder.
pub trait Component: Module {
    /// Its hyper-parameters.
    type Config;
    /// Name of its folder.
    const FOLDER: &'static str;
    /// Name of its weight file.
    const WEIGHTS: &'static str;

    /// Reads a published `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    fn config_from_json(json: &Value) -> Result<Self::Config>;

    /// Writes the same as a published `config.json`.
    fn config_to_json(config: &Self::Config) -> Value;

    /// Builds the network.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    fn build(config: &Self::Config, init: &mut Init) -> Result<Self>;

    /// Loads a weight file strictly.
    ///
    /// # Errors
    /// Missing, unexpected and misshapen tensors by name.
    fn load_weights(self, file: &WeightFile) -> Result<Self>;

    /// Its tensors under the names of the published file.
    fn tensors(&self) -> Vec<(String, TensorData)> {
        params::export(self)
    }

    /// Loads the component of a model folder.
    ///
    /// # Errors
    /// Those of reading, configuring and strict loading, each with the path.
    fn load(model: &Path, device: &Device) -> Result<(Self, Self::Config)> {
        let folder = model.join(Self::FOLDER);
        let path = folder.join("config.json");
        let config = Self::config_from_json(&fs::read_json(&path)?)
            .map_err(|e| Error::format(&path, e.to_string()))?;
        let network = Self::build(&config, &mut Init::zeros(device))
            .map_err(|e| Error::format(&path, e.to_string()))?;
        let file = WeightFile::open(&folder.join(Self::WEIGHTS))?;
        Ok((network.load_weights(&file)?, config))
    }

    /// Writes the component into a model folder.
    ///
    /// # Errors
    /// [`Error::Write`] with the path.
    fn save(&self, config: &Self::Config, model: &Path, precision: Precision) -> Result<()> {
        let folder = model.join(Self::FOLDER);
        fs::create_dir_all(&folder)?;
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        weights::save(&folder.join(Self::WEIGHTS), &self.tensors(), precision, metadata)?;
        fs::write_json(&folder.join("config.json"), &Self::config_to_json(config))
    }
}

/// Writes the list of components that diffusers reads first.
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
        "text_decoder": ["unidiffuser", "UniDiffuserTextDecoder"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_tokenizer": ["transformers", "GPT2Tokenizer"],
        "unet": ["unidiffuser", "UniDiffuserModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    });
    fs::write_json(&model.join(INDEX), &index)
}

impl Component for Autoencoder {
    type Config = AutoencoderConfig;
    const FOLDER: &'static str = "vae";
    const WEIGHTS: &'static str = "diffusion_pytorch_model.safetensors";

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

    fn load_weights(self, file: &WeightFile) -> Result<Self> {
        weights::load_strict(self, file, &[])
    }
}

impl Component for UVit {
    type Config = UVitConfig;
    const FOLDER: &'static str = "unet";
    const WEIGHTS: &'static str = "diffusion_pytorch_model.safetensors";

    fn config_from_json(json: &Value) -> Result<UVitConfig> {
        let defaults = UVitConfig::default();
        let heads = integer(json, "num_attention_heads", 16)?;
        let fixed = [
            ("block_type", json!("unidiffuser")),
            ("use_timestep_embedding", json!(false)),
            ("pre_layer_norm", json!(false)),
            ("norm_type", json!("layer_norm")),
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

    fn load_weights(self, file: &WeightFile) -> Result<Self> {
        weights::load_tensors(self, file.path(), keys::read_uvit(file)?)
    }

    fn tensors(&self) -> Vec<(String, TensorData)> {
        keys::uvit_to_diffusers(params::export(self))
    }
}

impl Component for ClipText {
    type Config = ClipTextConfig;
    const FOLDER: &'static str = "text_encoder";
    const WEIGHTS: &'static str = "model.safetensors";

    fn config_from_json(json: &Value) -> Result<ClipTextConfig> {
        ClipTextConfig::from_hub_json(json)
    }

    fn config_to_json(config: &ClipTextConfig) -> Value {
        config.to_hub_json()
    }

    fn build(config: &ClipTextConfig, init: &mut Init) -> Result<Self> {
        config.init(init)
    }

    fn load_weights(self, file: &WeightFile) -> Result<Self> {
        ClipText::load(self, file)
    }
}

impl Component for ClipVision {
    type Config = ClipVisionConfig;
    const FOLDER: &'static str = "image_encoder";
    const WEIGHTS: &'static str = "model.safetensors";

    fn config_from_json(json: &Value) -> Result<ClipVisionConfig> {
        ClipVisionConfig::from_hub_json(json)
    }

    fn config_to_json(config: &ClipVisionConfig) -> Value {
        config.to_hub_json()
    }

    fn build(config: &ClipVisionConfig, init: &mut Init) -> Result<Self> {
        config.init(init)
    }

    fn load_weights(self, file: &WeightFile) -> Result<Self> {
        ClipVision::load(self, file)
    }
}

impl Component for CaptionDecoder {
    type Config = CaptionDecoderConfig;
    const FOLDER: &'static str = "text_decoder";
    const WEIGHTS: &'static str = "diffusion_pytorch_model.safetensors";

    fn config_from_json(json: &Value) -> Result<CaptionDecoderConfig> {
        CaptionDecoderConfig::from_hub_json(json)
    }

    fn config_to_json(config: &CaptionDecoderConfig) -> Value {
        config.to_hub_json()
    }

    fn build(config: &CaptionDecoderConfig, init: &mut Init) -> Result<Self> {
        config.init(init)
    }

    fn load_weights(self, file: &WeightFile) -> Result<Self> {
        CaptionDecoder::load(self, file)
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
