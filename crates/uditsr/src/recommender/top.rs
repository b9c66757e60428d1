//! The best of many.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// An item and its score. The better one is the larger; of equal scores the item with the smaller
/// number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    pub(super) score: f32,
    pub(super) item: u32,
}

impl Eq for Found {}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.item.cmp(&self.item))
    }
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best `limit` of what was pushed.
pub(super) struct Top {
    limit: usize,
    heap: BinaryHeap<Reverse<Found>>,
}

impl Top {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::new() }
    }

    /// What is worse than this does not get in.
    pub(super) fn threshold(&self) -> f32 {
        match self.heap.peek() {
            Some(Reverse(worst)) if self.heap.len() >= self.limit => worst.score,
            _ => f32::NEG_INFINITY,
        }
    }

    pub(super) fn push(&mut self, found: Found) {
        if self.heap.len() < self.limit {
            self.heap.push(Reverse(found));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && found > worst.0
        {
            *worst = Reverse(found);
        }
    }

    pub(super) fn merge(mut self, other: Self) -> Self {
        for Reverse(found) in other.heap {
            self.push(found);
        }
        self
    }

    /// The best first.
    pub(super) fn into_sorted(self) -> Vec<Found> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(found)| found).collect()
    }
}

/// The best of a list, the best first.
pub(super) fn best(all: impl IntoIterator<Item = Found>, limit: usize) -> Vec<Found> {
    let mut top = Top::new(limit);
    for found in all {
        top.push(found);
    }
    top.into_sorted()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_in_order_and_of_equals_the_first() {
        let found = |score, item| Found { score, item };
        let all = [found(1.0, 4), found(3.0, 2), found(3.0, 1), found(-1.0, 0), found(1.0, 3)];
        let items = |top: Vec<Found>| top.iter().map(|f| f.item).collect::<Vec<_>>();
        assert_eq!(items(best(all, 3)), [1, 2, 3]);
        assert_eq!(items(best(all, 9)), [1, 2, 3, 4, 0]);
        let halves = all.split_at(2);
        let half = |part: &[Found]| {
            part.iter().fold(Top::new(3), |mut top, &f| {
                top.push(f);
                top
            })
        };
        assert_eq!(items(half(halves.0).merge(half(halves.1)).into_sorted()), [1, 2, 3]);
        assert!(best(all, 0).is_empty());
    }
}
