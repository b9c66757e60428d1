//! The recipe of a teacher, as users write it in TOML.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use trefoil_core::{Error, Result, fs};
use trefoil_diffusion::EdmSolverConfig;
use trefoil_train::{Decay, TrainConfig};

use super::augment::{Augmentation, DESCRIPTION};
use super::config::UNetConfig;
use super::denoiser::EdmLoss;

/// Everything about the training of a teacher. Absent keys take the published settings for CIFAR-10, but for
/// the smaller batch; with `preset`, the network is that of a published file with the given keys changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdmRecipe {
    /// Name of a published network from which `network` starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<String>,
    /// How pictures are read.
    pub data: EdmData,
    /// The network; side, classes and description follow from the data.
    pub network: UNetConfig,
    /// Noise levels and preconditioning.
    pub loss: EdmLoss,
    /// How pictures are changed.
    pub augment: Augmentation,
    /// The loop.
    pub train: TrainConfig,
    /// What is drawn while training.
    pub preview: EdmPreview,
}

/// How pictures are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdmData {
    /// Side of the pictures in pixels.
    pub resolution: u32,
    /// What transparent pixels are laid over.
    pub background: [u8; 3],
    /// Split that is used.
    pub split: String,
    /// Whether the network is told the classes.
    pub labels: bool,
}

impl Default for EdmData {
    fn default() -> Self {
        Self { resolution: 32, background: [255; 3], split: "train".into(), labels: false }
    }
}

/// What is drawn while training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdmPreview {
    /// Pictures; 0: none.
    pub count: usize,
    /// The solver.
    pub solver: EdmSolverConfig,
}

impl Default for EdmPreview {
    fn default() -> Self {
        Self { count: 36, solver: EdmSolverConfig::default() }
    }
}

impl Default for EdmRecipe {
    fn default() -> Self {
        let train = TrainConfig {
            batch_size: 128,
            duration: 200_000_000,
            learning_rate: 1e-3,
            warmup: 10_000_000,
            decay: Decay::Constant,
            weight_decay: 0.0,
            betas: [0.9, 0.999],
            ema_half_life: 500_000.0,
            ema_ramp: 0.05,
            ..TrainConfig::default()
        };
        Self {
            preset: None,
            data: EdmData::default(),
            network: UNetConfig::default(),
            loss: EdmLoss::default(),
            augment: Augmentation::default(),
            train,
            preview: EdmPreview::default(),
        }
    }
}

