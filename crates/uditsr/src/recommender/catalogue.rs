//! What items are called, and by what they can be found and filtered.

use std::collections::HashMap;

use super::answer::Filter;
use super::names::Names;
use super::text::TextIndex;
use crate::data::CatalogueItem;

/// Titles, tags and full text, by number of the item.
#[derive(Default)]
pub(super) struct Catalogue {
    items: Vec<CatalogueItem>,
    tags: HashMap<String, Vec<u32>>,
    pub(super) text: TextIndex,
}

/// Items that an answer may have.
pub(super) struct Allowed {
    /// These only, sorted.
    only: Option<Vec<u32>>,
    /// None of these, sorted.
    not: Vec<u32>,
}

impl Allowed {
    pub(super) fn has(&self, item: u32) -> bool {
        self.only.as_ref().is_none_or(|only| only.binary_search(&item).is_ok())
            && self.not.binary_search(&item).is_err()
    }

    /// The items if they are few enough to be listed, or else all of `count`.
    pub(super) fn list(&self, count: usize) -> Vec<u32> {
        match &self.only {
            Some(only) => only.iter().copied().filter(|&item| self.has(item)).collect(),
            None => (0..count as u32).filter(|&item| self.has(item)).collect(),
        }
    }

    /// At most how many of `count` items are allowed.
    pub(super) fn at_most(&self, count: usize) -> usize {
        self.only.as_ref().map_or(count, Vec::len)
    }
}

fn sorted(mut items: Vec<u32>) -> Vec<u32> {
    items.sort_unstable();
    items.dedup();
    items
}

impl Catalogue {
    /// Adds the next item and the words of the queries that found it.
    pub(super) fn push<'a>(
        &mut self,
        item: CatalogueItem,
        queries: impl IntoIterator<Item = &'a str>,
    ) {
        let number = self.items.len() as u32;
        for tag in &item.tags {
            let items = self.tags.entry(tag.clone()).or_default();
            if items.last() != Some(&number) {
                items.push(number);
            }
        }
        self.text.push(&item.text(), queries);
        self.items.push(item);
    }

    pub(super) fn get(&self, item: u32) -> &CatalogueItem {
        &self.items[item as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// What a filter allows of items that are not `seen`.
    pub(super) fn allowed(&self, filter: &Filter, names: &Names, seen: &[u32]) -> Allowed {
        let tagged = |tag: &String| self.tags.get(tag).cloned().unwrap_or_default();
        let numbers =
            |ids: &[String]| ids.iter().filter_map(|id| names.find(id)).collect::<Vec<_>>();
        let mut parts: Vec<Vec<u32>> = filter.all_tags.iter().map(tagged).collect();
        if !filter.any_tag.is_empty() {
            parts.push(sorted(filter.any_tag.iter().flat_map(tagged).collect()));
        }
        if !filter.items.is_empty() {
            parts.push(sorted(numbers(&filter.items)));
        }
        let both = |a: Vec<u32>, b: Vec<u32>| {
            a.into_iter().filter(|i| b.binary_search(i).is_ok()).collect()
        };
        let mut not = seen.to_vec();
        not.extend(filter.no_tag.iter().flat_map(tagged));
        not.extend(numbers(&filter.not_items));
        Allowed { only: parts.into_iter().reduce(both), not: sorted(not) }
    }
}
