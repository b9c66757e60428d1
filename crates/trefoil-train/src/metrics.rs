//! One line of the log, and the sums from which it is made.

use serde::{Deserialize, Serialize};

/// One line of `metrics.jsonl`: means over the updates since the line before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Updates made.
    pub step: u64,
    /// Samples seen.
    pub samples: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// Mean loss.
    pub loss: f64,
    /// Mean of each named part of the loss.
    pub parts: serde_json::Map<String, serde_json::Value>,
    /// Mean norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate of the last update.
    pub learning_rate: f64,
    /// Decay of the moving average in the last update.
    pub ema_decay: f64,
    /// Speed since the line before, or since the start of the process.
    pub samples_per_second: f64,
    /// Seconds trained, over all parts of the run.
    pub seconds: f64,
}

/// Sums since the last line of the log. They are part of a checkpoint, as bits, so that a resumed run
/// writes the same lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    updates: u64,
    sums: Vec<(String, u64)>,
}

impl Interval {
    /// Counts one update.
    pub fn count_update(&mut self) {
        self.updates += 1;
    }

    /// Adds to a sum.
    pub fn add(&mut self, name: &str, value: f64) {
        if let Some((_, sum)) = self.sums.iter_mut().find(|(n, _)| n == name) {
            *sum = (f64::from_bits(*sum) + value).to_bits();
        } else {
            self.sums.push((name.into(), value.to_bits()));
        }
    }

    /// Mean over the updates; zero when nothing was added.
    pub fn mean(&self, name: &str) -> f64 {
        let sum = self.sums.iter().find(|(n, _)| n == name);
        sum.map_or(0.0, |(_, sum)| f64::from_bits(*sum)) / self.updates.max(1) as f64
    }

    /// Means of all names that begin with a prefix, in the order in which they came.
    pub fn means(&self, prefix: &str) -> Vec<(String, f64)> {
        let names = self.sums.iter().filter_map(|(name, _)| name.strip_prefix(prefix));
        names.map(|name| (name.into(), self.mean(&format!("{prefix}{name}")))).collect()
    }
}
