//! How much the candidates leave out.

use serde::{Deserialize, Serialize};

use super::Recommender;
use super::state::UserVectors;
use crate::real::dot;

/// Share of the exact answers that candidates have, over a sample of users and of their queries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Recall {
    /// Length of the answers.
    pub k: usize,
    /// Of searches, if there are any.
    pub search: Option<f64>,
    /// Of recommendations.
    pub recommend: Option<f64>,
    /// Number of searches and of recommendations that were compared.
    pub requests: [usize; 2],
}

impl Recommender {
    /// Compares answers of `k` items from candidates with those from a ranking of everything, for
    /// `sample` users at equal distances and one of the queries of each. Titles propose nothing here.
    pub fn candidate_recall(&self, sample: usize, k: usize) -> Recall {
        let users = self.state.users.len();
        let step = users.div_ceil(sample.max(1)).max(1);
        let mut shares = [Vec::new(), Vec::new()];
        for user in (0..users as u32).step_by(step) {
            let edges = &self.state.users[user as usize].edges;
            if edges.is_empty() {
                continue;
            }
            let vectors = self.state.user(user);
            let query = edges.iter().rev().find(|edge| !edge.query.is_empty());
            if let Some(edge) = query {
                let query = self.state.scorer.query(&edge.query);
                shares[0].push(self.recall_of(&vectors, Some(&query), k));
            }
            shares[1].push(self.recall_of(&vectors, None, k));
        }
        let mean = |shares: &Vec<f64>| {
            (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
        };
        Recall {
            k,
            search: mean(&shares[0]),
            recommend: mean(&shares[1]),
            requests: [shares[0].len(), shares[1].len()],
        }
    }

    fn recall_of(&self, user: &UserVectors, query: Option<&[f32]>, k: usize) -> f64 {
        let seen = if query.is_some() { &[][..] } else { &user.seen };
        let allowed = self.catalogue.allowed(&super::Filter::default(), &self.items, seen);
        let items = |exact| {
            let ranked = self.rank(user, query, &[], &allowed, k, exact);
            ranked.found.iter().map(|found| found.item).collect::<Vec<_>>()
        };
        let (found, expected) = (items(false), items(true));
        let hits = expected.iter().filter(|item| found.contains(item)).count();
        hits as f64 / expected.len().max(1) as f64
    }

    /// Largest relative error of the vectors in the index, whose bytes are rounded.
    #[doc(hidden)]
    pub fn index_error(&self) -> f64 {
        let error = |item: u32| {
            let (exact, stored) = (self.state.scorer.item(item), self.index.stored(item));
            let rest: f32 = exact.iter().zip(&stored).map(|(a, b)| (a - b) * (a - b)).sum();
            f64::from((rest / dot(exact, exact).max(f32::MIN_POSITIVE)).sqrt())
        };
        (0..self.items() as u32).map(error).fold(0.0, f64::max)
    }
}
