//! Evaluation of anything that scores items for a user with a query or without one.

use std::fmt;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use trefoil_eval::{GroupAuc, Position, RankingReport};

use crate::model::Scorer;
use crate::{Csr, Dataset, Interactions, Ranking, Result, Split};

/// Whatever ranks items.
pub trait Ranker: Send + Sync {
    /// Writes the scores of `items`; a query without words asks for a recommendation.
    fn score(&self, user: u32, query: &[u32], items: &[u32], scores: &mut [f32]);
}

impl Ranker for Scorer<f32> {
    fn score(&self, user: u32, query: &[u32], items: &[u32], scores: &mut [f32]) {
        Self::score(self, user, query, items, scores);
    }
}

/// What a positive is ranked among.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The negatives that were sampled for it (99 in the paper). Its numbers flatter: a random order
    /// has a hit rate of 0.05 at 5.
    #[default]
    Sampled,
    /// All items but those of the user's training rows.
    Full,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sampled => "sampled negatives",
            Self::Full => "all items, training items masked",
        })
    }
}

/// Cutoffs of hit rate and NDCG.
pub const CUTOFFS: [usize; 4] = [1, 5, 10, 20];

/// Results of one split, by scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// What the positives were ranked among.
    pub protocol: Protocol,
    /// Rows with a query, if there are any.
    pub search: Option<RankingReport>,
    /// Rows without one, if there are any.
    pub recommend: Option<RankingReport>,
    /// All rows: the larger scenario dominates.
    pub all: RankingReport,
}

/// The items of each user's training rows.
pub(crate) fn items_of_users(dataset: &Dataset) -> Csr {
    let mut items: Vec<Vec<u32>> = vec![Vec::new(); dataset.users];
    for (&user, &item) in dataset.train.users.iter().zip(&dataset.train.items) {
        items[user as usize].push(item);
    }
    for items in &mut items {
        items.sort_unstable();
        items.dedup();
    }
    items.into_iter().collect()
}

/// Place of the positive of one row, and the scores behind it.
struct Judged {
    row: usize,
    user: u32,
    is_search: bool,
    position: Position,
    scores: Vec<f32>,
}

/// The places of the positives of a split, of which any part can be reported.
pub struct Judgements {
    protocol: Protocol,
    rows: Vec<Judged>,
}

/// Ranks the positives of a split; `rows` limits it to some of them.
///
/// # Errors
/// A score that is not a number.
pub fn judge(
    ranker: &dyn Ranker,
    dataset: &Dataset,
    split: Split,
    protocol: Protocol,
    rows: Option<&[usize]>,
) -> Result<Judgements> {
    let nothing = Ranking::default();
    let ranking = match split {
        Split::Train => &nothing,
        Split::Valid => &dataset.valid,
        Split::Test => &dataset.test,
    };
    let every: Vec<usize> = (0..ranking.positives.len()).collect();
    let seen = match protocol {
        Protocol::Sampled => Csr::default(),
        Protocol::Full => items_of_users(dataset),
    };
    let rows = rows
        .unwrap_or(&every)
        .par_iter()
        .map(|&row| {
            let Interactions { users, items, queries, .. } = &ranking.positives;
            let (user, positive, query) = (users[row], items[row], queries.row(row));
            let mut candidates = vec![positive];
            match protocol {
                Protocol::Sampled => candidates.extend(ranking.negatives.row(row)),
                Protocol::Full => {
                    let seen = seen.row(user as usize);
                    let others = (0..dataset.items as u32)
                        .filter(|item| *item != positive && seen.binary_search(item).is_err());
                    candidates.extend(others);
                }
            }
            let mut scores = vec![0.0; candidates.len()];
            ranker.score(user, query, &candidates, &mut scores);
            let position = Position::new(row, scores[0], &scores[1..])?;
            if protocol == Protocol::Full {
                // The pools of all users' scores would be as large as users times items.
                scores = Vec::new();
            }
            Ok(Judged { row, user, is_search: !query.is_empty(), position, scores })
        })
        .collect::<Result<_>>()?;
    Ok(Judgements { protocol, rows })
}

