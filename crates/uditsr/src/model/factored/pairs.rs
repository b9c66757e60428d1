//! Pairs of users and items that need a generated demand, grouped by item.

use super::field::Field;
use crate::matrix::row;
use crate::model::graph::{Graph, NONE};

/// Distinct recommended pairs of the whole graph, grouped by item.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllPairs {
    /// First pair of each item, and the end.
    offsets: Vec<usize>,
    users: Vec<u32>,
    /// Edges of each pair.
    multiplicities: Vec<u32>,
    /// Pair of each edge, or [`NONE`] for a search.
    of_edge: Vec<u32>,
}

impl AllPairs {
    pub(crate) fn new(graph: &Graph) -> Self {
        let mut all = Self { offsets: vec![0], ..Self::default() };
        all.of_edge = vec![NONE; graph.edges()];
        let mut edges: Vec<(u32, u32)> = Vec::new();
        for item in 0..graph.sizes.items {
            let entries = graph.by_item.row(item).iter();
            let recommended = entries.filter(|entry| !graph.searches[entry.edge as usize]);
            edges.clear();
            edges.extend(recommended.map(|entry| (entry.node, entry.edge)));
            edges.sort_unstable();
            let first = all.users.len();
            for &(user, edge) in &edges {
                if all.users.len() == first || all.users.last() != Some(&user) {
                    all.users.push(user);
                    all.multiplicities.push(0);
                }
                if let Some(count) = all.multiplicities.last_mut() {
                    *count += 1;
                }
                all.of_edge[edge as usize] = all.users.len() as u32 - 1;
            }
            all.offsets.push(all.users.len());
        }
        all
    }

    /// Takes removed edges off the multiplicities, or puts them back.
    pub(crate) fn count(&mut self, edges: &[u32], removed: bool) {
        for &edge in edges {
            let pair = self.of_edge[edge as usize];
            if pair != NONE {
                let count = &mut self.multiplicities[pair as usize];
                *count = if removed { *count - 1 } else { *count + 1 };
            }
        }
    }
}

/// Pairs of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Place of the item among [`PairNodes::items`].
    pub(crate) item: usize,
    /// First pair.
    pub(crate) start: usize,
    /// One after the last pair.
    pub(crate) end: usize,
}

/// Pairs in the order in which they are computed, by ascending item.
#[derive(Debug, Clone, Default)]
pub(crate) struct PairSet {
    pub(crate) runs: Vec<Run>,
    /// Place of the user of each pair among [`PairNodes::users`].
    pub(crate) users: Vec<u32>,
    /// Edges of each pair, or rows of a batch.
    pub(crate) weights: Vec<u32>,
    /// Pairs by user: start of each user's list, and the lists.
    user_offsets: Vec<usize>,
    by_user: Vec<u32>,
}

impl PairSet {
    fn clear(&mut self) {
        self.runs.clear();
        self.users.clear();
        self.weights.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    /// Lists the pairs of each of `users` users.
    fn index_users(&mut self, users: usize) {
        self.user_offsets.clear();
        self.user_offsets.resize(users + 1, 0);
        self.users.iter().for_each(|&user| self.user_offsets[user as usize + 1] += 1);
        for user in 0..users {
            self.user_offsets[user + 1] += self.user_offsets[user];
        }
        let mut next = self.user_offsets.clone();
        self.by_user.resize(self.users.len(), 0);
        for (pair, &user) in self.users.iter().enumerate() {
            self.by_user[next[user as usize]] = pair as u32;
            next[user as usize] += 1;
        }
    }

    pub(crate) fn of_user(&self, user: usize) -> &[u32] {
        &self.by_user[self.user_offsets[user]..self.user_offsets[user + 1]]
    }
}

/// Slots of the field that have pairs.
#[derive(Debug, Clone, Default)]
pub(crate) struct PairNodes {
    /// Slot of each user with a pair.
    pub(crate) users: Vec<u32>,
    /// Slot of each item with a pair, in ascending order.
    pub(crate) items: Vec<u32>,
    /// Place of each user slot, or [`NONE`].
    user_places: Vec<u32>,
    item_places: Vec<u32>,
}

/// The pairs of one step: those of the graph, and those of the batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct StepPairs {
    pub(crate) nodes: PairNodes,
    pub(crate) graph: PairSet,
    pub(crate) batch: PairSet,
    /// Pair of the batch for each request, in the order of the requests.
    pub(crate) requests: Vec<u32>,
}

