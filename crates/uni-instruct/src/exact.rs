//! The exact denoiser and log density of a mixture, differentiable through their input.

use burn::tensor::{DType, Device, Tensor, TensorData};
use trefoil_core::Result;
use trefoil_diffusion::RowDenoiser;

use crate::mixture::Mixture;
use crate::tensors;

/// Classes of the rows of a batch.
pub type Labels = Vec<usize>;

/// A mixture on a device: a network without parameters.
///
/// With eigenvectors `U_k` and eigenvalues `v_k` of each covariance and `y_k = U_k^T (x - m_k)`,
///
/// ```text
/// log p(x)   = logsumexp_k(log w_k - sum(y_k^2 / (v_k + sigma^2) + log(2 pi (v_k + sigma^2))) / 2)
/// D(x, sigma) = sum_k g_k (m_k + U_k v_k / (v_k + sigma^2) y_k),    g_k the share of component k
/// ```
#[derive(Debug, Clone)]
pub struct ExactDenoiser {
    /// `[D, K D]`, all eigenvectors side by side.
    basis: Tensor<2>,
    /// `[1, K D]`, means in these axes.
    shift: Tensor<2>,
    /// `[1, K, D]`
    eigenvalues: Tensor<3>,
    /// `[1, K]`
    log_weights: Tensor<2>,
    /// `[K, D]`
    means: Tensor<2>,
    labels: Vec<Option<usize>>,
}

/// What an [`ExactDenoiser`] knows about a batch.
#[derive(Debug, Clone)]
pub struct Exact {
    /// `E[x_0 | x]`, `[B, D]`.
    pub denoised: Tensor<2>,
    /// `log p_sigma(x)`, `[B, 1]`.
    pub log_density: Tensor<2>,
}

impl ExactDenoiser {
    /// Puts a mixture on a device.
    pub fn new(mixture: &Mixture, device: &Device, dtype: DType) -> Self {
        let (k, d) = (mixture.gaussians.len(), mixture.dims());
        let (mut basis, mut shift) = (vec![0.0; d * k * d], vec![0.0; k * d]);
        let mut eigenvalues = Vec::new();
        for (i, gaussian) in mixture.gaussians.iter().enumerate() {
            for (j, (value, axis)) in gaussian.axes.pairs().enumerate() {
                let column = i * d + j;
                for (row, a) in axis.iter().enumerate() {
                    basis[row * k * d + column] = *a;
                    shift[column] += a * gaussian.mean[row];
                }
                eigenvalues.push(value.max(0.0));
            }
        }
        let log_weights: Vec<f64> = mixture.gaussians.iter().map(|g| g.weight.ln()).collect();
        let means: Vec<f64> = mixture.means().flatten().copied().collect();
        let options = || (device, dtype);
        Self {
            basis: Tensor::from_data(TensorData::new(basis, [d, k * d]), options()),
            shift: Tensor::from_data(TensorData::new(shift, [1, k * d]), options()),
            eigenvalues: Tensor::from_data(TensorData::new(eigenvalues, [1, k, d]), options()),
            log_weights: Tensor::from_data(TensorData::new(log_weights, [1, k]), options()),
            means: Tensor::from_data(TensorData::new(means, [k, d]), options()),
            labels: mixture.gaussians.iter().map(|gaussian| gaussian.label).collect(),
        }
    }

    /// Denoiser and log density at once.
    ///
    /// # Shapes
    /// - `x`: `[B, D]`
    /// - `labels`: one per row, or none for the whole mixture
    pub fn evaluate(&self, x: Tensor<2>, sigma: &[f64], labels: Option<&Labels>) -> Exact {
        let [_, k, d] = self.eigenvalues.dims();
        let b = x.dims()[0];
        let squares: Vec<f64> = sigma.iter().map(|s| s * s).collect();
        let square = tensors::column(&squares, &x).reshape([b, 1, 1]);
        let variance = self.eigenvalues.clone() + square; // [B, K, D]
        let along = (x.matmul(self.basis.clone()) - self.shift.clone()).reshape([b, k, d]);
        let scaled = along.clone() / variance.clone();
        let quadratic = (along * scaled.clone()).sum_dim(2);
        let volume = (variance * std::f64::consts::TAU).log().sum_dim(2);
        let exponent = (quadratic + volume).reshape([b, k]) * -0.5;
        let mut logs = exponent + self.log_weights.clone(); // [B, K]
        if let Some(labels) = labels {
            logs = logs + self.mask(labels, &self.means);
        }
        let top = logs.clone().detach().max_dim(1);
        let shares = (logs - top.clone()).exp();
        let sum = shares.clone().sum_dim(1);
        let log_density = top + sum.clone().log();
        let shares = shares / sum;
        let pulled = scaled * self.eigenvalues.clone() * shares.clone().reshape([b, k, 1]);
        let denoised = pulled.reshape([b, k * d]).matmul(self.basis.clone().transpose())
            + shares.matmul(self.means.clone());
        Exact { denoised, log_density }
    }

