//! Order, duplicates, positives.

use rayon::prelude::*;

use crate::Csr;
use crate::data::interner::Interner;
use crate::data::options::MinWeight;
use crate::data::raw::{CatalogueItem, Event, RawLog};

/// Numbers users, items, queries and kinds in the order of their strings.
pub(crate) fn number(log: &mut RawLog) {
    let RawLog { users, items, queries, kinds, .. } = &*log;
    let ranks = [users, items, queries, kinds].map(Interner::ranks);
    let [users, items, queries, kinds] = &ranks;
    log.events.par_iter_mut().for_each(|event| {
        event.user = users[event.user as usize];
        event.item = items[event.item as usize];
        event.query = queries[event.query as usize];
        event.kind = kinds[event.kind as usize] as u16;
    });
    let (rows, lists) = std::mem::take(&mut log.given);
    let renumber = |list: &[u32]| list.iter().map(|&item| items[item as usize]).collect::<Vec<_>>();
    log.given = (rows, lists.iter().map(renumber).collect());
    log.users = log.users.renumbered(users);
    log.items = log.items.renumbered(items);
    log.queries = log.queries.renumbered(queries);
    log.kinds = log.kinds.renumbered(kinds);
}

/// Sorts the catalogue by id and keeps one row of each, the one with the most text.
pub(crate) fn catalogue(log: &mut RawLog) {
    let text =
        |item: &CatalogueItem| item.title.len() + item.tags.iter().map(String::len).sum::<usize>();
    let rest = |item: &CatalogueItem| {
        let CatalogueItem { title, tags, picture, caption, .. } = item.clone();
        (title, tags, picture, caption)
    };
    log.catalogue.sort_by(|a, b| {
        let order = (a.id.len(), &a.id).cmp(&(b.id.len(), &b.id));
        let order = order.then_with(|| text(b).cmp(&text(a)));
        order.then_with(|| rest(a).cmp(&rest(b)))
    });
    let before = log.catalogue.len();
    log.catalogue.dedup_by(|a, b| a.id == b.id);
    log.oddities.repeated_items = before - log.catalogue.len();
}

/// Sorts by time and then by all other columns, and keeps one of the rows that differ in weight
/// at most. Returns how many were dropped.
pub(crate) fn deduplicate(events: &mut Vec<Event>) -> usize {
    let key = |event: &Event| (event.time, event.user, event.item, event.query, event.kind);
    events.par_sort_unstable_by(|a, b| {
        key(a).cmp(&key(b)).then_with(|| b.weight.total_cmp(&a.weight))
    });
    let before = events.len();
    events.dedup_by(|a, b| key(a) == key(b));
    before - events.len()
}

/// Items that each user has touched, ascending: all events with a positive weight, whatever becomes
/// of them later.
pub(crate) fn touched(events: &[Event], users: usize) -> Csr {
    let positive = events.par_iter().filter(|event| event.weight > 0.0);
    let pair = |event: &Event| u64::from(event.user) << 32 | u64::from(event.item);
    let mut pairs: Vec<u64> = positive.map(pair).collect();
    pairs.par_sort_unstable();
    pairs.dedup();
    let mut lengths = vec![0; users];
    for &pair in &pairs {
        lengths[(pair >> 32) as usize] += 1;
    }
    let items = pairs.iter().map(|&pair| pair as u32).collect();
    Csr::from_lengths(lengths, items).expect("lengths were counted from the pairs")
}

/// The least weight of a positive of this kind, none if the kind is not wanted.
pub(crate) fn least_weight(kind: &str, kinds: &[String], least: &[MinWeight]) -> Option<f32> {
    let is_wanted = kinds.is_empty() || kinds.iter().any(|k| k == kind);
    let of_kind = |least: &&MinWeight| least.kind.as_deref().is_none_or(|k| k == kind);
    let weights = least.iter().filter(of_kind).map(|least| least.weight);
    is_wanted.then(|| weights.fold(0.0, f32::max))
}

/// Drops events of other kinds and of too little weight, and those whose weight is not positive.
/// Returns how many were dropped.
pub(crate) fn positives(log: &mut RawLog, kinds: &[String], min_weights: &[MinWeight]) -> usize {
    let least: Vec<f32> = log
        .kinds
        .iter()
        .map(|kind| least_weight(kind, kinds, min_weights).unwrap_or(f32::INFINITY))
        .collect();
    let before = log.events.len();
    log.events.retain(|event| event.weight > 0.0 && event.weight >= least[event.kind as usize]);
    before - log.events.len()
}
