//! Users at the time of a request. Their second layer is computed when they ask.

use std::collections::BTreeMap;

use super::nodes::{plus, plus_single, star};
use super::{Edge, State, UserNode};
use crate::model::UserView;

/// A user at the time of a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UserVectors {
    pub(crate) embedding: Vec<f32>,
    pub(crate) star: Vec<f32>,
    pub(crate) words: Vec<u32>,
    /// Items that the user had to do with, in order.
    pub(crate) seen: Vec<u32>,
}

impl UserVectors {
    pub(crate) fn view(&self) -> UserView<'_, f32> {
        UserView { embedding: &self.embedding, star: &self.star, words: &self.words }
    }
}

impl State {
    pub(super) fn star_of(&self, user: u32) -> Vec<f32> {
        let node = &self.users[user as usize];
        let edges: Vec<&Edge> = node.edges.iter().collect();
        self.user_star(self.embedding(user), &edges, [&node.sum, &node.queries], &BTreeMap::new())
    }

    /// `e*_u`; `changed` are sums and degrees of items that are to be taken instead of theirs.
    fn user_star(
        &self,
        embedding: &[f32],
        edges: &[&Edge],
        [sum, queries]: [&[f64]; 2],
        changed: &BTreeMap<u32, (Vec<f64>, f64)>,
    ) -> Vec<f32> {
        if edges.is_empty() {
            return embedding.to_vec();
        }
        let degree = edges.len() as f64;
        let first = sum.iter().map(|sum| sum / degree).collect();
        let mut second: Vec<f64> = queries.iter().map(|query| -query / degree).collect();
        if self.config().layers > 1 {
            for edge in edges {
                let node = &self.items[edge.item as usize];
                let (sum, n) = match changed.get(&edge.item) {
                    Some((sum, n)) => (sum, *n),
                    None => (&node.sum, f64::from(node.degree)),
                };
                plus(&mut second, 1.0 / (degree * n), sum);
            }
        }
        let layers: [Vec<f64>; 2] = [first, second];
        star(embedding, &layers[..self.config().layers])
    }

    /// A user that has events or that training knew, as of now.
    pub(crate) fn user(&self, user: u32) -> UserVectors {
        let node = &self.users[user as usize];
        let is_unknown = node.edges.is_empty() && !self.is_trained(user);
        let star = if is_unknown { self.stranger_star.clone() } else { self.star_of(user) };
        let seen = node.edges.iter().map(|edge| edge.item).collect();
        let embedding = self.embedding(user).to_vec();
        let vectors = UserVectors { embedding, star, words: node.words.clone(), seen };
        if self.is_trained(user) { vectors } else { self.acquainted(vectors) }
    }

    /// Somebody whom training did not know, with the embedding that the items tell instead of the mean.
    ///
    /// With the mean alone such a user has no lasting interests: the graph adds what the user did less the
    /// demand behind it, and in training the embedding makes up for the difference. To the items the user
    /// is still sent as the mean, so that they change by one event as by any other.
    fn acquainted(&self, mut vectors: UserVectors) -> UserVectors {
        if let Some(mean) = self.mean_item(vectors.seen.iter().copied()) {
            let embedding = self.user_map.apply(&mean);
            let pairs = embedding.iter().zip(&vectors.embedding);
            vectors.star.iter_mut().zip(pairs).for_each(|(star, (new, old))| *star += new - old);
            vectors.embedding = embedding;
        }
        vectors
    }

    /// A user as it would be after some more events, which are not kept. Without a user, somebody
    /// whom training did not know.
    pub(crate) fn session(&self, user: Option<u32>, events: &[Edge]) -> UserVectors {
        let d = self.dim();
        let nobody = UserNode { words: self.top_words(&[]), ..UserNode::default() };
        let node = user.map_or(&nobody, |user| &self.users[user as usize]);
        if events.is_empty() {
            return match user {
                Some(user) => self.user(user),
                None => UserVectors {
                    embedding: self.stranger.clone(),
                    star: self.stranger_star.clone(),
                    words: nobody.words,
                    seen: Vec::new(),
                },
            };
        }
        let embedding = user.map_or(&self.stranger[..], |user| self.embedding(user));
        let all: Vec<Edge> = node.edges.iter().chain(events).cloned().collect();
        let words = self.top_words(&all);
        let old: Vec<&Edge> = node.edges.iter().collect();
        let all: Vec<&Edge> = all.iter().collect();
        let (mut sum, mut queries) = (vec![0.0; d], vec![0.0; d]);
        let mut changed: BTreeMap<u32, (Vec<f64>, f64)> = BTreeMap::new();
        for (sign, words, edges) in [(-1.0, &node.words, &old), (1.0, &words, &all)] {
            let demand = self.demand(embedding, words, edges);
            for (edge, query) in edges.iter().zip(demand.chunks_exact(d)) {
                if sign > 0.0 {
                    plus_single(&mut sum, 1.0, self.scorer.item_embedding(edge.item));
                    plus(&mut sum, -1.0, query);
                    plus(&mut queries, 1.0, query);
                }
                let item = &self.items[edge.item as usize];
                let (sum, degree) = changed.entry(edge.item).or_insert_with(|| {
                    let mut sum = item.sum.clone();
                    sum.resize(d, 0.0);
                    (sum, f64::from(item.degree))
                });
                plus_single(sum, sign, embedding);
                plus(sum, sign, query);
                *degree += sign;
            }
        }
        let star = self.user_star(embedding, &all, [&sum, &queries], &changed);
        let seen = all.iter().map(|edge| edge.item).collect();
        let vectors = UserVectors { embedding: embedding.to_vec(), star, words, seen };
        let is_trained = user.is_some_and(|user| self.is_trained(user));
        if is_trained { vectors } else { self.acquainted(vectors) }
    }

    /// What each edge of a user brings to an item: `(e*_j - q_e) . e*_i / n`, by edge.
    pub(crate) fn contributions(&self, user: u32, item: u32) -> Vec<(&Edge, f64)> {
        let node = &self.users[user as usize];
        let edges: Vec<&Edge> = node.edges.iter().collect();
        let demand = self.demand(self.embedding(user), &node.words, &edges);
        let (target, degree) = (self.scorer.item(item), edges.len() as f64);
        let part = |edge: &Edge, query: &[f64]| {
            let neighbour = self.scorer.item(edge.item).iter().zip(query);
            let products =
                neighbour.zip(target).map(|((&h, q), &t)| (f64::from(h) - q) * f64::from(t));
            products.sum::<f64>() / degree
        };
        edges
            .iter()
            .zip(demand.chunks_exact(self.dim()))
            .map(|(&edge, query)| (edge, part(edge, query)))
            .collect()
    }
}
