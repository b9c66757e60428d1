//! Retrieval: does a query find its own candidate among all candidates?
//!
//! The rank of a query is `1 + (better) + (equal) / 2`, counting the wrong candidates whose
//! similarity is strictly larger than, or equal to, that of the best correct one. A constant
//! similarity thus gets the mean rank of a random order, not the first place.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, enough, same_size};
use crate::features::Features;
use crate::interval::wilson_interval;
use crate::report::{Measure, Row, Unit};
use crate::similarity::{Cosine, NegativeSquaredDistance};

/// Queries of one task: each candidate is read once for all of them.
const BLOCK_QUERIES: usize = 8;

/// Which candidates are correct for which query.
#[derive(Debug, Clone)]
pub struct Truth {
    candidates: usize,
    targets: Vec<usize>,
    groups: Option<Vec<u32>>,
}

impl Truth {
    /// Query `i` belongs to candidate `targets[i]` of `candidates`.
    ///
    /// # Errors
    /// No queries, or a target that is not a candidate.
    pub fn new(candidates: usize, targets: &[usize]) -> Result<Self> {
        enough("queries of a retrieval", 1, targets.len())?;
        if let Some(position) = targets.iter().position(|&target| target >= candidates) {
            return Err(Error::IndexOutOfRange {
                what: "targets of a retrieval",
                position,
                index: targets[position],
                length: candidates,
            });
        }
        Ok(Self { candidates, targets: targets.to_vec(), groups: None })
    }

    /// Query `i` belongs to candidate `i`, for `count` of both.
    ///
    /// # Errors
    /// A count of zero.
    pub fn paired(count: usize) -> Result<Self> {
        Self::new(count, &(0..count).collect::<Vec<_>>())
    }

    /// Accepts each candidate of the same group as the target, e.g. images with the same caption.
    /// `groups[j]` is the group of candidate `j`.
    ///
    /// # Errors
    /// Another number of groups than of candidates.
    pub fn with_groups(mut self, groups: &[u32]) -> Result<Self> {
        same_size("groups of the candidates", self.candidates, groups.len())?;
        self.groups = Some(groups.to_vec());
        Ok(self)
    }

    fn is_correct(&self, target: usize, candidate: usize) -> bool {
        match &self.groups {
            None => candidate == target,
            Some(groups) => groups[candidate] == groups[target],
        }
    }

    fn rank(&self, target: usize, similarities: &[f64]) -> f64 {
        let correct = similarities
            .iter()
            .enumerate()
            .filter(|(candidate, _)| self.is_correct(target, *candidate))
            .fold(f64::NEG_INFINITY, |best, (_, &similarity)| best.max(similarity));
        let (mut better, mut equal) = (0_usize, 0_usize);
        for (candidate, &similarity) in similarities.iter().enumerate() {
            if similarity >= correct && !self.is_correct(target, candidate) {
                if similarity > correct {
                    better += 1;
                } else {
                    equal += 1;
                }
            }
        }
        1.0 + better as f64 + 0.5 * equal as f64
    }
}

/// Rank of each query under `similarity(query, candidate)`, larger being more similar.
///
/// # Errors
/// A similarity that is NaN.
pub fn ranks<F>(truth: &Truth, similarity: F) -> Result<Vec<f64>>
where
    F: Fn(usize, usize) -> f64 + Sync,
{
    let blocks: Vec<Vec<f64>> = truth
        .targets
        .par_chunks(BLOCK_QUERIES)
        .enumerate()
        .map(|(block, targets)| {
            let mut similarities = vec![0.0; targets.len() * truth.candidates];
            for candidate in 0..truth.candidates {
                for i in 0..targets.len() {
                    let query = block * BLOCK_QUERIES + i;
                    let value = similarity(query, candidate);
                    if value.is_nan() {
                        let what = "similarity of a query and a candidate";
                        return Err(Error::NotFinite { what, row: query, column: candidate });
                    }
                    similarities[i * truth.candidates + candidate] = value;
                }
            }
            let rows = similarities.chunks_exact(truth.candidates);
            Ok(targets.iter().zip(rows).map(|(&target, row)| truth.rank(target, row)).collect())
        })
        .collect::<Result<_>>()?;
    Ok(blocks.concat())
}

