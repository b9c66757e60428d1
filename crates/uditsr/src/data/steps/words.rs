//! Words of queries and titles.

use std::collections::HashMap;

use rayon::prelude::*;

use super::lots::{self, RowKey};
use super::tables;
use crate::data::interner::Interner;
use crate::data::options::WordIds;
use crate::data::raw::{CatalogueItem, Event, NO_QUERY, RawLog};
use crate::data::text;
use crate::data::vocabulary::Vocabulary;
use crate::{Csr, Error, Interactions, Result, Split};

/// Searches whose query is hidden, by row: a share of all, drawn by the content of each.
pub(crate) fn hidden(log: &RawLog, share: f64, seed: u64) -> Vec<bool> {
    let is_hidden = |event: &Event| {
        share > 0.0 && event.is_search() && {
            let key = RowKey {
                user: log.users.get(event.user),
                item: log.items.get(event.item),
                query: log.queries.get(event.query),
                time: event.time,
            };
            lots::is_hidden(seed, key, share)
        }
    };
    log.events.par_iter().map(is_hidden).collect()
}

/// Learns the words of the visible training queries and of the catalogue.
pub(crate) fn learn(log: &RawLog, hidden: &[bool], max_words: usize, min_count: u32) -> Vocabulary {
    let mut uses = vec![0u64; log.queries.len()];
    for (event, _) in log.events.iter().zip(hidden).filter(|&(_, &hidden)| !hidden) {
        if event.part == Some(Split::Train) && event.is_search() {
            uses[event.query as usize] += 1;
        }
    }
    let mut counts: HashMap<String, [u64; 2]> = HashMap::new();
    for (query, uses) in log.queries.iter().zip(uses).filter(|&(_, uses)| uses > 0) {
        for word in text::words(query) {
            counts.entry(word).or_default()[0] += uses;
        }
    }
    for word in described_words(&log.catalogue) {
        counts.entry(word).or_default()[1] += 1;
    }
    Vocabulary::learn(counts, max_words, min_count)
}

/// All words of a catalogue, as often as they come.
pub(crate) fn described_words(catalogue: &[CatalogueItem]) -> impl Iterator<Item = String> {
    catalogue.iter().flat_map(|item| text::words(&description(item)))
}

/// The vocabulary of a log whose words are numbers already.
pub(crate) fn given(log: &RawLog, size: Option<usize>) -> Result<Vocabulary> {
    let mut numbers = Vec::new();
    for word in log.queries.iter().flat_map(text::words) {
        let reason = || format!("expected words that are numbers, found `{word}`");
        numbers.push(word.parse::<u32>().map_err(|_| Error::config("word_ids", reason()))?);
    }
    let size = tables::row_count(&numbers, "sizes.words", size)?;
    Ok(Vocabulary::new((0..size).map(|word| word.to_string()).collect(), WordIds::Given))
}

/// Words of each query text.
pub(crate) fn encode_queries(queries: &Interner, vocabulary: &Vocabulary) -> Csr {
    let numbers: Vec<u32> = (0..queries.len() as u32).collect();
    let encode = |&query: &u32| vocabulary.encode(queries.get(query)).words;
    let words: Vec<Vec<u32>> = numbers.par_iter().map(encode).collect();
    words.into_iter().collect()
}

/// Title, tags and caption of an item in one text.
pub(crate) fn description(item: &CatalogueItem) -> String {
    item.text()
}

/// Known words of each item of the data set; nothing for items that are not in the catalogue.
pub(crate) fn encode_items(
    items: &Interner,
    catalogue: &[CatalogueItem],
    vocabulary: &Vocabulary,
) -> Csr {
    let mut words = vec![Vec::new(); items.len()];
    for item in catalogue {
        if let Some(row) = items.find(&item.id) {
            words[row as usize] = encode_item(item, vocabulary);
        }
    }
    words.into_iter().collect()
}

/// Known words of an item.
pub(crate) fn encode_item(item: &CatalogueItem, vocabulary: &Vocabulary) -> Vec<u32> {
    let mut words = vocabulary.encode(&description(item)).words;
    let reserved = super::super::vocabulary::RESERVED.len();
    words.retain(|&word| vocabulary.kind() == WordIds::Given || word as usize >= reserved);
    words
}

/// The events of a part in columns, and the words that are hidden in each.
pub(crate) fn interactions(
    log: &RawLog,
    part: Split,
    rows: [&[Option<u32>]; 2],
    queries: &Csr,
    hidden: &[bool],
) -> (Interactions, Csr) {
    let mut columns = Interactions::default();
    let mut secrets = Csr::default();
    for (event, &hidden) in log.events.iter().zip(hidden) {
        let numbers = (rows[0][event.user as usize], rows[1][event.item as usize]);
        let (true, (Some(user), Some(item))) = (event.part == Some(part), numbers) else {
            continue;
        };
        let (visible, secret) =
            if hidden { (NO_QUERY, event.query) } else { (event.query, NO_QUERY) };
        columns.users.push(user);
        columns.items.push(item);
        columns.queries.push(queries.row(visible as usize));
        columns.times.push(event.time);
        secrets.push(queries.row(secret as usize));
    }
    (columns, secrets)
}
