//! Precision and recall of generated samples.
//!
//! Each set is described by the balls around its vectors that reach to the `k`-th nearest other one.
//! Precision is the part of the generated vectors inside of a ball of the real set, recall the part of
//! the real ones inside of a ball of the generated set (Kynkaanniemi et al.,
//! <https://arxiv.org/abs/1904.06991>).

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use half::f16;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, enough, same_size};
use crate::features::Features;
use crate::interval::wilson_interval;
use crate::report::{Measure, Row, Unit};

/// Neighbours of published values.
pub const NEIGHBOURS: usize = 3;
/// Vectors whose distances to all others are computed together.
const BLOCK: usize = 256;

/// How features are stored before distances are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeaturePrecision {
    /// Rounded to half precision, as the published implementation does.
    #[default]
    Half,
    /// As they are.
    Single,
}

/// Precision and recall.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrecisionRecall {
    /// What the features are.
    pub features: String,
    /// Number of real samples.
    pub real_samples: usize,
    /// Number of generated samples.
    pub generated_samples: usize,
    /// `k`: radii reach to the `k`-th nearest other vector.
    pub neighbours: usize,
    /// How features were rounded.
    pub precision_of_features: FeaturePrecision,
    /// Number of generated samples inside of the real set.
    pub realistic: usize,
    /// Number of real samples inside of the generated set.
    pub covered: usize,
}

impl PrecisionRecall {
    /// Compares two sets.
    ///
    /// # Errors
    /// Different dimensions, no more vectors than neighbours, a value that half precision cannot hold.
    pub fn new(
        features: &str,
        real: Features<'_>,
        generated: Features<'_>,
        neighbours: usize,
        precision: FeaturePrecision,
    ) -> Result<Self> {
        same_size("dimension of the generated features", real.dim(), generated.dim())?;
        enough("precision and recall", neighbours.max(1) + 1, real.rows().min(generated.rows()))?;
        let (left, right) = (Points::new(real, precision)?, Points::new(generated, precision)?);
        Ok(Self {
            features: features.to_owned(),
            real_samples: real.rows(),
            generated_samples: generated.rows(),
            neighbours,
            precision_of_features: precision,
            realistic: count_inside(&left, &right, neighbours),
            covered: count_inside(&right, &left, neighbours),
        })
    }

    /// Part of the generated samples that are realistic.
    pub fn precision(&self) -> f64 {
        self.realistic as f64 / self.generated_samples as f64
    }

    /// Part of the real samples that are covered.
    pub fn recall(&self) -> f64 {
        self.covered as f64 / self.real_samples as f64
    }
}

/// Vectors as columns, with their squared norms.
struct Points {
    columns: Mat<f64>,
    norms: Vec<f64>,
}

impl Points {
    fn new(set: Features<'_>, precision: FeaturePrecision) -> Result<Self> {
        let round = |value: f32| match precision {
            FeaturePrecision::Half => f64::from(f16::from_f32(value)),
            FeaturePrecision::Single => f64::from(value),
        };
        let columns = Mat::from_fn(set.dim(), set.rows(), |d, row| round(set.row(row)[d]));
        let norms: Vec<f64> =
            columns.col_iter().map(|column| column.iter().map(|v| v * v).sum()).collect();
        match norms.iter().position(|norm| !norm.is_finite()) {
            None => Ok(Self { columns, norms }),
            Some(row) => {
                Err(Error::NotFinite { what: "features in half precision", row, column: 0 })
            }
        }
    }

    fn count(&self) -> usize {
        self.norms.len()
    }

    /// Squared distances of some points to all of `others`: one column per point.
    fn distances(&self, first: usize, count: usize, others: &Self) -> Mat<f64> {
        let some: MatRef<'_, f64> = self.columns.as_ref().subcols(first, count);
        let mut squares = Mat::from_fn(others.count(), count, |row, column| {
            others.norms[row] + self.norms[first + column]
        });
        let all = others.columns.as_ref().transpose();
        matmul(squares.as_mut(), Accum::Add, all, some, -2.0, Par::Seq);
        squares
    }

