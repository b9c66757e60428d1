//! The most frequent query words of a user or an item.

use std::collections::HashMap;

use crate::Interactions;

/// How often each word was searched by each user (or for each item), in order of first use.
#[derive(Debug, Clone, Default)]
pub(crate) struct WordCounts {
    offsets: Vec<usize>,
    counts: Vec<(u32, u32)>,
}

impl WordCounts {
    /// Counts the full queries of all rows.
    pub(crate) fn new(nodes: usize, node_of_row: &[u32], log: &Interactions) -> Self {
        let mut rows_of_node: Vec<Vec<u32>> = vec![Vec::new(); nodes];
        for (row, &node) in node_of_row.iter().enumerate() {
            if log.is_search(row) {
                rows_of_node[node as usize].push(row as u32);
            }
        }
        let mut all = Self { offsets: vec![0], counts: Vec::new() };
        let mut place: HashMap<u32, usize> = HashMap::new();
        for rows in rows_of_node {
            place.clear();
            for row in rows {
                for &word in log.queries.row(row as usize) {
                    let next = all.counts.len();
                    let place = *place.entry(word).or_insert(next);
                    if place == next {
                        all.counts.push((word, 0));
                    }
                    all.counts[place].1 += 1;
                }
            }
            all.offsets.push(all.counts.len());
        }
        all
    }

    /// The most frequent words of a node; of equally frequent ones the first used. `without` are
    /// words to be taken off the counts.
    pub(crate) fn top(&self, node: usize, limit: usize, without: &[u32]) -> Vec<u32> {
        let mut counts = self.counts[self.offsets[node]..self.offsets[node + 1]].to_vec();
        for word in without {
            if let Some(entry) = counts.iter_mut().find(|entry| entry.0 == *word) {
                entry.1 = entry.1.saturating_sub(1);
            }
        }
        counts.retain(|entry| entry.1 > 0);
        counts.sort_by_key(|entry| std::cmp::Reverse(entry.1));
        counts.into_iter().take(limit).map(|entry| entry.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_by_count_and_then_by_first_use() {
        let log = Interactions {
            users: vec![0, 0, 1, 0],
            items: vec![0, 1, 0, 0],
            queries: [&[7, 5, 5][..], &[3], &[], &[3, 9]].into_iter().collect(),
            times: vec![-1; 4],
        };
        let users = WordCounts::new(3, &log.users, &log);
        assert_eq!(users.top(0, 3, &[]), [5, 3, 7]);
        assert_eq!(users.top(0, 10, &[]), [5, 3, 7, 9]);
        assert_eq!(users.top(0, 10, &[3, 9]), [5, 7, 3]);
        assert!(users.top(1, 3, &[]).is_empty() && users.top(2, 3, &[]).is_empty());
        let items = WordCounts::new(2, &log.items, &log);
        assert_eq!(items.top(0, 10, &[]), [5, 7, 3, 9]);
    }
}
