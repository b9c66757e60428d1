//! The graph while it serves: new and erased events change the propagated nodes at once.
//!
//! With `e_x` the embedding of a node, `q_e` the demand intent of an edge and up to two layers, the
//! propagated nodes are
//!
//! ```text
//! h1_i = S_i / n_i           S_i = sum of (e_u + q_e)     h1_u = S_u / n_u     S_u = sum of (e_i - q_e)
//! h2_i = (T_i + Q_i) / n_i   T_i = sum of h1_u            h2_u = (sum of h1_i - Q_u) / n_u
//! e*_x = e_x + h1_x / 2 + h2_x / 3                        Q_x = sum of q_e
//! ```
//!
//! An event of user `u` changes `S` and `Q` of `u` and of one item, and `T` of the items of `u`. What
//! else depends on it are users, and theirs is computed when they ask. Sums are in double precision:
//! what was added can be taken away again.

mod nodes;
mod users;

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::cold::ColdMap;
use super::words::{by_count, top_words};
use crate::matrix::row;
use crate::model::{EdgeQueries, ModelConfig, Scorer, UserView, places};

pub(crate) use nodes::{Edge, UserNode};
use nodes::{ItemNode, mean_row, plus, plus_single, star};
pub(crate) use users::UserVectors;

/// Users from which the map of new users is learned.
const USER_SAMPLE: usize = 20_000;
/// Users whose edges are computed at once.
const USERS: usize = 512;

/// The scorer and the graph that its nodes come from.
pub(crate) struct State {
    pub(crate) scorer: Scorer<f32>,
    pub(crate) users: Vec<UserNode>,
    items: Vec<ItemNode>,
    /// Embedding of users that training did not know.
    stranger: Vec<f32>,
    /// Propagated vector of such a user without events.
    stranger_star: Vec<f32>,
    /// From the mean embedding of a user's items to the embedding that training would have learned.
    user_map: ColdMap,
    /// Propagated vectors of items without events, of those that training did not know.
    cold_stars: HashMap<u32, Vec<f32>>,
    /// Users of the training whose embeddings must not be used any more.
    forgotten: HashSet<u32>,
}

impl State {
    /// The state after these edges of each user. The scorer's propagated nodes are computed anew.
    pub(crate) fn new(scorer: Scorer<f32>, edges: Vec<Vec<Edge>>) -> Self {
        let d = scorer.config().dim;
        let stranger = mean_row(&scorer.parameters().users, d);
        let nodes = edges.into_iter().map(|edges| UserNode { edges, ..UserNode::default() });
        let mut state = Self {
            users: nodes.collect(),
            items: vec![ItemNode::default(); scorer.items()],
            scorer,
            stranger,
            stranger_star: Vec::new(),
            user_map: ColdMap::fit(d, d, std::iter::empty()),
            cold_stars: HashMap::new(),
            forgotten: HashSet::new(),
        };
        state.rebuild();
        let stars: Vec<f32> =
            (0..state.users.len() as u32).flat_map(|user| state.star_of(user)).collect();
        state.stranger_star = mean_row(&stars, d);
        state.user_map = state.fit_users();
        state
    }

    /// Learns from the users of the training what the items of a user tell about the embedding.
    fn fit_users(&self) -> ColdMap {
        let (d, count) = (self.dim(), self.scorer.parameters().sizes.users);
        let step = count.div_ceil(USER_SAMPLE).max(1);
        let pairs = (0..count).step_by(step).filter_map(|user| {
            let seen = self.users[user].edges.iter().map(|edge| edge.item);
            Some((self.mean_item(seen)?, row(&self.scorer.parameters().users, d, user)))
        });
        ColdMap::fit(d, d, pairs)
    }

    /// Mean of the embeddings of some items, which events do not change.
    fn mean_item(&self, items: impl Iterator<Item = u32>) -> Option<Vec<f32>> {
        let (mut sum, mut count) = (vec![0.0; self.dim()], 0);
        for item in items {
            plus_single(&mut sum, 1.0, self.scorer.item_embedding(item));
            count += 1;
        }
        let mean = sum.into_iter().map(|value| (value / f64::from(count)) as f32);
        (count > 0).then(|| mean.collect())
    }

    fn config(&self) -> &ModelConfig {
        self.scorer.config()
    }

    fn dim(&self) -> usize {
        self.config().dim
    }

    /// Adds items that training did not know.
    pub(crate) fn push_items(&mut self, embeddings: &[f32], stars: &[f32], words: &[u32]) {
        let first = self.items.len() as u32;
        self.scorer.push_items(embeddings, stars, words);
        self.items.resize(self.scorer.items(), ItemNode::default());
        let d = self.dim();
        self.cold_stars.extend((first..).zip(stars.chunks_exact(d).map(<[f32]>::to_vec)));
    }

