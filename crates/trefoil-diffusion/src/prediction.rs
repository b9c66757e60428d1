//! What a network predicts, and the conversions between the three usual targets.
//!
//! With `x = alpha x_0 + sigma eps` the velocity is `v = alpha eps - sigma x_0` (Salimans and Ho,
//! <https://arxiv.org/abs/2202.00512>), and
//!
//! ```text
//! x_0 = (x - sigma eps) / alpha = (alpha x - sigma v) / (alpha^2 + sigma^2)
//! eps = (x - alpha x_0) / sigma = (sigma x + alpha v) / (alpha^2 + sigma^2)
//! ```

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::Level;

/// The target of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prediction {
    /// The noise `eps`.
    #[default]
    Epsilon,
    /// The clean sample `x_0`.
    Sample,
    /// The velocity `v`.
    Velocity,
}

impl Prediction {
    /// The noise that a prediction of this kind implies.
    ///
    /// A [`Sample`](Self::Sample) prediction has no noise at `sigma = 0`.
    ///
    /// # Shapes
    /// - `output`, `x`: equal shapes
    /// - returns: the same shape
    pub fn to_noise<const D: usize>(
        self,
        output: Tensor<D>,
        x: Tensor<D>,
        level: Level,
    ) -> Tensor<D> {
        let Level { alpha, sigma, .. } = level;
        match self {
            Self::Epsilon => output,
            Self::Sample => (x - output * alpha) / sigma,
            Self::Velocity => (x * sigma + output * alpha) / power(level),
        }
    }

    /// The clean sample that a prediction of this kind implies.
    ///
    /// # Shapes
    /// - `output`, `x`: equal shapes
    /// - returns: the same shape
    pub fn to_sample<const D: usize>(
        self,
        output: Tensor<D>,
        x: Tensor<D>,
        level: Level,
    ) -> Tensor<D> {
        let Level { alpha, sigma, .. } = level;
        match self {
            Self::Epsilon => (x - output * sigma) / alpha,
            Self::Sample => output,
            Self::Velocity => (x * alpha - output * sigma) / power(level),
        }
    }

    /// The velocity that a prediction of this kind implies.
    ///
    /// # Shapes
    /// - `output`, `x`: equal shapes
    /// - returns: the same shape
    pub fn to_velocity<const D: usize>(
        self,
        output: Tensor<D>,
        x: Tensor<D>,
        level: Level,
    ) -> Tensor<D> {
        let Level { alpha, sigma, .. } = level;
        match self {
            Self::Epsilon => (output * power(level) - x * sigma) / alpha,
            Self::Sample => (x * alpha - output * power(level)) / sigma,
            Self::Velocity => output,
        }
    }

    /// Turns a prediction of this kind into one of the kind `target`.
    ///
    /// # Shapes
    /// - `output`, `x`: equal shapes
    /// - returns: the same shape
    pub fn convert<const D: usize>(
        self,
        target: Self,
        output: Tensor<D>,
        x: Tensor<D>,
        level: Level,
    ) -> Tensor<D> {
        match target {
            Self::Epsilon => self.to_noise(output, x, level),
            Self::Sample => self.to_sample(output, x, level),
            Self::Velocity => self.to_velocity(output, x, level),
        }
    }
}

fn power(level: Level) -> f64 {
    level.alpha.powi(2) + level.sigma.powi(2)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData};
    use proptest::prelude::*;

    use super::*;
    use crate::VpSchedule;

    fn tensor(values: &[f64]) -> Tensor<1> {
        let data = TensorData::new(values.to_vec(), [values.len()]);
        Tensor::from_data(data, (&Device::flex(), DType::F64))
    }

    fn values(tensor: Tensor<1>) -> Vec<f64> {
        tensor.into_data().try_to_vec().expect("f64 data")
    }

    const KINDS: [Prediction; 3] = [Prediction::Epsilon, Prediction::Sample, Prediction::Velocity];

    #[test]
    fn targets_of_a_known_sample() {
        // x_0 = 2, eps = -1, alpha = 0.6, sigma = 0.8: x = 0.4, v = -0.6 - 1.6 = -2.2
        let level = Level { n: 0.0, alpha: 0.6, sigma: 0.8 };
        for (kind, output) in KINDS.into_iter().zip([-1.0, 2.0, -2.2]) {
            for (target, expected) in KINDS.into_iter().zip([-1.0, 2.0, -2.2]) {
                let found = kind.convert(target, tensor(&[output]), tensor(&[0.4]), level);
                let found = values(found)[0];
                assert!((found - expected).abs() < 1e-12, "{kind:?} -> {target:?}: {found}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_round_trip_is_the_identity(
            output in prop::collection::vec(-3.0_f64..3.0, 4),
            x in prop::collection::vec(-3.0_f64..3.0, 4),
            t in 0.001_f64..1.0,
            scale in 0.5_f64..2.0,
        ) {
            let vp = VpSchedule::default().level(t);
            for level in [vp, Level { alpha: vp.alpha * scale, ..vp }] {
                for from in KINDS {
                    for to in KINDS {
                        let there = from.convert(to, tensor(&output), tensor(&x), level);
                        let back = values(to.convert(from, there, tensor(&x), level));
                        for (found, expected) in back.iter().zip(&output) {
                            prop_assert!((found - expected).abs() < 1e-9, "{from:?} {to:?}");
                        }
                    }
                }
            }
        }
    }
}
