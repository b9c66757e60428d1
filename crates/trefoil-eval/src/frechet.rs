//! Frechet distance between two Gaussians.
//!
//! `d^2 = |mu_1 - mu_2|^2 + tr(S_1) + tr(S_2) - 2 tr((S_1^{1/2} S_2 S_1^{1/2})^{1/2})`
//! (Dowson and Landau 1982; used on network features as FID by Heusel et al.,
//! <https://arxiv.org/abs/1706.08500>). As in that literature the squared form is reported.

use faer::{Mat, MatRef, Side};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, same_size};
use crate::features::Features;
use crate::moments::{CovarianceDivisor, Gaussian};
use crate::report::{Measure, Row, Unit};

/// A negative eigenvalue up to this part of the largest one is rounding (of statistics that were
/// stored in f32, say) and is taken as zero.
const NEGATIVE_TOLERANCE: f64 = 1e-5;
/// Entries of a covariance and of its transpose may differ by this part of the largest entry.
const ASYMMETRY_TOLERANCE: f64 = 1e-6;

/// Squared Frechet distance of two Gaussians, at least zero.
///
/// With `S_i = R_i^T R_i` from the eigen-decompositions, the last trace is the sum of the singular
/// values of `R_1 R_2^T`. This never squares the roots, so the distance of a Gaussian with a
/// rank-deficient covariance to itself is zero to about 14 digits instead of seven.
///
/// The distance falls with the number of samples: compare values of equal counts only.
///
/// # Errors
/// Different dimensions, values that are not finite, matrices that are not covariances.
pub fn frechet_distance(first: &Gaussian, second: &Gaussian) -> Result<f64> {
    same_size("dimension of the second Gaussian", first.dim(), second.dim())?;
    let (first_root, second_root) = rayon::join(
        || covariance_root("covariance of the first Gaussian", first),
        || covariance_root("covariance of the second Gaussian", second),
    );
    let product = &first_root? * second_root?.transpose(); // [D, D]
    let singular_values = product
        .singular_values()
        .map_err(|_| Error::NoConvergence { what: "product of the covariance roots" })?;

    let means: f64 = first.mean.iter().zip(&second.mean).map(|(a, b)| (a - b).powi(2)).sum();
    let cross: f64 = singular_values.iter().sum();
    Ok((means + trace(first) + trace(second) - 2.0 * cross).max(0.0))
}

fn trace(gaussian: &Gaussian) -> f64 {
    gaussian.covariance.iter().step_by(gaussian.dim() + 1).sum()
}

/// `R = L^{1/2} U^T` of `S = U L U^T`, with negative eigenvalues from rounding taken as zero.
fn covariance_root(what: &'static str, gaussian: &Gaussian) -> Result<Mat<f64>> {
    let dim = gaussian.dim();
    check_symmetric(what, gaussian)?;
    let covariance = MatRef::from_row_major_slice(&gaussian.covariance, dim, dim);
    let eigen =
        covariance.self_adjoint_eigen(Side::Lower).map_err(|_| Error::NoConvergence { what })?;
    let values: Vec<f64> = eigen.S().column_vector().iter().copied().collect(); // nondecreasing
    if let (Some(&smallest), Some(&largest)) = (values.first(), values.last())
        && smallest < -NEGATIVE_TOLERANCE * largest.abs()
    {
        return Err(Error::NotPositiveSemidefinite { what, smallest, largest });
    }
    let vectors = eigen.U();
    Ok(Mat::from_fn(dim, dim, |row, column| values[row].max(0.0).sqrt() * vectors[(column, row)]))
}

