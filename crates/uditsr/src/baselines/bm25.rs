//! BM25 (<https://doi.org/10.1561/1500000019>) over the words of the items' titles and tags.
//!
//! It scores the candidates directly from counts of words: the evaluation asks for all of them, so
//! an inverted index would save nothing.

use std::collections::HashMap;

use super::by_place;
use super::popularity::Popularity;
use crate::{Dataset, Ranker};

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// Counts of words.
pub(super) struct Bm25 {
    /// How often each word is in each item.
    frequencies: HashMap<(u32, u32), u32>,
    /// Weight of each word.
    weights: Vec<f64>,
    /// `k1 (1 - b + b |item| / mean)` of each item.
    norms: Vec<f64>,
    popularity: Popularity,
}

impl Bm25 {
    pub(super) fn new(dataset: &Dataset) -> Self {
        let mut frequencies: HashMap<(u32, u32), u32> = HashMap::new();
        let mut documents = vec![0_u32; dataset.words];
        for (item, words) in dataset.item_words.iter().enumerate() {
            for &word in words {
                let count = frequencies.entry((item as u32, word)).or_default();
                documents[word as usize] += u32::from(*count == 0);
                *count += 1;
            }
        }
        let items = dataset.items as f64;
        let mean = (dataset.item_words.values().len() as f64 / items).max(f64::MIN_POSITIVE);
        let norm = |item: usize| {
            let length = dataset
                .item_words
                .offsets()
                .get(item + 1)
                .map_or(0, |_| dataset.item_words.row(item).len());
            K1 * (1.0 - B + B * length as f64 / mean)
        };
        let weight = |&count: &u32| {
            let count = f64::from(count);
            (1.0 + (items - count + 0.5) / (count + 0.5)).ln()
        };
        Self {
            frequencies,
            weights: documents.iter().map(weight).collect(),
            norms: (0..dataset.items).map(norm).collect(),
            popularity: Popularity::new(dataset),
        }
    }

    /// BM25 of an item for a query.
    pub(super) fn value(&self, query: &[u32], item: u32) -> f64 {
        let term = |&word: &u32| {
            let count = f64::from(*self.frequencies.get(&(item, word))?);
            let weight = self.weights[word as usize];
            Some(weight * count * (K1 + 1.0) / (count + self.norms[item as usize]))
        };
        query.iter().filter_map(term).sum()
    }
}

impl Ranker for Bm25 {
    fn score(&self, _: u32, query: &[u32], items: &[u32], scores: &mut [f32]) {
        let pair = |&item: &u32| (self.value(query, item), self.popularity.count(item));
        by_place(&items.iter().map(pair).collect::<Vec<_>>(), scores);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interactions;

    #[test]
    fn values_follow_the_formula() {
        let dataset = Dataset {
            users: 1,
            items: 3,
            words: 5,
            item_words: [&[1, 2, 2][..], &[2], &[3, 4]].into_iter().collect(),
            train: Interactions::default(),
            ..Dataset::default()
        };
        let bm25 = Bm25::new(&dataset);
        // Word 2 is in two of three items, twice in the first; the mean length is 2.
        let weight = (1.0_f64 + 1.5 / 2.5).ln();
        let first = weight * 2.0 * 2.2 / (2.0 + 1.2 * (0.25 + 0.75 * 1.5));
        let second = weight * 2.2 / (1.0 + 1.2 * (0.25 + 0.75 * 0.5));
        assert!((bm25.value(&[2], 0) - first).abs() < 1e-12);
        assert!((bm25.value(&[2], 1) - second).abs() < 1e-12);
        assert_eq!(bm25.value(&[2], 2), 0.0);
        let mut scores = [0.0; 3];
        bm25.score(0, &[2], &[2, 0, 1], &mut scores);
        assert_eq!(scores, [-2.0, -1.0, 0.0]);
    }
}
