//! The graph of users and items, one edge for each training row.

use std::collections::BTreeMap;

use super::batch::Batch;
use super::config::{ModelConfig, Padding};
use super::parameters::Sizes;
use super::top_words::WordCounts;
use crate::{Csr, Dataset, Error, Interactions, Result};

/// No word, no node, no pair.
pub(crate) const NONE: u32 = u32::MAX;

/// One end of an edge, seen from the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Incidence {
    /// The node at the other end.
    pub(crate) node: u32,
    /// The edge.
    pub(crate) edge: u32,
}

/// Edges of each node, in order of the log.
#[derive(Debug, Clone)]
pub(crate) struct Adjacency {
    offsets: Vec<usize>,
    entries: Vec<Incidence>,
}

impl Adjacency {
    fn new(nodes: usize, here: &[u32], there: &[u32]) -> Self {
        let mut offsets = vec![0; nodes + 1];
        for &node in here {
            offsets[node as usize + 1] += 1;
        }
        for node in 0..nodes {
            offsets[node + 1] += offsets[node];
        }
        let mut next = offsets.clone();
        let mut entries = vec![Incidence { node: 0, edge: 0 }; here.len()];
        for (edge, (&from, &node)) in here.iter().zip(there).enumerate() {
            entries[next[from as usize]] = Incidence { node, edge: edge as u32 };
            next[from as usize] += 1;
        }
        Self { offsets, entries }
    }

    #[inline(always)]
    pub(crate) fn row(&self, node: usize) -> &[Incidence] {
        &self.entries[self.offsets[node]..self.offsets[node + 1]]
    }
}

/// Users, items and their interactions, with the words that describe them.
#[derive(Debug, Clone)]
pub struct Graph {
    /// Number of users, items and words.
    pub sizes: Sizes,
    /// Places for words of a query, a user, an item.
    pub(crate) widths: [usize; 3],
    pub(crate) padding: Padding,
    pub(crate) edge_users: Vec<u32>,
    pub(crate) edge_items: Vec<u32>,
    pub(crate) searches: Vec<bool>,
    pub(crate) by_user: Adjacency,
    pub(crate) by_item: Adjacency,
    /// Edges that are taken out at present.
    pub(crate) removed: Vec<bool>,
    pub(crate) any_removed: bool,
    pub(crate) user_degrees: Vec<u32>,
    pub(crate) item_degrees: Vec<u32>,
    /// Recommended edges of each node.
    pub(crate) user_recommended: Vec<u32>,
    pub(crate) item_recommended: Vec<u32>,
    queries: Csr,
    query_words: Vec<u32>,
    pub(crate) user_words: Vec<u32>,
    pub(crate) item_words: Vec<u32>,
    user_counts: WordCounts,
    item_counts: WordCounts,
}

/// What of a batch is taken out of the graph while the batch is learned.
///
/// At test time the item to be found is neither a neighbour of its user nor has it left its words
/// in the lists of both; in training as published it does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldOut {
    /// Nothing, as in the published program.
    #[default]
    Nothing,
    /// The edges of the batch.
    Edges,
    /// The edges of the batch, and its queries from the counts of words.
    EdgesAndWords,
}

impl Graph {
    /// The graph of the training rows.
    ///
    /// # Errors
    /// Rows whose user, item or word is out of range.
    pub fn new(config: &ModelConfig, dataset: &Dataset) -> Result<Self> {
        let Dataset { users, items, words, .. } = *dataset;
        Self::from_log(config, Sizes { users, items, words }, &dataset.train)
    }

