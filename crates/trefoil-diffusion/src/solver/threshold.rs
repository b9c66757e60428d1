//! Dynamic thresholding (Saharia et al., <https://arxiv.org/abs/2205.11487>, section 2.3).

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Clips each predicted clean sample to a quantile of its own magnitudes.
///
/// ```text
/// q = max(quantile_p |x_0|, max_value),   x_0 <- clamp(x_0, -q, q) / (q / max_value)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholding {
    /// The quantile `p`, in `(0, 1]`.
    pub ratio: f64,
    /// Largest magnitude of a result.
    pub max_value: f64,
}

impl Default for Thresholding {
    fn default() -> Self {
        Self { ratio: 0.995, max_value: 1.0 }
    }
}

impl Thresholding {
    pub(super) fn validate(self) -> Result<()> {
        if !(self.ratio > 0.0 && self.ratio <= 1.0) {
            return Err(Error::OutOfRange {
                field: "thresholding.ratio",
                expected: "above 0 and at most 1",
                found: self.ratio,
            });
        }
        if !(self.max_value > 0.0 && self.max_value.is_finite()) {
            return Err(Error::OutOfRange {
                field: "thresholding.max_value",
                expected: "positive and finite",
                found: self.max_value,
            });
        }
        Ok(())
    }

    /// Clips each row on its own; the quantile is interpolated linearly between order statistics.
    ///
    /// # Shapes
    /// - `x0`: `[B, D]`
    /// - returns: `[B, D]`
    pub fn apply(self, x0: Tensor<2>) -> Tensor<2> {
        let width = x0.dims()[1];
        if width == 0 {
            return x0;
        }
        let position = self.ratio * (width - 1) as f64;
        let below = position as usize;
        let above = (below + 1).min(width - 1);
        let fraction = position - below as f64;
        let sorted = x0.clone().abs().sort(1); // [B, D]
        let quantile = sorted.clone().narrow(1, below, 1) * (1.0 - fraction)
            + sorted.narrow(1, above, 1) * fraction; // [B, 1]
        let bound = quantile.clamp_min(self.max_value); // [B, 1]
        (x0 / bound).clamp(-1.0, 1.0) * self.max_value // [B, D]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tolerance};

    use super::*;

    /// Row 0: magnitudes 1, 2, 3, 5, so the 0.5 quantile is 2.5. Row 1 stays inside the limit.
    #[test]
    fn rows_are_clipped_on_their_own() {
        let device = Device::flex();
        let x = Tensor::<2>::from_floats([[3.0, -1.0, 2.0, -5.0], [0.5, -0.25, 0.0, 0.9]], &device);
        let expected = [[1.0, -0.4, 0.8, -1.0], [0.5, -0.25, 0.0, 0.9]];
        let found = Thresholding { ratio: 0.5, max_value: 1.0 }.apply(x);
        found.into_data().assert_approx_eq::<f32>(
            &Tensor::<2>::from_floats(expected, &device).into_data(),
            Tolerance::absolute(1e-6),
        );
    }

    #[test]
    fn the_largest_value_bounds_the_result() {
        let device = Device::flex();
        let x = Tensor::<2>::from_floats([[8.0, -4.0, 1.0]], &device);
        let found = Thresholding { ratio: 1.0, max_value: 2.0 }.apply(x);
        found.into_data().assert_approx_eq::<f32>(
            &Tensor::<2>::from_floats([[2.0, -1.0, 0.25]], &device).into_data(),
            Tolerance::absolute(1e-6),
        );
    }

    #[test]
    fn settings_are_checked() {
        assert!(Thresholding::default().validate().is_ok());
        assert!(Thresholding { ratio: 0.0, ..Default::default() }.validate().is_err());
        assert!(Thresholding { max_value: f64::NAN, ..Default::default() }.validate().is_err());
    }
}
