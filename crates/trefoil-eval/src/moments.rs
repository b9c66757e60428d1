//! Streaming mean and covariance in f64.
//!
//! Rows come in blocks; the moments of a block are merged with those before it by the pairwise
//! update of Chan, Golub and LeVeque (1979),
//! `S = S_a + S_b + delta delta^T n_a n_b / (n_a + n_b)`, `delta = mean_b - mean_a`,
//! where `S` is the sum of outer products of centred rows. No large sums are subtracted, so a mean
//! far from zero costs no digits.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, enough, same_size};
use crate::features::Features;

/// Rows that are centred and multiplied together.
const BLOCK_ROWS: usize = 512;
/// Columns of the scatter matrix that one task updates.
const BLOCK_COLUMNS: usize = 128;

/// What the sum of squares of a covariance is divided by. Published distances differ in it: by about
/// `tr(S) / n`, which is visible in small sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CovarianceDivisor {
    /// `n`: the maximum-likelihood covariance, as in the training metrics of StyleGAN3 and SiD.
    Samples,
    /// `n - 1`: the unbiased covariance, as numpy's `cov` and EDM's evaluation.
    #[default]
    SamplesMinusOne,
}

impl CovarianceDivisor {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Samples, Self::SamplesMinusOne];

    /// Its name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Samples => "n",
            Self::SamplesMinusOne => "n-1",
        }
    }

    /// The divisor for `samples` rows.
    fn of(self, samples: usize) -> f64 {
        match self {
            Self::Samples => samples as f64,
            Self::SamplesMinusOne => (samples - 1) as f64,
        }
    }
}

/// Gaussian fitted to feature vectors.
///
/// # Shapes
/// `mean`: `[dim]`; `covariance`: `[dim, dim]`, row-major and symmetric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gaussian {
    /// Number of vectors behind the fit; 0 when a file of statistics does not tell.
    pub samples: usize,
    /// Mean of each component.
    pub mean: Vec<f64>,
    /// Covariance, normalised by [`Self::divisor`].
    pub covariance: Vec<f64>,
    /// What the covariance was divided by; `None` when a file of statistics does not tell.
    #[serde(default = "unbiased")]
    pub divisor: Option<CovarianceDivisor>,
}

/// The divisor of statistics that were written before there was a choice.
#[expect(clippy::unnecessary_wraps, reason = "serde asks for the type of the field")]
fn unbiased() -> Option<CovarianceDivisor> {
    Some(CovarianceDivisor::SamplesMinusOne)
}

impl Gaussian {
    /// Fits a Gaussian to all rows of `features`, with the unbiased covariance.
    ///
    /// # Errors
    /// Fewer than two rows.
    pub fn fit(features: Features<'_>) -> Result<Self> {
        Self::fit_with(features, CovarianceDivisor::SamplesMinusOne)
    }

    /// [`Self::fit`] with a choice of the divisor.
    ///
    /// # Errors
    /// Fewer than two rows.
    pub fn fit_with(features: Features<'_>, divisor: CovarianceDivisor) -> Result<Self> {
        let mut moments = Moments::new(features.dim())?;
        moments.push_checked(features.values());
        moments.finish_with(divisor)
    }

    /// Dimension of the vectors.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }
}

/// Running mean and scatter matrix.
#[derive(Debug, Clone)]
pub struct Moments {
    dim: usize,
    samples: usize,
    mean: Vec<f64>,
    /// Column-major; only the lower triangle is meaningful.
    scatter: Vec<f64>,
}

impl Moments {
    /// No rows yet, of dimension `dim`.
    ///
    /// # Errors
    /// A dimension of zero.
    pub fn new(dim: usize) -> Result<Self> {
        if dim == 0 {
            return Err(Error::ZeroDimension { what: "moments" });
        }
        Ok(Self { dim, samples: 0, mean: vec![0.0; dim], scatter: vec![0.0; dim * dim] })
    }

    /// Number of rows so far.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Dimension of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Adds rows, `[rows, dim]` row-major. Many rows at once are faster than many calls.
    ///
    /// # Errors
    /// An incomplete row or a value that is not finite; nothing is added then.
    pub fn push_rows(&mut self, rows: &[f32]) -> Result<()> {
        self.push_checked(Features::new("rows of the moments", rows, self.dim)?.values());
        Ok(())
    }

