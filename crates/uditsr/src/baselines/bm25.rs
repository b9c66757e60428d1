//! BM25 (<https://doi.org/10.1561/1500000019>) over the words of the items: of their titles and tags, and
//! of the training searches that found them.
//!
//! It scores the candidates directly from counts of words: the evaluation asks for all of them, so
//! an inverted index would save nothing.

use std::collections::HashMap;

use super::by_place;
use super::popularity::Popularity;
use crate::{Dataset, Ranker};

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// The text of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    /// Its title and tags.
    Catalogue,
    /// Its title, its tags and the queries of its training searches.
    CatalogueAndSearches,
}

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
    pub(super) fn new(dataset: &Dataset, document: Document) -> Self {
        let mut frequencies: HashMap<(u32, u32), u32> = HashMap::new();
        let mut documents = vec![0_u32; dataset.words];
        let mut lengths = vec![0_u32; dataset.items];
        let titles = (0..).zip(dataset.item_words.iter());
        let log = &dataset.train;
        let searches = log.items.iter().copied().zip(log.queries.iter());
        let searches = searches.filter(|_| document == Document::CatalogueAndSearches);
        for (item, words) in titles.chain(searches) {
            lengths[item as usize] += words.len() as u32;
            for &word in words {
                let count = frequencies.entry((item, word)).or_default();
                documents[word as usize] += u32::from(*count == 0);
                *count += 1;
            }
        }
        let items = dataset.items as f64;
        let total = lengths.iter().copied().map(f64::from).sum::<f64>();
        let mean = (total / items).max(f64::MIN_POSITIVE);
        let norm = |&length: &u32| K1 * (1.0 - B + B * f64::from(length) / mean);
        let weight = |&count: &u32| {
            let count = f64::from(count);
            (1.0 + (items - count + 0.5) / (count + 0.5)).ln()
        };
        Self {
            frequencies,
            weights: documents.iter().map(weight).collect(),
            norms: lengths.iter().map(norm).collect(),
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
        let bm25 = Bm25::new(&dataset, Document::Catalogue);
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

    #[test]
    fn searches_add_to_the_text_of_what_they_found() {
        let dataset = Dataset {
            users: 1,
            items: 2,
            words: 4,
            train: Interactions {
                users: vec![0, 0],
                items: vec![1, 1],
                queries: [&[3][..], &[]].into_iter().collect(),
                times: vec![-1, -1],
            },
            item_words: [&[1][..], &[2]].into_iter().collect(),
            ..Dataset::default()
        };
        assert_eq!(Bm25::new(&dataset, Document::Catalogue).value(&[3], 1), 0.0);
        // Word 3 is once in one of two items, whose two words are 4/3 of the mean length.
        let expected = 2.0_f64.ln() * 2.2 / (1.0 + 1.2 * (0.25 + 0.75 * 4.0 / 3.0));
        let bm25 = Bm25::new(&dataset, Document::CatalogueAndSearches);
        assert!((bm25.value(&[3], 1) - expected).abs() < 1e-12);
        assert_eq!(bm25.value(&[3], 0), 0.0);
    }
}
