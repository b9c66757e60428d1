//! Settings of a distillation run. Durations are in samples.

use serde::{Deserialize, Serialize};
use trefoil_core::rng::Seed;
use trefoil_core::{Error, Result};
use trefoil_train::{Decay, TrainConfig};

/// How a network is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Samples over which it rises.
    pub warmup: u64,
    /// What follows.
    pub decay: Decay,
    /// Decay rates of Adam's moments.
    pub betas: [f64; 2],
    /// Term that keeps Adam's denominator from zero.
    pub eps: f64,
    /// Largest global norm of the gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Samples after which the moving average has forgotten half.
    pub ema_half_life: f64,
    /// The half-life is at most this fraction of the samples seen.
    pub ema_ramp: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-5,
            warmup: 0,
            decay: Decay::Constant,
            betas: [0.0, 0.999],
            eps: 1e-8,
            clip_norm: None,
            ema_half_life: 500_000.0,
            ema_ramp: 0.05,
        }
    }
}

/// Settings of a distillation run.
///
/// A run has three parts: the fake network learns the data (`prepare`, for problems whose teacher is not
/// a network), then the student that begins there (`warm_up`), then both take turns (`duration`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistillConfig {
    /// Seed of all randomness.
    pub seed: Seed,
    /// Samples of an update, of the fake network and of the student.
    pub batch_size: usize,
    /// Samples of data on which the fake network is trained first.
    pub prepare: u64,
    /// Samples of the student on which fake score and discriminator are trained before it moves.
    pub warm_up: u64,
    /// Samples of the student in its own updates.
    pub duration: u64,
    /// Training of the fake network in `prepare`.
    pub preparation: OptimizerConfig,
    /// Training of fake score and discriminator.
    pub fake: OptimizerConfig,
    /// Training of the student.
    pub student: OptimizerConfig,
    /// Samples between two lines of the log.
    pub log_every: u64,
    /// Samples between two pictures and measurements; 0: only at the end.
    pub sample_every: u64,
    /// Samples between two checkpoints; 0: only at the end.
    pub checkpoint_every: u64,
    /// Checkpoints to keep.
    pub keep_checkpoints: usize,
    /// The run stops when this share of the logits is at the limit over a line of the log.
    pub stop_saturated: f64,
    /// The run stops when samples spread less than this part of the teacher's over a line of the log, in batches of at least 8.
    pub stop_collapsed: f64,
    /// The run stops when samples spread more than this many times the teacher's over a line of the log.
    pub stop_diverged: f64,
}

impl Default for DistillConfig {
    fn default() -> Self {
        Self {
            seed: Seed(0),
            batch_size: 256,
            prepare: 0,
            warm_up: 0,
            duration: 10_000_000,
            preparation: OptimizerConfig::default(),
            fake: OptimizerConfig::default(),
            student: OptimizerConfig::default(),
            log_every: 25_600,
            sample_every: 256_000,
            checkpoint_every: 256_000,
            keep_checkpoints: 2,
            stop_saturated: 0.98,
            stop_collapsed: 0.02,
            stop_diverged: 20.0,
        }
    }
}

impl DistillConfig {
    /// Fields that may change between two parts of one run; with another duration, learning rates and stages
    /// follow the new end from there on.
    pub(crate) const MAY_CHANGE: [&str; 8] = [
        "duration",
        "log_every",
        "sample_every",
        "checkpoint_every",
        "keep_checkpoints",
        "stop_saturated",
        "stop_collapsed",
        "stop_diverged",
    ];

    /// All samples of the run.
    pub fn total(&self) -> u64 {
        self.prepare + self.warm_up + self.duration
    }

    /// The trainer's view of one of the three optimisers.
    pub(crate) fn train_config(&self, optimizer: &OptimizerConfig, duration: u64) -> TrainConfig {
        let OptimizerConfig {
            learning_rate,
            warmup,
            decay,
            betas,
            eps,
            clip_norm,
            ema_half_life,
            ema_ramp,
        } = *optimizer;
        TrainConfig {
            seed: self.seed,
            batch_size: self.batch_size,
            duration: duration.max(1),
            learning_rate,
            warmup,
            warmup_from_zero: false,
            decay,
            weight_decay: 0.0,
            betas,
            eps,
            clip_norm,
            ema_half_life,
            ema_ramp,
            ..TrainConfig::default()
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<()> {
        for (name, optimizer) in
            [("preparation", &self.preparation), ("fake", &self.fake), ("student", &self.student)]
        {
            self.train_config(optimizer, self.duration).validate().map_err(|e| match e {
                Error::Config { field, reason } => {
                    let shared = ["batch_size", "seed"].contains(&field.as_str());
                    let field = if shared {
                        format!("train.{field}")
                    } else {
                        format!("train.{name}.{field}")
                    };
                    Error::Config { field, reason }
                }
                other => other,
            })?;
        }
        for (field, value) in [
            ("duration", self.duration),
            ("log_every", self.log_every),
            ("keep_checkpoints", self.keep_checkpoints as u64),
        ] {
            if value == 0 {
                return Err(Error::config(format!("train.{field}"), "must be at least 1"));
            }
        }
        if self.stop_diverged.is_nan() || self.stop_diverged <= 1.0 {
            let reason = format!("expected more than 1, found {}", self.stop_diverged);
            return Err(Error::config("train.stop_diverged", reason));
        }
        for (field, value) in
            [("stop_saturated", self.stop_saturated), ("stop_collapsed", self.stop_collapsed)]
        {
            if !(0.0..=1.0).contains(&value) {
                let reason = format!("expected 0 to 1, found {value}");
                return Err(Error::config(format!("train.{field}"), reason));
            }
        }
        Ok(())
    }
}