    /// Whether training did not know the item and nothing has happened to it since.
    pub(crate) fn is_cold(&self, item: u32) -> bool {
        self.items[item as usize].degree == 0 && self.cold_stars.contains_key(&item)
    }

    /// Events of an item.
    pub(crate) fn degree(&self, item: u32) -> u32 {
        self.items[item as usize].degree
    }

    fn embedding(&self, user: u32) -> &[f32] {
        let table = &self.scorer.parameters().users;
        if self.is_trained(user) { row(table, self.dim(), user as usize) } else { &self.stranger }
    }

    fn is_trained(&self, user: u32) -> bool {
        (user as usize) < self.scorer.parameters().sizes.users && !self.forgotten.contains(&user)
    }

    /// Treats a user of the training, who has no events any more, as one that it did not know.
    pub(crate) fn forget(&mut self, user: u32) {
        self.forgotten.insert(user);
    }

    /// Whether [`Self::forget`] was called for a user.
    pub(crate) fn is_forgotten(&self, user: u32) -> bool {
        self.forgotten.contains(&user)
    }

    fn top_words(&self, edges: &[Edge]) -> Vec<u32> {
        let config = self.config();
        let words = top_words(edges.iter().map(|edge| &edge.query[..]), config.user_words);
        places(config.padding, &words, config.user_words)
    }

    /// Demand intents on edges, `[n, dim]`.
    fn demand(&self, embedding: &[f32], words: &[u32], edges: &[&Edge]) -> Vec<f64> {
        let d = self.dim();
        let mut all = vec![0.0; edges.len() * d];
        if self.config().edge_queries == EdgeQueries::Absent {
            return all;
        }
        let view = UserView { embedding, star: &[], words };
        let recommended = edges.iter().filter(|edge| edge.query.is_empty());
        let recommended: Vec<u32> = recommended.map(|edge| edge.item).collect();
        let generated = self.scorer.demand_of(view, &recommended);
        let mut generated = generated.chunks_exact(d);
        for (out, edge) in all.chunks_exact_mut(d).zip(edges) {
            if edge.query.is_empty() {
                plus_single(out, 1.0, generated.next().unwrap_or_default());
            } else {
                plus_single(out, 1.0, &self.scorer.query(&edge.query));
            }
        }
        all
    }

    /// Computes all sums and all propagated items from the edges.
    pub(crate) fn rebuild(&mut self) {
        let d = self.dim();
        self.items.fill(ItemNode::default());
        for start in (0..self.users.len()).step_by(USERS) {
            let end = (start + USERS).min(self.users.len());
            let computed: Vec<(Vec<u32>, Vec<f64>)> = (start..end)
                .into_par_iter()
                .map(|user| {
                    let edges = &self.users[user].edges;
                    let words = self.top_words(edges);
                    let edges: Vec<&Edge> = edges.iter().collect();
                    let demand = self.demand(self.embedding(user as u32), &words, &edges);
                    (words, demand)
                })
                .collect();
            for (user, (words, demand)) in (start..end).zip(computed) {
                let mut node = std::mem::take(&mut self.users[user]);
                node.words = words;
                (node.sum, node.queries) = (vec![0.0; d], vec![0.0; d]);
                for (edge, query) in node.edges.iter().zip(demand.chunks_exact(d)) {
                    plus_single(&mut node.sum, 1.0, self.scorer.item_embedding(edge.item));
                    plus(&mut node.sum, -1.0, query);
                    plus(&mut node.queries, 1.0, query);
                    self.add_to_item(user as u32, edge.item, 1.0, query);
                }
                self.users[user] = node;
            }
        }
        for user in 0..self.users.len() {
            self.send_seconds(user, 1.0);
        }
        self.refresh_items(&(0..self.items.len() as u32).collect::<Vec<_>>());
    }

    /// Adds an edge to the sums of its item, or takes it away.
    fn add_to_item(&mut self, user: u32, item: u32, sign: f64, query: &[f64]) {
        let d = self.dim();
        let mut node = std::mem::take(&mut self.items[item as usize]);
        for sums in [&mut node.sum, &mut node.queries, &mut node.seconds] {
            sums.resize(d, 0.0);
        }
        plus_single(&mut node.sum, sign, self.embedding(user));
        plus(&mut node.sum, sign, query);
        plus(&mut node.queries, sign, query);
        node.degree = if sign > 0.0 { node.degree + 1 } else { node.degree - 1 };
        self.items[item as usize] = node;
    }

    /// Adds what a user says to the second layer of its items, or takes it away.
    fn send_seconds(&mut self, user: usize, sign: f64) {
        let hidden = self.first_of_user(user);
        for edge in &self.users[user].edges {
            plus(&mut self.items[edge.item as usize].seconds, sign, &hidden);
        }
    }

    fn first_of_user(&self, user: usize) -> Vec<f64> {
        let node = &self.users[user];
        let degree = node.edges.len().max(1) as f64;
        node.sum.iter().map(|sum| sum / degree).collect()
    }

