//! Hyper-parameters of the two towers, with the field names of the published `config.json` files.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trefoil_core::nn::{Activation, Init};
use trefoil_core::{Error, Result};

use super::{ClipText, ClipVision, EncoderShape};

/// Whether the text tower ends in a projection to the joint embedding space.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TextProjection {
    /// Hidden states only: what UniDiffuser uses.
    #[default]
    Absent,
    /// A bias-free linear layer `hidden_size -> projection_dim`, for contrastive training.
    Linear,
}

/// The text tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipTextConfig {
    /// Number of tokens in the table.
    pub vocab_size: usize,
    /// Width of the residual stream, `D`.
    pub hidden_size: usize,
    /// Width inside the perceptron.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Number of attention heads; must divide `hidden_size`.
    pub num_attention_heads: usize,
    /// Longest text in tokens, start and end included.
    pub max_position_embeddings: usize,
    /// Activation of the perceptron.
    pub hidden_act: Activation,
    /// Epsilon of every layer norm.
    pub layer_norm_eps: f64,
    /// Token that ends a text; the published value 2 stands for "the largest id of the row".
    pub eos_token_id: u32,
    /// Width of the joint embedding space, used when `projection` is present.
    pub projection_dim: usize,
    /// Whether the tower ends in a projection.
    pub projection: TextProjection,
}

impl Default for ClipTextConfig {
    /// The text tower of ViT-L/14.
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: 49407,
            projection_dim: 768,
            projection: TextProjection::Absent,
        }
    }
}

impl ClipTextConfig {
    /// A tower small enough for a unit test.
    pub fn tiny() -> Self {
        Self {
            vocab_size: 32,
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            max_position_embeddings: 8,
            eos_token_id: 31,
            projection_dim: 12,
            ..Self::default()
        }
    }

    /// Reads a published `config.json`: known fields are taken, others are dropped; the file may hold
    /// both towers, in which case `text_config` is read.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is missing or a value has the wrong type.
    pub fn from_hub_json(json: &Value) -> Result<Self> {
        let required = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"];
        let mut config: Self =
            from_known_fields(json.get("text_config").unwrap_or(json), &required)?;
        if has_architecture(json, "CLIPTextModelWithProjection") {
            config.projection = TextProjection::Linear;
        }
        Ok(config)
    }

    /// The same configuration as a published `config.json` would say it.
    pub fn to_hub_json(&self) -> Value {
        let architecture = match self.projection {
            TextProjection::Absent => "CLIPTextModel",
            TextProjection::Linear => "CLIPTextModelWithProjection",
        };
        hub_json(self, architecture, "clip_text_model", &["projection"])
    }

    /// Builds the tower with fresh weights.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is zero or the heads do not divide the width.
    pub fn init(&self, init: &mut Init) -> Result<ClipText> {
        let positive = [
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("projection_dim", self.projection_dim),
        ];
        check_positive(&positive)?;
        check_shape(self.shape())?;
        Ok(ClipText::new(init, self))
    }

    pub(super) fn shape(&self) -> EncoderShape {
        EncoderShape {
            width: self.hidden_size,
            hidden: self.intermediate_size,
            heads: self.num_attention_heads,
            layers: self.num_hidden_layers,
            activation: self.hidden_act,
            norm_eps: self.layer_norm_eps,
        }
    }
}

/// The image tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipVisionConfig {
    /// Side of the square input in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels; must divide `image_size`.
    pub patch_size: usize,
    /// Input channels.
    pub num_channels: usize,
    /// Width of the residual stream, `D`.
    pub hidden_size: usize,
    /// Width inside the perceptron.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Number of attention heads; must divide `hidden_size`.
    pub num_attention_heads: usize,
    /// Activation of the perceptron.
    pub hidden_act: Activation,
    /// Epsilon of every layer norm.
    pub layer_norm_eps: f64,
    /// Width of the joint embedding space, `P`.
    pub projection_dim: usize,
}

impl Default for ClipVisionConfig {
    /// The image tower of ViT-B/32.
    fn default() -> Self {
        Self {
            image_size: 224,
            patch_size: 32,
            num_channels: 3,
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            projection_dim: 512,
        }
    }
}

impl ClipVisionConfig {
    /// A tower small enough for a unit test.
    pub fn tiny() -> Self {
        Self {
            image_size: 8,
            patch_size: 4,
            hidden_size: 16,
            intermediate_size: 24,
            num_hidden_layers: 2,
            num_attention_heads: 2,
            projection_dim: 12,
            ..Self::default()
        }
    }