    /// Adds the rows behind `other`.
    ///
    /// # Errors
    /// Another dimension.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        same_size("dimension of merged moments", self.dim, other.dim)?;
        if other.samples == 0 {
            return Ok(());
        }
        for (own, others) in self.scatter.iter_mut().zip(&other.scatter) {
            *own += others;
        }
        let between = self.move_mean(&other.mean, other.samples);
        self.add_outer_products(&between);
        Ok(())
    }

    /// Mean, and covariance with the unbiased normalisation `1 / (n - 1)`.
    ///
    /// # Errors
    /// Fewer than two rows.
    pub fn finish(&self) -> Result<Gaussian> {
        self.finish_with(CovarianceDivisor::SamplesMinusOne)
    }

    /// [`Self::finish`] with a choice of the divisor.
    ///
    /// # Errors
    /// Fewer than two rows.
    pub fn finish_with(&self, divisor: CovarianceDivisor) -> Result<Gaussian> {
        enough("covariance", 2, self.samples)?;
        let dim = self.dim;
        let scale = 1.0 / divisor.of(self.samples);
        let covariance = (0..dim * dim)
            .map(|index| {
                let (row, column) = (index / dim, index % dim);
                self.scatter[row.min(column) * dim + row.max(column)] * scale
            })
            .collect();
        let (samples, mean) = (self.samples, self.mean.clone());
        Ok(Gaussian { samples, mean, covariance, divisor: Some(divisor) })
    }

    fn push_checked(&mut self, rows: &[f32]) {
        for block in rows.chunks(BLOCK_ROWS * self.dim) {
            self.push_block(block);
        }
    }

    fn push_block(&mut self, block: &[f32]) {
        let rows = block.len() / self.dim;
        let mut mean = vec![0.0; self.dim];
        for row in block.chunks_exact(self.dim) {
            for (sum, &value) in mean.iter_mut().zip(row) {
                *sum += f64::from(value);
            }
        }
        for sum in &mut mean {
            *sum /= rows as f64;
        }
        let mut centred: Vec<f64> = block
            .chunks_exact(self.dim)
            .flat_map(|row| row.iter().zip(&mean).map(|(&value, mean)| f64::from(value) - mean))
            .collect(); // [rows, D]
        // The term between the two means is one more outer product, so one more row.
        centred.extend(self.move_mean(&mean, rows)); // [rows + 1, D]
        self.add_outer_products(&centred);
    }

    /// Moves the mean to include `rows` rows around `mean`; returns
    /// `delta sqrt(n_a n_b / (n_a + n_b))`.
    fn move_mean(&mut self, mean: &[f64], rows: usize) -> Vec<f64> {
        let total = self.samples + rows;
        let share = rows as f64 / total as f64;
        let weight = (self.samples as f64 * share).sqrt();
        self.samples = total;
        self.mean
            .iter_mut()
            .zip(mean)
            .map(|(own, other)| {
                let delta = other - *own;
                *own += delta * share;
                delta * weight
            })
            .collect()
    }

    /// Adds `X^T X` of `rows` (`X`: `[n, D]`, row-major) to the lower triangle of the scatter.
    ///
    /// Each task owns some columns, so the sums do not depend on the number of threads.
    fn add_outer_products(&mut self, rows: &[f64]) {
        let dim = self.dim;
        let rows = MatRef::from_row_major_slice(rows, rows.len() / dim, dim); // [n, D]
        self.scatter.par_chunks_mut(BLOCK_COLUMNS * dim).enumerate().for_each(
            |(block, scatter)| {
                let (first, columns) = (block * BLOCK_COLUMNS, scatter.len() / dim);
                let scatter = MatMut::from_column_major_slice_mut(scatter, dim, columns);
                let below = rows.subcols(first, dim - first).transpose(); // [D - first, n]
                let right = rows.subcols(first, columns); // [n, columns]
                matmul(
                    scatter.subrows_mut(first, dim - first),
                    Accum::Add,
                    below,
                    right,
                    1.0,
                    Par::Seq,
                );
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quadratic residues modulo 101, scaled and shifted.
    fn rows(count: usize, dim: usize, shift: f32) -> Vec<f32> {
        (0..count * dim).map(|i| ((i * i + 37 * i + 11) % 101) as f32 / 16.0 + shift).collect()
    }

    fn two_pass(rows: &[f32], dim: usize) -> (Vec<f64>, Vec<f64>) {
        let n = (rows.len() / dim) as f64;
        let column = |c: usize| rows.iter().skip(c).step_by(dim).map(|&v| f64::from(v));
        let mean: Vec<f64> = (0..dim).map(|c| column(c).sum::<f64>() / n).collect();
        let covariance = (0..dim * dim)
            .map(|i| {
                let (a, b) = (i / dim, i % dim);
                let products = column(a).zip(column(b)).map(|(x, y)| (x - mean[a]) * (y - mean[b]));
                products.sum::<f64>() / (n - 1.0)
            })
            .collect();
        (mean, covariance)
    }

    fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(found.len(), expected.len());
        for (i, (f, e)) in found.iter().zip(expected).enumerate() {
            assert!((f - e).abs() <= tolerance, "entry {i}: {f} against {e}");
        }
    }

    #[test]
    fn two_points_have_the_textbook_covariance() {
        let mut moments = Moments::new(2).unwrap();
        moments.push_rows(&[1.0, 2.0, 3.0, -2.0]).unwrap();
        let gaussian = moments.finish().unwrap();
        assert_eq!(gaussian.mean, [2.0, 0.0]);
        assert_eq!(gaussian.covariance, [2.0, -4.0, -4.0, 8.0]);
        let whole = moments.finish_with(CovarianceDivisor::Samples).unwrap();
        assert_eq!(whole.covariance, [1.0, -2.0, -2.0, 4.0]);
        assert_eq!(gaussian.samples, 2);
    }

    #[test]
    fn blocks_agree_with_two_passes() {
        // More rows than one block and more columns than one task.
        let (count, dim) = (2 * BLOCK_ROWS + 77, BLOCK_COLUMNS + 9);
        let rows = rows(count, dim, 1000.0);
        let gaussian = Gaussian::fit(Features::new("test", &rows, dim).unwrap()).unwrap();
        let (mean, covariance) = two_pass(&rows, dim);
        assert_close(&gaussian.mean, &mean, 1e-10);
        assert_close(&gaussian.covariance, &covariance, 1e-10);
    }

    #[test]
    fn row_by_row_and_merged_equal_all_at_once() {
        let rows = rows(40, 3, -5.0);
        let whole = Gaussian::fit(Features::new("test", &rows, 3).unwrap()).unwrap();

        let mut single = Moments::new(3).unwrap();
        for row in rows.chunks_exact(3) {
            single.push_rows(row).unwrap();
        }
        let (mut left, mut right) = (Moments::new(3).unwrap(), Moments::new(3).unwrap());
        left.push_rows(&rows[..33]).unwrap();
        right.push_rows(&rows[33..]).unwrap();
        left.merge(&right).unwrap();
        left.merge(&Moments::new(3).unwrap()).unwrap();
        let mut from_empty = Moments::new(3).unwrap();
        from_empty.merge(&left).unwrap();

        for moments in [single, left, from_empty] {
            assert_eq!(moments.samples(), 40);
            let found = moments.finish().unwrap();
            assert_close(&found.mean, &whole.mean, 1e-13);
            assert_close(&found.covariance, &whole.covariance, 1e-12);
        }
    }

    #[test]
    fn too_few_rows_and_other_dimensions_are_refused() {
        let mut moments = Moments::new(2).unwrap();
        moments.push_rows(&[1.0, 2.0]).unwrap();
        assert!(matches!(moments.finish(), Err(Error::TooFewSamples { needed: 2, found: 1, .. })));
        assert!(matches!(
            moments.merge(&Moments::new(3).unwrap()),
            Err(Error::SizeMismatch { expected: 2, found: 3, .. })
        ));
        assert!(moments.push_rows(&[1.0, 2.0, 3.0, f32::INFINITY]).is_err());
        assert_eq!(moments.samples(), 1);
    }
}