/// How far up the queries find their candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetrievalReport {
    /// Number of candidates that each query is compared with.
    pub candidates: usize,
    /// Number of queries.
    pub queries: usize,
    /// Part of the queries with rank 1 (a tie for the first place is not rank 1).
    pub recall_at_1: f64,
    /// Part of the queries with a rank of at most 10.
    pub recall_at_10: f64,
    /// Median of the ranks.
    pub median_rank: f64,
}

impl RetrievalReport {
    /// Ranks by cosine similarity of `queries` (`[n, dim]`) and `candidates` (`[m, dim]`).
    ///
    /// # Errors
    /// Sizes that do not match each other or the truth, zero vectors.
    pub fn cosine(truth: &Truth, queries: Features<'_>, candidates: Features<'_>) -> Result<Self> {
        truth.check(queries, candidates)?;
        let similarity = Cosine::new(queries, candidates)?;
        Self::from_similarity(truth, |query, candidate| similarity.of(query, candidate))
    }

    /// Ranks by negative squared distance: nearest by pixels, for images as rows.
    ///
    /// # Errors
    /// Sizes that do not match each other or the truth.
    pub fn nearest(truth: &Truth, queries: Features<'_>, candidates: Features<'_>) -> Result<Self> {
        truth.check(queries, candidates)?;
        let similarity = NegativeSquaredDistance::new(queries, candidates)?;
        Self::from_similarity(truth, |query, candidate| similarity.of(query, candidate))
    }

    /// Ranks by any similarity.
    ///
    /// # Errors
    /// As [`ranks`].
    pub fn from_similarity<F>(truth: &Truth, similarity: F) -> Result<Self>
    where
        F: Fn(usize, usize) -> f64 + Sync,
    {
        Self::from_ranks(&ranks(truth, similarity)?, truth.candidates)
    }

    /// Summary of ranks among `candidates`.
    ///
    /// # Errors
    /// No ranks, or a rank outside of `1..=candidates`.
    pub fn from_ranks(ranks: &[f64], candidates: usize) -> Result<Self> {
        enough("ranks", 1, ranks.len())?;
        let high = candidates as f64;
        if let Some(position) = ranks.iter().position(|rank| !(1.0..=high).contains(rank)) {
            let value = ranks[position];
            return Err(Error::OutOfRange { what: "ranks", position, value, low: 1.0, high });
        }
        let mut sorted = ranks.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median_rank = match sorted.len() % 2 {
            0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        };
        let recall = |k: f64| sorted.partition_point(|&rank| rank <= k) as f64 / ranks.len() as f64;
        Ok(Self {
            candidates,
            queries: ranks.len(),
            recall_at_1: recall(1.0),
            recall_at_10: recall(10.0),
            median_rank,
        })
    }
}

impl Truth {
    fn check(&self, queries: Features<'_>, candidates: Features<'_>) -> Result<()> {
        same_size("query features", self.targets.len(), queries.rows())?;
        same_size("candidate features", self.candidates, candidates.rows())
    }
}