impl EdmRecipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`Error::Format`] with the path and the field.
    pub fn open(path: &Path) -> Result<Self> {
        Self::parse(&fs::read_to_string(path)?).map_err(|e| Error::format(path, e.to_string()))
    }

    /// As [`EdmRecipe::open`], from text.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |e: String| Error::config("recipe", e);
        let written: Table = text.parse().map_err(|e: toml::de::Error| wrong(e.to_string()))?;
        let mut base = Self::default();
        if let Some(Value::String(name)) = written.get("preset") {
            base.network = UNetConfig::preset(name)?;
            base.data.resolution = base.network.resolution as u32;
            base.data.labels = base.network.label_dim > 0;
        }
        let mut table = Table::try_from(&base).map_err(|e| wrong(e.to_string()))?;
        let asked = written.get("network").and_then(|network| network.get("resolution")).cloned();
        overlay(&mut table, written);
        let mut recipe: Self = table.try_into().map_err(|e| wrong(e.to_string()))?;
        let side = recipe.data.resolution;
        if let Some(found) = asked.filter(|found| *found != Value::Integer(side.into())) {
            let reason = format!("expected that of `data.resolution`, {side}, found {found}");
            return Err(Error::config("network.resolution", reason));
        }
        recipe.network.resolution = side as usize;
        recipe.validate()?;
        Ok(recipe)
    }

    /// Checks every table.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field with its table.
    pub fn validate(&self) -> Result<()> {
        let within = |section: &str, result: Result<()>| {
            result.map_err(|e| match e {
                Error::Config { field, reason } => {
                    Error::config(format!("{section}.{field}"), reason)
                }
                other => other,
            })
        };
        let side = self.data.resolution as usize;
        let network = UNetConfig { resolution: side, ..self.network.clone() };
        within("network", network.validate())?;
        within("loss", self.loss.validate())?;
        within("augment", self.augment.validate())?;
        within("train", self.train.validate())?;
        let solver = self.preview.solver.build();
        solver.map(drop).map_err(|e| Error::config("preview.solver", e.to_string()))
    }

    /// The network for data with these classes.
    ///
    /// # Errors
    /// [`Error::Config`] when labels are asked for and there are none.
    pub fn network_for(&self, classes: usize) -> Result<UNetConfig> {
        if self.data.labels && classes == 0 {
            let reason = "the pictures have no classes: expected class folders, `label` fields or \
                          `.cls` files";
            return Err(Error::config("data.labels", reason));
        }
        Ok(UNetConfig {
            resolution: self.data.resolution as usize,
            channels: 3,
            label_dim: if self.data.labels { classes } else { 0 },
            augment_dim: if self.augment == Augmentation::none() { 0 } else { DESCRIPTION },
            ..self.network.clone()
        })
    }

    /// The whole recipe as TOML, every field written out.
    ///
    /// # Errors
    /// [`Error::Config`] when a value has no TOML form.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::config("recipe", e.to_string()))
    }
}

/// Puts the values of one table over those of another.
fn overlay(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => overlay(inner, value),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edm::Family;

    #[test]
    fn written_keys_change_the_preset_and_the_defaults() {
        let recipe = EdmRecipe::parse(
            "preset = \"edm-imagenet-64x64-cond-adm\"\n[network]\nnum_blocks = 1\n\
             [train]\nbatch_size = 32\ndecay = { cosine = { to = 0.1 } }\n[data]\nresolution = 32",
        )
        .unwrap();
        assert_eq!((recipe.network.family, recipe.network.num_blocks), (Family::Adm, 1));
        assert_eq!(recipe.network.model_channels, 192);
        assert_eq!((recipe.train.batch_size, recipe.train.betas), (32, [0.9, 0.999]));
        assert_eq!(recipe.train.decay, Decay::Cosine { to: 0.1 });
        assert_eq!((recipe.data.resolution, recipe.data.labels), (32, true));
        let network = recipe.network_for(7).unwrap();
        assert_eq!((network.resolution, network.label_dim, network.augment_dim), (32, 7, 9));
        assert_eq!(EdmRecipe::parse(&recipe.to_toml().unwrap()).unwrap(), recipe);
    }

    #[test]
    fn mistakes_are_named_with_their_table() {
        let error = |text: &str| EdmRecipe::parse(text).unwrap_err().to_string();
        assert!(error("[data]\nresolutoin = 3").contains("unknown field `resolutoin`"));
        assert!(error("preset = \"edm\"").contains("expected one of edm-cifar10-32x32-uncond-vp"));
        for (text, field) in [
            ("[network]\nnum_blocks = 0", "network.num_blocks"),
            ("[data]\nresolution = 30", "network.resolution"),
            ("[loss]\np_std = 0.0", "loss.p_std"),
            ("[augment]\nprobability = 2.0", "augment.probability"),
            ("[train]\nbatch_size = 0", "train.batch_size"),
            ("[preview.solver]\nsteps = 0", "preview.solver"),
        ] {
            assert!(error(text).contains(&format!("`{field}`")), "{}", error(text));
        }
        let recipe = EdmRecipe::parse("[data]\nlabels = true").unwrap();
        let error = recipe.network_for(0).unwrap_err().to_string();
        assert!(error.contains("`data.labels`: the pictures have no classes"), "{error}");
    }
}
