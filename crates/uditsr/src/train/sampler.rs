//! Order of the rows and their negatives, as functions of seed and epoch.

use rayon::prelude::*;

use crate::random;
use crate::{Csr, Interactions};

/// Rows that share a stream of random numbers.
const CHUNK: usize = 1024;
/// Tries to find an item that a user did not touch. A user who touched everything would have none.
const TRIES: usize = 200;

/// Training rows of an epoch in their order, each with a negative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Epoch {
    pub(crate) rows: Vec<u32>,
    pub(crate) negatives: Vec<u32>,
}

impl Epoch {
    /// A fresh order, and for each row an item uniform among those that its user did not touch.
    /// `seen` are the sorted items of each user.
    pub(crate) fn new(seed: u64, epoch: u64, log: &Interactions, seen: &Csr, items: usize) -> Self {
        let mut rows: Vec<u32> = (0..log.len() as u32).collect();
        random::shuffle(&mut random::stream(seed, "order", epoch), &mut rows);
        let mut negatives = vec![0; rows.len()];
        negatives.par_chunks_mut(CHUNK).zip(rows.par_chunks(CHUNK)).enumerate().for_each(
            |(chunk, (negatives, rows))| {
                let index = (epoch << 32) | chunk as u64;
                let mut stream = random::stream(seed, "negatives", index);
                for (negative, &row) in negatives.iter_mut().zip(rows) {
                    let seen = seen.row(log.users[row as usize] as usize);
                    for _ in 0..TRIES {
                        *negative = random::below(&mut stream, items as u32);
                        if seen.binary_search(negative).is_err() {
                            break;
                        }
                    }
                }
            },
        );
        Self { rows, negatives }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negatives_are_untouched_uniform_and_replayed() {
        let log = Interactions {
            users: (0..6000).map(|row| row % 2).collect(),
            items: vec![0; 6000],
            ..Interactions::default()
        };
        let seen: Csr = [&[0, 2, 3][..], &[0]].into_iter().collect();
        let epoch = Epoch::new(4, 1, &log, &seen, 6);
        assert_eq!(epoch, Epoch::new(4, 1, &log, &seen, 6));
        assert_ne!(epoch, Epoch::new(4, 2, &log, &seen, 6));
        let mut counts = [[0_u32; 6]; 2];
        for (&row, &negative) in epoch.rows.iter().zip(&epoch.negatives) {
            counts[row as usize % 2][negative as usize] += 1;
        }
        assert_eq!(counts[0].map(|count| count > 0), [false, true, false, false, true, true]);
        assert_eq!(counts[1][0], 0);
        assert!(counts[1][1..].iter().all(|&count| (500..700).contains(&count)), "{counts:?}");
        let mut rows = epoch.rows;
        rows.sort_unstable();
        assert!(rows.iter().zip(0..).all(|(&row, index)| row == index));
    }

    #[test]
    fn a_user_who_touched_everything_does_not_stop_the_epoch() {
        let log = Interactions { users: vec![0], items: vec![1], ..Interactions::default() };
        let seen: Csr = [&[0, 1][..]].into_iter().collect();
        assert!(Epoch::new(0, 0, &log, &seen, 2).negatives[0] < 2);
    }
}
