//! Settings of a training run, and the two schedules that follow from them.
//!
//! Durations are in samples seen, not in updates, so that a change of the batch size keeps their meaning.

use serde::{Deserialize, Serialize};
use trefoil_core::rng::Seed;
use trefoil_core::{Error, Result};

/// What the learning rate does after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decay {
    /// It stays.
    #[default]
    Constant,
    /// It falls along half a cosine and ends, at the duration, at the fraction `to` of its peak.
    Cosine {
        /// Final fraction, in `[0, 1]`.
        to: f64,
    },
}

/// Settings of a training run.
///
/// The defaults of the optimiser are those of UniDiffuser (arXiv 2303.06555, appendix on training).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Seed of the order of the data and of all noise.
    pub seed: Seed,
    /// Samples per update.
    pub batch_size: usize,
    /// Equal parts in which a batch goes through the network; saves memory, changes only rounding.
    pub accumulation: usize,
    /// Samples to see in the whole run.
    pub duration: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Samples over which the learning rate rises linearly.
    pub warmup: u64,
    /// The first update has learning rate 0, as with PyTorch's `LambdaLR(step / warmup)`.
    pub warmup_from_zero: bool,
    /// What follows the warm-up.
    pub decay: Decay,
    /// Decoupled weight decay of all parameters.
    pub weight_decay: f64,
    /// Decay rates of the two moments of Adam.
    pub betas: [f64; 2],
    /// Term that keeps the denominator of Adam from zero.
    pub eps: f64,
    /// Largest global norm of the gradient; absent: no clipping.
    pub clip_norm: Option<f64>,
    /// Samples after which the moving average has forgotten half.
    pub ema_half_life: f64,
    /// The half-life is at most this fraction of the samples seen; 0 switches the ramp off.
    pub ema_ramp: f64,
    /// Fixed decay of the moving average per update, in place of the half-life and its ramp.
    pub ema_rate: Option<f64>,
    /// Samples between two lines of the log.
    pub log_every: u64,
    /// Samples between two calls of the task's sampling; 0: never.
    pub sample_every: u64,
    /// Samples between two checkpoints; 0: only at the end.
    pub checkpoint_every: u64,
    /// Checkpoints to keep.
    pub keep_checkpoints: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            seed: Seed(0),
            batch_size: 64,
            accumulation: 1,
            duration: 1_000_000,
            learning_rate: 2e-4,
            warmup: 50_000,
            warmup_from_zero: true,
            decay: Decay::Constant,
            weight_decay: 0.03,
            betas: [0.9, 0.9],
            eps: 1e-8,
            clip_norm: None,
            ema_half_life: 50_000.0,
            ema_ramp: 0.05,
            ema_rate: None,
            log_every: 6_400,
            sample_every: 64_000,
            checkpoint_every: 64_000,
            keep_checkpoints: 2,
        }
    }
}

impl TrainConfig {
    /// Fields that may change between two parts of one run.
    pub const MAY_CHANGE: [&str; 6] = [
        "accumulation",
        "duration",
        "log_every",
        "sample_every",
        "checkpoint_every",
        "keep_checkpoints",
    ];

