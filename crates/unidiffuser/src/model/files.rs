//! Where the parts of a model lie: found, configured and compared before any weight is read.

use std::fmt;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::Value;
use trefoil_core::weights::Storage;
use trefoil_core::{Error, Result, fs};
use trefoil_diffusion::{ScheduleConfig, VpSchedule};

use super::{CLIP_TOKENIZER, ModelConfig, TEXT_TOKENIZER, UniDiffuser, authors, config, scheduler};
use crate::autoencoder::Autoencoder;
use crate::caption::CaptionDecoder;
use crate::clip::{ClipText, ClipVision};
use crate::folder::{Component, INDEX, Part};
use crate::preprocess::{CLIP_MEAN, CLIP_STD};
use crate::tokenizer::{Flavour, Tokenizer};
use crate::uvit::UVit;

/// Folders of what CLIP's input is made with, the name before October 2023 last.
const PROCESSORS: [&str; 2] = ["clip_image_processor", "image_processor"];

/// How the files of a model are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `model_index.json` and one folder per component: diffusers, and what Trefoil writes.
    Diffusers,
    /// `uvit_v*.pth`, `autoencoder_kl.pth`, `caption_decoder.pth` and CLIP: the authors' program.
    Authors,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Diffusers => "diffusers",
            Self::Authors => "authors",
        })
    }
}

/// A model on disk: every component is found and configured, and no weight is read yet.
#[derive(Debug, Clone)]
pub struct ModelFiles {
    /// How it is arranged.
    pub layout: Layout,
    /// The folder.
    pub folder: PathBuf,
    /// The joint noise predictor.
    pub uvit: Part<UVit>,
    /// Pictures to latents and back.
    pub autoencoder: Part<Autoencoder>,
    /// Prompts to hidden states.
    pub text_encoder: Part<ClipText>,
    /// Pictures to embeddings.
    pub image_encoder: Part<ClipVision>,
    /// Hidden states to text codes, and text codes to captions.
    pub caption_decoder: Part<CaptionDecoder>,
    /// Folder of the tokens of prompts.
    pub clip_tokenizer: PathBuf,
    /// Folder of the tokens of captions.
    pub text_tokenizer: PathBuf,
    /// Noise levels.
    pub schedule: ScheduleConfig,
}

impl ModelFiles {
    /// Finds the parts below a folder, or beside the weight file of a noise predictor.
    ///
    /// # Errors
    /// The first part that is absent, or that does not fit the others, with file and field.
    pub fn open(path: &Path) -> Result<Self> {
        let files = match Self::layout_of(path) {
            Layout::Diffusers => Self::open_diffusers(path)?,
            Layout::Authors => authors::open(path)?,
        };
        let config = files.config();
        match files.layout {
            Layout::Diffusers => config.check_folder(&files.folder)?,
            Layout::Authors => {
                config.check().map_err(|e| Error::format(&files.folder, e.to_string()))?;
            }
        }
        Ok(files)
    }

    /// Which layout a path has; what has neither is taken for that of diffusers.
    pub fn layout_of(path: &Path) -> Layout {
        let is_diffusers = path.join(INDEX).is_file() || path.join(UVit::FOLDER).is_dir();
        if !is_diffusers && authors::find_uvit(path).is_some() {
            Layout::Authors
        } else {
            Layout::Diffusers
        }
    }

    fn open_diffusers(folder: &Path) -> Result<Self> {
        if folder.is_dir() && !folder.join(INDEX).is_file() && !folder.join(UVit::FOLDER).is_dir() {
            let reason = format!(
                "expected a model: `{INDEX}` with its folders, or `uvit_v1.pth` with the authors' other files"
            );
            return Err(Error::format(folder, reason));
        }
        check_processor(folder)?;
        Ok(Self {
            layout: Layout::Diffusers,
            folder: folder.into(),
            uvit: UVit::open(folder)?,
            autoencoder: Autoencoder::open(folder)?,
            text_encoder: ClipText::open(folder)?,
            image_encoder: ClipVision::open(folder)?,
            caption_decoder: CaptionDecoder::open(folder)?,
            clip_tokenizer: folder.join(CLIP_TOKENIZER),
            text_tokenizer: folder.join(TEXT_TOKENIZER),
            schedule: scheduler::load(folder)?,
        })
    }

