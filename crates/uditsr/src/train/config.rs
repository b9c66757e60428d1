//! How long and on what a model is trained.

use serde::{Deserialize, Serialize};

use super::optimizer::AdamWConfig;
use crate::model::HoldOut;
use crate::{Error, Result};

/// What the validation chooses by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// Hit rate at 5 of all rows together, as in the published program.
    #[default]
    Hit5,
    /// NDCG at 5, the mean of search and recommendation, each scenario counting the same.
    Ndcg5,
}

/// Settings of a training. Defaults are those of the published program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Most passes over the training rows.
    pub epochs: usize,
    /// Rows of a batch, each with one negative.
    pub batch_size: usize,
    /// The optimiser.
    pub optimizer: AdamWConfig,
    /// Passes between two validations.
    pub validate_every: usize,
    /// Validations without a better result after which training stops.
    pub patience: usize,
    /// What a better result is.
    pub selection: Selection,
    /// Steps between two runs of the generator on the graph. With more than 1 the demand on the edges
    /// is up to so many steps old and has no gradient, which is faster and not the same.
    pub refresh_intents: usize,
    /// What of a batch is taken out of the graph while it is learned.
    pub hold_out: HoldOut,
    /// Seed of parameters, order and negatives.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch_size: 256,
            optimizer: AdamWConfig::default(),
            validate_every: 1,
            patience: 10,
            selection: Selection::default(),
            refresh_intents: 1,
            hold_out: HoldOut::default(),
            seed: 0,
        }
    }
}

impl TrainConfig {
    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("validate_every", self.validate_every),
            ("patience", self.patience),
            ("refresh_intents", self.refresh_intents),
        ];
        if let Some((field, _)) = counts.iter().find(|(_, count)| *count == 0) {
            let reason = "must be at least 1, found 0".to_owned();
            return Err(Error::Config { field: (*field).to_owned(), reason });
        }
        self.optimizer.validate()
    }
}