impl StepPairs {
    /// Pairs whose demand reaches a node of the field, and the requested `(user, item)` slots.
    pub(crate) fn select(
        &mut self,
        all: &AllPairs,
        field: &Field,
        with_graph: bool,
        requests: &[(u32, u32)],
    ) {
        let Self { nodes, graph, batch, requests: pair_of_request } = self;
        let (n_users, n_items) = (field.users.with_messages(), field.items.with_messages());
        graph.clear();
        if with_graph {
            for (slot, &item) in field.items.nodes.iter().enumerate() {
                let start = graph.len();
                let range = all.offsets[item as usize]..all.offsets[item as usize + 1];
                for pair in range {
                    let user = field.users.slots[all.users[pair] as usize];
                    let is_needed = slot < n_items || (user as usize) < n_users;
                    if user != NONE && is_needed && all.multiplicities[pair] > 0 {
                        graph.users.push(user);
                        graph.weights.push(all.multiplicities[pair]);
                    }
                }
                if graph.len() > start {
                    graph.runs.push(Run { item: slot, start, end: graph.len() });
                }
            }
        }
        batch.clear();
        let mut order: Vec<u32> = (0..requests.len() as u32).collect();
        order.sort_unstable_by_key(|&r| (requests[r as usize].1, requests[r as usize].0, r));
        pair_of_request.clear();
        pair_of_request.resize(requests.len(), NONE);
        for r in order {
            let (user, item) = requests[r as usize];
            let same_item = batch.runs.last().is_some_and(|run| run.item == item as usize);
            if !same_item {
                batch.runs.push(Run { item: item as usize, start: batch.len(), end: batch.len() });
            }
            if !same_item || batch.users.last() != Some(&user) {
                batch.users.push(user);
                batch.weights.push(0);
            }
            let end = batch.len();
            if let (Some(run), Some(weight)) = (batch.runs.last_mut(), batch.weights.last_mut()) {
                run.end = end;
                *weight += 1;
            }
            pair_of_request[r as usize] = end as u32 - 1;
        }
        nodes.collect(field, [graph, batch]);
    }
}

impl PairNodes {
    /// Finds the nodes with pairs and writes pairs in terms of their places.
    fn collect(&mut self, field: &Field, sets: [&mut PairSet; 2]) {
        self.user_places.clear();
        self.user_places.resize(field.users.len(), NONE);
        self.item_places.clear();
        self.item_places.resize(field.items.len(), NONE);
        for set in &sets {
            set.users.iter().for_each(|&slot| self.user_places[slot as usize] = 0);
            set.runs.iter().for_each(|run| self.item_places[run.item] = 0);
        }
        for (nodes, places) in
            [(&mut self.users, &mut self.user_places), (&mut self.items, &mut self.item_places)]
        {
            nodes.clear();
            for (slot, place) in places.iter_mut().enumerate().filter(|(_, place)| **place == 0) {
                *place = nodes.len() as u32;
                nodes.push(slot as u32);
            }
        }
        for set in sets {
            for user in &mut set.users {
                *user = self.user_places[*user as usize];
            }
            for run in &mut set.runs {
                run.item = self.item_places[run.item] as usize;
            }
            set.index_users(self.users.len());
        }
    }
}

/// Consecutive runs that one thread computes, and where their pairs and items end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    /// One after the last run of each task.
    pub(crate) runs: Vec<usize>,
    /// One after the last pair of each task.
    pub(crate) pairs: Vec<usize>,
    /// One after the last item place of each task.
    pub(crate) items: Vec<usize>,
}

impl Tasks {
    /// Cuts by the number of pairs alone, so that sums do not depend on the threads.
    pub(crate) fn new(set: &PairSet) -> Self {
        const SMALLEST: usize = 512;
        const MOST: usize = 96;
        let size = set.len().div_ceil(MOST).max(SMALLEST);
        let mut tasks = Self::default();
        let mut start = 0;
        for (index, run) in set.runs.iter().enumerate() {
            if run.end - start >= size || index + 1 == set.runs.len() {
                tasks.runs.push(index + 1);
                tasks.pairs.push(run.end);
                tasks.items.push(run.item + 1);
                start = run.end;
            }
        }
        tasks
    }
}

/// Row of a pair's user in a table by place.
#[inline(always)]
pub(crate) fn user_row<'a, T>(table: &'a [T], width: usize, set: &PairSet, pair: usize) -> &'a [T] {
    row(table, width, set.users[pair] as usize)
}
