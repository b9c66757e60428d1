//! Full-text search by BM25 (<https://doi.org/10.1561/1500000019>) in titles, tags and the queries that
//! found an item.
//!
//! An inverted index in memory, of words that [`crate::data::words`] finds in any script. It knows
//! all words of the catalogue, also those that the model has no vector for.

use std::collections::HashMap;
use std::sync::Mutex;

use super::top::{Found, best};
use crate::data::words;

const K1: f32 = 1.2;
const B: f32 = 0.75;

/// Postings by word.
#[derive(Default)]
pub(super) struct TextIndex {
    terms: HashMap<String, Vec<(u32, u32)>>,
    /// Words of each item.
    lengths: Vec<u32>,
    total: u64,
    /// Sums of scores by item, all zero, kept from one search to the next.
    scratch: Mutex<Vec<Vec<f32>>>,
}

impl TextIndex {
    /// Adds the next item.
    pub(super) fn push<'a>(&mut self, text: &str, queries: impl IntoIterator<Item = &'a str>) {
        let item = self.lengths.len() as u32;
        self.lengths.push(0);
        self.add(item, words(text));
        self.add(item, queries.into_iter().map(str::to_owned));
    }

    /// Replaces the text of an item.
    pub(super) fn replace(&mut self, item: u32, old: &str, new: &str) {
        let old = words(old);
        self.remove(item, old.iter().map(String::as_str));
        self.add(item, words(new));
    }

    /// Adds words to an item.
    pub(super) fn add(&mut self, item: u32, words: impl IntoIterator<Item = String>) {
        for word in words {
            let postings = self.terms.entry(word).or_default();
            match postings.binary_search_by_key(&item, |&(item, _)| item) {
                Ok(place) => postings[place].1 += 1,
                Err(place) => postings.insert(place, (item, 1)),
            }
            self.lengths[item as usize] += 1;
            self.total += 1;
        }
    }

    /// Takes words away that were added to an item.
    pub(super) fn remove<'a>(&mut self, item: u32, words: impl IntoIterator<Item = &'a str>) {
        for word in words {
            let Some(postings) = self.terms.get_mut(word) else { continue };
            let Ok(place) = postings.binary_search_by_key(&item, |&(item, _)| item) else {
                continue;
            };
            postings[place].1 -= 1;
            if postings[place].1 == 0 {
                postings.remove(place);
            }
            if postings.is_empty() {
                self.terms.remove(word);
            }
            self.lengths[item as usize] -= 1;
            self.total -= 1;
        }
    }

    /// Whether an item has this word.
    pub(super) fn has(&self, word: &str) -> bool {
        self.terms.contains_key(word)
    }

    /// The allowed items that match best, best first.
    pub(super) fn search(
        &self,
        terms: &[String],
        limit: usize,
        is_allowed: &(dyn Fn(u32) -> bool + Sync),
    ) -> Vec<Found> {
        let items = self.lengths.len();
        let lock = || self.scratch.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut sums = lock().pop().unwrap_or_default();
        sums.resize(items, 0.0);
        let mean = (self.total as f32 / items.max(1) as f32).max(1.0);
        let mut touched = Vec::new();
        for postings in terms.iter().filter_map(|term| self.terms.get(term)) {
            let documents = postings.len() as f32;
            let weight = (1.0 + (items as f32 - documents + 0.5) / (documents + 0.5)).ln();
            for &(item, count) in postings {
                let count = count as f32;
                let norm = K1 * (1.0 - B + B * self.lengths[item as usize] as f32 / mean);
                let sum = &mut sums[item as usize];
                if *sum == 0.0 {
                    touched.push(item);
                }
                *sum += weight * count * (K1 + 1.0) / (count + norm);
            }
        }
        let found = touched.iter().filter(|item| is_allowed(**item));
        let found = best(found.map(|&item| Found { score: sums[item as usize], item }), limit);
        for item in touched {
            sums[item as usize] = 0.0;
        }
        lock().push(sums);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_follow_the_formula() {
        let mut index = TextIndex::default();
        for text in ["red shoes", "blue shoes shoes", "手机 case", ""] {
            index.push(text, []);
        }
        let search = |index: &TextIndex, query: &str| index.search(&words(query), 10, &|_| true);
        // idf = ln(1 + 2.5 / 2.5), mean length 2; norms 1.2 and 1.65 for lengths 2 and 3.
        let idf = 2.0_f32.ln();
        let found = search(&index, "Shoes!");
        assert_eq!(found.iter().map(|f| f.item).collect::<Vec<_>>(), [1, 0]);
        assert!((found[0].score - idf * 2.0 * 2.2 / (2.0 + 1.65)).abs() < 1e-6);
        assert!((found[1].score - idf * 2.2 / 2.2).abs() < 1e-6);
        assert_eq!(search(&index, "机 shoes").len(), 3);
        assert_eq!(search(&index, "机")[0].item, 2);
        index.replace(0, "red shoes", "green hat");
        assert_eq!(search(&index, "green")[0].item, 0);
        assert!(search(&index, "red").is_empty() && !index.has("red"));
        index.replace(0, "green hat", "red shoes");
        // As if nothing had happened.
        assert!((search(&index, "Shoes!")[1].score - idf * 2.2 / 2.2).abs() < 1e-6);
        assert!(search(&index, "green").is_empty() && !index.has("green") && index.has("case"));
        assert_eq!(index.search(&words("shoes"), 10, &|item| item != 1)[0].item, 0);
    }

    #[test]
    fn queries_that_found_an_item_are_words_of_it_until_they_are_taken_away() {
        let mut index = TextIndex::default();
        index.push("red shoes", ["boots", "red"]);
        index.push("blue shoes", []);
        let found = |index: &TextIndex, query| index.search(&words(query), 10, &|_| true);
        assert_eq!(found(&index, "boots")[0].item, 0);
        let before = (found(&index, "shoes red"), index.lengths.clone(), index.total);
        index.add(1, words("boots wellington boots"));
        assert_eq!(found(&index, "boots").iter().map(|f| f.item).collect::<Vec<_>>(), [1, 0]);
        index.remove(1, ["boots", "wellington", "boots"]);
        assert_eq!((found(&index, "shoes red"), index.lengths.clone(), index.total), before);
        assert!(!index.has("wellington"));
    }
}
