//! Mixtures in the plane that have names.

use std::f64::consts::{PI, TAU};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trefoil_core::Result;

use crate::mixture::{Component, Mixture};

/// A mixture: in the plane with a standard deviation of about one, or from a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Eight round Gaussians on a circle; modes are the Gaussians.
    EightGaussians,
    /// The eight dark squares of a board of four by four, nine Gaussians each; modes are the squares.
    Checkerboard,
    /// Two interleaved half circles of sixteen Gaussians each; modes are the Gaussians.
    TwoMoons,
    /// A file `{"components": [{"weight": .., "mean": [..], "deviation": ..}, ..]}`.
    File(PathBuf),
}

impl Shape {
    /// All that have names.
    pub const ALL: [Self; 3] = [Self::EightGaussians, Self::Checkerboard, Self::TwoMoons];

    /// Name in recipes.
    pub fn name(&self) -> String {
        match self {
            Self::EightGaussians => "eight-gaussians".into(),
            Self::Checkerboard => "checkerboard".into(),
            Self::TwoMoons => "two-moons".into(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// The mixture.
    ///
    /// # Errors
    /// Those of the file.
    pub fn mixture(&self) -> Result<Mixture> {
        let mut components = Vec::new();
        match self {
            Self::File(path) => return Mixture::open(path),
            Self::EightGaussians => {
                for k in 0..8 {
                    let (sin, cos) = (TAU * f64::from(k) / 8.0).sin_cos();
                    let mean = vec![1.4 * cos, 1.4 * sin];
                    let part = Component::round(1.0, mean, 0.1);
                    components.push(Component { label: Some(k as usize), ..part });
                }
            }
            Self::Checkerboard => {
                // Squares of side 1 with corners at -2, -1, 0, 1; scaled to unit deviation below.
                const SCALE: f64 = 0.86;
                let dark = (0..16).filter(|square| (square % 4 + square / 4) % 2 == 0);
                for (label, square) in dark.enumerate() {
                    for cell in 0..9 {
                        let place = |corner: i32, part: i32| {
                            SCALE * (f64::from(corner) - 2.0 + (f64::from(part) + 0.5) / 3.0)
                        };
                        let mean = vec![place(square % 4, cell % 3), place(square / 4, cell / 3)];
                        let part = Component::round(1.0, mean, SCALE * 0.13);
                        components.push(Component { label: Some(label), ..part });
                    }
                }
            }
            Self::TwoMoons => {
                for k in 0..32 {
                    let (moon, place) = (k / 16, f64::from(k % 16));
                    let (sin, cos) = (PI * (place + 0.5) / 16.0).sin_cos();
                    let (x, y) = if moon == 0 { (cos, sin) } else { (1.0 - cos, 0.5 - sin) };
                    let mean = vec![1.5 * (x - 0.5), 1.5 * (y - 0.25)];
                    let part = Component::round(1.0, mean, 0.1);
                    components.push(Component { label: Some(k as usize), ..part });
                }
            }
        }
        Mixture::new(&components)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_unit_deviation_and_their_modes() {
        for (shape, modes) in Shape::ALL.into_iter().zip([8, 8, 32]) {
            let mixture = shape.mixture().unwrap();
            assert_eq!((mixture.dims(), mixture.classes()), (2, modes), "{}", shape.name());
            assert!((mixture.deviation() - 1.0).abs() < 0.1, "{}", mixture.deviation());
            assert!(mixture.mean().iter().all(|m| m.abs() < 0.01));
        }
    }
}
