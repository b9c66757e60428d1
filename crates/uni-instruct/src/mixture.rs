//! Mixtures of Gaussians: the teachers of which everything is known.
//!
//! After noise of level sigma a component `N(m, C)` is `N(m, C + sigma^2 I)`, so that densities, scores
//! and the optimal denoiser `E[x_0 | x]` are closed forms.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result, Stream, fs};

use crate::symmetric::{self, Eigen};

/// One Gaussian of a mixture, as a user writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Share of the mixture; shares are divided by their sum.
    pub weight: f64,
    /// Mean, `[D]`.
    pub mean: Vec<f64>,
    /// Standard deviation of every coordinate; in place of `covariance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// Covariance, `[D, D]`; in place of `deviation`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covariance: Option<Vec<Vec<f64>>>,
    /// Class, counted from zero without gaps; all components have one or none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<usize>,
}

impl Component {
    /// A Gaussian with the same deviation in every coordinate.
    pub fn round(weight: f64, mean: Vec<f64>, deviation: f64) -> Self {
        Self { weight, mean, deviation: Some(deviation), covariance: None, label: None }
    }
}

/// A mixture file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    components: Vec<Component>,
}

/// A Gaussian with its covariance in its own axes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gaussian {
    pub(crate) weight: f64,
    pub(crate) mean: Vec<f64>,
    pub(crate) axes: Eigen,
    pub(crate) label: Option<usize>,
}

/// A checked mixture of Gaussians in `D` dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    pub(crate) gaussians: Vec<Gaussian>,
    dims: usize,
    classes: usize,
}

/// Log density and its gradient at a point.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// `log p_sigma(x)`.
    pub log_density: f64,
    /// `grad log p_sigma(x)`, `[D]`.
    pub score: Vec<f64>,
}

impl Mixture {
    /// Checks components.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first component and field that is wrong.
    pub fn new(components: &[Component]) -> Result<Self> {
        let bad = |field: String, reason: String| Err(Error::config(field, reason));
        let Some(first) = components.first() else {
            return bad("components".into(), "expected at least one, found none".into());
        };
        let (dims, labelled) = (first.mean.len(), first.label.is_some());
        if dims == 0 {
            return bad("components[0].mean".into(), "expected at least one number".into());
        }
        let total: f64 = components.iter().map(|component| component.weight).sum();
        let mut gaussians = Vec::new();
        for (i, component) in components.iter().enumerate() {
            let field = |name: &str| format!("components[{i}].{name}");
            if !(component.weight > 0.0 && total.is_finite()) {
                let reason = format!("expected a positive number, found {}", component.weight);
                return bad(field("weight"), reason);
            }
            if component.mean.len() != dims || component.mean.iter().any(|m| !m.is_finite()) {
                let found = &component.mean;
                return bad(field("mean"), format!("expected {dims} numbers, found {found:?}"));
            }
            if component.label.is_some() != labelled {
                return bad(field("label"), "expected all components to have one, or none".into());
            }
            let covariance = match (component.deviation, &component.covariance) {
                (Some(deviation), None) if deviation >= 0.0 && deviation.is_finite() => {
                    symmetric::diagonal(&vec![deviation * deviation; dims])
                }
                (None, Some(rows))
                    if rows.len() == dims && rows.iter().all(|r| r.len() == dims) =>
                {
                    rows.concat()
                }
                (Some(deviation), None) => {
                    let reason = format!("expected a number of at least 0, found {deviation}");
                    return bad(field("deviation"), reason);
                }
                (None, Some(_)) => {
                    return bad(field("covariance"), format!("expected {dims} rows of {dims}"));
                }
                _ => {
                    let reason = "expected either `deviation` or `covariance`";
                    return bad(format!("components[{i}]"), reason.into());
                }
            };
            let axes = Eigen::of(&covariance, dims);
            match axes {
                Some(axes) if axes.values.iter().all(|&value| value >= -1e-12) => {
                    let weight = component.weight / total;
                    let (mean, label) = (component.mean.clone(), component.label);
                    gaussians.push(Gaussian { weight, mean, axes, label });
                }
                _ => {
                    let reason = "expected a symmetric matrix without negative eigenvalues";
                    return bad(field("covariance"), reason.into());
                }
            }
        }
        let labels: BTreeSet<usize> = components.iter().filter_map(|c| c.label).collect();
        let classes = labels.len();
        if let Some(i) = components.iter().position(|c| c.label.is_some_and(|l| l >= classes)) {
            let found = components[i].label.unwrap_or_default();
            let reason = format!(
                "expected labels from 0 without gaps, so at most {} here, found {found}",
                classes - 1
            );
            return bad(format!("components[{i}].label"), reason);
        }
        Ok(Self { gaussians, dims, classes })
    }

