//! A model and its training in one file.

use serde::{Deserialize, Serialize};

use super::config::{Selection, TrainConfig};
use super::optimizer::AdamWConfig;
use crate::model::ModelConfig;

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
    /// The corrected model with steps that fit logs of thousands to millions of events.
    fn default() -> Self {
        let optimizer =
            AdamWConfig { learning_rate: 5e-3, weight_decay: 0.05, ..AdamWConfig::default() };
        Self {
            model: ModelConfig { dim: 64, ..ModelConfig::corrected() },
            train: TrainConfig {
                epochs: 30,
                batch_size: 1024,
                optimizer,
                patience: 5,
                selection: Selection::Ndcg5,
                ..TrainConfig::default()
            },
        }
    }
}
