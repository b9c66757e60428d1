//! Functions of one row or of one group of rows.

use std::collections::HashMap;

use crate::Split;
use crate::data::steps::lots::{self, RowKey};
use crate::data::steps::{join, words};
use crate::data::{CatalogueItem, Vocabulary, survey, time};

/// Whether the query of a search is hidden, if a share of them is.
pub fn is_hidden(seed: u64, event: [&str; 3], time: i64, share: f64) -> bool {
    lots::is_hidden(seed, key(event, time), share)
}

/// Of the rows of a user in a scenario, at least two, which is for validation and which for test.
/// They are counted by time, item and kind in the feed, by time, item, query and kind in search.
pub fn two_of(seed: u64, user: &str, is_search: bool, rows: usize) -> [usize; 2] {
    lots::two_of(seed, user, is_search, rows)
}

/// The part of each of a user's items, which are counted in order of their ids.
pub fn divide(seed: u64, user: &str, items: usize, valid: f64, test: f64) -> Vec<Split> {
    lots::divide(seed, user, items, valid, test)
}

/// Fills a row with negatives of an event (user, item, query): distinct, uniform among `0..items`
/// without the `known` ones, which are ascending and leave enough.
///
/// # Panics
/// If there are fewer than the row is long.
pub fn negatives(
    seed: u64,
    event: [&str; 3],
    time: i64,
    known: &[u32],
    items: u32,
    row: &mut [u32],
) {
    lots::negatives(seed, key(event, time), known, items, row);
}

/// Several queries as one: each once, in order.
pub fn join_queries(mut queries: Vec<&str>) -> String {
    queries.sort_unstable_by_key(|query| (query.len(), *query));
    queries.dedup();
    join::text(&queries)
}

/// The first second of the day of a time, where days start `offset` seconds before those of UTC;
/// -1 of -1.
pub fn day_start(time: i64, offset: i64) -> i64 {
    join::day(time, offset)
}

/// The date of a time in UTC.
pub fn date(time: i64) -> String {
    time::date(time)
}

/// An id in lower case without leading zeros: similar ids have it in common.
pub fn plain_id(id: &str) -> String {
    survey::plain(id)
}

/// How often each word comes in a catalogue.
pub fn word_counts(catalogue: &[CatalogueItem]) -> HashMap<String, u64> {
    let mut counts = HashMap::new();
    for word in words::described_words(catalogue) {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

/// The known words of an item.
pub fn item_words(item: &CatalogueItem, vocabulary: &Vocabulary) -> Vec<u32> {
    words::encode_item(item, vocabulary)
}

fn key([user, item, query]: [&str; 3], time: i64) -> RowKey<'_> {
    RowKey { user, item, query, time }
}