    /// Reads a JSON file `{"components": [{"weight": .., "mean": [..], "deviation": ..}, ..]}`.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Format`] with file, field, expected and found.
    pub fn open(path: &Path) -> Result<Self> {
        let file: File = fs::read_json(path)?;
        Self::new(&file.components).map_err(|e| Error::format(path, e.to_string()))
    }

    /// A checksum of everything in it.
    pub fn checksum(&self) -> u32 {
        // `Debug` writes every number with all of its digits.
        crc32c::crc32c(format!("{:?}", self.gaussians).as_bytes())
    }

    /// Number of coordinates.
    pub fn dims(&self) -> usize {
        self.dims
    }

    /// Number of classes; zero when components have no labels.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Means of the components.
    pub fn means(&self) -> impl Iterator<Item = &[f64]> {
        self.gaussians.iter().map(|gaussian| &gaussian.mean[..])
    }

    /// Mean over the mixture, `[D]`.
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.dims];
        for gaussian in &self.gaussians {
            mean.iter_mut().zip(&gaussian.mean).for_each(|(m, x)| *m += gaussian.weight * x);
        }
        mean
    }

    /// Root of the mean variance of a coordinate: sigma_data.
    pub fn deviation(&self) -> f64 {
        let mean = self.mean();
        let variance: f64 = self
            .gaussians
            .iter()
            .map(|gaussian| {
                let own: f64 = gaussian.axes.values.iter().sum();
                let offset: f64 =
                    gaussian.mean.iter().zip(&mean).map(|(x, m)| (x - m).powi(2)).sum();
                gaussian.weight * (own + offset)
            })
            .sum();
        (variance / self.dims as f64).sqrt()
    }

    /// Log density and score at a point under noise.
    ///
    /// # Shapes
    /// - `x`: `[D]`
    pub fn at(&self, x: &[f64], sigma: f64) -> Point {
        let mut log_weights = Vec::with_capacity(self.gaussians.len());
        let mut pulls = Vec::with_capacity(self.gaussians.len());
        for gaussian in &self.gaussians {
            let offset: Vec<f64> = x.iter().zip(&gaussian.mean).map(|(x, m)| x - m).collect();
            let (mut log, mut pull) = (gaussian.weight.ln(), vec![0.0; self.dims]);
            for (value, axis) in gaussian.axes.pairs() {
                let variance = value + sigma * sigma;
                let along: f64 = axis.iter().zip(&offset).map(|(a, o)| a * o).sum();
                log -= 0.5 * (along * along / variance + (std::f64::consts::TAU * variance).ln());
                pull.iter_mut().zip(axis).for_each(|(p, a)| *p -= along / variance * a);
            }
            log_weights.push(log);
            pulls.push(pull);
        }
        let top = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = log_weights.iter().map(|log| (log - top).exp()).sum();
        let mut score = vec![0.0; self.dims];
        for (log, pull) in log_weights.iter().zip(&pulls) {
            let share = (log - top).exp() / sum;
            score.iter_mut().zip(pull).for_each(|(s, p)| *s += share * p);
        }
        Point { log_density: top + sum.ln(), score }
    }

    /// A component for a draw uniform in `[0, 1)`, among those of a class or among all.
    fn pick(&self, uniform: f64, label: Option<usize>) -> &Gaussian {
        let fits = |gaussian: &&Gaussian| label.is_none() || gaussian.label == label;
        let total: f64 = self.gaussians.iter().filter(fits).map(|gaussian| gaussian.weight).sum();
        let mut left = uniform * total;
        let mut last = &self.gaussians[0];
        for gaussian in self.gaussians.iter().filter(fits) {
            last = gaussian;
            left -= gaussian.weight;
            if left < 0.0 {
                break;
            }
        }
        last
    }

    /// Share of each class, `[classes]`.
    pub fn class_shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.classes];
        for gaussian in &self.gaussians {
            if let Some(label) = gaussian.label {
                shares[label] += gaussian.weight;
            }
        }
        shares
    }

    /// Draws points, each of the class given for it, or of any.
    ///
    /// # Shapes
    /// - `labels`: one per point
    /// - returns: `[labels.len(), D]`, row-major
    pub fn sample(&self, stream: &mut Stream, labels: &[Option<usize>]) -> Vec<f32> {
        let uniforms = stream.uniforms(labels.len());
        let normals = stream.normals(labels.len() * self.dims);
        let mut points = Vec::with_capacity(normals.len());
        let rows = labels.iter().zip(uniforms).zip(normals.chunks_exact(self.dims));
        for ((label, uniform), normal) in rows {
            let gaussian = self.pick(f64::from(uniform), *label);
            let mut x = gaussian.mean.clone();
            for ((value, axis), n) in gaussian.axes.pairs().zip(normal) {
                let step = value.max(0.0).sqrt() * f64::from(*n);
                x.iter_mut().zip(axis).for_each(|(x, a)| *x += step * a);
            }
            points.extend(x.into_iter().map(|x| x as f32));
        }
        points
    }

    /// The component whose mean is nearest to a point, and the distance in its own standard deviations
    /// (the largest of its axes; at least `floor`).
    pub fn nearest(&self, x: &[f64], floor: f64) -> (usize, f64) {
        let mut best = (0, f64::INFINITY, 0.0);
        for (i, gaussian) in self.gaussians.iter().enumerate() {
            let square: f64 = x.iter().zip(&gaussian.mean).map(|(x, m)| (x - m).powi(2)).sum();
            if square < best.1 {
                let widest = gaussian.axes.values.iter().copied().fold(0.0, f64::max).sqrt();
                best = (i, square, square.sqrt() / widest.max(floor));
            }
        }
        (best.0, best.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trefoil_core::Seed;

    fn pair() -> Mixture {
        let covariance = Some(vec![vec![0.5, 0.15], vec![0.15, 0.4]]);
        let tilted = Component {
            weight: 2.0,
            mean: vec![-1.2, 0.5],
            deviation: None,
            covariance,
            label: Some(0),
        };
        let round = Component { label: Some(1), ..Component::round(3.0, vec![1.0, -0.4], 0.6) };
        Mixture::new(&[tilted, round]).unwrap()
    }

    /// `scipy.stats.multivariate_normal`, weights 0.4 and 0.6, covariances with 0.49 added.
    #[test]
    fn log_density_is_that_of_scipy() {
        let found = pair().at(&[0.3, -0.2], 0.7);
        assert!((found.log_density - LOG_DENSITY).abs() < 1e-12, "{}", found.log_density);
        let e = 1e-5;
        for axis in 0..2 {
            let side = |sign: f64| {
                let mut x = [0.3, -0.2];
                x[axis] += sign * e;
                pair().at(&x, 0.7).log_density
            };
            let slope = (side(1.0) - side(-1.0)) / (2.0 * e);
            assert!((slope - found.score[axis]).abs() < 1e-8);
        }
    }
    const LOG_DENSITY: f64 = -2.346673980215916;

    #[test]
    fn samples_have_the_moments_and_the_class() {
        let mixture = pair();
        let n = 40_000;
        let points = mixture.sample(&mut Seed(1).stream("x", 0), &vec![None; n]);
        for (axis, mean) in mixture.mean().into_iter().enumerate() {
            let found: f64 = points.chunks_exact(2).map(|x| f64::from(x[axis])).sum();
            assert!((found / n as f64 - mean).abs() < 0.02);
        }
        let square: f64 = points.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / n as f64;
        let mean: f64 = mixture.mean().iter().map(|m| m * m).sum();
        assert!((square - mean - 2.0 * mixture.deviation().powi(2)).abs() < 0.03);
        let first = mixture.sample(&mut Seed(1).stream("x", 1), &vec![Some(0); n]);
        let mean: f64 = first.chunks_exact(2).map(|x| f64::from(x[0])).sum::<f64>() / n as f64;
        assert!((mean + 1.2).abs() < 0.02);
        assert_eq!(mixture.class_shares(), [0.4, 0.6]);
    }

    #[test]
    fn bad_components_are_named() {
        let cases = [
            (Component::round(0.0, vec![0.0], 1.0), "components[0].weight"),
            (Component::round(1.0, vec![], 1.0), "components[0].mean"),
            (Component::round(1.0, vec![0.0], -1.0), "components[0].deviation"),
            (
                Component {
                    deviation: None,
                    covariance: Some(vec![vec![1.0, 2.0], vec![2.0, 1.0]]),
                    ..Component::round(1.0, vec![0.0, 0.0], 1.0)
                },
                "components[0].covariance",
            ),
        ];
        for (component, field) in cases {
            let error = Mixture::new(&[component]).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
        let labelled =
            |label| Component { label: Some(label), ..Component::round(1.0, vec![0.0], 1.0) };
        let error = Mixture::new(&[labelled(0), labelled(7)]).unwrap_err().to_string();
        assert!(error.contains("`components[1].label`: expected labels from 0"), "{error}");
        assert!(error.contains("at most 1 here, found 7"), "{error}");
        assert_eq!(Mixture::new(&[labelled(1), labelled(0)]).unwrap().classes(), 2);
    }

    #[test]
    fn a_checksum_sees_every_number() {
        let of = |mean: f64, deviation: f64| {
            Mixture::new(&[Component::round(1.0, vec![mean], deviation)]).unwrap().checksum()
        };
        assert_eq!(of(0.1, 1.0), of(0.1, 1.0));
        assert_ne!(of(0.1, 1.0), of(0.1 + 1e-16, 1.0));
        assert_ne!(of(0.1, 1.0), of(0.1, 1.0 + 1e-15));
    }
}
