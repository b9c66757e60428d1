//! The whole model: five networks, two tokenizers, one folder.
//!
//! A folder that is written here has the layout of diffusers: `model_index.json` and one folder per component, so
//! that what is trained here opens there and the other way round. The authors' files are read too.

mod authors;
mod codes;
mod components;
mod config;
mod convert;
mod files;
mod scheduler;
mod shapes;

use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use serde_json::json;
use trefoil_core::weights::{Precision, Storage};
use trefoil_core::{Result, fs};
use trefoil_diffusion::VpSchedule;

use crate::autoencoder::Autoencoder;
use crate::caption::CaptionDecoder;
use crate::clip::{ClipText, ClipVision};
use crate::folder::{Component, write_index};
use crate::one_step::OneStep;
use crate::preprocess::{CLIP_MEAN, CLIP_STD};
use crate::tokenizer::Tokenizer;
use crate::uvit::UVit;

pub use self::codes::{Codes, EncodedImages, ImageCode};
pub use self::components::Components;
pub use self::config::ModelConfig;
pub use self::files::{Layout, ModelFiles};

/// Folder of CLIP's tokenizer.
pub(crate) const CLIP_TOKENIZER: &str = "clip_tokenizer";
/// Folder of GPT-2's tokenizer.
pub(crate) const TEXT_TOKENIZER: &str = "text_tokenizer";

/// All components, ready to generate.
#[derive(Debug)]
pub struct UniDiffuser {
    /// Hyper-parameters of all components.
    pub config: ModelConfig,
    /// The joint noise predictor.
    pub uvit: UVit,
    /// Pictures to latents and back.
    pub autoencoder: Autoencoder,
    /// Prompts to hidden states.
    pub text_encoder: ClipText,
    /// Pictures to embeddings.
    pub image_encoder: ClipVision,
    /// Hidden states to text codes, and text codes to captions.
    pub caption_decoder: CaptionDecoder,
    /// Tokens of prompts.
    pub clip_tokenizer: Tokenizer,
    /// Tokens of captions.
    pub text_tokenizer: Tokenizer,
    /// Noise levels.
    pub schedule: VpSchedule,
    /// Number format in which matrices, kernels and tables are held.
    pub storage: Storage,
    /// The generator that makes a sample in one pass, where there is one.
    pub one_step: Option<OneStep>,
    device: Device,
}

impl UniDiffuser {
    /// Loads a model folder in the layout of diffusers or with the authors' files, or the folder of the file of a
    /// noise predictor (see [`ModelFiles`]); everything is checked before the first weight is read.
    ///
    /// # Errors
    /// Those of reading, configuring and strict loading, each with file and field or tensor.
    pub fn load(path: &Path, device: &Device) -> Result<Self> {
        ModelFiles::open(path)?.load(device)
    }

    /// Writes a complete model folder, the index last: a folder without it is unfinished.
    ///
    /// # Errors
    /// [`trefoil_core::Error::Write`] with the file, or [`trefoil_core::Error::NonFinite`] when a weight does not survive the
    /// conversion to `precision`.
    pub fn save(&self, folder: &Path, precision: Precision) -> Result<()> {
        let config = &self.config;
        self.uvit.save(&config.uvit, folder, precision)?;
        self.autoencoder.save(&config.autoencoder, folder, precision)?;
        self.text_encoder.save(&config.text_encoder, folder, precision)?;
        self.image_encoder.save(&config.image_encoder, folder, precision)?;
        self.caption_decoder.save(&config.caption_decoder, folder, precision)?;
        self.clip_tokenizer.save(&folder.join(CLIP_TOKENIZER), self.context_length())?;
        let positions = config.caption_decoder.n_positions;
        self.text_tokenizer.save(&folder.join(TEXT_TOKENIZER), positions)?;
        scheduler::save(&config.schedule, folder)?;
        save_image_processor(config.image_encoder.image_size, folder)?;
        write_index(folder)
    }

    /// Side of the square pictures, in pixels.
    pub fn image_size(&self) -> usize {
        self.config.image_size()
    }

    /// Channels, height and width of a latent.
    pub fn latent_shape(&self) -> [usize; 3] {
        let uvit = &self.config.uvit;
        [uvit.in_channels, uvit.sample_size, uvit.sample_size]
    }

    /// Longest prompt in tokens, start and end included.
    pub fn context_length(&self) -> usize {
        self.config.uvit.num_text_tokens
    }

    /// The device that the weights live on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Number of weights of all networks.
    pub fn num_params(&self) -> usize {
        self.uvit.num_params()
            + self.autoencoder.num_params()
            + self.text_encoder.num_params()
            + self.image_encoder.num_params()
            + self.caption_decoder.num_params()
    }
}

/// Writes what CLIP's input is made with.
fn save_image_processor(side: usize, model: &Path) -> Result<()> {
    let folder = model.join("clip_image_processor");
    fs::create_dir_all(&folder)?;
    let json = json!({
        "crop_size": {"height": side, "width": side},
        "do_center_crop": true,
        "do_convert_rgb": true,
        "do_normalize": true,
        "do_rescale": true,
        "do_resize": true,
        "image_mean": CLIP_MEAN,
        "image_processor_type": "CLIPImageProcessor",
        "image_std": CLIP_STD,
        "resample": 3,
        "rescale_factor": 1.0 / 255.0,
        "size": {"shortest_edge": side},
    });
    fs::write_json(&folder.join("preprocessor_config.json"), &json)
}