    /// Computes propagated items from their sums.
    fn refresh_items(&mut self, items: &[u32]) {
        for items in items.chunks(4096) {
            let stars: Vec<f32> =
                items.par_iter().flat_map_iter(|&item| self.item_star(item)).collect();
            self.scorer.set_items(items, &stars);
        }
    }

    fn item_star(&self, item: u32) -> Vec<f32> {
        let node = &self.items[item as usize];
        let embedding = self.scorer.item_embedding(item);
        if node.degree == 0 {
            return self.cold_stars.get(&item).cloned().unwrap_or_else(|| embedding.to_vec());
        }
        let degree = f64::from(node.degree);
        let first = node.sum.iter().map(|sum| sum / degree).collect();
        let seconds = node.seconds.iter().zip(&node.queries);
        let second = seconds.map(|(seconds, queries)| (seconds + queries) / degree).collect();
        let layers: [Vec<f64>; 2] = [first, second];
        star(embedding, &layers[..self.config().layers])
    }

    /// Changes the edges of a user: takes out those that are `erased` and adds `inserted`. Returns the
    /// items whose propagated vectors changed.
    pub(crate) fn change(
        &mut self,
        user: u32,
        erased: impl Fn(&Edge) -> bool,
        inserted: Vec<Edge>,
    ) -> Vec<u32> {
        let d = self.dim();
        let index = user as usize;
        if index >= self.users.len() {
            let newcomer = UserNode {
                words: self.top_words(&[]),
                sum: vec![0.0; d],
                queries: vec![0.0; d],
                ..UserNode::default()
            };
            self.users.resize(index + 1, newcomer);
        }
        self.send_seconds(index, -1.0);
        let mut node = std::mem::take(&mut self.users[index]);
        let embedding = self.embedding(user).to_vec();
        let (gone, mut kept): (Vec<Edge>, Vec<Edge>) = node.edges.drain(..).partition(&erased);
        let stay = kept.len();
        kept.extend(inserted);
        let words = self.top_words(&kept);
        let mut touched: Vec<u32> = gone.iter().chain(&kept).map(|edge| edge.item).collect();
        touched.sort_unstable();
        touched.dedup();
        // Frequent words are part of the demand that is generated on all edges of the user.
        let is_reworded = words != node.words;
        let is_regenerated = |edge: &&Edge| is_reworded && edge.query.is_empty();
        let old: Vec<&Edge> =
            gone.iter().chain(kept[..stay].iter().filter(is_regenerated)).collect();
        let new: Vec<&Edge> =
            kept[..stay].iter().filter(is_regenerated).chain(&kept[stay..]).collect();
        for (sign, words, edges) in [(-1.0, &node.words, &old), (1.0, &words, &new)] {
            let demand = self.demand(&embedding, words, edges);
            for (edge, query) in edges.iter().zip(demand.chunks_exact(d)) {
                plus_single(&mut node.sum, sign, self.scorer.item_embedding(edge.item));
                plus(&mut node.sum, -sign, query);
                plus(&mut node.queries, sign, query);
                self.add_to_item(user, edge.item, sign, query);
            }
        }
        if kept.is_empty() {
            (node.sum, node.queries) = (vec![0.0; d], vec![0.0; d]);
        }
        self.users[index] = UserNode { edges: kept, words, ..node };
        self.send_seconds(index, 1.0);
        for &item in &touched {
            if self.items[item as usize].degree == 0 {
                self.items[item as usize] = ItemNode::default();
            }
        }
        self.refresh_items(&touched);
        touched
    }

    /// All edges with their users, in the order of their ids.
    pub(crate) fn edges(&self) -> Vec<(u32, &Edge)> {
        let edges = (0..)
            .zip(&self.users)
            .flat_map(|(user, node)| node.edges.iter().map(move |e| (user, e)));
        let mut edges: Vec<(u32, &Edge)> = edges.collect();
        edges.sort_unstable_by_key(|(_, edge)| edge.id);
        edges
    }

    /// Counts the words of items again and computes everything from the edges: what happens between
    /// two trainings to the words of items waits for this, those of users do not.
    pub(crate) fn refresh(&mut self) {
        let config = self.config().clone();
        let mut counts: Vec<Vec<(u32, u32)>> = vec![Vec::new(); self.items.len()];
        for (_, edge) in self.edges() {
            super::words::count(&mut counts[edge.item as usize], &edge.query);
        }
        let words = (0..).zip(counts).flat_map(|(item, counts)| {
            if counts.is_empty() && self.cold_stars.contains_key(&item) {
                return self.scorer.words_of_item(item).to_vec();
            }
            places(config.padding, &by_count(counts, config.item_words), config.item_words)
        });
        let words = words.collect();
        self.scorer.set_item_words(words);
        self.rebuild();
    }
}

#[cfg(test)]
mod tests;
