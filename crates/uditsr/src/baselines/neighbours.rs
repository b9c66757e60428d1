//! Items that share users with the items of a user.

use std::collections::HashMap;

use crate::evaluate::items_of_users;
use crate::{Csr, Dataset, Ranker};

/// Who touched what.
pub(super) struct Neighbours {
    items_of_user: Csr,
    users_of_item: Csr,
}

impl Neighbours {
    pub(super) fn new(dataset: &Dataset) -> Self {
        let items_of_user = items_of_users(dataset);
        let mut users: Vec<Vec<u32>> = vec![Vec::new(); dataset.items];
        for (user, items) in items_of_user.iter().enumerate() {
            for &item in items {
                users[item as usize].push(user as u32);
            }
        }
        Self { items_of_user, users_of_item: users.into_iter().collect() }
    }

    /// Sum over the user's items of the cosine with `item`, times the root of the item's users.
    fn votes(&self, user: u32) -> HashMap<u32, f64> {
        let mut votes = HashMap::new();
        for &item in self.items_of_user.row(user as usize) {
            let users = self.users_of_item.row(item as usize);
            let weight = 1.0 / (users.len() as f64).sqrt();
            for &other in users.iter().filter(|&&other| other != user) {
                for &found in self.items_of_user.row(other as usize) {
                    *votes.entry(found).or_insert(0.0) += weight;
                }
            }
        }
        votes
    }
}

impl Ranker for Neighbours {
    fn score(&self, user: u32, _: &[u32], items: &[u32], scores: &mut [f32]) {
        let votes = self.votes(user);
        for (score, item) in scores.iter_mut().zip(items) {
            let users = self.users_of_item.row(*item as usize).len().max(1);
            *score = (votes.get(item).copied().unwrap_or(0.0) / (users as f64).sqrt()) as f32;
        }
    }
}