    /// `log w` of a component within its class, minus infinity in other classes.
    fn mask(&self, labels: &Labels, like: &Tensor<2>) -> Tensor<2> {
        // Far below every log density that single precision can hold, and still finite.
        const NEVER: f64 = -1e30;
        let weights = tensors::values(self.log_weights.clone());
        let total = |label: usize| {
            let fits = self.labels.iter().zip(&weights).filter(|(l, _)| **l == Some(label));
            fits.map(|(_, w)| w.exp()).sum::<f64>().ln()
        };
        let rows: Vec<f64> = labels
            .iter()
            .flat_map(|&label| {
                let total = total(label);
                self.labels.iter().map(move |l| if *l == Some(label) { -total } else { NEVER })
            })
            .collect();
        tensors::matrix(&rows, self.labels.len(), like)
    }
}

impl RowDenoiser for ExactDenoiser {
    type Condition = Labels;
    type Error = std::convert::Infallible;

    fn denoise_rows(
        &self,
        x: Tensor<2>,
        sigma: &[f64],
        condition: Option<&Labels>,
    ) -> Result<Tensor<2>, Self::Error> {
        Ok(self.evaluate(x, sigma, condition).denoised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mixture::Component;

    fn mixture() -> Mixture {
        let tilted = Component {
            weight: 0.4,
            mean: vec![-1.2, 0.5],
            deviation: None,
            covariance: Some(vec![vec![0.5, 0.15], vec![0.15, 0.4]]),
            label: Some(0),
        };
        let round = Component { label: Some(1), ..Component::round(0.6, vec![1.0, -0.4], 0.6) };
        Mixture::new(&[tilted, round]).unwrap()
    }

    /// Tweedie: `D = x + sigma^2 grad log p`, with the host's score and with autodiff's.
    #[test]
    fn the_denoiser_is_that_of_tweedie() {
        let device = Device::flex().autodiff();
        let (mixture, sigma) = (mixture(), [0.7, 3.0]);
        let exact = ExactDenoiser::new(&mixture, &device, DType::F64);
        let rows = [[0.3, -0.2], [-2.0, 1.0]];
        let x = Tensor::<2>::from_data(rows, (&device, DType::F64)).require_grad();
        let Exact { denoised, log_density } = exact.evaluate(x.clone(), &sigma, None);
        let found = tensors::values(denoised);
        let logs = tensors::values(log_density.clone());
        let slope = tensors::values(x.grad(&log_density.sum().backward()).unwrap());
        for (i, (row, s)) in rows.iter().zip(sigma).enumerate() {
            let point = mixture.at(row, s);
            assert!((point.log_density - logs[i]).abs() < 1e-12);
            for (j, (x, score)) in row.iter().zip(point.score).enumerate() {
                assert!((slope[2 * i + j] - score).abs() < 1e-12);
                assert!((found[2 * i + j] - x - s * s * score).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_label_leaves_its_own_components() {
        let device = Device::flex();
        let exact = ExactDenoiser::new(&mixture(), &device, DType::F64);
        let x = Tensor::<2>::from_data([[0.3, -0.2]], (&device, DType::F64));
        let found = exact.evaluate(x, &[0.7], Some(&vec![1]));
        let alone = Mixture::new(&[Component::round(1.0, vec![1.0, -0.4], 0.6)]).unwrap();
        let expected = alone.at(&[0.3, -0.2], 0.7);
        let log = tensors::scalar(found.log_density);
        assert!((log - expected.log_density).abs() < 1e-12);
        let first = tensors::scalar(found.denoised);
        assert!((first - 0.3 - 0.49 * expected.score[0]).abs() < 1e-12);
    }
}
