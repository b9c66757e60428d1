//! Eigenvalues of small symmetric matrices, by Jacobi's rotations.

/// `A = sum_i values[i] axes[i] axes[i]^T`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Eigen {
    /// `[D]`
    pub(crate) values: Vec<f64>,
    /// `[D, D]`, one eigenvector per row.
    axes: Vec<f64>,
}

/// A diagonal matrix, row-major.
pub(crate) fn diagonal(values: &[f64]) -> Vec<f64> {
    let n = values.len();
    let mut matrix = vec![0.0; n * n];
    values.iter().enumerate().for_each(|(i, value)| matrix[i * n + i] = *value);
    matrix
}

impl Eigen {
    /// Of an `n` by `n` matrix; `None` when it is not symmetric or not finite.
    pub(crate) fn of(matrix: &[f64], n: usize) -> Option<Self> {
        let mut a = matrix.to_vec();
        let scale = a.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let symmetric = |i: usize| (a[i] - a[i % n * n + i / n]).abs() <= 1e-12 * scale;
        if a.len() != n * n || !scale.is_finite() || !(0..n * n).all(symmetric) {
            return None;
        }
        let mut axes = diagonal(&vec![1.0; n]);
        // Each sweep squares what is left off the diagonal; ten are far more than enough.
        for _ in 0..30 {
            for p in 0..n {
                for q in p + 1..n {
                    rotate(&mut a, &mut axes, [p, q], n);
                }
            }
        }
        Some(Self { values: (0..n).map(|i| a[i * n + i]).collect(), axes })
    }

    /// Eigenvalues with their eigenvectors.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (f64, &[f64])> {
        self.values.iter().copied().zip(self.axes.chunks_exact(self.values.len()))
    }
}

/// Turns the plane of two axes so that `a[p, q]` becomes zero.
fn rotate(a: &mut [f64], axes: &mut [f64], [p, q]: [usize; 2], n: usize) {
    let off = a[p * n + q];
    if off == 0.0 {
        return;
    }
    let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * off);
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let c = t.hypot(1.0).recip();
    let s = t * c;
    for k in 0..n {
        let (x, y) = (a[k * n + p], a[k * n + q]);
        (a[k * n + p], a[k * n + q]) = (c * x - s * y, s * x + c * y);
    }
    for k in 0..n {
        let (x, y) = (a[p * n + k], a[q * n + k]);
        (a[p * n + k], a[q * n + k]) = (c * x - s * y, s * x + c * y);
        let (x, y) = (axes[p * n + k], axes[q * n + k]);
        (axes[p * n + k], axes[q * n + k]) = (c * x - s * y, s * x + c * y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_the_sum_over_its_axes() {
        let matrix = [1.0, 0.3, 0.1, 0.3, 0.8, -0.2, 0.1, -0.2, 0.6];
        let eigen = Eigen::of(&matrix, 3).unwrap();
        for (i, expected) in matrix.iter().enumerate() {
            let found: f64 = eigen.pairs().map(|(v, axis)| v * axis[i / 3] * axis[i % 3]).sum();
            assert!((found - expected).abs() < 1e-14);
        }
        assert!(Eigen::of(&[1.0, 2.0, 0.0, 1.0], 2).is_none());
    }
}
