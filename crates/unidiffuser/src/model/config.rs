//! Hyper-parameters of all components, and what they must agree on.

use std::path::Path;

use serde::{Deserialize, Serialize};
use trefoil_core::nn::Init;
use trefoil_core::weights::Storage;
use trefoil_core::{Error, Result};
use trefoil_diffusion::{ScheduleConfig, VpSchedule};

use super::UniDiffuser;
use crate::autoencoder::{Autoencoder, AutoencoderConfig};
use crate::caption::{CaptionDecoder, CaptionDecoderConfig};
use crate::clip::{ClipText, ClipTextConfig, ClipVision, ClipVisionConfig};
use crate::folder::Component;
use crate::tokenizer::Tokenizer;
use crate::uvit::{UVit, UVitConfig};

/// Hyper-parameters of all components; the default is the published UniDiffuser-v1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// The joint noise predictor.
    pub uvit: UVitConfig,
    /// Pictures to latents and back.
    pub autoencoder: AutoencoderConfig,
    /// Prompts to hidden states.
    pub text_encoder: ClipTextConfig,
    /// Pictures to embeddings.
    pub image_encoder: ClipVisionConfig,
    /// Hidden states to text codes, and text codes to captions.
    pub caption_decoder: CaptionDecoderConfig,
    /// Noise levels.
    pub schedule: ScheduleConfig,
}

/// A number in the `config.json` of a component.
type Entry = (&'static str, &'static str, usize);

impl ModelConfig {
    /// Side of the square pictures, in pixels.
    pub fn image_size(&self) -> usize {
        self.uvit.sample_size * self.autoencoder.downsampling()
    }

    /// Pairs of numbers that must be equal, each with the folder and the field that it is read from.
    fn pairs(&self) -> [(Entry, Entry); 8] {
        let unet = |field, value| (UVit::FOLDER, field, value);
        let vae = |field, value| (Autoencoder::FOLDER, field, value);
        let text = |field, value| (ClipText::FOLDER, field, value);
        let image = |field, value| (ClipVision::FOLDER, field, value);
        let caption = |field, value| (CaptionDecoder::FOLDER, field, value);
        let prefix = caption("prefix_length", self.caption_decoder.prefix_length);
        let positions = self.text_encoder.max_position_embeddings;
        let channels = vae("in_channels", self.autoencoder.in_channels);
        let latent = unet("in_channels", self.uvit.in_channels);
        let rgb = ("a picture", "channels", 3);
        [
            (
                unet("text_dim", self.uvit.text_dim),
                caption("prefix_hidden_dim", self.caption_decoder.prefix_hidden_dim),
            ),
            (unet("num_text_tokens", self.uvit.num_text_tokens), prefix),
            (text("max_position_embeddings", positions), prefix),
            (
                text("hidden_size", self.text_encoder.hidden_size),
                caption("prefix_inner_dim", self.caption_decoder.prefix_inner_dim),
            ),
            (
                unet("clip_img_dim", self.uvit.clip_img_dim),
                image("projection_dim", self.image_encoder.projection_dim),
            ),
            (latent, vae("latent_channels", self.autoencoder.latent_channels)),
            (channels, rgb),
            (image("num_channels", self.image_encoder.num_channels), rgb),
        ]
    }

    /// Whether the components fit together.
    ///
    /// # Errors
    /// [`Error::Config`] naming component and field.
    pub fn check(&self) -> Result<()> {
        let wrong = self.pairs().into_iter().find(|(found, expected)| found.2 != expected.2);
        wrong.map_or(Ok(()), |(found, expected)| {
            Err(Error::config(format!("{}.{}", found.0, found.1), disagreement(found, expected)))
        })
    }

    /// As [`Self::check`], for the configurations of a folder.
    ///
    /// # Errors
    /// [`Error::Format`] with the file, naming the field.
    pub(super) fn check_folder(&self, folder: &Path) -> Result<()> {
        let wrong = self.pairs().into_iter().find(|(found, expected)| found.2 != expected.2);
        wrong.map_or(Ok(()), |(found, expected)| {
            let reason = format!("`{}`: {}", found.1, disagreement(found, expected));
            Err(Error::format(folder.join(found.0).join("config.json"), reason))
        })
    }

    /// Whether the tokens of prompts and captions are in the tables.
    ///
    /// # Errors
    /// [`Error::Config`] naming component and field.
    pub(super) fn check_vocabularies(&self, clip: &Tokenizer, text: &Tokenizer) -> Result<()> {
        for (field, tokenizer, rows) in [
            ("text_encoder.vocab_size", clip, self.text_encoder.vocab_size),
            ("text_decoder.vocab_size", text, self.caption_decoder.vocab_size),
        ] {
            if let Some(reason) = vocabulary_problem(tokenizer, rows) {
                return Err(Error::config(field, reason));
            }
        }
        Ok(())
    }

    /// Builds a model; fresh weights come from `init`, in the order of the fields.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, also when a vocabulary is larger than its token table.
    pub fn init(
        &self,
        init: &mut Init,
        clip_tokenizer: Tokenizer,
        text_tokenizer: Tokenizer,
    ) -> Result<UniDiffuser> {
        self.check()?;
        self.check_vocabularies(&clip_tokenizer, &text_tokenizer)?;
        let schedule = self
            .schedule
            .init()
            .map_err(|e| Error::config("schedule", e.to_string()))
            .map(VpSchedule::new)?;
        Ok(UniDiffuser {
            uvit: self.uvit.init(init)?,
            autoencoder: self.autoencoder.init(init)?,
            text_encoder: self.text_encoder.init(init)?,
            image_encoder: self.image_encoder.init(init)?,
            caption_decoder: self.caption_decoder.init(init)?,
            clip_tokenizer,
            text_tokenizer,
            schedule,
            storage: Storage::F32,
            one_step: None,
            device: init.device().clone(),
            config: self.clone(),
        })
    }
}

fn disagreement(found: Entry, expected: Entry) -> String {
    let (component, field, value) = expected;
    format!("expected {value}, as `{field}` of {component}, found {}", found.2)
}

/// What is wrong when a token table has `size` rows.
pub(super) fn vocabulary_problem(tokenizer: &Tokenizer, size: usize) -> Option<String> {
    let largest = [tokenizer.bos(), tokenizer.eos(), tokenizer.pad()].into_iter().max();
    let needed = largest.map_or(0, |id| id as usize + 1).max(tokenizer.vocab_size());
    (needed > size)
        .then(|| format!("the tokenizer has {needed} tokens, the token table has {size} rows"))
}
