//! What items are called, and by what they can be found and filtered.

use std::collections::HashMap;
use std::sync::Arc;

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
    /// Items that were taken out, sorted; shared with requests that are being answered.
    withdrawn: Arc<Vec<u32>>,
}

/// Items that an answer may have.
pub(super) struct Allowed {
    /// These only, sorted.
    only: Option<Vec<u32>>,
    /// None of these, sorted.
    not: Vec<u32>,
    /// Nor of these, sorted.
    withdrawn: Arc<Vec<u32>>,
}

impl Allowed {
    pub(super) fn has(&self, item: u32) -> bool {
        self.only.as_ref().is_none_or(|only| only.binary_search(&item).is_ok())
            && self.not.binary_search(&item).is_err()
            && self.withdrawn.binary_search(&item).is_err()
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
        self.tag(number, &item.tags);
        self.text.push(&item.text(), queries);
        self.items.push(item);
    }

    /// Replaces what is known of an item.
    pub(super) fn replace(&mut self, number: u32, item: CatalogueItem) {
        let old = std::mem::replace(&mut self.items[number as usize], item);
        for tag in &old.tags {
            if let Some(items) = self.tags.get_mut(tag) {
                items.retain(|other| *other != number);
            }
        }
        let new = self.items[number as usize].clone();
        self.tag(number, &new.tags);
        self.text.replace(number, &old.text(), &new.text());
    }

    fn tag(&mut self, number: u32, tags: &[String]) {
        for tag in tags {
            let items = self.tags.entry(tag.clone()).or_default();
            if let Err(place) = items.binary_search(&number) {
                items.insert(place, number);
            }
        }
    }

    /// Takes an item out of all answers, or puts it back. Returns whether that changed anything.
    pub(super) fn withdraw(&mut self, number: u32, is_withdrawn: bool) -> bool {
        let withdrawn = Arc::make_mut(&mut self.withdrawn);
        match (withdrawn.binary_search(&number), is_withdrawn) {
            (Err(place), true) => withdrawn.insert(place, number),
            (Ok(place), false) => {
                withdrawn.remove(place);
            }
            (Ok(_), true) | (Err(_), false) => return false,
        }
        true
    }

    pub(super) fn is_withdrawn(&self, number: u32) -> bool {
        self.withdrawn.binary_search(&number).is_ok()
    }

    /// Items that can be in answers.
    pub(super) fn available(&self) -> usize {
        self.items.len() - self.withdrawn.len()
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
        let withdrawn = Arc::clone(&self.withdrawn);
        Allowed { only: parts.into_iter().reduce(both), not: sorted(not), withdrawn }
    }
}
