//! Preconditioning of EDM networks (Karras et al., <https://arxiv.org/abs/2206.00364>, table 1).
//!
//! ```text
//! D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)
//! c_skip = sd^2 / (sigma^2 + sd^2)             c_out = sigma sd / sqrt(sigma^2 + sd^2)
//! c_in   = 1 / sqrt(sigma^2 + sd^2)            c_noise = ln(sigma) / 4
//! ```

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// The scales around a raw network at one sigma.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preconditioning {
    /// Weight of the input in the output.
    pub c_skip: f64,
    /// Weight of the network in the output.
    pub c_out: f64,
    /// Scale of the network's input.
    pub c_in: f64,
    /// The network's noise condition.
    pub c_noise: f64,
}

impl Preconditioning {
    /// Joins input and raw network output: `c_skip x + c_out f`.
    ///
    /// # Shapes
    /// - `x`, `f`: equal shapes
    /// - returns: the same shape
    pub fn denoised<const D: usize>(self, x: Tensor<D>, f: Tensor<D>) -> Tensor<D> {
        x * self.c_skip + f * self.c_out
    }
}

/// EDM preconditioning for data of a given standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdmPreconditioner {
    /// Standard deviation of the data, 0.5 for images in `[-1, 1]`.
    pub sigma_data: f64,
}

impl Default for EdmPreconditioner {
    fn default() -> Self {
        Self { sigma_data: 0.5 }
    }
}

impl EdmPreconditioner {
    /// The four scales at `sigma > 0`.
    pub fn at(self, sigma: f64) -> Preconditioning {
        let total = sigma.hypot(self.sigma_data);
        Preconditioning {
            c_skip: (self.sigma_data / total).powi(2),
            c_out: sigma * self.sigma_data / total,
            c_in: total.recip(),
            c_noise: sigma.ln() / 4.0,
        }
    }

    /// Weight of the denoising loss that makes the raw network's target of unit weight:
    /// `(sigma^2 + sd^2) / (sigma sd)^2 = 1 / c_out^2`.
    pub fn loss_weight(self, sigma: f64) -> f64 {
        self.at(sigma).c_out.powi(-2)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tolerance};

    use super::*;

    /// sigma = sd = 0.5: sqrt(0.5) in total.
    #[test]
    fn scales_at_the_data_deviation() {
        let c = EdmPreconditioner::default().at(0.5);
        let half = std::f64::consts::FRAC_1_SQRT_2;
        assert!((c.c_skip - 0.5).abs() < 1e-15);
        assert!((c.c_out - 0.5 * half).abs() < 1e-15);
        assert!((c.c_in - 2.0 * half).abs() < 1e-15);
        assert!((c.c_noise + std::f64::consts::LN_2 / 4.0).abs() < 1e-15);
        assert!((EdmPreconditioner::default().loss_weight(0.5) - 8.0).abs() < 1e-12);
    }

    /// Input and training target of the raw network have unit variance at every sigma.
    #[test]
    fn variances_are_one() {
        let edm = EdmPreconditioner::default();
        for sigma in [0.002_f64, 0.05, 0.5, 2.5, 20.0, 80.0] {
            let c = edm.at(sigma);
            let input = c.c_in.powi(2) * (0.25 + sigma.powi(2));
            let target = (1.0 - c.c_skip).powi(2) * 0.25 + (c.c_skip * sigma).powi(2);
            assert!((input - 1.0).abs() < 1e-12);
            assert!((target / c.c_out.powi(2) - 1.0).abs() < 1e-10, "{sigma}");
        }
    }

    /// Computed independently to twelve digits.
    #[test]
    fn scales_at_the_published_levels() {
        let expected = [
            (0.002, [0.999984000256, 0.00199998400019, 1.99998400019, -1.55365202461, 250004.0]),
            (0.05, [0.990099009901, 0.0497518595105, 1.99007438042, -0.748933068388, 404.0]),
            (2.5, [0.0384615384615, 0.490290337845, 0.392232270276, 0.229072682969, 4.16]),
            (20.0, [0.000624609618988, 0.499843823204, 0.0499843823204, 0.748933068388, 4.0025]),
            (80.0, [3.90609741807e-5, 0.499990234661, 0.0124997558665, 1.09550665867, 4.00015625]),
        ];
        let edm = EdmPreconditioner::default();
        for (sigma, values) in expected {
            let c = edm.at(sigma);
            let found = [c.c_skip, c.c_out, c.c_in, c.c_noise, edm.loss_weight(sigma)];
            for (found, expected) in found.into_iter().zip(values) {
                assert!((found / expected - 1.0).abs() < 1e-11, "{sigma}: {found} {expected}");
            }
        }
    }

    #[test]
    fn denoised_is_the_weighted_sum() {
        let device = Device::flex();
        let c = Preconditioning { c_skip: 0.5, c_out: 2.0, c_in: 1.0, c_noise: 0.0 };
        let x = Tensor::<1>::from_floats([2.0, -4.0], &device);
        let f = Tensor::<1>::from_floats([1.0, 3.0], &device);
        let expected = Tensor::<1>::from_floats([3.0, 4.0], &device).into_data();
        c.denoised(x, f).into_data().assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
    }
}
