//! Ranking of one positive among negatives: hit rate, NDCG, reciprocal rank, AUC, position.
//!
//! A tie counts against the positive, so that a constant score is worst and not best; the number of
//! ties is reported, and beside each metric its expectation over random orders of equal scores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, enough};
use crate::interval::{Interval, wilson_interval};
use crate::report::{Measure, Row, Unit};

/// Where a positive stands among its negatives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Negatives with a larger score.
    pub better: usize,
    /// Negatives with the same score.
    pub equal: usize,
    /// All negatives.
    pub negatives: usize,
}

impl Position {
    /// Compares a positive with its negatives.
    ///
    /// # Errors
    /// A score that is NaN; `row` names it.
    pub fn new(row: usize, positive: f32, negatives: &[f32]) -> Result<Self> {
        let scores = std::iter::once(&positive).chain(negatives);
        if let Some(column) = scores.clone().position(|score| score.is_nan()) {
            return Err(Error::NotFinite { what: "scores of a ranking", row, column });
        }
        let better = negatives.iter().filter(|&&score| score > positive).count();
        let equal = negatives.iter().filter(|&&score| score == positive).count();
        Ok(Self { better, equal, negatives: negatives.len() })
    }

    /// Number of items before the positive when ties go against it.
    pub fn worst(&self) -> usize {
        self.better + self.equal
    }

    /// Part of the negatives below the positive, ties counting one half.
    pub fn auc(&self) -> f64 {
        let below = self.negatives - self.worst();
        (below as f64 + 0.5 * self.equal as f64) / self.negatives as f64
    }

    /// Mean of a function of the place over the orders of equal scores.
    fn expected(&self, value: impl Fn(usize) -> f64) -> f64 {
        let places = self.better..=self.worst();
        places.map(value).sum::<f64>() / (self.equal + 1) as f64
    }
}

fn hit(place: usize, cutoff: usize) -> f64 {
    f64::from(u8::from(place < cutoff))
}

fn gain(place: usize, cutoff: usize) -> f64 {
    if place < cutoff { 1.0 / (place as f64 + 2.0).log2() } else { 0.0 }
}

fn reciprocal(place: usize) -> f64 {
    1.0 / (place as f64 + 1.0)
}

/// Area under the receiver operating characteristic: the chance that a positive is above a negative,
/// ties counting one half. None without a positive or without a negative.
pub fn auc(positives: &[f32], negatives: &[f32]) -> Option<f64> {
    if positives.is_empty() || negatives.is_empty() {
        return None;
    }
    let mut sorted = negatives.to_vec();
    sorted.sort_by(f32::total_cmp);
    let above = |&positive: &f32| {
        let below = sorted.partition_point(|&score| score < positive);
        let upto = sorted.partition_point(|&score| score <= positive);
        f64::midpoint(below as f64, upto as f64)
    };
    let total: f64 = positives.iter().map(above).sum();
    Some(total / (positives.len() as f64 * negatives.len() as f64))
}

/// AUC of all rows of a user, pooled, and the mean over users with both kinds of rows, each user
/// counting once.
#[derive(Debug, Clone, Default)]
pub struct GroupAuc {
    pools: BTreeMap<u32, [Vec<f32>; 2]>,
}

impl GroupAuc {
    /// Adds one positive and its negatives to the pool of a user.
    pub fn push(&mut self, user: u32, positive: f32, negatives: &[f32]) {
        let pool = self.pools.entry(user).or_default();
        pool[0].push(positive);
        pool[1].extend_from_slice(negatives);
    }

    /// The mean; none without users.
    pub fn mean(&self) -> Option<f64> {
        let values: Vec<f64> = self
            .pools
            .values()
            .filter_map(|[positives, negatives]| auc(positives, negatives))
            .collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }
}

/// A metric with ties against the positive, and its expectation over orders of ties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Tied {
    /// Ties go against the positive.
    pub value: f64,
    /// Mean over random orders of equal scores.
    pub expected: f64,
}

/// Hit rate and NDCG at one cutoff.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AtCutoff {
    /// Number of places that are looked at.
    pub cutoff: usize,
    /// Part of the groups whose positive is within.
    pub hit: Tied,
    /// `1 / log2(place + 2)` for places from zero, zero beyond.
    pub ndcg: Tied,
}

/// Means over groups of one positive and its negatives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankingReport {
    /// What was ranked, for readers: `1 of 100 sampled`, `all items`.
    pub protocol: String,
    /// Number of groups.
    pub groups: usize,
    /// Groups in which a negative has the score of the positive.
    pub tied_groups: usize,
    /// Hit rate and NDCG.
    pub at: Vec<AtCutoff>,
    /// Mean reciprocal rank, without a cutoff.
    pub mrr: Tied,
    /// Mean of the AUC of each group.
    pub auc: f64,
    /// Mean of the AUC of each user, if it was computed.
    pub gauc: Option<f64>,
    /// Mean place, from zero.
    pub average_position: Tied,
}

