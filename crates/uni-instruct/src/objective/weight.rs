//! How much each sample of a batch counts: the factor `c` in front of the score terms.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::tensors;

/// The factor `c(sigma, x_0 - D_q)`; never differentiated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Normaliser {
    /// 1.
    None,
    /// `1 / mean |x_0 - D_q|` of each sample (DMD, SiD). For pictures: in few dimensions its mean does not
    /// exist.
    L1ToTeacher,
    /// `1 / sqrt(mean (x_0 - D_q)^2)` over the whole batch.
    Rms,
    /// `sqrt(sigma^2 + sd^2) / (sigma sd)`: what the two above are for Gaussian data of deviation `sd`.
    Analytic {
        /// Standard deviation of the data, `sd`.
        deviation: f64,
    },
    /// `sigma^-exponent`.
    Power {
        /// The exponent.
        exponent: f64,
    },
    /// `sigma / (1 + sigma^2)`: weight `1 - abar` on the difference of noises in a variance-preserving
    /// process, as in score distillation sampling.
    ScoreDistillation,
}

impl Normaliser {
    /// The factors of a batch.
    ///
    /// # Shapes
    /// - `x0`, `teacher`: `[B, D]`
    /// - returns: `[B, 1]`
    pub fn factors(self, x0: &Tensor<2>, teacher: &Tensor<2>, sigma: &[f64]) -> Tensor<2> {
        let of_sigma = |f: &dyn Fn(f64) -> f64| {
            tensors::column(&sigma.iter().map(|s| f(*s)).collect::<Vec<_>>(), x0)
        };
        let distance = || x0.clone().detach() - teacher.clone().detach();
        match self {
            Self::None => of_sigma(&|_| 1.0),
            Self::L1ToTeacher => distance().abs().mean_dim(1).clamp_min(1e-5).recip(),
            Self::Rms => {
                let square = tensors::scalar(distance().powi_scalar(2).mean());
                of_sigma(&|_| square.sqrt().max(1e-5).recip())
            }
            Self::Analytic { deviation } => of_sigma(&|s| s.hypot(deviation) / (s * deviation)),
            Self::Power { exponent } => of_sigma(&|s| s.powf(-exponent)),
            Self::ScoreDistillation => of_sigma(&|s| s / (1.0 + s * s)),
        }
    }
}
