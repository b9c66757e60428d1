//! The recipe of a whole training, as users write it in TOML.

use std::path::Path;

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result, fs};
use trefoil_train::TrainConfig;

use crate::autoencoder::AutoencoderConfig;
use crate::caption::{CaptionDecoderConfig, DummyPrefix};
use crate::clip::{ClipTextConfig, ClipVisionConfig, TextProjection};
use crate::uvit::UVitConfig;

/// One table per stage; sizes that follow from another stage are filled in by [`Recipe::resolve`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Recipe {
    /// How pictures and captions are read.
    pub data: DataRecipe,
    /// Stage 1.
    pub autoencoder: AutoencoderRecipe,
    /// Stage 2.
    pub clip: ClipRecipe,
    /// Stage 3.
    pub caption: CaptionRecipe,
    /// Stage 4.
    pub unidiffuser: JointRecipe,
}

/// How pictures and captions are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataRecipe {
    /// Side of the pictures in pixels.
    pub resolution: u32,
    /// What transparent pixels are laid over.
    pub background: [u8; 3],
    /// Rows of the metadata that are used for training.
    pub split: String,
    /// Chance that a visit takes the first caption of a picture; otherwise any of its captions.
    pub first_caption: f64,
    /// Largest vocabulary of the tokenizer of the text encoder.
    pub clip_vocabulary: usize,
    /// Largest vocabulary of the tokenizer of the caption decoder.
    pub caption_vocabulary: usize,
}

impl Default for DataRecipe {
    fn default() -> Self {
        Self {
            resolution: 32,
            background: [255; 3],
            split: "train".into(),
            first_caption: 0.5,
            clip_vocabulary: 2048,
            caption_vocabulary: 2048,
        }
    }
}

/// Stage 1: the autoencoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderRecipe {
    /// The network; its scaling factor is measured at the end.
    pub model: AutoencoderConfig,
    /// The loop.
    pub train: TrainConfig,
    /// Weight of the absolute error; the squared error has weight one.
    pub absolute_weight: f64,
    /// Weight of the absolute error of neighbour differences, which keeps lines sharp.
    pub edge_weight: f64,
    /// Weight of the KL divergence, both counted per picture element.
    pub kl_weight: f64,
}

impl Default for AutoencoderRecipe {
    fn default() -> Self {
        Self {
            model: AutoencoderConfig::default(),
            train: TrainConfig::default(),
            absolute_weight: 1.0,
            edge_weight: 0.0,
            kl_weight: 1e-6,
        }
    }
}

/// Stage 2: the pair of CLIP towers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClipRecipe {
    /// The text tower.
    pub text: ClipTextConfig,
    /// The image tower.
    pub vision: ClipVisionConfig,
    /// The loop.
    pub train: TrainConfig,
}

impl Default for ClipRecipe {
    fn default() -> Self {
        let text = ClipTextConfig { projection: TextProjection::Linear, ..Default::default() };
        Self { text, vision: ClipVisionConfig::default(), train: TrainConfig::default() }
    }
}

/// Stage 3: the caption decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct CaptionRecipe {
    /// The network.
    pub model: CaptionDecoderConfig,
    /// The loop.
    pub train: TrainConfig,
    /// What the loss asks for at the positions of the prefix.
    pub dummy_prefix: DummyPrefix,
    /// Standard deviation of the noise added to the code, so that neighbouring codes read alike.
    pub code_noise: f64,
    /// Weight of the mean square of the code, which keeps that noise from being outgrown.
    pub code_penalty: f64,
}