impl RankingReport {
    /// Means of these positions at these cutoffs.
    ///
    /// # Errors
    /// No position, or one without negatives.
    pub fn new(
        protocol: &str,
        positions: &[Position],
        cutoffs: &[usize],
        gauc: Option<f64>,
    ) -> Result<Self> {
        enough("groups of a ranking", 1, positions.len())?;
        for position in positions {
            enough("negatives of a group", 1, position.negatives)?;
        }
        let groups = positions.len() as f64;
        let mean = |value: &dyn Fn(usize) -> f64| Tied {
            value: positions.iter().map(|p| value(p.worst())).sum::<f64>() / groups,
            expected: positions.iter().map(|p| p.expected(value)).sum::<f64>() / groups,
        };
        let at = |&cutoff: &usize| AtCutoff {
            cutoff,
            hit: mean(&|place| hit(place, cutoff)),
            ndcg: mean(&|place| gain(place, cutoff)),
        };
        Ok(Self {
            protocol: protocol.to_owned(),
            groups: positions.len(),
            tied_groups: positions.iter().filter(|position| position.equal > 0).count(),
            at: cutoffs.iter().map(at).collect(),
            mrr: mean(&reciprocal),
            auc: positions.iter().map(Position::auc).sum::<f64>() / groups,
            gauc,
            average_position: mean(&|place| place as f64),
        })
    }

    /// NDCG at a cutoff, if it was asked for.
    pub fn ndcg(&self, cutoff: usize) -> Option<f64> {
        self.at.iter().find(|at| at.cutoff == cutoff).map(|at| at.ndcg.value)
    }

    /// Hit rate at a cutoff, if it was asked for.
    pub fn hit(&self, cutoff: usize) -> Option<f64> {
        self.at.iter().find(|at| at.cutoff == cutoff).map(|at| at.hit.value)
    }
}

impl Measure for RankingReport {
    fn rows(&self) -> Vec<Row> {
        let note = |tied: Tied| match self.tied_groups {
            0 => self.protocol.clone(),
            ties => format!("{}; {ties} ties, expected {:.4}", self.protocol, tied.expected),
        };
        let fraction = |metric: String, tied: Tied, interval: Option<Interval>| {
            Row::higher_is_better(metric, Unit::Fraction, tied.value, self.groups)
                .with_interval(interval)
                .with_note(note(tied))
        };
        let mut rows = Vec::new();
        for at in &self.at {
            let hits = (at.hit.value * self.groups as f64).round() as usize;
            let interval = wilson_interval(hits, self.groups).ok();
            rows.push(fraction(format!("hit@{}", at.cutoff), at.hit, interval));
            rows.push(fraction(format!("ndcg@{}", at.cutoff), at.ndcg, None));
        }
        let exact = |value: f64| Tied { value, expected: value };
        rows.push(fraction("mrr".to_owned(), self.mrr, None));
        rows.push(fraction("auc".to_owned(), exact(self.auc), None));
        if let Some(gauc) = self.gauc {
            rows.push(fraction("gauc".to_owned(), exact(gauc), None));
        }
        let place = self.average_position;
        rows.push(
            Row::lower_is_better("average position", Unit::Rank, place.value, self.groups)
                .with_note(note(place)),
        );
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(groups: &[(f32, &[f32])], cutoff: usize) -> RankingReport {
        let positions: Vec<Position> = groups
            .iter()
            .enumerate()
            .map(|(row, (positive, negatives))| Position::new(row, *positive, negatives).unwrap())
            .collect();
        RankingReport::new("test", &positions, &[cutoff], None).unwrap()
    }

    #[test]
    fn places_have_known_values() {
        let found = report(&[(0.3, &[0.9, 0.1]), (0.8, &[0.2, 0.1])], 1);
        assert_eq!((found.hit(1), found.ndcg(1)), (Some(0.5), Some(0.5)));
        assert_eq!((found.mrr.value, found.auc), (0.75, 0.75));
        assert_eq!((found.average_position.value, found.tied_groups), (0.5, 0));
        let found = report(&[(0.3, &[0.9, 0.1])], 5);
        assert_eq!(found.ndcg(5), Some(1.0 / 3.0_f64.log2()));
    }

    #[test]
    fn ties_go_against_the_positive_and_expectations_share_them() {
        let constant = report(&[(0.0, &[0.0; 99])], 5);
        assert_eq!((constant.hit(5), constant.auc), (Some(0.0), 0.5));
        assert_eq!((constant.average_position.value, constant.tied_groups), (99.0, 1));
        assert!((constant.at[0].hit.expected - 0.05).abs() < 1e-12);
        // What a random order gives with 99 negatives.
        assert!((constant.at[0].ndcg.expected - 0.0295).abs() < 5e-5);
        assert!((constant.mrr.expected - 0.0519).abs() < 5e-5);
        assert_eq!(constant.average_position.expected, 49.5);
    }

    #[test]
    fn users_are_pooled_and_count_once() {
        let mut groups = GroupAuc::default();
        groups.push(9, 0.3, &[0.9, 0.1]);
        groups.push(9, 0.8, &[0.2, 0.8]);
        groups.push(4, 1.0, &[0.0]);
        // User 9: 0.3 beats 0.1 and 0.2; 0.8 beats those and ties with 0.8.
        let nine = (2.0 + 2.5) / 8.0;
        assert_eq!(groups.mean(), Some(f64::midpoint(nine, 1.0)));
        assert_eq!(auc(&[1.0], &[]), None);
    }

    #[test]
    fn scores_that_are_not_numbers_are_refused() {
        assert!(matches!(
            Position::new(3, 0.1, &[0.2, f32::NAN]),
            Err(Error::NotFinite { row: 3, column: 2, .. })
        ));
        assert!(RankingReport::new("test", &[], &[5], None).is_err());
    }
}
