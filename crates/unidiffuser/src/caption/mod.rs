//! The text decoder of UniDiffuser: CLIP hidden states to the 64-dimensional text code and back to a
//! caption.
//!
//! ```text
//! code   = encode_prefix(hidden)                 per token, 768 -> 64
//! text   ~ GPT2( decode_prefix(code), w_1, w_2, ... )
//! ```
//!
//! UniDiffuser: <https://arxiv.org/abs/2303.06555>; the language model is GPT-2 small with one more
//! token.

mod beam;
mod config;
mod gpt2;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use trefoil_core::nn::{Init, Linear};
use trefoil_core::weights::{WeightFile, load_strict};
use trefoil_core::{Error, Result};

use self::gpt2::Gpt2;
use crate::keys;

pub use self::beam::Beam;
pub use self::config::{BeamOptions, CaptionDecoderConfig};

/// Encodes text into the space in which UniDiffuser diffuses, and writes captions from it.
#[derive(Module, Debug)]
pub struct CaptionDecoder {
    encode_prefix: Linear,
    decode_prefix: Linear,
    transformer: LanguageModel,
    prefix_length: usize,
}

/// GPT-2 below the name that the checkpoints give it; the output head is the token table.
#[derive(Module, Debug)]
struct LanguageModel {
    transformer: Gpt2,
}

/// What the training loss asks for at the positions of the prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DummyPrefix {
    /// Token 0, as the published decoder was trained.
    #[default]
    Zeros,
    /// Nothing: only the caption counts.
    Masked,
}

/// Captions of one batch, padded to the longest on the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptionBatch {
    ids: Vec<u32>,
    lengths: Vec<usize>,
    width: usize,
}

impl CaptionBatch {
    /// Pads captions (with their end tokens) to the length of the longest.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no caption or one has no token.
    pub fn new(captions: &[Vec<u32>]) -> Result<Self> {
        let lengths: Vec<usize> = captions.iter().map(Vec::len).collect();
        let width = lengths.iter().copied().max().unwrap_or(0);
        if lengths.iter().min().is_none_or(|&shortest| shortest == 0) {
            return Err(Error::config("captions", "expected at least one token in each"));
        }
        let mut ids = vec![0; captions.len() * width];
        for (row, caption) in ids.chunks_exact_mut(width).zip(captions) {
            row[..caption.len()].copy_from_slice(caption);
        }
        Ok(Self { ids, lengths, width })
    }

    /// Token ids; the value of a padded place has no influence on the loss.
    ///
    /// # Shapes
    /// - returns: `[B, m]`
    pub fn ids(&self, device: &Device) -> Tensor<2, Int> {
        let ids: Vec<i64> = self.ids.iter().map(|&id| i64::from(id)).collect();
        Tensor::from_data(TensorData::new(ids, [self.lengths.len(), self.width]), device)
    }
}

impl CaptionDecoder {
    fn new(init: &mut Init, config: &CaptionDecoderConfig) -> Self {
        let (inner, hidden) = (config.prefix_inner_dim, config.prefix_hidden_dim);
        Self {
            encode_prefix: config::prefix_linear(init, inner, hidden),
            decode_prefix: config::prefix_linear(init, hidden, config.n_embd),
            transformer: LanguageModel { transformer: Gpt2::new(init, config) },
            prefix_length: config.prefix_length,
        }
    }

    /// Loads a weight file in any published layout (see [`crate::keys::caption_decoder`]).
    ///
    /// # Errors
    /// The errors of [`load_strict`].
    pub fn load(self, file: &WeightFile) -> Result<Self> {
        load_strict(self, &keys::caption_decoder(file.clone()), &[])
    }

    /// The text code `y` that UniDiffuser diffuses.
    ///
    /// # Shapes
    /// - `hidden`: `[B, L, prefix_inner_dim]`, CLIP's last hidden state
    /// - returns: `[B, L, prefix_hidden_dim]`
    pub fn encode(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.encode_prefix.forward(hidden)
    }

    /// Next-token logits at every position of prefix and text, with the text given.
    ///
    /// # Shapes
    /// - `code`: `[B, L, prefix_hidden_dim]`
    /// - `tokens`: `[B, m]`
    /// - returns: `[B, L + m, V]`
    pub fn logits(&self, code: Tensor<3>, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.gpt().head(self.hidden_states(code, tokens))
    }

