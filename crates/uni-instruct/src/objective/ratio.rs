//! From the logits of a discriminator to density ratios that training survives.
//!
//! A discriminator that separates teacher (1) from student (0) at the same noise level has, at its
//! optimum, the logit `log q_sigma(x) / p_sigma(x)`; then `E_p[r] = 1` at every level, which the bins
//! enforce (f-distill, arXiv 2502.15681, variance reduction).

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result};

use crate::divergence::{Divergence, Weights};

/// The bins over `log sigma` in which the mean of the ratio is kept at one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bins {
    /// Number of bins.
    pub count: usize,
    /// Smallest sigma that has a bin of its own.
    pub min: f64,
    /// Largest sigma that has a bin of its own.
    pub max: f64,
    /// Rate of the moving average over batches, in `[0, 1)`: 0 takes the batch alone.
    pub rate: f64,
}

/// How a logit becomes a density ratio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RatioSettings {
    /// Logits are clamped to `[-limit, limit]`.
    pub logit_limit: f64,
    /// Bounds of the ratio after all corrections.
    pub bounds: [f64; 2],
    /// Soft bound of `|log r|`: the divergence is replaced by one of bounded ratio, see
    /// [`Divergence::weights_within`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soft_limit: Option<f64>,
    /// Calibration by `E_p[r] = 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bins: Option<Bins>,
    /// Whether weights are divided by the batch mean of `h`, which only rescales the step.
    pub unit_mean: bool,
    /// Weight of the discriminator's loss beside that of the fake score.
    pub discriminator_weight: f64,
}

impl Default for RatioSettings {
    fn default() -> Self {
        Self {
            logit_limit: 10.0,
            bounds: [1e-3, 1e3],
            soft_limit: None,
            bins: None,
            unit_mean: false,
            discriminator_weight: 1.0,
        }
    }
}

impl RatioSettings {
    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let bad = |field: &str, reason: String| {
            Err(Error::config(format!("objective.ratio.{field}"), reason))
        };
        if !(self.logit_limit > 0.0 && self.logit_limit.is_finite()) {
            return bad("logit_limit", format!("expected more than 0, found {}", self.logit_limit));
        }
        if let Some(limit) = self.soft_limit
            && !(limit > 0.0 && limit.is_finite())
        {
            return bad("soft_limit", format!("expected more than 0, found {limit}"));
        }
        let [low, high] = self.bounds;
        if !(low > 0.0 && low < 1.0 && high > 1.0 && high.is_finite()) {
            return bad("bounds", format!("expected 0 < low < 1 < high, found {low} and {high}"));
        }
        if !(self.discriminator_weight >= 0.0 && self.discriminator_weight.is_finite()) {
            let reason = format!("expected at least 0, found {}", self.discriminator_weight);
            return bad("discriminator_weight", reason);
        }
        match self.bins {
            Some(Bins { count, min, max, rate })
                if count == 0 || !(min > 0.0 && max > min && (0.0..1.0).contains(&rate)) =>
            {
                let found = format!("found {count}, {min} to {max}, {rate}");
                bad("bins", format!("expected count > 0, 0 < min < max, 0 <= rate < 1; {found}"))
            }
            _ => Ok(()),
        }
    }

    /// Fresh state of the calibration.
    pub fn calibration(&self) -> Calibration {
        Calibration { means: vec![None; self.bins.map_or(0, |bins| bins.count)] }
    }

    /// Makes a state fit these settings, as when a run goes on with another objective.
    pub(crate) fn fit(&self, calibration: &mut Calibration) {
        let count = self.bins.map_or(0, |bins| bins.count);
        if calibration.means.len() != count {
            *calibration = self.calibration();
        }
    }

    /// Calibrated logits, and the share of them that was at the limit.
    pub fn log_ratios(
        &self,
        logits: &[f64],
        sigma: &[f64],
        calibration: &mut Calibration,
    ) -> (Vec<f64>, f64) {
        let limit = self.logit_limit;
        let at_limit = logits.iter().filter(|l| l.abs() >= limit).count();
        let mut logs: Vec<f64> = logits.iter().map(|l| l.clamp(-limit, limit)).collect();
        if let Some(bins) = self.bins {
            let of = |s: f64| {
                let place = (s / bins.min).ln() / (bins.max / bins.min).ln();
                ((place * bins.count as f64).max(0.0) as usize).min(bins.count - 1)
            };
            for (bin, mean) in calibration.means.iter_mut().enumerate() {
                let inside = logs.iter().zip(sigma).filter(|(_, s)| of(**s) == bin);
                let (sum, count) = inside.fold((0.0, 0), |(t, n), (l, _)| (t + l.exp(), n + 1));
                if count > 0 {
                    let now = sum / f64::from(count);
                    *mean = Some(mean.map_or(now, |old| bins.rate * old + (1.0 - bins.rate) * now));
                }
            }
            for (l, s) in logs.iter_mut().zip(sigma) {
                *l -= calibration.means[of(*s)].map_or(0.0, f64::ln);
            }
        }
        let [low, high] = self.bounds.map(f64::ln);
        for log in &mut logs {
            *log = log.clamp(low, high);
        }
        (logs, at_limit as f64 / logits.len().max(1) as f64)
    }

    /// The weights of a divergence at calibrated log ratios.
    pub fn weights(&self, divergence: Divergence, log_ratios: &[f64]) -> Vec<Weights> {
        let of = |l: &f64| match self.soft_limit {
            Some(limit) => divergence.weights_within(*l, limit),
            None => divergence.weights(*l),
        };
        let mut weights: Vec<Weights> = log_ratios.iter().map(of).collect();
        if self.unit_mean {
            let mean = weights.iter().map(|w| w.h).sum::<f64>() / weights.len().max(1) as f64;
            for weight in &mut weights {
                *weight = weight.scaled(mean.max(1e-8).recip());
            }
        }
        weights
    }
}

/// Moving averages of the ratio, one per bin; part of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    means: Vec<Option<f64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_bring_the_mean_ratio_to_one() {
        let bins = Bins { count: 2, min: 0.1, max: 10.0, rate: 0.0 };
        let settings = RatioSettings { bins: Some(bins), ..RatioSettings::default() };
        let mut state = settings.calibration();
        let sigma = [0.2, 0.3, 5.0, 6.0];
        let logits = [1.0, 2.0, -1.0, 20.0];
        let (logs, clamped) = settings.log_ratios(&logits, &sigma, &mut state);
        assert_eq!(clamped, 0.25);
        for pair in logs.chunks_exact(2) {
            let mean = 0.5 * (pair[0].exp() + pair[1].exp());
            assert!((mean - 1.0).abs() < 2e-3, "{mean}");
        }
        let kept = RatioSettings { bins: Some(Bins { rate: 0.5, ..bins }), ..settings };
        kept.log_ratios(&[0.0; 4], &sigma, &mut state);
        let expected = 0.5 * (1.0_f64.exp() + 2.0_f64.exp()) / 2.0 + 0.5;
        assert!((state.means[0].unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn unit_mean_rescales_all_weights_alike() {
        let settings = RatioSettings { unit_mean: true, ..RatioSettings::default() };
        let weights = settings.weights(Divergence::Pearson, &[0.0, 1.0]);
        let plain = Divergence::Pearson.weights(1.0);
        assert!((weights.iter().map(|w| w.h).sum::<f64>() - 2.0).abs() < 1e-12);
        assert!((weights[1].curvature / weights[1].h - plain.curvature / plain.h).abs() < 1e-12);
    }
}