/// Stage 4: UniDiffuser proper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JointRecipe {
    /// The network.
    pub model: UVitConfig,
    /// The loop.
    pub train: TrainConfig,
    /// How the three parts of the loss are weighted.
    pub weighting: Weighting,
    /// Largest weight of a noisy level over that of a clean one: level `n` counts `min(1 / abar_n, cap)`,
    /// scaled to a mean of one. 1 is the paper's even weight of all levels. Prediction of noise hardly
    /// notices a wrong picture where little of it is left, so that a short training learns slowly what the
    /// text asks for; up to the cap, this weighs the error of the velocity (arXiv 2202.00512) instead.
    pub level_weight_cap: f64,
    /// Which pairs of noise levels are visited, and how often.
    pub levels: LevelShares,
    /// Data type that v1 networks are told, 0 or 1.
    pub data_type: i32,
    /// What is drawn while training.
    pub preview: PreviewRecipe,
}

impl Default for JointRecipe {
    fn default() -> Self {
        Self {
            model: UVitConfig::default(),
            train: TrainConfig::default(),
            weighting: Weighting::default(),
            level_weight_cap: 1.0,
            levels: LevelShares::default(),
            data_type: 0,
            preview: PreviewRecipe::default(),
        }
    }
}

/// How often training visits each part of the square of noise levels `(n_image, n_text)`, as shares of
/// any scale. The paper visits the whole square evenly; sampling needs only its lines, and a short
/// training learns them faster when it spends more time there.
///
/// A modality at level 0 is clean: there is no noise to predict, and it does not count in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LevelShares {
    /// Both levels, independently.
    pub square: f64,
    /// `(n, 0)`: a picture for a clean text.
    pub text_to_image: f64,
    /// `(0, n)`: a text for a clean picture.
    pub image_to_text: f64,
    /// `(n, n)`: both together.
    pub joint: f64,
    /// `(n, N)`: a picture without a text.
    pub image: f64,
    /// `(N, n)`: a text without a picture.
    pub text: f64,
}

impl Default for LevelShares {
    fn default() -> Self {
        Self {
            square: 1.0,
            text_to_image: 0.0,
            image_to_text: 0.0,
            joint: 0.0,
            image: 0.0,
            text: 0.0,
        }
    }
}

impl LevelShares {
    /// The shares in the order of the fields.
    pub fn all(&self) -> [f64; 6] {
        [self.square, self.text_to_image, self.image_to_text, self.joint, self.image, self.text]
    }

    fn validate(&self) -> Result<()> {
        let shares = self.all();
        let valid = shares.iter().all(|s| s.is_finite() && *s >= 0.0);
        if valid && shares.iter().sum::<f64>() > 0.0 {
            return Ok(());
        }
        let reason = format!("expected shares of at least 0 and one above it, found {shares:?}");
        Err(Error::config("levels", reason))
    }
}

/// What is drawn while training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreviewRecipe {
    /// Prompts; empty: the first captions of evenly spaced training pictures.
    pub prompts: Vec<String>,
    /// Pictures and captions to draw.
    pub count: usize,
    /// Network evaluations.
    pub steps: usize,
    /// Guidance scale in the common form.
    pub guidance: f64,
}

impl Default for PreviewRecipe {
    fn default() -> Self {
        Self { prompts: Vec::new(), count: 16, steps: 20, guidance: 4.0 }
    }
}

/// How the squared errors of latent, CLIP embedding and text code are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weighting {
    /// One mean over all elements: the formula of the paper.
    #[default]
    Elements,
    /// The sum of the three means, which counts small parts more.
    Parts,
}

impl Recipe {
    /// Reads a recipe and fills in what follows from other parts.
    ///
    /// # Errors
    /// [`Error::Format`] with the path, the line and the field.
    pub fn open(path: &Path) -> Result<Self> {
        Self::parse(&fs::read_to_string(path)?).map_err(|e| Error::format(path, e.to_string()))
    }

    /// As [`Recipe::open`], from text.
    ///
    /// # Errors
    /// [`Error::Config`] with line and field.
    pub fn parse(text: &str) -> Result<Self> {
        let recipe: Self =
            toml::from_str(text).map_err(|e| Error::config("recipe", e.to_string()))?;
        recipe.resolve()
    }