impl Measure for RetrievalReport {
    fn rows(&self) -> Vec<Row> {
        let note = format!("among {} candidates", self.candidates);
        let recall = |metric: &str, value: f64| {
            let hits = (value * self.queries as f64).round() as usize;
            Row::higher_is_better(metric, Unit::Fraction, value, self.queries)
                .with_interval(wilson_interval(hits, self.queries).ok())
                .with_note(note.clone())
        };
        vec![
            recall("retrieval recall@1", self.recall_at_1),
            recall("retrieval recall@10", self.recall_at_10),
            Row::lower_is_better(
                "retrieval median rank",
                Unit::Rank,
                self.median_rank,
                self.queries,
            )
            .with_note(note.clone()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(values: &[f32]) -> Features<'_> {
        Features::new("test", values, 2).unwrap()
    }

    #[test]
    fn a_table_of_similarities_has_known_ranks() {
        let table = [[0.9, 0.1, 0.5], [0.7, 0.2, 0.3], [0.4, 0.4, 0.4], [0.5, 0.8, 0.8]];
        let truth = Truth::new(3, &[0, 1, 2, 1]).unwrap();
        let found = ranks(&truth, |q, c| table[q][c]).unwrap();
        assert_eq!(found, [1.0, 3.0, 2.0, 1.5]);
        let report = RetrievalReport::from_ranks(&found, 3).unwrap();
        assert_eq!((report.recall_at_1, report.recall_at_10), (0.25, 1.0));
        assert_eq!(report.median_rank, 1.75);
    }

    #[test]
    fn groups_accept_duplicates() {
        let table = [[0.1, 0.9, 0.9], [0.5, 0.5, 0.4]];
        let truth = Truth::new(3, &[0, 0]).unwrap();
        assert_eq!(ranks(&truth, |q, c| table[q][c]).unwrap(), [3.0, 1.5]);
        let truth = truth.with_groups(&[7, 7, 2]).unwrap();
        // The correct one at 0.9 ties with the wrong one; then the tie is among correct ones.
        assert_eq!(ranks(&truth, |q, c| table[q][c]).unwrap(), [1.5, 1.0]);
    }

    #[test]
    fn cosine_ignores_length_and_distance_does_not() {
        let queries = [1.0, 0.0, 0.0, 1.0];
        let candidates = [9.0, 1.0, 0.5, 0.8];
        let truth = Truth::paired(2).unwrap();
        let cosine = RetrievalReport::cosine(&truth, features(&queries), features(&candidates));
        assert_eq!(cosine.unwrap().recall_at_1, 1.0);
        let nearest = RetrievalReport::nearest(&truth, features(&queries), features(&candidates));
        let nearest = nearest.unwrap();
        assert_eq!((nearest.recall_at_1, nearest.median_rank), (0.5, 1.5));
    }

    #[test]
    fn a_constant_similarity_ranks_in_the_middle() {
        let report = RetrievalReport::from_similarity(&Truth::paired(101).unwrap(), |_, _| 0.3);
        let report = report.unwrap();
        assert_eq!((report.queries, report.candidates), (101, 101));
        assert_eq!((report.recall_at_1, report.recall_at_10, report.median_rank), (0.0, 0.0, 51.0));
    }

    #[test]
    fn recall_at_10_counts_rank_ten() {
        // Query q sees its own candidate at place q + 1.
        let truth = Truth::paired(40).unwrap();
        let score = |q: usize, c: usize| if c == q { 0.5 } else { f64::from(u8::from(c < q)) };
        let report = RetrievalReport::from_similarity(&truth, score).unwrap();
        assert_eq!((report.recall_at_1, report.recall_at_10), (0.025, 0.25));
        assert_eq!(report.median_rank, 20.5);
        let rows = report.rows();
        assert_eq!(rows[0].interval, Some(wilson_interval(1, 40).unwrap()));
        assert_eq!(rows[2].note, "among 40 candidates");
    }

    #[test]
    fn impossible_tasks_are_refused() {
        assert!(matches!(
            Truth::new(2, &[0, 2]),
            Err(Error::IndexOutOfRange { position: 1, index: 2, length: 2, .. })
        ));
        assert!(matches!(Truth::paired(0), Err(Error::TooFewSamples { .. })));
        assert!(matches!(
            Truth::paired(2).unwrap().with_groups(&[1]),
            Err(Error::SizeMismatch { expected: 2, found: 1, .. })
        ));
        assert!(matches!(
            ranks(&Truth::paired(3).unwrap(), |q, c| if (q, c) == (1, 2) { f64::NAN } else { 0.0 }),
            Err(Error::NotFinite { row: 1, column: 2, .. })
        ));
        let (one, two) = ([1.0, 2.0], [1.0, 2.0, 0.0, 0.0]);
        let truth = Truth::paired(2).unwrap();
        assert!(matches!(
            RetrievalReport::cosine(&truth, features(&two), features(&one)),
            Err(Error::SizeMismatch { expected: 2, found: 1, .. })
        ));
        assert!(matches!(
            RetrievalReport::cosine(&truth, features(&two), features(&two)),
            Err(Error::ZeroNorm { row: 1, .. })
        ));
    }
}
