//! The items that most people clicked.

use std::collections::HashMap;

use super::by_place;
use crate::{Dataset, Ranker};

/// Counts of training rows.
pub(super) struct Popularity {
    counts: Vec<u32>,
    /// Training searches of each item and word.
    searches: HashMap<(u32, u32), u32>,
}

impl Popularity {
    pub(super) fn new(dataset: &Dataset) -> Self {
        let mut counts = vec![0; dataset.items];
        let mut searches = HashMap::new();
        for (&item, query) in dataset.train.items.iter().zip(dataset.train.queries.iter()) {
            counts[item as usize] += 1;
            for &word in query {
                *searches.entry((item, word)).or_default() += 1;
            }
        }
        Self { counts, searches }
    }

    /// Training rows of an item.
    pub(super) fn count(&self, item: u32) -> f64 {
        f64::from(self.counts[item as usize])
    }
}

impl Ranker for Popularity {
    fn score(&self, _: u32, query: &[u32], items: &[u32], scores: &mut [f32]) {
        let found = |item: u32| {
            query.iter().filter_map(|&word| self.searches.get(&(item, word))).sum::<u32>()
        };
        let pairs: Vec<(f64, f64)> = items
            .iter()
            .map(|&item| (f64::from(u8::from(found(item) > 0)), self.count(item)))
            .collect();
        by_place(&pairs, scores);
    }
}
