//! The four stages in their run folders, and the model folder that they make together.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use burn::tensor::{Device, TensorData};
use trefoil_core::nn::Init;
use trefoil_core::weights::Precision;
use trefoil_core::{Error as CoreError, fs, params};
use trefoil_diffusion::DiscreteSchedule;
use trefoil_train::{
    Outcome, ProgressMode, Result, RunFolder, StopFlag, Task, TrainConfig, Trained, Trainer,
};

use super::autoencoder::{AutoencoderTask, measure_scaling};
use super::caption::{CaptionTask, HiddenStates, standardise};
use super::clip::{ClipPair, ClipTask};
use super::data::Pairs;
use super::deepen::deepen;
use super::features::{Features, Frozen};
use super::joint::{JointTask, LossWeights};
use super::preview;
use super::recipe::Recipe;
use crate::autoencoder::Autoencoder;
use crate::caption::CaptionDecoder;
use crate::clip::{ClipText, ClipVision};
use crate::folder::Component;
use crate::model::UniDiffuser;
use crate::preprocess::InputSizes;
use crate::tokenizer::{Flavour, Tokenizer};
use crate::uvit::{UVit, UVitConfig};

/// Folder of the tokenizer of the text encoder inside a model folder.
const CLIP_TOKENIZER: &str = "clip_tokenizer";
/// Folder of the tokenizer of the caption decoder inside a model folder.
const TEXT_TOKENIZER: &str = "text_tokenizer";

/// One stage of the training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Picture to latent and back.
    Autoencoder,
    /// Picture and text embeddings.
    Clip,
    /// Text code and captions.
    Caption,
    /// The joint noise predictor.
    UniDiffuser,
}

impl Stage {
    /// All stages in their order.
    pub const ALL: [Self; 4] = [Self::Autoencoder, Self::Clip, Self::Caption, Self::UniDiffuser];

    /// Its name on the command line, and of its run folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Autoencoder => "autoencoder",
            Self::Clip => "clip",
            Self::Caption => "caption",
            Self::UniDiffuser => "unidiffuser",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Stage {
    type Err = CoreError;

    fn from_str(text: &str) -> Result<Self, CoreError> {
        Self::ALL.into_iter().find(|stage| stage.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            CoreError::config("stage", format!("expected one of {names}; found `{text}`"))
        })
    }
}

/// Everything that the stages share.
#[derive(Debug)]
pub struct Workshop<'a> {
    /// What is trained, and how.
    pub recipe: &'a Recipe,
    /// On what.
    pub pairs: &'a Pairs,
    /// Where: each stage has a run folder inside.
    pub folder: &'a Path,
    /// A model folder to start from: its noise predictor is trained further, with its own encoders,
    /// and gets more blocks first where the recipe asks for more ([`deepen`]).
    pub start: Option<&'a Path>,
    /// With what.
    pub device: &'a Device,
    /// A request to stop.
    pub stop: StopFlag,
    /// How progress is shown.
    pub progress: ProgressMode,
}