    /// Makes the stages agree: sizes that one stage decides are copied to the others.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn resolve(mut self) -> Result<Self> {
        let side = self.data.resolution as usize;
        let in_section = |section: &str, result: Result<()>| {
            result.map_err(|e| match e {
                Error::Config { field, reason } => {
                    Error::Config { field: format!("{section}.{field}"), reason }
                }
                other => other,
            })
        };
        in_section("autoencoder.model", self.autoencoder.model.validate())?;
        self.autoencoder.model.sample_size = side;
        let shrink = self.autoencoder.model.downsampling();
        if side == 0 || !side.is_multiple_of(shrink) {
            let reason = format!("{side} is not a multiple of the autoencoder's {shrink}");
            return Err(Error::config("data.resolution", reason));
        }
        self.clip.text.projection = TextProjection::Linear;
        self.clip.text.projection_dim = self.clip.vision.projection_dim;
        let context = self.clip.text.max_position_embeddings;
        self.caption.model.prefix_length = context;
        self.caption.model.prefix_inner_dim = self.clip.text.hidden_size;
        let model = &mut self.unidiffuser.model;
        model.sample_size = side / shrink;
        model.in_channels = self.autoencoder.model.latent_channels;
        model.num_text_tokens = context;
        model.text_dim = self.caption.model.prefix_hidden_dim;
        model.clip_img_dim = self.clip.vision.projection_dim;
        in_section("unidiffuser.model", model.validate())?;
        in_section("unidiffuser", self.unidiffuser.levels.validate())?;
        let cap = self.unidiffuser.level_weight_cap;
        if !(cap.is_finite() && cap >= 1.0) {
            let reason = format!("expected at least 1, found {cap}");
            return Err(Error::config("unidiffuser.level_weight_cap", reason));
        }
        for (section, train) in [
            ("autoencoder.train", &self.autoencoder.train),
            ("clip.train", &self.clip.train),
            ("caption.train", &self.caption.train),
            ("unidiffuser.train", &self.unidiffuser.train),
        ] {
            in_section(section, train.validate())?;
        }
        let chance = self.data.first_caption;
        if !(0.0..=1.0).contains(&chance) {
            let reason = format!("expected a number in [0, 1], found {chance}");
            return Err(Error::config("data.first_caption", reason));
        }
        Ok(self)
    }

    /// The whole recipe as TOML, every field written out.
    ///
    /// # Errors
    /// [`Error::Config`] when a value has no TOML form.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::config("recipe", e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_the_stage_that_decides_them() {
        let recipe = Recipe::parse(
            "[data]\nresolution = 32\n[autoencoder.model]\nblock_out_channels = [32, 64, 64]\n\
             [clip.text]\nmax_position_embeddings = 16\nhidden_size = 48\n\
             num_attention_heads = 4\n[clip.vision]\nprojection_dim = 20\n\
             [caption.model]\nprefix_hidden_dim = 12",
        )
        .unwrap();
        let model = &recipe.unidiffuser.model;
        assert_eq!((model.sample_size, model.num_text_tokens, model.text_dim), (8, 16, 12));
        assert_eq!(model.clip_img_dim, 20);
        assert_eq!(recipe.caption.model.prefix_inner_dim, 48);
        assert_eq!(Recipe::parse(&recipe.to_toml().unwrap()).unwrap(), recipe);
    }

    #[test]
    fn mistakes_are_named_with_their_table() {
        let error = |text: &str| Recipe::parse(text).unwrap_err().to_string();
        assert!(error("[data]\nresolutoin = 3").contains("unknown field `resolutoin`"));
        assert!(
            error("[data]\nresolution = 33").contains("`data.resolution`: 33 is not a multiple")
        );
        let text = "[unidiffuser.train]\nbatch_size = 0";
        assert!(error(text).contains("`unidiffuser.train.batch_size`"), "{}", error(text));
    }
}