impl Judgements {
    /// Means over the rows of which `keep` says so, given row, user, and whether it is a search; none
    /// without such a row.
    ///
    /// # Errors
    /// A row without negatives.
    pub fn report(&self, keep: impl Fn(usize, u32, bool) -> bool) -> Result<Option<RankingReport>> {
        let kept: Vec<&Judged> =
            self.rows.iter().filter(|row| keep(row.row, row.user, row.is_search)).collect();
        if kept.is_empty() {
            return Ok(None);
        }
        let positions: Vec<Position> = kept.iter().map(|row| row.position).collect();
        let mut pools = GroupAuc::default();
        for row in kept {
            if let [positive, negatives @ ..] = &row.scores[..] {
                pools.push(row.user, *positive, negatives);
            }
        }
        let protocol = self.protocol.to_string();
        Ok(Some(RankingReport::new(&protocol, &positions, &CUTOFFS, pools.mean())?))
    }
}

/// Ranks the positives of a split and reports by scenario; `rows` limits it to some of them.
///
/// # Errors
/// A split without rows, or a score that is not a number.
pub fn evaluate(
    ranker: &dyn Ranker,
    dataset: &Dataset,
    split: Split,
    protocol: Protocol,
    rows: Option<&[usize]>,
) -> Result<Evaluation> {
    let judgements = judge(ranker, dataset, split, protocol, rows)?;
    let all = match judgements.report(|_, _, _| true)? {
        Some(all) => all,
        None => RankingReport::new(&protocol.to_string(), &[], &CUTOFFS, None)?,
    };
    Ok(Evaluation {
        protocol,
        search: judgements.report(|_, _, is_search| is_search)?,
        recommend: judgements.report(|_, _, is_search| !is_search)?,
        all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An item's number is its score.
    struct ByNumber;

    impl Ranker for ByNumber {
        fn score(&self, _: u32, _: &[u32], items: &[u32], scores: &mut [f32]) {
            scores.iter_mut().zip(items).for_each(|(score, &item)| *score = item as f32);
        }
    }

    #[test]
    fn parts_of_the_rows_have_their_own_means() {
        let positives = Interactions {
            users: vec![0, 0, 1],
            items: vec![5, 3, 2],
            queries: [&[1][..], &[], &[]].into_iter().collect(),
            times: vec![-1; 3],
        };
        let dataset = Dataset {
            users: 2,
            items: 6,
            words: 2,
            // User 0 knows item 4, which is no candidate of the full ranking any more.
            train: Interactions {
                users: vec![0],
                items: vec![4],
                queries: [&[][..]].into_iter().collect::<Csr>(),
                times: vec![-1],
            },
            test: Ranking { positives, negatives: [[0, 1], [4, 5], [1, 3]].into_iter().collect() },
            ..Dataset::default()
        };
        let places = |protocol: Protocol, keep: fn(usize, u32, bool) -> bool| {
            let judgements = judge(&ByNumber, &dataset, Split::Test, protocol, None).unwrap();
            judgements.report(keep).unwrap().map(|report| report.average_position.value)
        };
        assert_eq!(places(Protocol::Sampled, |_, _, is_search| is_search), Some(0.0));
        assert_eq!(places(Protocol::Sampled, |_, _, is_search| !is_search), Some(1.5));
        assert_eq!(places(Protocol::Sampled, |_, user, _| user == 1), Some(1.0));
        assert_eq!(places(Protocol::Sampled, |row, _, _| row > 2), None);
        // Above item 3 only item 5 is left, above item 2 of user 1 three.
        assert_eq!(places(Protocol::Full, |row, _, _| row == 1), Some(1.0));
        assert_eq!(places(Protocol::Full, |row, _, _| row == 2), Some(3.0));
        let some = judge(&ByNumber, &dataset, Split::Test, Protocol::Sampled, Some(&[2])).unwrap();
        assert_eq!(some.report(|_, _, _| true).unwrap().unwrap().groups, 1);
    }
}
