//! Reciprocal-rank fusion (<https://doi.org/10.1145/1571941.1572114>) of what a shop has anyway.

use super::bm25::Bm25;
use super::neighbours::Neighbours;
use super::popularity::Popularity;
use crate::{Dataset, Ranker};

/// Keeps the first places from deciding alone.
const OFFSET: f64 = 60.0;

/// BM25 (for searches), popularity and neighbours.
pub(super) struct Fusion {
    text: Bm25,
    others: [Box<dyn Ranker>; 2],
}

impl Fusion {
    pub(super) fn new(dataset: &Dataset) -> Self {
        let others: [Box<dyn Ranker>; 2] =
            [Box::new(Popularity::new(dataset)), Box::new(Neighbours::new(dataset))];
        Self { text: Bm25::new(dataset), others }
    }
}

/// Adds `1 / (60 + place)`, places from one, the worst of equal scores.
fn vote(scores: &[f32], votes: &mut [f64]) {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f32::total_cmp);
    for (&score, vote) in scores.iter().zip(votes) {
        let place = sorted.len() - sorted.partition_point(|&other| other < score);
        *vote += 1.0 / (OFFSET + place as f64);
    }
}

impl Ranker for Fusion {
    fn score(&self, user: u32, query: &[u32], items: &[u32], scores: &mut [f32]) {
        let mut votes = vec![0.0; items.len()];
        let texts = (!query.is_empty()).then_some(&self.text as &dyn Ranker);
        for ranker in self.others.iter().map(AsRef::as_ref).chain(texts) {
            ranker.score(user, query, items, scores);
            vote(scores, &mut votes);
        }
        scores.iter_mut().zip(votes).for_each(|(score, vote)| *score = vote as f32);
    }
}