    /// The graph of these rows.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_log(config: &ModelConfig, sizes: Sizes, log: &Interactions) -> Result<Self> {
        check(&sizes, log)?;
        let widths = [config.query_words, config.user_words, config.item_words];
        let searches: Vec<bool> = (0..log.len()).map(|row| log.is_search(row)).collect();
        let recommended = |ends: &[u32]| -> Vec<u32> {
            let ends = ends.iter().zip(&searches).filter(|(_, is_search)| !**is_search);
            ends.map(|(&node, _)| node).collect()
        };
        let mut graph = Self {
            sizes,
            widths,
            padding: config.padding,
            edge_users: log.users.clone(),
            edge_items: log.items.clone(),
            by_user: Adjacency::new(sizes.users, &log.users, &log.items),
            by_item: Adjacency::new(sizes.items, &log.items, &log.users),
            removed: vec![false; log.len()],
            any_removed: false,
            user_degrees: degrees(sizes.users, &log.users),
            item_degrees: degrees(sizes.items, &log.items),
            user_recommended: degrees(sizes.users, &recommended(&log.users)),
            item_recommended: degrees(sizes.items, &recommended(&log.items)),
            searches,
            queries: log.queries.clone(),
            query_words: Vec::new(),
            user_words: Vec::new(),
            item_words: Vec::new(),
            user_counts: WordCounts::new(sizes.users, &log.users, log),
            item_counts: WordCounts::new(sizes.items, &log.items, log),
        };
        for query in log.queries.iter() {
            let words = graph.places(query, widths[0]);
            graph.query_words.extend(words);
        }
        for user in 0..sizes.users {
            let words = graph.places(&graph.user_counts.top(user, widths[1], &[]), widths[1]);
            graph.user_words.extend(words);
        }
        for item in 0..sizes.items {
            let words = graph.places(&graph.item_counts.top(item, widths[2], &[]), widths[2]);
            graph.item_words.extend(words);
        }
        Ok(graph)
    }

    /// The first `width` words; what is missing is word 0 or, if padding is masked, nothing.
    pub(crate) fn places(&self, words: &[u32], width: usize) -> Vec<u32> {
        places(self.padding, words, width)
    }

    /// Number of edges.
    pub fn edges(&self) -> usize {
        self.edge_users.len()
    }

    /// Places of an edge's query.
    pub(crate) fn edge_words(&self, edge: usize) -> &[u32] {
        &self.query_words[edge * self.widths[0]..(edge + 1) * self.widths[0]]
    }

    pub(crate) fn words_of_user(&self, user: usize) -> &[u32] {
        &self.user_words[user * self.widths[1]..(user + 1) * self.widths[1]]
    }

    pub(crate) fn words_of_item(&self, item: usize) -> &[u32] {
        &self.item_words[item * self.widths[2]..(item + 1) * self.widths[2]]
    }

    /// Items of a user, in order of the log.
    pub fn items_of(&self, user: usize) -> impl Iterator<Item = u32> {
        self.by_user.row(user).iter().map(|entry| entry.node)
    }

    /// Takes a batch out of the graph, until [`Self::restore`].
    pub fn hold_out(&mut self, what: HoldOut, batch: &Batch) {
        if what == HoldOut::Nothing {
            return;
        }
        for &row in &batch.rows {
            let row = row as usize;
            if !std::mem::replace(&mut self.removed[row], true) {
                self.degrees_of(row).into_iter().for_each(|degree| *degree -= 1);
            }
        }
        self.any_removed = true;
        if what == HoldOut::EdgesAndWords {
            self.recount(batch, true);
        }
    }

    /// Puts the batch back that was taken out.
    pub fn restore(&mut self, what: HoldOut, batch: &Batch) {
        if what == HoldOut::Nothing {
            return;
        }
        for &row in &batch.rows {
            let row = row as usize;
            if std::mem::replace(&mut self.removed[row], false) {
                self.degrees_of(row).into_iter().for_each(|degree| *degree += 1);
            }
        }
        self.any_removed = false;
        if what == HoldOut::EdgesAndWords {
            self.recount(batch, false);
        }
    }

    /// Counts that an edge is part of.
    fn degrees_of(&mut self, edge: usize) -> Vec<&mut u32> {
        let (user, item) = (self.edge_users[edge] as usize, self.edge_items[edge] as usize);
        let mut all = vec![&mut self.user_degrees[user], &mut self.item_degrees[item]];
        if !self.searches[edge] {
            all.push(&mut self.user_recommended[user]);
            all.push(&mut self.item_recommended[item]);
        }
        all
    }

    /// Finds the words of the users and items of a batch again, without its own queries or with.
    fn recount(&mut self, batch: &Batch, without: bool) {
        let searches = || batch.rows.iter().map(|&row| row as usize).filter(|&r| self.searches[r]);
        for (is_user, ends) in [(true, &self.edge_users), (false, &self.edge_items)] {
            let mut queries: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for row in searches() {
                let taken = queries.entry(ends[row]).or_default();
                if without {
                    taken.extend(self.queries.row(row));
                }
            }
            let (counts, width) = if is_user {
                (&self.user_counts, self.widths[1])
            } else {
                (&self.item_counts, self.widths[2])
            };
            let found: Vec<(usize, Vec<u32>)> = queries
                .into_iter()
                .map(|(node, taken)| (node as usize, counts.top(node as usize, width, &taken)))
                .map(|(node, words)| (node, self.places(&words, width)))
                .collect();
            let lists = if is_user { &mut self.user_words } else { &mut self.item_words };
            for (node, words) in found {
                lists[node * width..(node + 1) * width].copy_from_slice(&words);
            }
        }
    }
}

/// The first `width` words; what is missing is word 0 or, if padding is masked, nothing.
pub(crate) fn places(padding: Padding, words: &[u32], width: usize) -> Vec<u32> {
    let mut places = words.iter().copied().take(width).collect::<Vec<_>>();
    places.resize(width, 0);
    if padding == Padding::Masked {
        places.iter_mut().filter(|word| **word == 0).for_each(|word| *word = NONE);
    }
    places
}

fn degrees(nodes: usize, ends: &[u32]) -> Vec<u32> {
    let mut degrees = vec![0; nodes];
    for &node in ends {
        degrees[node as usize] += 1;
    }
    degrees
}

fn check(sizes: &Sizes, log: &Interactions) -> Result<()> {
    let columns = [
        ("user", &log.users[..], sizes.users),
        ("item", &log.items[..], sizes.items),
        ("word", log.queries.values(), sizes.words),
    ];
    for (what, column, size) in columns {
        if let Some(&value) = column.iter().find(|&&value| value as usize >= size) {
            return Err(Error::OutOfRange { what, value: value as usize, size });
        }
    }
    if log.items.len() != log.len() || log.queries.len() != log.len() {
        let field = "train".to_owned();
        return Err(Error::Config { field, reason: "columns of different lengths".to_owned() });
    }
    Ok(())
}
