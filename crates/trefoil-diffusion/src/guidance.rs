//! Classifier-free guidance (Ho and Salimans, <https://arxiv.org/abs/2207.12598>), in one place.
//!
//! Two conventions are in use, and they differ by one:
//!
//! ```text
//! common:              out = uncond + w (cond - uncond)     off at w = 1, usual value 8
//! UniDiffuser's paper: out = cond + s (cond - uncond)       off at s = 0, usual value 7
//! w = 1 + s
//! ```

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The strength of guidance, stored in the common convention `w`.
///
/// It serialises as the bare number `w`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct GuidanceScale(f64);

impl Default for GuidanceScale {
    /// `w = 8`, which is `s = 7`: UniDiffuser's setting for every guided task.
    fn default() -> Self {
        Self(8.0)
    }
}

impl GuidanceScale {
    /// No guidance: the conditional prediction alone.
    pub const OFF: Self = Self(1.0);

    /// From the common convention `w`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when `w` is not finite.
    pub fn new(w: f64) -> Result<Self> {
        if w.is_finite() {
            Ok(Self(w))
        } else {
            Err(Error::OutOfRange { field: "guidance_scale", expected: "finite", found: w })
        }
    }

    /// From the convention of UniDiffuser's paper and code, `w = 1 + s`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when `s` is not finite.
    pub fn from_paper(s: f64) -> Result<Self> {
        Self::new(1.0 + s)
    }

    /// The common `w`.
    pub fn common(self) -> f64 {
        self.0
    }

    /// The paper's `s = w - 1`.
    pub fn paper(self) -> f64 {
        self.0 - 1.0
    }

    /// Whether an unconditional pass is needed: `w > 1`. Below that the conditional prediction is
    /// used alone, as diffusers does.
    pub fn is_active(self) -> bool {
        self.0 > 1.0
    }

    /// `uncond + w (cond - uncond)`, whatever the value of `w`.
    ///
    /// # Shapes
    /// - `cond`, `uncond`: equal shapes
    /// - returns: the same shape
    pub fn combine<const D: usize>(self, cond: Tensor<D>, uncond: Tensor<D>) -> Tensor<D> {
        uncond.clone() + (cond - uncond) * self.0
    }
}

impl TryFrom<f64> for GuidanceScale {
    type Error = Error;

    fn try_from(w: f64) -> Result<Self> {
        Self::new(w)
    }
}

impl From<GuidanceScale> for f64 {
    fn from(scale: GuidanceScale) -> Self {
        scale.common()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tolerance};

    use super::*;

    #[test]
    fn conventions_differ_by_one() {
        let scale = GuidanceScale::from_paper(7.0).expect("finite");
        assert_eq!(scale, GuidanceScale::default());
        assert_eq!((scale.common(), scale.paper()), (8.0, 7.0));
        assert_eq!(GuidanceScale::OFF.paper(), 0.0);
    }

    #[test]
    fn guidance_is_active_above_one() {
        for (w, active) in [(0.0, false), (1.0, false), (1.5, true), (8.0, true)] {
            assert_eq!(GuidanceScale::new(w).expect("finite").is_active(), active, "{w}");
        }
    }

    /// cond = 3, uncond = 1: common 1 + 8 * 2 = 17, paper 3 + 7 * 2 = 17.
    #[test]
    fn both_formulas_give_the_same_prediction() {
        let device = Device::flex();
        let cond = Tensor::<2>::from_floats([[3.0, -1.0]], &device);
        let uncond = Tensor::<2>::from_floats([[1.0, 0.5]], &device);
        for (scale, expected) in [
            (GuidanceScale::from_paper(7.0), [[17.0, -11.5]]),
            (GuidanceScale::new(1.0), [[3.0, -1.0]]),
            (GuidanceScale::new(0.0), [[1.0, 0.5]]),
        ] {
            let expected = Tensor::<2>::from_floats(expected, &device).into_data();
            scale
                .expect("finite")
                .combine(cond.clone(), uncond.clone())
                .into_data()
                .assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
        }
    }

    #[test]
    fn non_finite_scales_are_rejected_also_from_files() {
        assert!(GuidanceScale::new(f64::NAN).is_err());
        assert!(GuidanceScale::from_paper(f64::INFINITY).is_err());
        let read: GuidanceScale = serde_json::from_str("4.5").expect("a number");
        assert_eq!(read.common(), 4.5);
        assert_eq!(serde_json::to_string(&read).expect("a number"), "4.5");
    }
}
