//! Vectors of items without events, from the words of their titles and tags.
//!
//! A linear map from the mean word vector of an item's text to its vector, fitted by ridge regression
//! on the items that have both.

use crate::real::{add, scale};

/// Weight of the squared map in the regression, for each item.
const RIDGE: f64 = 1e-3;

/// `y = W [x; 1]`.
pub(super) struct ColdMap {
    /// `[outputs, inputs + 1]`.
    weight: Vec<f64>,
    inputs: usize,
}

/// Mean vector of some words, none if there is none.
pub(super) fn mean_of_words(table: &[f32], dim: usize, words: &[u32]) -> Option<Vec<f32>> {
    let mut sum = vec![0.0; dim];
    for &word in words {
        add(&mut sum, crate::matrix::row(table, dim, word as usize));
    }
    scale(&mut sum, 1.0 / words.len().max(1) as f32);
    (!words.is_empty()).then_some(sum)
}

impl ColdMap {
    /// The map that fits these pairs best. Without pairs it is zero.
    pub(super) fn fit<'a>(
        inputs: usize,
        outputs: usize,
        pairs: impl Iterator<Item = (Vec<f32>, &'a [f32])>,
    ) -> Self {
        let n = inputs + 1;
        let (mut gram, mut right) = (vec![0.0; n * n], vec![0.0; n * outputs]);
        let mut count = 0.0;
        for (x, y) in pairs {
            let x: Vec<f64> = x.iter().map(|&v| f64::from(v)).chain([1.0]).collect();
            for (row, &a) in x.iter().enumerate() {
                x.iter().enumerate().for_each(|(column, b)| gram[row * n + column] += a * b);
                y.iter()
                    .enumerate()
                    .for_each(|(column, &b)| right[row * outputs + column] += a * f64::from(b));
            }
            count += 1.0;
        }
        let spread = (0..inputs).map(|k| gram[k * n + k]).sum::<f64>() / inputs.max(1) as f64;
        for k in 0..n {
            gram[k * n + k] += RIDGE * (spread + count) / 2.0 + f64::MIN_POSITIVE;
        }
        solve(&mut gram, &mut right, n, outputs);
        let weight = (0..outputs).flat_map(|o| (0..n).map(move |k| (k, o)));
        Self { weight: weight.map(|(k, o)| right[k * outputs + o]).collect(), inputs }
    }

    pub(super) fn apply(&self, x: &[f32]) -> Vec<f32> {
        let row = |weight: &[f64]| {
            let (linear, bias) = weight.split_at(self.inputs);
            (linear.iter().zip(x).map(|(w, &x)| w * f64::from(x)).sum::<f64>() + bias[0]) as f32
        };
        self.weight.chunks_exact(self.inputs + 1).map(row).collect()
    }
}

/// Solves `a x = b` in place by Cholesky's decomposition, for positive definite `a`, `[n, n]`.
fn solve(a: &mut [f64], b: &mut [f64], n: usize, columns: usize) {
    for j in 0..n {
        for k in 0..j {
            for i in j..n {
                a[i * n + j] -= a[i * n + k] * a[j * n + k];
            }
        }
        let pivot = a[j * n + j].max(f64::MIN_POSITIVE).sqrt();
        (j..n).for_each(|i| a[i * n + j] /= pivot);
    }
    for column in 0..columns {
        for i in 0..n {
            let before: f64 = (0..i).map(|k| a[i * n + k] * b[k * columns + column]).sum();
            b[i * columns + column] = (b[i * columns + column] - before) / a[i * n + i];
        }
        for i in (0..n).rev() {
            let after: f64 = (i + 1..n).map(|k| a[k * n + i] * b[k * columns + column]).sum();
            b[i * columns + column] = (b[i * columns + column] - after) / a[i * n + i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_law_is_found() {
        let rows: Vec<(Vec<f32>, [f32; 2])> = (0..200)
            .map(|k| {
                let (a, b) =
                    ((k * 37 % 101) as f32 / 50.0 - 1.0, (k * 53 % 97) as f32 / 48.0 - 1.0);
                (vec![a, b], [2.0 * a - b + 0.5, b - 3.0])
            })
            .collect();
        let map = ColdMap::fit(2, 2, rows.iter().map(|(x, y)| (x.clone(), &y[..])));
        let found = map.apply(&[0.5, -0.25]);
        assert!((found[0] - 1.75).abs() < 0.02 && (found[1] + 3.25).abs() < 0.02, "{found:?}");
        let nothing = ColdMap::fit(2, 1, std::iter::empty());
        assert_eq!(nothing.apply(&[1.0, 1.0]), [0.0]);
    }
}
