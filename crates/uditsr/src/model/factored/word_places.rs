//! The words that describe the users and items of a step.

use rayon::prelude::*;

use crate::matrix::{reduce_lists, row};
use crate::model::graph::{Graph, NONE};
use crate::real::{Real, add, vectorised};

/// Words in use, each with a place, and where they are used.
#[derive(Debug, Clone, Default)]
pub(super) struct WordPlaces {
    /// Word of each place.
    pub(super) words: Vec<u32>,
    /// Place of each word, or [`NONE`].
    places: Vec<u32>,
    /// Places of the words of each user, `[users, width]`, and of each item.
    user_words: Vec<u32>,
    pub(super) item_words: Vec<u32>,
    user_width: usize,
    /// Uses of each place: its start, and the entries. Entries of users come before those of items.
    offsets: Vec<usize>,
    uses: Vec<u32>,
}

impl WordPlaces {
    /// Finds the words of these users and items.
    pub(super) fn collect(&mut self, graph: &Graph, users: &[u32], items: &[u32]) {
        self.user_width = graph.widths[1];
        self.user_words.clear();
        self.item_words.clear();
        for &user in users {
            self.user_words.extend_from_slice(graph.words_of_user(user as usize));
        }
        for &item in items {
            self.item_words.extend_from_slice(graph.words_of_item(item as usize));
        }
        self.places.clear();
        self.places.resize(graph.sizes.words, NONE);
        self.words.clear();
        let mut counts = vec![0];
        for word in self.user_words.iter_mut().chain(&mut self.item_words) {
            if *word == NONE {
                continue;
            }
            let place = &mut self.places[*word as usize];
            if *place == NONE {
                *place = self.words.len() as u32;
                self.words.push(*word);
                counts.push(0);
            }
            *word = *place;
            counts[*place as usize + 1] += 1;
        }
        for place in 1..counts.len() {
            counts[place] += counts[place - 1];
        }
        self.uses.resize(counts[self.words.len()], 0);
        self.offsets.clone_from(&counts);
        for (entry, &place) in self.user_words.iter().chain(&self.item_words).enumerate() {
            if place != NONE {
                self.uses[counts[place as usize]] = entry as u32;
                counts[place as usize] += 1;
            }
        }
    }

    /// Calls `run` with the row of each user and its words: places of the list, and of the words.
    pub(super) fn for_users<T: Real>(
        &self,
        rows: &mut [T],
        width: usize,
        run: impl Fn(&mut [T], &mut dyn Iterator<Item = (usize, usize)>) + Sync,
    ) {
        rows.par_chunks_mut(width).with_min_len(64).enumerate().for_each(|(user, out)| {
            let words = row(&self.user_words, self.user_width, user);
            let known = words.iter().enumerate().filter(|(_, word)| **word != NONE);
            let mut known = known.map(|(place, &word)| (place, word as usize));
            vectorised(
                #[inline(always)]
                || run(out, &mut known),
            );
        });
    }

    /// Adds to the row of each word what its uses add: by user and place of the list, or by entry of
    /// the lists of the items.
    pub(super) fn reduce<T: Real>(
        &self,
        rows: &mut [T],
        width: usize,
        of_user: impl Fn(&mut [T], usize, usize) + Sync,
        of_item: impl Fn(&mut [T], usize) + Sync,
    ) {
        let users = self.user_words.len();
        let list = |place: usize| &self.uses[self.offsets[place]..self.offsets[place + 1]];
        reduce_lists(
            rows,
            width,
            list,
            #[inline(always)]
            |sum, &entry: &u32| match (entry as usize).checked_sub(users) {
                None => {
                    of_user(
                        sum,
                        entry as usize / self.user_width,
                        entry as usize % self.user_width,
                    );
                }
                Some(entry) => of_item(sum, entry),
            },
        );
    }

    /// Adds rows by place to the table of all words.
    pub(super) fn scatter<T: Real>(&self, rows: &[T], table: &mut [T], d: usize) {
        table.par_chunks_mut(d).with_min_len(256).zip(&self.places).for_each(|(out, &place)| {
            if place != NONE {
                add(out, row(rows, d, place as usize));
            }
        });
    }
}
