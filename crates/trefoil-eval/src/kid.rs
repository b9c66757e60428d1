//! Kernel distance of two sets of features.
//!
//! `KID = E k(x, x') + E k(y, y') - 2 E k(x, y)` with `k(a, b) = (a . b / D + 1)^3`, the unbiased
//! squared maximum mean discrepancy (Binkowski et al., <https://arxiv.org/abs/1801.01401>). Unlike the
//! Frechet distance its expectation does not depend on the number of samples, and it can be negative.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Result, enough, same_size};
use crate::features::Features;
use crate::report::{Measure, Row, Unit};

/// How published values are computed: the mean over random subsets of equal size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KidOptions {
    /// Number of subsets.
    pub subsets: usize,
    /// Largest size of a subset of either set.
    pub subset_size: usize,
    /// Seed of the choice.
    pub seed: u64,
}

impl Default for KidOptions {
    fn default() -> Self {
        Self { subsets: 100, subset_size: 1000, seed: 0 }
    }
}

/// Unbiased estimate from all vectors of both sets, which need not be equally many.
///
/// # Errors
/// Different dimensions, fewer than two vectors in a set.
pub fn kernel_distance(first: Features<'_>, second: Features<'_>) -> Result<f64> {
    same_size("dimension of the second set", first.dim(), second.dim())?;
    enough("kernel distance", 2, first.rows().min(second.rows()))?;
    let all = |set: Features<'_>| -> Vec<usize> { (0..set.rows()).collect() };
    Ok(estimate(&gather(first, &all(first)), &gather(second, &all(second))))
}

/// `[D, rows]`, so that a vector is a column.
fn gather(set: Features<'_>, rows: &[usize]) -> Mat<f64> {
    Mat::from_fn(set.dim(), rows.len(), |d, column| f64::from(set.row(rows[column])[d]))
}

fn estimate(first: &Mat<f64>, second: &Mat<f64>) -> f64 {
    let within = |set: &Mat<f64>| {
        let (total, diagonal) = kernel_sums(set.as_ref(), set.as_ref());
        let n = set.ncols() as f64;
        (total - diagonal) / (n * (n - 1.0))
    };
    let (between, _) = kernel_sums(first.as_ref(), second.as_ref());
    let pairs = (first.ncols() * second.ncols()) as f64;
    within(first) + within(second) - 2.0 * between / pairs
}

/// Sum of all kernel values and of those on the diagonal.
fn kernel_sums(first: MatRef<'_, f64>, second: MatRef<'_, f64>) -> (f64, f64) {
    let dim = first.nrows() as f64;
    let mut products = Mat::<f64>::zeros(first.ncols(), second.ncols());
    matmul(products.as_mut(), Accum::Replace, first.transpose(), second, 1.0, Par::Seq);
    let kernel = |value: f64| (value / dim + 1.0).powi(3);
    let total =
        products.col_iter().map(|column| column.iter().map(|&v| kernel(v)).sum::<f64>()).sum();
    let diagonal =
        (0..products.nrows().min(products.ncols())).map(|i| kernel(products[(i, i)])).sum::<f64>();
    (total, diagonal)
}

/// Kernel distance of generated to real features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KidReport {
    /// What the features are.
    pub features: String,
    /// Number of real samples.
    pub real_samples: usize,
    /// Number of generated samples.
    pub generated_samples: usize,
    /// How it was computed.
    pub options: KidOptions,
    /// Mean over the subsets.
    pub distance: f64,
    /// Deviation over the subsets.
    pub deviation: f64,
}

impl KidReport {
    /// Mean over random subsets, drawn without replacement inside of a subset.
    ///
    /// # Errors
    /// As [`kernel_distance`], and no subsets.
    pub fn new(
        features: &str,
        real: Features<'_>,
        generated: Features<'_>,
        options: KidOptions,
    ) -> Result<Self> {
        same_size("dimension of the generated features", real.dim(), generated.dim())?;
        let size = options.subset_size.min(real.rows()).min(generated.rows());
        enough("kernel distance", 2, size)?;
        enough("subsets of the kernel distance", 1, options.subsets)?;
        let values: Vec<f64> = (0..options.subsets as u64)
            .into_par_iter()
            .map(|subset| {
                let mut random = ChaCha8Rng::seed_from_u64(options.seed);
                random.set_stream(subset);
                let generated = gather(generated, &choose(&mut random, generated.rows(), size));
                let real = gather(real, &choose(&mut random, real.rows(), size));
                estimate(&generated, &real)
            })
            .collect();
        let count = values.len() as f64;
        let distance = values.iter().sum::<f64>() / count;
        let square = values.iter().map(|value| (value - distance).powi(2)).sum::<f64>() / count;
        Ok(Self {
            features: features.to_owned(),
            real_samples: real.rows(),
            generated_samples: generated.rows(),
            options,
            distance,
            deviation: square.sqrt(),
        })
    }
}

/// `size` different numbers below `count` (the first steps of a Fisher-Yates shuffle).
fn choose(random: &mut ChaCha8Rng, count: usize, size: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for i in 0..size {
        // The bias of the modulus is below 2^-32 for any number of samples.
        let other = i + (random.next_u64() % (count - i) as u64) as usize;
        order.swap(i, other);
    }
    order.truncate(size);
    order
}

impl Measure for KidReport {
    fn rows(&self) -> Vec<Row> {
        let KidOptions { subsets, subset_size, seed } = self.options;
        let size = subset_size.min(self.real_samples).min(self.generated_samples);
        let note = format!(
            "against {} real samples; deviation {:.4} over {subsets} subsets of {size}, seed {seed}",
            self.real_samples, self.deviation
        );
        let metric = format!("kernel distance ({})", self.features);
        vec![
            Row::lower_is_better(metric, Unit::Distance, self.distance, self.generated_samples)
                .with_note(note),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pairs_of_scalars_by_hand() {
        // k(1, 2) = 27, k(0, 3) = 1; between: k(1,0) = 1, k(1,3) = 64, k(2,0) = 1, k(2,3) = 343.
        let first = Features::new("a", &[1.0, 2.0], 1).unwrap();
        let second = Features::new("b", &[0.0, 3.0], 1).unwrap();
        let expected = 27.0 + 1.0 - 2.0 * (1.0 + 64.0 + 1.0 + 343.0) / 4.0;
        assert!((kernel_distance(first, second).unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn subsets_are_distinct_and_replay() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let mut chosen = choose(&mut random, 50, 20);
        let again = choose(&mut ChaCha8Rng::seed_from_u64(3), 50, 20);
        assert_eq!(chosen, again);
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 20);
        assert!(chosen.iter().all(|&index| index < 50));
    }
}