impl Workshop<'_> {
    /// Runs the stages in order and writes the complete model. A stage that is finished costs nothing,
    /// one that was stopped continues. With a model to start from, only the last stage runs.
    ///
    /// # Errors
    /// Those of [`Workshop::run`] and [`Workshop::assemble`].
    pub fn run_all(&self) -> Result<Outcome> {
        let first = if self.start.is_some() { Stage::ALL.len() - 1 } else { 0 };
        for stage in Stage::ALL.into_iter().skip(first) {
            if self.run(stage)? == Outcome::Interrupted {
                return Ok(Outcome::Interrupted);
            }
        }
        self.assemble(Precision::F16)?;
        Ok(Outcome::Finished)
    }

    /// Runs or continues one stage; its components end up in the `model` folder of its run.
    ///
    /// # Errors
    /// [`CoreError::Read`] when an earlier stage is not finished; those of the training.
    pub fn run(&self, stage: Stage) -> Result<Outcome> {
        match stage {
            Stage::Autoencoder => self.autoencoder(),
            Stage::Clip => self.clip(),
            Stage::Caption => self.caption(),
            Stage::UniDiffuser => self.unidiffuser(),
        }
    }

    /// Joins the components of all stages in `FOLDER/model`, in the layout of diffusers.
    ///
    /// # Errors
    /// [`CoreError::Read`] when a stage is not finished, [`CoreError::Write`].
    pub fn assemble(&self, precision: Precision) -> Result<PathBuf> {
        let folder = self.folder.join("model");
        self.complete()?.save(&folder, precision)?;
        Ok(folder)
    }

    /// The model of all four stages.
    fn complete(&self) -> Result<UniDiffuser> {
        let unet = self.model_of(Stage::UniDiffuser);
        self.with_network(Component::load(&unet, self.device)?)
    }

    /// The components of the first three stages around a network.
    fn with_network(&self, uvit: (UVit, UVitConfig)) -> Result<UniDiffuser> {
        let [vae, clip, caption] =
            [Stage::Autoencoder, Stage::Clip, Stage::Caption].map(|stage| self.model_of(stage));
        let parts = crate::model::Components {
            uvit,
            autoencoder: Component::load(&vae, self.device)?,
            text_encoder: Component::load(&clip, self.device)?,
            image_encoder: Component::load(&clip, self.device)?,
            caption_decoder: Component::load(&caption, self.device)?,
            clip_tokenizer: Tokenizer::open(&clip.join(CLIP_TOKENIZER), Flavour::Clip)?,
            text_tokenizer: Tokenizer::open(&caption.join(TEXT_TOKENIZER), Flavour::Gpt2)?,
        };
        Ok(UniDiffuser::from_components(parts)?)
    }

    /// Where the components of a stage are: what it left, or the model to start from.
    fn model_of(&self, stage: Stage) -> PathBuf {
        match self.start {
            Some(model) if stage != Stage::UniDiffuser => model.into(),
            _ => self.folder.join(stage.name()).join("model"),
        }
    }

    fn run_folder(&self, stage: Stage) -> Result<RunFolder> {
        fs::create_dir_all(self.folder)?;
        RunFolder::open_or_create(&self.folder.join(stage.name()), &self.recipe.to_toml()?)
    }

    fn fit<T: Task>(
        &self,
        (run, config): (&RunFolder, &TrainConfig),
        task: &mut T,
        model: T::Model,
    ) -> Result<Trained<T::Model>> {
        let (stop, progress) = (self.stop.clone(), self.progress);
        Trainer { config, run, stop, progress }.fit(task, model)
    }

    fn autoencoder(&self) -> Result<Outcome> {
        let recipe = &self.recipe.autoencoder;
        let run = self.run_folder(Stage::Autoencoder)?;
        let network = recipe.model.init(&mut Init::random(recipe.train.seed, self.device))?;
        let mut task = AutoencoderTask { recipe, pairs: self.pairs, device: self.device.clone() };
        let trained = self.fit((&run, &recipe.train), &mut task, network)?;
        if trained.outcome == Outcome::Finished {
            let config = measure_scaling(&trained.average, &recipe.model, self.pairs, self.device)?;
            trained.average.save(&config, &run.model_dir(), Precision::F32)?;
        }
        Ok(trained.outcome)
    }

    fn clip(&self) -> Result<Outcome> {
        let mut recipe = self.recipe.clip.clone();
        let run = self.run_folder(Stage::Clip)?;
        let captions = self.pairs.all_captions();
        let tokenizer = Tokenizer::train_clip(&captions, self.recipe.data.clip_vocabulary)?;
        recipe.text.vocab_size = tokenizer.vocab_size();
        recipe.text.eos_token_id = tokenizer.eos();
        let network = ClipPair::new(&recipe, &mut Init::random(recipe.train.seed, self.device))?;
        let mut task = ClipTask::new(&recipe, self.pairs, &tokenizer, self.device)?;
        let trained = self.fit((&run, &recipe.train), &mut task, network)?;
        if trained.outcome == Outcome::Finished {
            let folder = run.model_dir();
            let factor = task.embedding_rms(&trained.average).recip();
            let ClipPair { text, vision, .. } = trained.average;
            let vision = scale_embedding(vision, factor)?;
            text.save(&recipe.text, &folder, Precision::F32)?;
            vision.save(&recipe.vision, &folder, Precision::F32)?;
            let context = recipe.text.max_position_embeddings;
            tokenizer.save(&folder.join(CLIP_TOKENIZER), context)?;
        }
        Ok(trained.outcome)
    }

    fn caption(&self) -> Result<Outcome> {
        let mut recipe = self.recipe.caption.clone();
        let run = self.run_folder(Stage::Caption)?;
        let captions = self.pairs.all_captions();
        let tokenizer = Tokenizer::train_gpt2(&captions, self.recipe.data.caption_vocabulary)?;
        recipe.model.vocab_size = tokenizer.vocab_size();
        let room = recipe.model.n_positions - recipe.model.prefix_length;
        let tokens = tokenizer.encode_batch(&captions, room)?;
        let network = recipe.model.init(&mut Init::random(recipe.train.seed, self.device))?;
        let mut task = CaptionTask {
            recipe: &recipe,
            pairs: self.pairs,
            device: self.device.clone(),
            hidden: self.hidden_states()?,
            tokens,
            tokenizer,
        };
        let trained = self.fit((&run, &recipe.train), &mut task, network)?;
        if trained.outcome == Outcome::Finished {
            let folder = run.model_dir();
            let decoder = standardise(trained.average, &task.hidden)?;
            decoder.save(&recipe.model, &folder, Precision::F32)?;
            task.tokenizer.save(&folder.join(TEXT_TOKENIZER), room)?;
        }
        Ok(trained.outcome)
    }

    fn unidiffuser(&self) -> Result<Outcome> {
        let mut recipe = self.recipe.unidiffuser.clone();
        let run = self.run_folder(Stage::UniDiffuser)?;
        let (autoencoder, _) = Autoencoder::load(&self.model_of(Stage::Autoencoder), self.device)?;
        let (vision, vision_config) =
            <ClipVision as Component>::load(&self.model_of(Stage::Clip), self.device)?;
        let (decoder, _) =
            <CaptionDecoder as Component>::load(&self.model_of(Stage::Caption), self.device)?;
        let hidden = self.hidden_states()?;
        let frozen = Frozen {
            autoencoder: &autoencoder,
            vision: &vision,
            sizes: InputSizes {
                image: self.recipe.data.resolution as usize,
                clip: vision_config.image_size,
                vae_scale: self.recipe.autoencoder.model.downsampling(),
            },
            decoder: &decoder,
            hidden: &hidden,
        };
        let cache = run.path().join("features.safetensors");
        let features = Features::cached(&cache, &frozen, self.pairs)?;
        let network = match self.start {
            Some(model) => {
                let (network, config) = UVit::load(model, self.device)?;
                let layers = recipe.model.num_layers.max(config.num_layers);
                let mut init = Init::random(recipe.train.seed, self.device);
                let (network, config) = deepen((&network, &config), layers, &mut init)?;
                recipe.model = config;
                network
            }
            None => recipe.model.init(&mut Init::random(recipe.train.seed, self.device))?,
        };
        let recipe = &recipe;
        let mut shown = self.with_network((network.clone(), recipe.model.clone()))?;
        let mut task = JointTask {
            recipe,
            pairs: self.pairs,
            features: &features,
            weights: LossWeights::new(
                DiscreteSchedule::default(),
                recipe.weighting,
                recipe.level_weight_cap,
            ),
            device: self.device.clone(),
            preview: Box::new(move |network, run, position| {
                shown.uvit = network.clone();
                preview::draw(&shown, &recipe.preview, self.pairs, (run, position))
            }),
        };
        let trained = self.fit((&run, &recipe.train), &mut task, network)?;
        if trained.outcome == Outcome::Finished {
            trained.average.save(&recipe.model, &run.model_dir(), Precision::F32)?;
        }
        Ok(trained.outcome)
    }

    /// Every caption through the text encoder of stage 2.
    fn hidden_states(&self) -> Result<HiddenStates> {
        let folder = self.model_of(Stage::Clip);
        let (encoder, config) = <ClipText as Component>::load(&folder, self.device)?;
        let tokenizer = Tokenizer::open(&folder.join(CLIP_TOKENIZER), Flavour::Clip)?;
        let context = config.max_position_embeddings;
        Ok(HiddenStates::compute(&encoder, &tokenizer, context, self.pairs)?)
    }
}

/// Scales the last matrix of the image tower so that the elements of its embeddings have unit mean square,
/// as the diffusion expects; cosines do not notice.
fn scale_embedding(vision: ClipVision, factor: f64) -> Result<ClipVision, CoreError> {
    if !factor.is_finite() {
        return Err(CoreError::NonFinite { what: "the scale of the picture embeddings".into() });
    }
    let tensors: HashMap<_, _> = params::export(&vision).into_iter().collect();
    params::import(vision, &mut |name, shape| {
        let data = tensors[name].clone();
        if name != "visual_projection.weight" {
            return Ok(data);
        }
        let values: Vec<f32> = data.iter::<f32>().map(|v| v * factor as f32).collect();
        Ok(TensorData::new(values, shape.to_vec()))
    })
}
