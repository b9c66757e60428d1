//! Peak signal-to-noise ratio of reconstructions.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, enough, same_size};
use crate::features::Features;
use crate::interval::{MeanEstimate, mean_estimate};
use crate::report::{Measure, Row, Unit};

/// Upper end of the PSNR of one image in dB.
///
/// Equal images have an infinite PSNR, which would make every mean infinite. 100 dB is a mean
/// squared error of `1e-10`, far below that of rounding to 8 bits (58.9 dB).
pub const PSNR_CAP: f64 = 100.0;

/// PSNR of each image and its mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PsnrReport {
    /// PSNR of each image in dB, at most [`PSNR_CAP`].
    pub per_image: Vec<f64>,
    /// Mean of the PSNRs (not PSNR of the mean error).
    pub mean: MeanEstimate,
    /// Number of images that were capped.
    pub capped: usize,
}

/// `PSNR = -10 log10(mean((a - b)^2))` of each pair of images in `[0, 1]`, at most [`PSNR_CAP`].
///
/// # Shapes
/// `images`, `references`: `[n, values]`, one image per row in any order of its values.
///
/// # Errors
/// Different sizes, no images, values outside of `[0, 1]`.
pub fn psnr(images: Features<'_>, references: Features<'_>) -> Result<PsnrReport> {
    same_size("values per reference image", images.dim(), references.dim())?;
    same_size("number of reference images", images.rows(), references.rows())?;
    enough("PSNR", 1, images.rows())?;
    check_unit_range(images)?;
    check_unit_range(references)?;

    let per_image: Vec<f64> = (0..images.rows())
        .into_par_iter()
        .map(|i| {
            (-10.0 * mean_squared_error(images.row(i), references.row(i)).log10()).min(PSNR_CAP)
        })
        .collect();
    let mean = mean_estimate(&per_image)?;
    let capped = per_image.iter().filter(|&&value| value == PSNR_CAP).count();
    Ok(PsnrReport { per_image, mean, capped })
}

fn mean_squared_error(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    sum / a.len() as f64
}

fn check_unit_range(images: Features<'_>) -> Result<()> {
    match images.values().iter().position(|value| !(0.0..=1.0).contains(value)) {
        None => Ok(()),
        Some(position) => Err(Error::OutOfRange {
            what: images.what(),
            position,
            value: f64::from(images.values()[position]),
            low: 0.0,
            high: 1.0,
        }),
    }
}

impl Measure for PsnrReport {
    fn rows(&self) -> Vec<Row> {
        let row =
            Row::higher_is_better("PSNR", Unit::Decibel, self.mean.mean, self.per_image.len())
                .with_interval(self.mean.interval);
        vec![match self.capped {
            0 => row,
            capped => row.with_note(format!("images capped at {PSNR_CAP} dB: {capped}")),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(values: &[f32]) -> Features<'_> {
        Features::new("images", values, 4).unwrap()
    }

    #[test]
    fn known_errors_have_known_decibels() {
        // Errors of 1/2 everywhere: MSE 1/4; of 1 in one of four values: MSE 1/4; of 1: MSE 1.
        let zeros = [0.0; 12];
        let others = [0.5, 0.5, 0.5, 0.5, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
        let report = psnr(images(&others), images(&zeros)).unwrap();
        let quarter = 20.0 * 2.0_f64.log10();
        for (found, expected) in report.per_image.iter().zip([quarter, quarter, 0.0]) {
            assert!((found - expected).abs() < 1e-12, "{found} against {expected}");
        }
        assert!((report.mean.mean - 2.0 * quarter / 3.0).abs() < 1e-12);
        assert_eq!(report.capped, 0);
    }

    #[test]
    fn equal_images_are_capped_and_counted() {
        let report =
            psnr(images(&[0.25; 8]), images(&[0.25, 0.25, 0.25, 0.25, 1.0, 1.0, 1.0, 1.0]))
                .unwrap();
        assert_eq!(report.per_image[0], PSNR_CAP);
        assert!((report.per_image[1] + 20.0 * 0.75_f64.log10()).abs() < 1e-12);
        assert_eq!(report.capped, 1);
        assert_eq!(report.rows()[0].note, "images capped at 100 dB: 1");
    }

    #[test]
    fn ranges_and_sizes_are_checked() {
        let good = [0.5; 8];
        let bad = [0.5, 0.5, 0.5, 0.5, 0.5, 1.5, 0.5, 0.5];
        assert!(matches!(
            psnr(images(&good), images(&bad)),
            Err(Error::OutOfRange { position: 5, value: 1.5, .. })
        ));
        assert!(matches!(
            psnr(images(&good), images(&good[..4])),
            Err(Error::SizeMismatch { expected: 2, found: 1, .. })
        ));
        assert!(matches!(psnr(images(&[]), images(&[])), Err(Error::TooFewSamples { .. })));
    }
}
