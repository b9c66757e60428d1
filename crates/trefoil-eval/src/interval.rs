//! 95 % confidence intervals.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, enough};

/// Two-sided 95 % quantile of the normal distribution, as it is usually rounded.
const Z: f64 = 1.96;

/// A 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A mean with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanEstimate {
    /// Mean of the samples.
    pub mean: f64,
    /// Its interval; `None` for a single sample, whose spread is unknown.
    pub interval: Option<Interval>,
}

/// Mean of per-sample values with the normal approximation `mean +- 1.96 s / sqrt(n)`, where `s` is
/// the standard deviation with `n - 1`.
///
/// # Errors
/// No samples, or a value that is not finite.
pub fn mean_estimate(values: &[f64]) -> Result<MeanEstimate> {
    enough("mean", 1, values.len())?;
    if let Some(row) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::NotFinite { what: "per-sample values", row, column: 0 });
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let interval = (values.len() > 1).then(|| {
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half = Z * (variance / n).sqrt();
        Interval { low: mean - half, high: mean + half }
    });
    Ok(MeanEstimate { mean, interval })
}

/// Interval of a proportion by Wilson (1927), which stays in `[0, 1]` and is honest near its ends:
/// `(p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)`.
///
/// # Errors
/// No trials, or more successes than trials.
pub fn wilson_interval(successes: usize, trials: usize) -> Result<Interval> {
    enough("proportion", 1, trials)?;
    if successes > trials {
        return Err(Error::OutOfRange {
            what: "successes",
            position: 0,
            value: successes as f64,
            low: 0.0,
            high: trials as f64,
        });
    }
    let n = trials as f64;
    let p = successes as f64 / n;
    let z2 = Z * Z;
    let centre = p + z2 / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    // At p = 0 and p = 1 one end is p itself, which rounding must not move to the other side.
    Ok(Interval {
        low: ((centre - half) / scale).clamp(0.0, p),
        high: ((centre + half) / scale).clamp(p, 1.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_interval(found: Interval, low: f64, high: f64) {
        assert!((found.low - low).abs() < 1e-12, "low {} against {low}", found.low);
        assert!((found.high - high).abs() < 1e-12, "high {} against {high}", found.high);
    }

    #[test]
    fn means_use_the_unbiased_deviation() {
        // Mean 2.5, s^2 = 5/3, s / sqrt(4) = sqrt(5/12).
        let estimate = mean_estimate(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        let half = 1.96 * (5.0_f64 / 12.0).sqrt();
        assert_eq!(estimate.mean, 2.5);
        assert_interval(estimate.interval.unwrap(), 2.5 - half, 2.5 + half);
    }

    #[test]
    fn one_sample_has_no_interval_and_none_no_mean() {
        assert_eq!(mean_estimate(&[7.0]).unwrap(), MeanEstimate { mean: 7.0, interval: None });
        assert!(matches!(mean_estimate(&[]), Err(Error::TooFewSamples { found: 0, .. })));
        assert!(matches!(mean_estimate(&[0.0, f64::NAN]), Err(Error::NotFinite { row: 1, .. })));
    }

    #[test]
    fn wilson_has_closed_forms_at_the_ends_and_the_middle() {
        let z2 = 1.96_f64 * 1.96;
        assert_eq!(wilson_interval(0, 432).unwrap().low, 0.0); // rounding alone gives 1e-19
        assert_interval(wilson_interval(0, 10).unwrap(), 0.0, z2 / (10.0 + z2));
        assert_interval(wilson_interval(10, 10).unwrap(), 10.0 / (10.0 + z2), 1.0);
        // p = 1/2: the interval is 1/2 +- z / (2 sqrt(n + z^2)).
        let half = 0.5 * 1.96 / (16.0 + z2).sqrt();
        assert_interval(wilson_interval(8, 16).unwrap(), 0.5 - half, 0.5 + half);
    }

    #[test]
    fn impossible_counts_are_refused() {
        assert!(matches!(wilson_interval(0, 0), Err(Error::TooFewSamples { .. })));
        assert!(matches!(wilson_interval(3, 2), Err(Error::OutOfRange { .. })));
    }
}