    /// Reads a published `config.json`: known fields are taken, others are dropped; the file may hold
    /// both towers, in which case `vision_config` is read.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is missing or a value has the wrong type.
    pub fn from_hub_json(json: &Value) -> Result<Self> {
        let required = [
            "image_size",
            "patch_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "projection_dim",
        ];
        from_known_fields(json.get("vision_config").unwrap_or(json), &required)
    }

    /// The same configuration as a published `config.json` would say it.
    pub fn to_hub_json(&self) -> Value {
        hub_json(self, "CLIPVisionModelWithProjection", "clip_vision_model", &[])
    }

    /// Builds the tower with fresh weights.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is zero, the heads do not divide the width or the patches do not
    /// tile the image.
    pub fn init(&self, init: &mut Init) -> Result<ClipVision> {
        let positive = [
            ("image_size", self.image_size),
            ("patch_size", self.patch_size),
            ("num_channels", self.num_channels),
            ("projection_dim", self.projection_dim),
        ];
        check_positive(&positive)?;
        check_shape(self.shape())?;
        if !self.image_size.is_multiple_of(self.patch_size) {
            let reason =
                format!("{} does not divide image_size = {}", self.patch_size, self.image_size);
            return Err(Error::config("patch_size", reason));
        }
        Ok(ClipVision::new(init, self))
    }

    pub(super) fn shape(&self) -> EncoderShape {
        EncoderShape {
            width: self.hidden_size,
            hidden: self.intermediate_size,
            heads: self.num_attention_heads,
            layers: self.num_hidden_layers,
            activation: self.hidden_act,
            norm_eps: self.layer_norm_eps,
        }
    }
}

fn check_shape(shape: EncoderShape) -> Result<()> {
    let positive = [
        ("hidden_size", shape.width),
        ("intermediate_size", shape.hidden),
        ("num_hidden_layers", shape.layers),
        ("num_attention_heads", shape.heads),
    ];
    check_positive(&positive)?;
    if !shape.width.is_multiple_of(shape.heads) {
        let reason = format!("{} does not divide hidden_size = {}", shape.heads, shape.width);
        return Err(Error::config("num_attention_heads", reason));
    }
    Ok(())
}

/// Every named size is at least one.
pub(crate) fn check_positive(sizes: &[(&str, usize)]) -> Result<()> {
    match sizes.iter().find(|(_, value)| *value == 0) {
        Some((field, _)) => Err(Error::config(*field, "expected at least 1, found 0")),
        None => Ok(()),
    }
}

/// Reads the fields of `T` from a foreign file and drops the others; `null` means the default.
///
/// Published files carry fields of the library that wrote them, and their set changes with its
/// version; what must be there is named, so that a file of something else is refused.
///
/// # Errors
/// [`Error::Config`] naming the missing or ill-typed field.
pub(crate) fn from_known_fields<T>(json: &Value, required: &[&str]) -> Result<T>
where
    T: Default + Serialize + DeserializeOwned,
{
    let Value::Object(found) = json else {
        return Err(Error::config("config.json", "expected an object"));
    };
    if let Some(field) = required.iter().find(|field| found.get(**field).is_none_or(Value::is_null))
    {
        return Err(Error::config(*field, "missing in config.json"));
    }
    let fail = |e: serde_json::Error| Error::config("config.json", e.to_string());
    let mut fields = serde_json::to_value(T::default()).map_err(fail)?;
    if let Value::Object(fields) = &mut fields {
        for (name, value) in fields.iter_mut() {
            if let Some(new) = found.get(name).filter(|new| !new.is_null()) {
                *value = new.clone();
            }
        }
    }
    serde_json::from_value(fields).map_err(fail)
}

/// A configuration with the fields by which other libraries know which class to build.
fn hub_json<T: Serialize>(config: &T, architecture: &str, model: &str, ours: &[&str]) -> Value {
    let mut fields = Map::new();
    fields.insert("architectures".into(), vec![architecture].into());
    fields.insert("model_type".into(), model.into());
    if let Ok(Value::Object(known)) = serde_json::to_value(config) {
        fields.extend(known.into_iter().filter(|(name, _)| !ours.contains(&name.as_str())));
    }
    Value::Object(fields)
}

fn has_architecture(json: &Value, name: &str) -> bool {
    json.get("architectures")
        .and_then(Value::as_array)
        .is_some_and(|all| all.iter().any(|a| a.as_str() == Some(name)))
}
