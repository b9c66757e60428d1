//! The counts of a report.

use std::collections::HashSet;

use super::interner::Interner;
use super::raw::{Event, RawLog};
use super::report::{LogCounts, PartCounts, SplitCounts};
use super::steps::tables;
use super::text;
use super::time::{self, UNKNOWN};
use super::vocabulary::UNKNOWN_WORD;
use crate::{Csr, Split};

/// Logs of so many years are rare, wrong units of time are not.
const TWENTY_YEARS: i64 = 20 * 365 * 86_400;
/// Longer queries are counted together.
const LONG_QUERY: usize = 10;

/// What is in the events.
pub(super) fn log(log: &RawLog) -> LogCounts {
    let mut users = vec![[0u32; 2]; log.users.len()];
    let mut items = vec![[0u32; 2]; log.items.len()];
    let mut queries = vec![0usize; log.queries.len()];
    let mut kinds = vec![0usize; log.kinds.len()];
    for event in &log.events {
        let scenario = usize::from(!event.is_search());
        users[event.user as usize][scenario] += 1;
        items[event.item as usize][scenario] += 1;
        queries[event.query as usize] += 1;
        kinds[event.kind as usize] += 1;
    }
    let feed = std::mem::take(&mut queries[0]);
    let mut counts = LogCounts {
        users: users.iter().filter(|&&n| n != [0, 0]).count(),
        items: items.iter().filter(|&&n| n != [0, 0]).count(),
        searches: log.events.len() - feed,
        recommendations: feed,
        users_with_both: users.iter().filter(|[s, r]| *s > 0 && *r > 0).count(),
        users_with_searches_only: users.iter().filter(|[s, r]| *s > 0 && *r == 0).count(),
        users_with_one_event: users.iter().filter(|[s, r]| s + r == 1).count(),
        items_with_query: items.iter().filter(|[s, _]| *s > 0).count(),
        items_with_both: items.iter().filter(|[s, r]| *s > 0 && *r > 0).count(),
        distinct_queries: queries.iter().filter(|&&n| n > 0).count(),
        ..LogCounts::default()
    };
    for (query, &uses) in log.queries.iter().zip(&queries).filter(|&(_, &uses)| uses > 0) {
        let words = text::words(query).len().min(LONG_QUERY);
        *counts.searches_by_words.entry(words).or_default() += uses;
    }
    for (kind, &uses) in log.kinds.iter().zip(&kinds).filter(|&(_, &uses)| uses > 0) {
        counts.kinds.insert(kind.to_owned(), uses);
    }
    times(&log.events, &mut counts);
    let used = |ids: &Interner, n: &[[u32; 2]]| similar(ids, |id| n[id as usize] != [0, 0]);
    counts.similar_ids = used(&log.users, &users) + used(&log.items, &items);
    counts.catalogue = log.catalogue.len();
    if counts.catalogue > 0 {
        let ids: HashSet<&str> = log.catalogue.iter().map(|item| item.id.as_str()).collect();
        let plain_ids: HashSet<String> = ids.iter().map(|id| plain(id)).collect();
        let used = log.items.iter().zip(&items).filter(|(_, n)| **n != [0, 0]);
        let almost = |id: &str| !ids.contains(id) && plain_ids.contains(&plain(id));
        counts.items_almost_in_catalogue = used.filter(|(id, _)| almost(id)).count();
    }
    let sold = |id: &str| log.items.find(id).is_some_and(|item| items[item as usize] != [0, 0]);
    let known = log.catalogue.iter().filter(|item| sold(&item.id)).count();
    counts.items_without_events = counts.catalogue - known;
    counts.items_not_in_catalogue = counts.items - known;
    counts
}

fn times(events: &[Event], counts: &mut LogCounts) {
    let mut times: Vec<i64> = events.iter().map(|e| e.time).filter(|&t| t != UNKNOWN).collect();
    counts.undated = events.len() - times.len();
    if times.is_empty() {
        return;
    }
    let middle = times.len() / 2;
    let median = *times.select_nth_unstable(middle).1;
    counts.outlying_times = times.iter().filter(|&&t| (t - median).abs() > TWENTY_YEARS).count();
    counts.first_day = times.iter().min().map(|&t| time::date(t));
    counts.last_day = times.iter().max().map(|&t| time::date(t));
}

/// An id in lower case without leading zeros.
pub(super) fn plain(id: &str) -> String {
    let trimmed = id.trim_start_matches('0');
    if trimmed.is_empty() && !id.is_empty() { "0".into() } else { trimmed.to_lowercase() }
}

/// How many ids are equal to another but for case and leading zeros.
fn similar(ids: &Interner, is_used: impl Fn(u32) -> bool) -> usize {
    let used = (0..ids.len() as u32).filter(|&id| is_used(id)).map(|id| ids.get(id));
    let mut seen = HashSet::new();
    let mut again = 0;
    for id in used {
        // Most ids are plain already, and only those that are not can be like another one.
        let lower = plain(id);
        if lower != id {
            let other = ids.find(&lower).is_some_and(&is_used);
            again += usize::from(!seen.insert(lower) || other);
        }
    }
    again
}

/// What the split made; sizes and what was dropped are for the caller to add.
pub(super) fn split(log: &RawLog, hidden: &[bool], queries: &Csr) -> SplitCounts {
    let part = |part| {
        let [searches, recommendations] = tables::part_sizes(log, part);
        PartCounts { searches, recommendations }
    };
    let mut counts = SplitCounts {
        train: part(Split::Train),
        valid: part(Split::Valid),
        test: part(Split::Test),
        ..SplitCounts::default()
    };
    let rows = log.events.iter().zip(hidden).filter(|(event, _)| event.part.is_some());
    let mut with_query = vec![false; log.items.len()];
    let first_test = log
        .events
        .iter()
        .filter(|event| event.part == Some(Split::Test) && event.time != UNKNOWN)
        .map(|event| event.time)
        .min();
    let mut held_out = HashSet::new();
    for (event, &hidden) in rows.clone() {
        let part = match event.part {
            Some(Split::Train) => &mut counts.train,
            Some(Split::Valid) => &mut counts.valid,
            _ => &mut counts.test,
        };
        if hidden {
            part.searches -= 1;
            part.recommendations += 1;
            counts.hidden_queries += 1;
        }
        let is_search = event.is_search() && !hidden;
        if event.part == Some(Split::Train) {
            with_query[event.item as usize] |= is_search;
            counts.late_training += usize::from(first_test.is_some_and(|first| event.time > first));
        } else {
            held_out.insert((event.user, event.item));
            let words = queries.row(event.query as usize);
            counts.unknown_queries += usize::from(is_search && words == [UNKNOWN_WORD]);
        }
    }
    let train = log.events.iter().filter(|event| event.part == Some(Split::Train));
    let pairs = train.map(|event| (event.user, event.item));
    let repeated: HashSet<_> = pairs.filter(|pair| held_out.contains(pair)).collect();
    counts.repeats = rows
        .filter(|(event, _)| event.part != Some(Split::Train))
        .filter(|(event, _)| repeated.contains(&(event.user, event.item)))
        .count();
    counts.items_with_training_query = with_query.iter().filter(|&&with| with).count();
    counts
}