    /// Mean cross entropy of the next token over the positions of prefix and caption,
    ///
    /// ```text
    /// L = -1/n sum_j log p(label_{j+1} | prefix, w),   labels = [0 x prefix, w_1 .. w_m]
    /// ```
    ///
    /// with `n` the number of positions that count: all `prefix + m - 1` of each caption, or only the
    /// `m` of its text with [`DummyPrefix::Masked`]. Padding never counts.
    ///
    /// # Shapes
    /// - `hidden`: `[B, prefix_length, prefix_inner_dim]`, CLIP's last hidden state
    /// - returns: `[1]`
    ///
    /// # Errors
    /// [`Error::Config`] when batch sizes differ, the prefix has another length or the sequence is
    /// longer than the position table.
    pub fn loss(
        &self,
        hidden: Tensor<3>,
        captions: &CaptionBatch,
        dummy: DummyPrefix,
    ) -> Result<Tensor<1>> {
        self.loss_of_code(self.encode(hidden), captions, dummy)
    }

    /// [`Self::loss`] of codes, which may be noisy.
    ///
    /// # Shapes
    /// - `code`: `[B, prefix_length, prefix_hidden_dim]`
    /// - returns: `[1]`
    ///
    /// # Errors
    /// As [`Self::loss`].
    pub fn loss_of_code(
        &self,
        code: Tensor<3>,
        captions: &CaptionBatch,
        dummy: DummyPrefix,
    ) -> Result<Tensor<1>> {
        let [b, prefix, _] = code.dims();
        let m = captions.width;
        if b != captions.lengths.len() {
            let reason = format!("expected {b} as prefixes, found {}", captions.lengths.len());
            return Err(Error::config("captions", reason));
        }
        self.check_length(prefix, m)?;
        let device = code.device();
        let states = self.hidden_states(code, captions.ids(&device)); // [B, P + m, D]

        // Position j predicts the label of position j + 1; the last position predicts nothing.
        let first = match dummy {
            DummyPrefix::Zeros => 0,
            DummyPrefix::Masked => prefix - 1,
        };
        let n = prefix + m - 1 - first;
        let states = states.narrow(1, first, n); // [B, n, D]
        let zeros = prefix - 1 - first;
        let (mut labels, mut weights) = (Vec::with_capacity(b * n), Vec::with_capacity(b * n));
        for (row, &length) in captions.ids.chunks_exact(m).zip(&captions.lengths) {
            labels.extend(std::iter::repeat_n(0, zeros));
            labels.extend(row.iter().map(|&id| i64::from(id)));
            weights.extend((0..n).map(|j| if j < zeros + length { 1.0f32 } else { 0.0 }));
        }
        let count: f32 = weights.iter().sum();
        let labels = Tensor::<2, Int>::from_data(TensorData::new(labels, [b, n]), &device);
        let weights = Tensor::<2>::from_data(TensorData::new(weights, [b, n]), &device);

        let entropy = self.gpt().cross_entropy(states, labels); // [B, n]
        Ok((entropy * weights).sum() / count)
    }

    /// The best caption of each code as token ids, its end token included when it has one.
    ///
    /// # Shapes
    /// - `code`: `[B, L, prefix_hidden_dim]`
    ///
    /// # Errors
    /// As [`Self::beam_search`].
    pub fn caption(
        &self,
        code: Tensor<3>,
        eos: u32,
        options: &BeamOptions,
    ) -> Result<Vec<Vec<u32>>> {
        let best =
            |beams: Vec<Beam>| beams.into_iter().next().map_or_else(Vec::new, |beam| beam.tokens);
        Ok(self.beam_search(code, eos, options)?.into_iter().map(best).collect())
    }

    fn hidden_states(&self, code: Tensor<3>, tokens: Tensor<2, Int>) -> Tensor<3> {
        let prefix = self.decode_prefix.forward(code); // [B, L, D]
        let inputs = Tensor::cat(vec![prefix, self.gpt().embed(tokens)], 1); // [B, L + m, D]
        self.gpt().forward(inputs)
    }

    fn gpt(&self) -> &Gpt2 {
        &self.transformer.transformer
    }

    /// The prefix has the configured length and the positions suffice.
    pub(crate) fn check_length(&self, prefix: usize, tokens: usize) -> Result<()> {
        if prefix != self.prefix_length {
            let reason = format!("expected {} tokens, found {prefix}", self.prefix_length);
            return Err(Error::config("prefix_length", reason));
        }
        let (needed, positions) = (prefix + tokens, self.gpt().positions());
        if needed > positions {
            let reason =
                format!("prefix and text need {needed} positions, the table has {positions}");
            return Err(Error::config("n_positions", reason));
        }
        Ok(())
    }
}