fn check_symmetric(what: &'static str, gaussian: &Gaussian) -> Result<()> {
    let (dim, covariance) = (gaussian.dim(), &gaussian.covariance);
    if dim == 0 {
        return Err(Error::ZeroDimension { what });
    }
    same_size(what, dim * dim, covariance.len())?;
    if let Some(column) = gaussian.mean.iter().position(|value| !value.is_finite()) {
        return Err(Error::NotFinite { what: "mean of a Gaussian", row: 0, column });
    }
    if let Some(index) = covariance.iter().position(|value| !value.is_finite()) {
        return Err(Error::NotFinite { what, row: index / dim, column: index % dim });
    }
    let largest = covariance.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
    for row in 0..dim {
        for column in 0..row {
            let difference =
                (covariance[row * dim + column] - covariance[column * dim + row]).abs();
            if difference > ASYMMETRY_TOLERANCE * largest {
                return Err(Error::NotSymmetric { what, row, column, difference });
            }
        }
    }
    Ok(())
}

/// Frechet distance of generated to real features, with the counts that a reader needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrechetReport {
    /// What the features are, e.g. `CLIP ViT-B/32 image embedding`.
    pub features: String,
    /// Feature dimension.
    pub dim: usize,
    /// Number of real samples.
    pub real_samples: usize,
    /// Number of generated samples.
    pub generated_samples: usize,
    /// What both covariances were divided by; `None` when one of the fits does not tell.
    #[serde(default)]
    pub divisor: Option<CovarianceDivisor>,
    /// Squared Frechet distance.
    pub distance: f64,
}

impl FrechetReport {
    /// Compares two fits; `features` names what was fitted.
    ///
    /// # Errors
    /// As [`frechet_distance`].
    pub fn new(features: &str, real: &Gaussian, generated: &Gaussian) -> Result<Self> {
        Ok(Self {
            features: features.to_owned(),
            dim: real.dim(),
            real_samples: real.samples,
            generated_samples: generated.samples,
            divisor: real.divisor.filter(|_| real.divisor == generated.divisor),
            distance: frechet_distance(real, generated)?,
        })
    }

    /// Fits and compares two sets of vectors.
    ///
    /// # Errors
    /// As [`Gaussian::fit`] and [`frechet_distance`].
    pub fn from_features(
        features: &str,
        real: Features<'_>,
        generated: Features<'_>,
    ) -> Result<Self> {
        Self::new(features, &Gaussian::fit(real)?, &Gaussian::fit(generated)?)
    }
}

