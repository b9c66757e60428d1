//! Similarities of feature vectors, larger being more similar.
//!
//! Sums run in a fixed order in f64, so equal vectors get exactly equal similarities and ties are
//! ties wherever the vectors stand.

use crate::error::{Error, Result, same_size};
use crate::features::Features;

/// Partial sums that the compiler may keep in one vector register.
const LANES: usize = 8;

/// Cosine similarity `a.b / (|a| |b|)`.
#[derive(Debug)]
pub struct Cosine<'a> {
    queries: Features<'a>,
    candidates: Features<'a>,
    query_norms: Vec<f64>,
    candidate_norms: Vec<f64>,
}

impl<'a> Cosine<'a> {
    /// Prepares the norms of `queries` (`[n, dim]`) and `candidates` (`[m, dim]`).
    ///
    /// # Errors
    /// Different dimensions, or a zero vector.
    pub fn new(queries: Features<'a>, candidates: Features<'a>) -> Result<Self> {
        same_size("dimension of the candidates", queries.dim(), candidates.dim())?;
        Ok(Self {
            query_norms: norms(queries)?,
            candidate_norms: norms(candidates)?,
            queries,
            candidates,
        })
    }

    /// Similarity of one query and one candidate.
    pub fn of(&self, query: usize, candidate: usize) -> f64 {
        let product =
            lane_sum(self.queries.row(query), self.candidates.row(candidate), |a, b| a * b);
        product / (self.query_norms[query] * self.candidate_norms[candidate])
    }
}

/// Negative squared Euclidean distance `-|a - b|^2`.
#[derive(Debug)]
pub struct NegativeSquaredDistance<'a> {
    queries: Features<'a>,
    candidates: Features<'a>,
}

impl<'a> NegativeSquaredDistance<'a> {
    /// Compares `queries` (`[n, dim]`) with `candidates` (`[m, dim]`).
    ///
    /// # Errors
    /// Different dimensions.
    pub fn new(queries: Features<'a>, candidates: Features<'a>) -> Result<Self> {
        same_size("dimension of the candidates", queries.dim(), candidates.dim())?;
        Ok(Self { queries, candidates })
    }

    /// Similarity of one query and one candidate.
    pub fn of(&self, query: usize, candidate: usize) -> f64 {
        let difference = |a: f64, b: f64| (a - b) * (a - b);
        -lane_sum(self.queries.row(query), self.candidates.row(candidate), difference)
    }
}

fn norms(features: Features<'_>) -> Result<Vec<f64>> {
    (0..features.rows())
        .map(|row| {
            let norm = lane_sum(features.row(row), features.row(row), |a, b| a * b).sqrt();
            if norm > 0.0 { Ok(norm) } else { Err(Error::ZeroNorm { what: features.what(), row }) }
        })
        .collect()
}

/// Sum of `term(a[i], b[i])`.
fn lane_sum(a: &[f32], b: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += term(f64::from(a), f64::from(b));
        }
    }
    let rest: f64 =
        a_rest.iter().zip(b_rest).map(|(&a, &b)| term(f64::from(a), f64::from(b))).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_cover_blocks_and_the_rest() {
        // 1 + 2 + ... + 19 with ones: 190; squared differences of i and 1: sum (i - 1)^2 = 2109.
        let a: Vec<f32> = (1..=19).map(|i| i as f32).collect();
        let b = [1.0; 19];
        let (a, b) = (Features::new("a", &a, 19).unwrap(), Features::new("b", &b, 19).unwrap());
        assert_eq!(NegativeSquaredDistance::new(a, b).unwrap().of(0, 0), -2109.0);
        // Norms: sqrt(sum i^2) = sqrt(2470) and sqrt(19).
        let cosine = Cosine::new(a, b).unwrap().of(0, 0);
        assert!((cosine - 190.0 / (2470.0_f64 * 19.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn dimensions_must_agree() {
        let values = [1.0; 6];
        let (a, b) = (Features::new("a", &values, 3), Features::new("b", &values, 2));
        assert!(matches!(
            NegativeSquaredDistance::new(a.unwrap(), b.unwrap()),
            Err(Error::SizeMismatch { expected: 3, found: 2, .. })
        ));
    }
}
