//! Inception Score: are samples recognised with confidence, and as many different things?
//!
//! `IS = exp(E_x KL(p(y | x) || p(y)))` (Salimans et al., <https://arxiv.org/abs/1606.03498>), with
//! `p(y)` the mean over a part of the samples; the mean and the deviation over equal parts are what is
//! reported.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, enough};
use crate::report::{Measure, Row, Unit};

/// Parts of published scores.
pub const SPLITS: usize = 10;
/// How far the probabilities of a sample may be from a sum of one.
const SUM_TOLERANCE: f64 = 1e-3;

/// Score of a set of samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InceptionScore {
    /// The classifier.
    pub classifier: String,
    /// Number of samples.
    pub samples: usize,
    /// Score of each part.
    pub parts: Vec<f64>,
    /// Mean of the parts.
    pub mean: f64,
    /// Deviation of the parts, divided by their number as in published scores.
    pub deviation: f64,
}

impl InceptionScore {
    /// Scores class probabilities in `splits` consecutive parts, part `i` from row `i n / splits`.
    ///
    /// # Shapes
    /// - `probabilities`: `[n, classes]`, row-major, rows that sum to one
    ///
    /// # Errors
    /// Fewer samples than parts, rows that are not distributions.
    pub fn new(
        classifier: &str,
        probabilities: &[f64],
        classes: usize,
        splits: usize,
    ) -> Result<Self> {
        let what = "class probabilities";
        if classes == 0 || splits == 0 {
            return Err(Error::ZeroDimension { what });
        }
        if !probabilities.len().is_multiple_of(classes) {
            return Err(Error::RaggedRows { what, length: probabilities.len(), dim: classes });
        }
        let samples = probabilities.len() / classes;
        enough("Inception Score", splits, samples)?;
        for (row, values) in probabilities.chunks_exact(classes).enumerate() {
            if let Some(column) = values.iter().position(|value| !value.is_finite()) {
                return Err(Error::NotFinite { what, row, column });
            }
            let sum: f64 = values.iter().sum();
            if values.iter().any(|&value| value < 0.0) || (sum - 1.0).abs() > SUM_TOLERANCE {
                let (low, high) = (1.0 - SUM_TOLERANCE, 1.0 + SUM_TOLERANCE);
                let what = "sum of class probabilities";
                return Err(Error::OutOfRange { what, position: row, value: sum, low, high });
            }
        }
        let bound = |part: usize| part * samples / splits * classes;
        let parts: Vec<f64> = (0..splits)
            .map(|part| score(&probabilities[bound(part)..bound(part + 1)], classes))
            .collect();
        let mean = parts.iter().sum::<f64>() / splits as f64;
        let square = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / splits as f64;
        let (classifier, deviation) = (classifier.to_owned(), square.sqrt());
        Ok(Self { classifier, samples, parts, mean, deviation })
    }
}

/// `exp` of the mean divergence from the mean; `0 ln 0 = 0`.
fn score(rows: &[f64], classes: usize) -> f64 {
    let count = (rows.len() / classes) as f64;
    let mut mean = vec![0.0; classes];
    for row in rows.chunks_exact(classes) {
        for (sum, value) in mean.iter_mut().zip(row) {
            *sum += value / count;
        }
    }
    let divergence: f64 = rows
        .chunks_exact(classes)
        .flat_map(|row| row.iter().zip(&mean))
        .filter(|(p, _)| **p > 0.0)
        .map(|(p, mean)| p * (p / mean).ln())
        .sum();
    (divergence / count).exp()
}

impl Measure for InceptionScore {
    fn rows(&self) -> Vec<Row> {
        let metric = format!("Inception Score ({})", self.classifier);
        let note = format!("deviation {:.4} over {} parts", self.deviation, self.parts.len());
        vec![Row::higher_is_better(metric, Unit::Distance, self.mean, self.samples).with_note(note)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certain_and_even_samples_score_the_number_of_classes() {
        let certain = [1.0, 0.0, 0.0, 1.0];
        assert!((InceptionScore::new("c", &certain, 2, 1).unwrap().mean - 2.0).abs() < 1e-15);
        let unsure = [0.5; 4];
        assert!((InceptionScore::new("c", &unsure, 2, 2).unwrap().mean - 1.0).abs() < 1e-15);
    }

    #[test]
    fn rows_that_are_no_distributions_are_refused() {
        let score = |rows: &[f64], splits| InceptionScore::new("c", rows, 2, splits);
        assert!(matches!(score(&[0.5, 0.6], 1), Err(Error::OutOfRange { position: 0, .. })));
        assert!(matches!(score(&[1.5, -0.5], 1), Err(Error::OutOfRange { .. })));
        assert!(matches!(score(&[0.5, f64::NAN], 1), Err(Error::NotFinite { column: 1, .. })));
        assert!(matches!(score(&[0.5, 0.5], 2), Err(Error::TooFewSamples { needed: 2, .. })));
    }
}
