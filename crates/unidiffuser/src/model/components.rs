//! A model put together from components in memory, as training makes them.

use burn::module::Module;
use trefoil_core::weights::Storage;
use trefoil_core::{Error, Result};
use trefoil_diffusion::{ScheduleConfig, VpSchedule};

use super::{ModelConfig, UniDiffuser};
use crate::autoencoder::{Autoencoder, AutoencoderConfig};
use crate::caption::{CaptionDecoder, CaptionDecoderConfig};
use crate::clip::{ClipText, ClipTextConfig, ClipVision, ClipVisionConfig};
use crate::tokenizer::Tokenizer;
use crate::uvit::{UVit, UVitConfig};

/// Every network with its hyper-parameters, and the tokenizers.
#[derive(Debug)]
pub struct Components {
    /// The joint noise predictor.
    pub uvit: (UVit, UVitConfig),
    /// Pictures to latents and back.
    pub autoencoder: (Autoencoder, AutoencoderConfig),
    /// Prompts to hidden states.
    pub text_encoder: (ClipText, ClipTextConfig),
    /// Pictures to embeddings.
    pub image_encoder: (ClipVision, ClipVisionConfig),
    /// Hidden states to text codes, and text codes to captions.
    pub caption_decoder: (CaptionDecoder, CaptionDecoderConfig),
    /// Tokens of prompts.
    pub clip_tokenizer: Tokenizer,
    /// Tokens of captions.
    pub text_tokenizer: Tokenizer,
}

impl UniDiffuser {
    /// Joins components that fit together, on the device of the noise predictor.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field in which two components disagree.
    pub fn from_components(parts: Components) -> Result<Self> {
        let config = ModelConfig {
            uvit: parts.uvit.1,
            autoencoder: parts.autoencoder.1,
            text_encoder: parts.text_encoder.1,
            image_encoder: parts.image_encoder.1,
            caption_decoder: parts.caption_decoder.1,
            schedule: ScheduleConfig::default(),
        };
        config.check()?;
        config.check_vocabularies(&parts.clip_tokenizer, &parts.text_tokenizer)?;
        let schedule =
            config.schedule.init().map_err(|e| Error::config("schedule", e.to_string()))?;
        let device = parts.uvit.0.devices().first().cloned().unwrap_or_default();
        Ok(Self {
            config,
            uvit: parts.uvit.0,
            autoencoder: parts.autoencoder.0,
            text_encoder: parts.text_encoder.0,
            image_encoder: parts.image_encoder.0,
            caption_decoder: parts.caption_decoder.0,
            clip_tokenizer: parts.clip_tokenizer,
            text_tokenizer: parts.text_tokenizer,
            schedule: VpSchedule::new(schedule),
            storage: Storage::F32,
            one_step: None,
            device,
        })
    }
}
