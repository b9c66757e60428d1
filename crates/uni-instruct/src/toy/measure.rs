//! How close samples are to a mixture.

use serde::{Deserialize, Serialize};

use crate::mixture::Mixture;

/// Measurements of samples against a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Energy distance to as many samples of the mixture.
    pub energy_distance: f64,
    /// Modes with at least a quarter of the samples that they should have.
    pub modes: usize,
    /// Modes of the mixture.
    pub of_modes: usize,
    /// Share of samples within three deviations of the nearest component.
    pub on_mode: f64,
}

/// The unbiased energy distance between two sets of rows (Szekely and Rizzo, 2013):
///
/// ```text
/// 2 E|X - Y| - E|X - X'| - E|Y - Y'|
/// ```
///
/// # Shapes
/// - `a`, `b`: `[N, D]`, row-major; at least two rows each
pub fn energy_distance(a: &[f64], b: &[f64], d: usize) -> f64 {
    let mean = |x: &[f64], y: &[f64], pairs: f64| {
        let mut sum = 0.0;
        for p in x.chunks_exact(d) {
            for q in y.chunks_exact(d) {
                sum += p.iter().zip(q).map(|(p, q)| (p - q) * (p - q)).sum::<f64>().sqrt();
            }
        }
        sum / pairs
    };
    let (n, m) = ((a.len() / d) as f64, (b.len() / d) as f64);
    2.0 * mean(a, b, n * m) - mean(a, a, n * (n - 1.0)) - mean(b, b, m * (m - 1.0))
}

impl Fit {
    /// Measures samples against as many of the mixture. Modes are the labels of components, or the
    /// components themselves where there are no labels.
    ///
    /// # Shapes
    /// - `samples`, `real`: `[N, D]`, row-major
    pub fn measure(mixture: &Mixture, samples: &[f64], real: &[f64]) -> Self {
        let d = mixture.dims();
        let mode = |i: usize| mixture.gaussians[i].label.unwrap_or(i);
        let of_modes = 1 + (0..mixture.gaussians.len()).map(mode).max().unwrap_or_default();
        let mut expected = vec![0.0; of_modes];
        for (i, gaussian) in mixture.gaussians.iter().enumerate() {
            expected[mode(i)] += gaussian.weight;
        }
        let mut found = vec![0.0; of_modes];
        let mut near = 0.0;
        let share = d as f64 / samples.len().max(1) as f64;
        for x in samples.chunks_exact(d) {
            let (component, distance) = mixture.nearest(x, 1e-6);
            if distance <= 3.0 {
                near += share;
                found[mode(component)] += share;
            }
        }
        let modes = found.iter().zip(&expected).filter(|(f, e)| **f >= 0.25 * **e).count();
        let energy_distance = energy_distance(samples, real, d);
        Self { energy_distance, modes, of_modes, on_mode: near }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::Shape;
    use trefoil_core::Seed;

    /// `scipy.spatial.distance.cdist` on the same numbers.
    #[test]
    fn energy_distance_is_that_of_cdist() {
        let a = [0.0, 0.0, 1.0, 0.5, -0.3, 0.8];
        let b = [0.2, -1.0, 1.5, 0.1];
        assert!((energy_distance(&a, &b, 2) - ENERGY).abs() < 1e-12);
    }
    const ENERGY: f64 = 0.0825014152122221;

    #[test]
    fn real_samples_cover_everything_and_one_mode_does_not() {
        let mixture = Shape::EightGaussians.mixture().unwrap();
        let draw = |index, label| {
            let points = mixture.sample(&mut Seed(4).stream("x", index), &vec![label; 1000]);
            points.into_iter().map(f64::from).collect::<Vec<_>>()
        };
        let real = draw(0, None);
        let good = Fit::measure(&mixture, &draw(1, None), &real);
        assert_eq!((good.modes, good.of_modes), (8, 8));
        assert!(good.on_mode > 0.98 && good.energy_distance.abs() < 0.01, "{good:?}");
        let narrow = Fit::measure(&mixture, &draw(2, Some(3)), &real);
        assert_eq!(narrow.modes, 1);
        assert!(narrow.energy_distance > 0.5, "{narrow:?}");
    }
}
