//! Hyper-parameters of the text decoder, with the field names of the published `config.json`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use trefoil_core::nn::{Activation, Bias, Init, Linear, WeightInit};
use trefoil_core::{Error, Result};

use super::CaptionDecoder;
use crate::clip::{check_positive, from_known_fields};

/// GPT-2 and the two linear layers around the text code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptionDecoderConfig {
    /// Number of code tokens before the text.
    pub prefix_length: usize,
    /// Width of CLIP's hidden states.
    pub prefix_inner_dim: usize,
    /// Width of the text code.
    pub prefix_hidden_dim: usize,
    /// Number of tokens in the table, the end token included.
    pub vocab_size: usize,
    /// Number of learned positions.
    pub n_positions: usize,
    /// Width of the residual stream, `D`.
    pub n_embd: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Number of attention heads; must divide `n_embd`.
    pub n_head: usize,
    /// Width inside the perceptron; `4 n_embd` when absent.
    pub n_inner: Option<usize>,
    /// Activation of the perceptron: `gelu_new` in the original checkpoint, `gelu` in the files of
    /// diffusers.
    pub activation_function: Activation,
    /// Epsilon of every layer norm.
    pub layer_norm_epsilon: f64,
    /// Spread of fresh weights.
    pub initializer_range: f64,
}

impl Default for CaptionDecoderConfig {
    /// The decoder of UniDiffuser: GPT-2 small with one more token.
    fn default() -> Self {
        Self {
            prefix_length: 77,
            prefix_inner_dim: 768,
            prefix_hidden_dim: 64,
            vocab_size: 50258,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: Activation::GeluTanh,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
        }
    }
}

impl CaptionDecoderConfig {
    /// A decoder small enough for a unit test.
    pub fn tiny() -> Self {
        Self {
            prefix_length: 5,
            prefix_inner_dim: 16,
            prefix_hidden_dim: 6,
            vocab_size: 40,
            n_positions: 32,
            n_embd: 20,
            n_layer: 2,
            n_head: 2,
            ..Self::default()
        }
    }

    /// Reads a published `config.json`: known fields are taken, others are dropped.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is missing, a value has the wrong type, or a switch asks for a
    /// variant of attention that no published decoder uses.
    pub fn from_hub_json(json: &Value) -> Result<Self> {
        for (field, expected) in
            [("scale_attn_weights", true), ("scale_attn_by_inverse_layer_idx", false)]
        {
            if json.get(field).and_then(Value::as_bool).is_some_and(|found| found != expected) {
                let reason = format!("expected {expected}, found {}", !expected);
                return Err(Error::config(field, reason));
            }
        }
        let required = ["prefix_length", "prefix_inner_dim", "prefix_hidden_dim", "vocab_size"];
        from_known_fields(json, &required)
    }

    /// The same configuration as a published `config.json` would say it.
    pub fn to_hub_json(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("_class_name".into(), "UniDiffuserTextDecoder".into());
        if let Ok(Value::Object(known)) = serde_json::to_value(self) {
            fields.extend(known);
        }
        Value::Object(fields)
    }

    /// Builds the decoder with fresh weights.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is zero or the heads do not divide the width.
    pub fn init(&self, init: &mut Init) -> Result<CaptionDecoder> {
        let positive = [
            ("prefix_length", self.prefix_length),
            ("prefix_inner_dim", self.prefix_inner_dim),
            ("prefix_hidden_dim", self.prefix_hidden_dim),
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", self.n_embd),
            ("n_layer", self.n_layer),
            ("n_head", self.n_head),
            ("n_inner", self.inner()),
        ];
        check_positive(&positive)?;
        if !self.n_embd.is_multiple_of(self.n_head) {
            let reason = format!("{} does not divide n_embd = {}", self.n_head, self.n_embd);
            return Err(Error::config("n_head", reason));
        }
        Ok(CaptionDecoder::new(init, self))
    }

    /// Width inside the perceptron.
    pub fn inner(&self) -> usize {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }
}

/// The linear layers around the code start as PyTorch starts them.
pub(super) fn prefix_linear(init: &mut Init, inputs: usize, outputs: usize) -> Linear {
    Linear::new(init, [inputs, outputs], Bias::Yes, WeightInit::FanIn)
}

/// How a caption is searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BeamOptions {
    /// Number of beams, `W`; 1 is greedy decoding.
    pub beams: usize,
    /// Longest caption in tokens, its end token included.
    pub max_tokens: usize,
    /// Logits are divided by this.
    pub temperature: f64,
}

impl Default for BeamOptions {
    /// Five beams, 67 tokens: the published setting.
    fn default() -> Self {
        Self { beams: 5, max_tokens: 67, temperature: 1.0 }
    }
}

impl BeamOptions {
    /// One beam: the most likely token at each step.
    pub fn greedy() -> Self {
        Self { beams: 1, ..Self::default() }
    }

    /// # Errors
    /// [`Error::Config`] when a number is out of range.
    pub(crate) fn check(&self, vocab: usize) -> Result<()> {
        check_positive(&[("beams", self.beams), ("max_tokens", self.max_tokens)])?;
        if self.beams > vocab {
            let reason =
                format!("expected at most the {vocab} tokens there are, found {}", self.beams);
            return Err(Error::config("beams", reason));
        }
        if !self.temperature.is_finite() || self.temperature <= 0.0 {
            let reason = format!("expected a positive number, found {}", self.temperature);
            return Err(Error::config("temperature", reason));
        }
        Ok(())
    }
}
