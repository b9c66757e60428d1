//! A model and its training in one file.

use serde::{Deserialize, Serialize};

use super::config::{Selection, TrainConfig};
use super::optimizer::AdamWConfig;
use crate::model::{HoldOut, ModelConfig};

/// What a training is made of. The default is what is recommended for a shop; the published program is
/// `ModelConfig::default()` with `TrainConfig::default()`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The model.
    pub model: ModelConfig,
    /// Its training.
    pub train: TrainConfig,
}

impl Default for Recipe {
    /// The model and the steps that did best, by mean, on the logs of `docs/results/uditsr.md`.
    fn default() -> Self {
        let optimizer =
            AdamWConfig { learning_rate: 1e-2, weight_decay: 5e-3, ..AdamWConfig::default() };
        Self {
            model: ModelConfig { dim: 64, ..ModelConfig::recommended() },
            train: TrainConfig {
                epochs: 30,
                batch_size: 1024,
                optimizer,
                patience: 5,
                selection: Selection::Ndcg5,
                hold_out: HoldOut::EdgesAndWords,
                ..TrainConfig::default()
            },
        }
    }
}