    /// Reads TOML; absent fields take their defaults, unknown ones are an error.
    ///
    /// # Errors
    /// [`Error::Config`] with line and field, or what [`Self::validate`] finds.
    pub fn from_toml(text: &str) -> Result<Self> {
        let config: Self =
            toml::from_str(text).map_err(|e| Error::config("train", e.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is out of range.
    pub fn validate(&self) -> Result<()> {
        let check = |good: bool, field: &str, reason: String| {
            if good { Ok(()) } else { Err(Error::config(field, reason)) }
        };
        let positive = |value: f64, field: &str| {
            let reason = format!("must be a positive number, found {value}");
            check(value.is_finite() && value > 0.0, field, reason)
        };
        let fraction = |value: f64, field: &str| {
            check((0.0..1.0).contains(&value), field, format!("must be in [0, 1), found {value}"))
        };
        let at_least_one =
            |value: u64, field: &str| check(value > 0, field, "must be at least 1".into());

        let reason = format!("must be at most {}, found {}", i64::MAX, self.seed.0);
        check(i64::try_from(self.seed.0).is_ok(), "seed", reason)?;
        at_least_one(self.batch_size as u64, "batch_size")?;
        at_least_one(self.accumulation as u64, "accumulation")?;
        let reason =
            format!("{} does not divide batch_size = {}", self.accumulation, self.batch_size);
        check(self.batch_size.is_multiple_of(self.accumulation), "accumulation", reason)?;
        at_least_one(self.duration, "duration")?;
        positive(self.learning_rate, "learning_rate")?;
        if let Decay::Cosine { to } = self.decay {
            let reason = format!("must be in [0, 1], found {to}");
            check((0.0..=1.0).contains(&to), "decay.cosine.to", reason)?;
        }
        let reason = format!("must be at least 0, found {}", self.weight_decay);
        check(self.weight_decay.is_finite() && self.weight_decay >= 0.0, "weight_decay", reason)?;
        fraction(self.betas[0], "betas[0]")?;
        fraction(self.betas[1], "betas[1]")?;
        positive(self.eps, "eps")?;
        self.clip_norm.map_or(Ok(()), |norm| positive(norm, "clip_norm"))?;
        positive(self.ema_half_life, "ema_half_life")?;
        let reason = format!("must be at least 0, found {}", self.ema_ramp);
        check(self.ema_ramp.is_finite() && self.ema_ramp >= 0.0, "ema_ramp", reason)?;
        self.ema_rate.map_or(Ok(()), |rate| fraction(rate, "ema_rate"))?;
        at_least_one(self.log_every, "log_every")?;
        at_least_one(self.keep_checkpoints as u64, "keep_checkpoints")
    }

    /// Learning rate of the update that follows `samples` samples.
    ///
    /// ```text
    /// peak * min(1, s / warmup) * (to + (1 - to) (1 + cos(pi u)) / 2),
    /// u = (samples - warmup) / (duration - warmup), clamped to [0, 1]
    /// ```
    ///
    /// where `s` is `samples`, or `samples + batch_size` without `warmup_from_zero`.
    pub fn learning_rate(&self, samples: u64) -> f64 {
        let reached =
            if self.warmup_from_zero { samples } else { samples + self.batch_size as u64 };
        let rise =
            if self.warmup == 0 { 1.0 } else { (reached as f64 / self.warmup as f64).min(1.0) };
        let fall = match self.decay {
            Decay::Constant => 1.0,
            Decay::Cosine { to } => {
                let span = self.duration.saturating_sub(self.warmup).max(1) as f64;
                let u = (samples.saturating_sub(self.warmup) as f64 / span).min(1.0);
                to + (1.0 - to) * 0.5 * (1.0 + (std::f64::consts::PI * u).cos())
            }
        };
        self.learning_rate * rise * fall
    }

    /// Decay of the moving average in the update that follows `samples` samples.
    ///
    /// ```text
    /// 0.5^(batch_size / min(half_life, ramp * samples))
    /// ```
    ///
    /// (Karras et al., arXiv 2206.00364, training code), so the average starts from the first update and
    /// not from the random initialisation; or simply `ema_rate`.
    pub fn ema_decay(&self, samples: u64) -> f64 {
        if let Some(rate) = self.ema_rate {
            return rate;
        }
        let mut half_life = self.ema_half_life;
        if self.ema_ramp > 0.0 {
            half_life = half_life.min(samples as f64 * self.ema_ramp);
        }
        0.5_f64.powf(self.batch_size as f64 / half_life.max(1e-8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_toml_is_filled_and_typos_are_named() {
        let text = "seed = 7\ndecay = { cosine = { to = 0.1 } }\nclip_norm = 1.0";
        let config = TrainConfig::from_toml(text).unwrap();
        assert_eq!((config.seed, config.batch_size), (Seed(7), 64));
        assert_eq!((config.decay, config.clip_norm), (Decay::Cosine { to: 0.1 }, Some(1.0)));
        let again = TrainConfig::from_toml(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        let error = TrainConfig::from_toml("batchsize = 3").unwrap_err().to_string();
        assert!(error.contains("unknown field `batchsize`"), "{error}");
    }

    #[test]
    fn each_bad_value_is_named() {
        let cases = [
            ("batch_size = 0", "batch_size"),
            ("batch_size = 6\naccumulation = 4", "accumulation"),
            ("learning_rate = -1.0", "learning_rate"),
            ("betas = [0.9, 1.0]", "betas[1]"),
            ("decay = { cosine = { to = 2.0 } }", "decay.cosine.to"),
            ("ema_rate = 1.0", "ema_rate"),
            ("clip_norm = nan", "clip_norm"),
            ("keep_checkpoints = 0", "keep_checkpoints"),
        ];
        for (text, field) in cases {
            let error = TrainConfig::from_toml(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid configuration `{field}`")), "{error}");
        }
    }

    #[test]
    fn the_learning_rate_rises_from_zero_and_falls_along_the_cosine() {
        let mut config = TrainConfig {
            batch_size: 10,
            duration: 1100,
            warmup: 100,
            learning_rate: 2.0,
            decay: Decay::Cosine { to: 0.5 },
            ..TrainConfig::default()
        };
        let expected = [(0, 0.0), (50, 1.0), (100, 2.0), (600, 1.5), (1100, 1.0), (2000, 1.0)];
        for (samples, rate) in expected {
            assert!((config.learning_rate(samples) - rate).abs() < 1e-12, "{samples}");
        }
        config.warmup_from_zero = false;
        assert!((config.learning_rate(0) - 0.2).abs() < 1e-12);
    }

    /// `0.5 ** (64 / min(50000, 0.05 * samples))`, by hand and with Python.
    #[test]
    fn the_moving_average_ramps_up() {
        let config = TrainConfig::default();
        let expected = [
            (0, 0.0),
            (640, 0.25),
            (6_400, 0.5_f64.powf(0.2)),
            (64_000, 0.986_232_704_493_359_2),
            (1_000_000, 0.999_113_165_079_617_6),
            (9_000_000, 0.999_113_165_079_617_6),
        ];
        for (samples, decay) in expected {
            assert!((config.ema_decay(samples) - decay).abs() < 1e-12, "{samples}");
        }
        // The published settings of two one-step distillations, computed independently.
        for (batch_size, half_life, samples, decay) in [
            (256, 500_000.0, 1_000_000, 0.996_457_376_386),
            (256, 500_000.0, 20_000_000, 0.999_645_171_610),
            (8192, 2_000_000.0, 100_000_000, 0.997_164_895_669),
        ] {
            let config = TrainConfig { batch_size, ema_half_life: half_life, ..config.clone() };
            assert!((config.ema_decay(samples) - decay).abs() < 1e-11, "{batch_size} {samples}");
        }
        let fixed = TrainConfig { ema_rate: Some(0.999), ..config };
        assert_eq!(fixed.ema_decay(0), 0.999);
    }
}