    /// Hyper-parameters of all parts.
    pub fn config(&self) -> ModelConfig {
        ModelConfig {
            uvit: self.uvit.config.clone(),
            autoencoder: self.autoencoder.config.clone(),
            text_encoder: self.text_encoder.config.clone(),
            image_encoder: self.image_encoder.config.clone(),
            caption_decoder: self.caption_decoder.config.clone(),
            schedule: self.schedule,
        }
    }

    /// The two tokenizers, compared with the sizes of their tables.
    ///
    /// # Errors
    /// Those of reading, and [`Error::Format`] when a table is too small.
    pub fn tokenizers(&self) -> Result<[Tokenizer; 2]> {
        let open = |path: &Path, flavour, rows| {
            let tokenizer = Tokenizer::open(path, flavour)?;
            match config::vocabulary_problem(&tokenizer, rows) {
                Some(reason) => Err(Error::format(path, reason)),
                None => Ok(tokenizer),
            }
        };
        let clip_rows = self.text_encoder.config.vocab_size;
        let text_rows = self.caption_decoder.config.vocab_size;
        Ok([
            open(&self.clip_tokenizer, Flavour::Clip, clip_rows)?,
            open(&self.text_tokenizer, Flavour::Gpt2, text_rows)?,
        ])
    }

    /// Reads the weights, one network after another, each tensor once.
    ///
    /// # Errors
    /// Those of configuring and strict loading, each with file and field or tensor.
    pub fn load(&self, device: &Device) -> Result<UniDiffuser> {
        self.load_as(device, Storage::F32)
    }

    /// As [`Self::load`], with matrices, kernels and tables held in another number format.
    ///
    /// # Errors
    /// As [`Self::load`]; [`Error::NonFinite`] when a weight is too large for the format.
    pub fn load_as(&self, device: &Device, storage: Storage) -> Result<UniDiffuser> {
        let [clip_tokenizer, text_tokenizer] = self.tokenizers()?;
        let schedule =
            self.schedule.init().map_err(|e| Error::config("schedule", e.to_string()))?;
        Ok(UniDiffuser {
            uvit: self.uvit.load_as(device, storage)?,
            autoencoder: self.autoencoder.load_as(device, storage)?,
            text_encoder: self.text_encoder.load_as(device, storage)?,
            image_encoder: self.image_encoder.load_as(device, storage)?,
            caption_decoder: self.caption_decoder.load_as(device, storage)?,
            clip_tokenizer,
            text_tokenizer,
            schedule: VpSchedule::new(schedule),
            storage,
            one_step: None,
            device: device.clone(),
            config: self.config(),
        })
    }
}

/// Whether CLIP's input is made as it is made here, where the folder says so under either of its names.
fn check_processor(folder: &Path) -> Result<()> {
    let paths = PROCESSORS.map(|name| folder.join(name).join("preprocessor_config.json"));
    let Some(path) = paths.into_iter().find(|path| path.is_file()) else { return Ok(()) };
    let json: Value = fs::read_json(&path)?;
    for (field, expected) in [("image_mean", CLIP_MEAN), ("image_std", CLIP_STD)] {
        let Some(found) = json.get(field).filter(|found| !found.is_null()) else { continue };
        let numbers = found.as_array().map(|list| list.iter().filter_map(Value::as_f64));
        let equal = numbers.is_some_and(|numbers| {
            let mut pairs = numbers.zip(expected);
            pairs.all(|(found, expected)| (found - expected).abs() < 1e-6)
        });
        if !equal {
            let reason = format!("`{field}`: expected {expected:?}, found {found}");
            return Err(Error::format(path, reason));
        }
    }
    Ok(())
}
