//! Distinct strings as numbers.

use std::hash::{BuildHasher as _, RandomState};

use rayon::prelude::*;

/// A string's number and 32 bits of its hash, which tell most strings apart without a look at them.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// `number + 1`, or 0 where nothing is.
    entry: u32,
    hash: u32,
}

/// Distinct strings, numbered in the order in which they first came.
///
/// All text is in one allocation, so a log of ten million ids does not become ten million small
/// ones. The hash is keyed at random, since ids come from outside; numbers do not depend on it.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    text: String,
    /// End of each string in `text`.
    ends: Vec<usize>,
    /// Open addressing.
    slots: Vec<Slot>,
    hasher: RandomState,
}

impl Interner {
    /// How many strings.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The string of a number.
    pub(crate) fn get(&self, number: u32) -> &str {
        let index = number as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    /// The number of a string that came before.
    pub(crate) fn find(&self, text: &str) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        self.probe(text, self.hash(text)).1
    }

    /// The number of a string, a new one if it never came before.
    pub(crate) fn intern(&mut self, text: &str) -> u32 {
        if (self.ends.len() + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let hash = self.hash(text);
        let (slot, found) = self.probe(text, hash);
        found.unwrap_or_else(|| {
            let number = self.ends.len() as u32;
            self.text.push_str(text);
            self.ends.push(self.text.len());
            self.slots[slot] = Slot { entry: number + 1, hash };
            number
        })
    }

    /// The strings in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|number| self.get(number))
    }

    /// Position of each number when the strings are sorted by length and then by bytes, which puts
    /// numbers that are written without leading zeros in their numerical order.
    pub(crate) fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.par_sort_unstable_by(|&a, &b| {
            let (a, b) = (self.get(a), self.get(b));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        });
        let mut ranks = vec![0; order.len()];
        for (rank, &number) in order.iter().enumerate() {
            ranks[number as usize] = rank as u32;
        }
        ranks
    }

    /// The same strings, renumbered: string `n` becomes `ranks[n]`, a permutation.
    pub(crate) fn renumbered(&self, ranks: &[u32]) -> Self {
        let mut order = vec![0; ranks.len()];
        for (number, &rank) in ranks.iter().enumerate() {
            order[rank as usize] = number as u32;
        }
        let mut new = Self::default();
        for number in order {
            new.intern(self.get(number));
        }
        new
    }

    fn hash(&self, text: &str) -> u32 {
        self.hasher.hash_one(text) as u32
    }

    /// The slot of a string and its number, if it has one.
    fn probe(&self, text: &str, hash: u32) -> (usize, Option<u32>) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                Slot { entry: 0, .. } => return (at, None),
                slot if slot.hash == hash && self.get(slot.entry - 1) == text => {
                    return (at, Some(slot.entry - 1));
                }
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        let larger = vec![Slot::default(); (self.slots.len() * 2).max(64)];
        let mask = larger.len() - 1;
        for slot in std::mem::replace(&mut self.slots, larger) {
            if slot.entry > 0 {
                let mut at = slot.hash as usize & mask;
                while self.slots[at].entry > 0 {
                    at = (at + 1) & mask;
                }
                self.slots[at] = slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_first_appearance_and_ranks_follow_numerical_order() {
        let mut ids = Interner::default();
        let given: Vec<u32> =
            ["10", "9", "10", "", "b", "9"].iter().map(|id| ids.intern(id)).collect();
        assert_eq!(given, [0, 1, 0, 2, 3, 1]);
        assert_eq!(ids.find("b"), Some(3));
        assert_eq!(ids.find("c"), None);
        let ranks = ids.ranks();
        assert_eq!(ranks, [3, 1, 0, 2]);
        let sorted = ids.renumbered(&ranks);
        assert_eq!(sorted.iter().collect::<Vec<_>>(), ["", "9", "b", "10"]);
    }

    #[test]
    fn thousands_of_strings_are_found_again() {
        let mut ids = Interner::default();
        for i in 0..5000u32 {
            assert_eq!(ids.intern(&format!("id-{i}")), i);
        }
        assert!((0..5000).all(|i| ids.find(&format!("id-{i}")) == Some(i)));
    }
}