    /// Squared distance of each point to its `neighbours`-th nearest other one.
    fn radii(&self, neighbours: usize) -> Vec<f64> {
        let blocks = (0..self.count()).step_by(BLOCK).collect::<Vec<_>>();
        blocks
            .into_par_iter()
            .flat_map_iter(|first| {
                let count = BLOCK.min(self.count() - first);
                let squares = self.distances(first, count, self);
                (0..count).map(move |column| {
                    let mut column: Vec<f64> = squares.col(column).iter().copied().collect();
                    // The nearest is the point itself.
                    *column.select_nth_unstable_by(neighbours, f64::total_cmp).1
                })
            })
            .collect()
    }
}

/// How many probes lie in a ball of the manifold.
fn count_inside(manifold: &Points, probes: &Points, neighbours: usize) -> usize {
    let radii = manifold.radii(neighbours);
    let blocks = (0..probes.count()).step_by(BLOCK).collect::<Vec<_>>();
    blocks
        .into_par_iter()
        .map(|first| {
            let count = BLOCK.min(probes.count() - first);
            let squares = probes.distances(first, count, manifold);
            let inside = |column: &usize| {
                squares.col(*column).iter().zip(&radii).any(|(square, radius)| square <= radius)
            };
            (0..count).filter(inside).count()
        })
        .sum()
}

impl Measure for PrecisionRecall {
    fn rows(&self) -> Vec<Row> {
        let row = |name: &str, value, count, total, note: String| {
            let metric = format!("{name} ({})", self.features);
            Row::higher_is_better(metric, Unit::Fraction, value, total)
                .with_interval(wilson_interval(count, total).ok())
                .with_note(note)
        };
        let note = |what: &str, others: usize| {
            let rounding = match self.precision_of_features {
                FeaturePrecision::Half => "half",
                FeaturePrecision::Single => "single",
            };
            format!("of {what} against {others}, k = {}, {rounding} precision", self.neighbours)
        };
        vec![
            row(
                "precision",
                self.precision(),
                self.realistic,
                self.generated_samples,
                note("generated samples", self.real_samples),
            ),
            row(
                "recall",
                self.recall(),
                self.covered,
                self.real_samples,
                note("real samples", self.generated_samples),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(real: &[f32], generated: &[f32]) -> (f64, f64) {
        let real = Features::new("real", real, 1).unwrap();
        let generated = Features::new("generated", generated, 1).unwrap();
        let found = PrecisionRecall::new("x", real, generated, 1, FeaturePrecision::Half).unwrap();
        (found.precision(), found.recall())
    }

    #[test]
    fn points_on_a_line_by_hand() {
        // Real radii with k = 1: 1, 1, 8. Generated 0.5 and 1.5 lie inside, 30 does not.
        // Generated radii: 1, 1, 28.5; 0 and 1 are within 1 of 0.5, 10 within 28.5 of 30.
        assert_eq!(compare(&[0.0, 1.0, 10.0], &[0.5, 1.5, 30.0]), (2.0 / 3.0, 1.0));
    }

    #[test]
    fn equal_sets_cover_each_other_and_distant_ones_do_not() {
        assert_eq!(compare(&[0.0, 1.0, 3.0], &[0.0, 1.0, 3.0]), (1.0, 1.0));
        assert_eq!(compare(&[0.0, 1.0], &[100.0, 101.0]), (0.0, 0.0));
    }

    #[test]
    fn values_beyond_half_precision_are_refused() {
        let big = Features::new("real", &[0.0, 1e6], 1).unwrap();
        let result = PrecisionRecall::new("x", big, big, 1, FeaturePrecision::Half);
        assert!(matches!(result, Err(Error::NotFinite { row: 1, .. })));
        assert!(PrecisionRecall::new("x", big, big, 1, FeaturePrecision::Single).is_ok());
    }
}