impl Measure for FrechetReport {
    fn rows(&self) -> Vec<Row> {
        let mut note = match self.real_samples {
            0 => "against statistics that do not tell their count".to_owned(),
            count => format!("against {count} real samples"),
        };
        note += match self.divisor {
            Some(CovarianceDivisor::Samples) => ", covariances divided by n",
            Some(CovarianceDivisor::SamplesMinusOne) => ", covariances divided by n-1",
            None => ", divisor of the covariances unknown",
        };
        let known = [self.generated_samples, self.real_samples].into_iter().filter(|&n| n > 0);
        if known.min().is_some_and(|n| n <= self.dim) {
            note += ", rank-deficient (no more samples than dimensions): biased upwards";
        }
        let metric = format!("Frechet distance ({})", self.features);
        vec![
            Row::lower_is_better(metric, Unit::Distance, self.distance, self.generated_samples)
                .with_note(note),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaussian(mean: &[f64], covariance: &[f64]) -> Gaussian {
        let (mean, covariance) = (mean.to_vec(), covariance.to_vec());
        let divisor = Some(CovarianceDivisor::SamplesMinusOne);
        Gaussian { samples: 100, mean, covariance, divisor }
    }

    fn assert_distance(a: &Gaussian, b: &Gaussian, expected: f64) {
        for (a, b) in [(a, b), (b, a)] {
            let found = frechet_distance(a, b).unwrap();
            assert!((found - expected).abs() < 1e-12, "{found} against {expected}");
        }
    }

    #[test]
    fn equal_gaussians_are_at_distance_zero() {
        let full = gaussian(&[1.0, -2.0], &[2.0, 0.7, 0.7, 1.0]);
        assert_distance(&full, &full, 0.0);
        let rank_one = gaussian(&[1.0, -2.0, 3.0], &[1.0, 2.0, 3.0, 2.0, 4.0, 6.0, 3.0, 6.0, 9.0]);
        assert_distance(&rank_one, &rank_one, 0.0);
    }

    #[test]
    fn scalars_have_the_closed_form() {
        // (mu_1 - mu_2)^2 + (sigma_1 - sigma_2)^2
        assert_distance(&gaussian(&[1.0], &[9.0]), &gaussian(&[-1.0], &[4.0]), 4.0 + 1.0);
        assert_distance(&gaussian(&[0.0], &[0.0]), &gaussian(&[0.0], &[6.25]), 6.25);
    }

    #[test]
    fn diagonals_add_the_scalar_forms() {
        let a = gaussian(&[0.0, 1.0, 2.0], &[1.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.25]);
        let b = gaussian(&[0.5, 1.0, 0.0], &[9.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        // 0.25 + 0 + 4 from the means; (1-3)^2 + (2-1)^2 + (0.5-0)^2 from the deviations.
        assert_distance(&a, &b, 4.25 + 5.25);
    }

    #[test]
    fn commuting_covariances_share_their_eigenvectors() {
        // [[a, b], [b, a]] has eigenvalues a + b and a - b on (1, 1) and (1, -1).
        let a = gaussian(&[0.0; 2], &[5.0, 4.0, 4.0, 5.0]); // 9, 1
        let b = gaussian(&[0.0; 2], &[10.0, -6.0, -6.0, 10.0]); // 4, 16
        assert_distance(&a, &b, 1.0 + 9.0);
    }

    #[test]
    fn two_dimensions_have_a_closed_form_without_commuting() {
        // For 2x2: tr((S_1 S_2)^{1/2}) = sqrt(tr(S_1 S_2) + 2 sqrt(det S_1 det S_2)).
        let a = gaussian(&[0.0; 2], &[2.0, 1.0, 1.0, 3.0]);
        let b = gaussian(&[0.0; 2], &[4.0, -1.0, -1.0, 1.0]);
        let cross = (9.0_f64 + 2.0 * (5.0_f64 * 3.0).sqrt()).sqrt();
        assert_distance(&a, &b, 10.0 - 2.0 * cross);
    }

    #[test]
    fn what_is_not_a_covariance_is_refused() {
        let good = gaussian(&[0.0; 2], &[1.0, 0.0, 0.0, 1.0]);
        let distance = |bad: &Gaussian| frechet_distance(&good, bad);
        assert!(matches!(
            distance(&gaussian(&[0.0; 2], &[1.0, 2.0, 2.0, 1.0])),
            Err(Error::NotPositiveSemidefinite { .. })
        ));
        assert!(matches!(
            distance(&gaussian(&[0.0; 2], &[1.0, 0.5, 0.0, 1.0])),
            Err(Error::NotSymmetric { row: 1, column: 0, .. })
        ));
        assert!(matches!(
            distance(&gaussian(&[0.0; 2], &[1.0, 0.0, 0.0, f64::NAN])),
            Err(Error::NotFinite { row: 1, column: 1, .. })
        ));
        assert!(matches!(
            distance(&gaussian(&[0.0; 2], &[1.0])),
            Err(Error::SizeMismatch { expected: 4, found: 1, .. })
        ));
        assert!(matches!(distance(&gaussian(&[0.0], &[1.0])), Err(Error::SizeMismatch { .. })));
    }

    #[test]
    fn the_row_names_features_and_warns_about_rank() {
        let a = gaussian(&[1.0], &[9.0]);
        let b = Gaussian { samples: 1, ..gaussian(&[-1.0], &[4.0]) };
        let rows = FrechetReport::new("pixels", &a, &b).unwrap().rows();
        assert_eq!(rows[0].metric, "Frechet distance (pixels)");
        assert!((rows[0].value - 5.0).abs() < 1e-12);
        assert!(rows[0].note.contains("rank-deficient"), "{}", rows[0].note);
    }
}
