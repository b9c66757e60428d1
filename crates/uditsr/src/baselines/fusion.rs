//! Reciprocal-rank fusion (<https://doi.org/10.1145/1571941.1572114>).

use super::bm25::{Bm25, Document};
use super::neighbours::Neighbours;
use super::popularity::Popularity;
use crate::{Dataset, Ranker};

/// Keeps the first places from deciding alone.
const OFFSET: f64 = 60.0;

/// Several rankers as one: each gives an item `1 / (60 + place)`, with places from one and the worst
/// of equal scores.
pub struct Fused {
    rankers: Vec<Box<dyn Ranker>>,
    /// Asked only about searches.
    of_searches: Vec<Box<dyn Ranker>>,
}

impl Fused {
    /// Joins rankers, each with the same weight; `of_searches` are asked only where there is a query.
    pub fn new(rankers: Vec<Box<dyn Ranker>>, of_searches: Vec<Box<dyn Ranker>>) -> Self {
        Self { rankers, of_searches }
    }

    /// What a shop has anyway: popularity, neighbours, and BM25 for searches.
    pub(super) fn practical(dataset: &Dataset) -> Self {
        Self::new(
            vec![Box::new(Popularity::new(dataset)), Box::new(Neighbours::new(dataset))],
            vec![Box::new(Bm25::new(dataset, Document::CatalogueAndSearches))],
        )
    }
}

/// Adds `1 / (60 + place)`.
fn vote(scores: &[f32], votes: &mut [f64]) {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f32::total_cmp);
    for (&score, vote) in scores.iter().zip(votes) {
        let place = sorted.len() - sorted.partition_point(|&other| other < score);
        *vote += 1.0 / (OFFSET + place as f64);
    }
}

impl Ranker for Fused {
    fn score(&self, user: u32, query: &[u32], items: &[u32], scores: &mut [f32]) {
        let mut votes = vec![0.0; items.len()];
        let of_searches = self.of_searches.iter().filter(|_| !query.is_empty());
        for ranker in self.rankers.iter().chain(of_searches) {
            ranker.score(user, query, items, scores);
            vote(scores, &mut votes);
        }
        scores.iter_mut().zip(votes).for_each(|(score, vote)| *score = vote as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores that are known.
    struct Table(Vec<f32>);

    impl Ranker for Table {
        fn score(&self, _: u32, _: &[u32], items: &[u32], scores: &mut [f32]) {
            scores.iter_mut().zip(items).for_each(|(score, &item)| *score = self.0[item as usize]);
        }
    }

    #[test]
    fn places_are_added_and_ties_take_the_worst() {
        let fused = Fused {
            rankers: vec![Box::new(Table(vec![5.0, 3.0, 3.0]))],
            of_searches: vec![Box::new(Table(vec![0.0, 2.0, 1.0]))],
        };
        let ask = |query: &[u32]| {
            let mut scores = [0.0; 3];
            fused.score(0, query, &[0, 1, 2], &mut scores);
            scores
        };
        let share = |place: f64| 1.0 / (60.0 + place);
        assert_eq!(ask(&[]), [share(1.0), share(3.0), share(3.0)].map(|x| x as f32));
        let both = [share(1.0) + share(3.0), share(3.0) + share(1.0), share(3.0) + share(2.0)];
        assert_eq!(ask(&[1]), both.map(|x| x as f32));
    }
}
