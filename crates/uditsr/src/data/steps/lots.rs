//! What is decided by lot. Each draw is keyed by the content of a row or of a group of rows, so it
//! is the same wherever and in whatever order the work is done.

use crate::Split;
use crate::data::stream::Stream;

/// What identifies a row in a draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowKey<'a> {
    pub(crate) user: &'a str,
    pub(crate) item: &'a str,
    pub(crate) query: &'a str,
    pub(crate) time: i64,
}

impl RowKey<'_> {
    fn stream(self, seed: u64, purpose: &str) -> Stream {
        let time = self.time.to_string();
        Stream::of(seed, purpose, &[self.user, self.item, self.query, &time])
    }
}

/// Whether the query of a search is hidden, if a share of them is.
pub(crate) fn is_hidden(seed: u64, row: RowKey<'_>, share: f64) -> bool {
    share > 0.0 && row.stream(seed, "hidden").uniform() < share
}

/// Of the rows of a user in a scenario, at least two, which is for validation and which for test.
pub(crate) fn two_of(seed: u64, user: &str, is_search: bool, rows: usize) -> [usize; 2] {
    let scenario = if is_search { "search" } else { "recommendation" };
    let mut order: Vec<u32> = (0..rows as u32).collect();
    Stream::of(seed, "leave-one-out", &[user, scenario]).shuffle(&mut order);
    [order[0] as usize, order[1] as usize]
}

/// The part of each of a user's items, which are counted in the order of their ids. One at least is
/// for training.
pub(crate) fn divide(seed: u64, user: &str, items: usize, valid: f64, test: f64) -> Vec<Split> {
    let mut order: Vec<u32> = (0..items as u32).collect();
    Stream::of(seed, "pairs", &[user]).shuffle(&mut order);
    let share = |share: f64| (items as f64 * share).round() as usize;
    let test = share(test).min(items.saturating_sub(1));
    let valid = share(valid).min(items.saturating_sub(1) - test);
    let mut parts = vec![Split::Train; items];
    for (place, &item) in order.iter().enumerate().take(test + valid) {
        parts[item as usize] = if place < test { Split::Test } else { Split::Valid };
    }
    parts
}

/// Fills a row with negatives of an event: distinct, uniform among `0..items` without the `known`
/// ones, which are ascending and leave enough.
pub(crate) fn negatives(seed: u64, event: RowKey<'_>, known: &[u32], items: u32, row: &mut [u32]) {
    let mut stream = event.stream(seed, "negatives");
    let free = items as usize - known.len();
    if free < row.len() * 2 {
        // Nearly all that is left: shuffle it.
        let mut free: Vec<u32> =
            (0..items).filter(|item| known.binary_search(item).is_err()).collect();
        stream.shuffle(&mut free);
        row.copy_from_slice(&free[..row.len()]);
        return;
    }
    for at in 0..row.len() {
        row[at] = loop {
            let item = stream.below(items);
            if known.binary_search(&item).is_err() && !row[..at].contains(&item) {
                break item;
            }
        };
    }
}
