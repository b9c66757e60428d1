//! A log as the model sees it: users, items and words are row numbers.

use crate::Csr;

/// Interactions in columns; row `r` is a search if its query has words, else a recommendation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interactions {
    /// User of each row.
    pub users: Vec<u32>,
    /// Item of each row.
    pub items: Vec<u32>,
    /// Query words of each row, none for a recommendation. Word 0 is padding and never a word,
    /// except in data made by the authors' program.
    pub queries: Csr,
    /// Seconds since 1970 in UTC, or -1 where the log does not say.
    pub times: Vec<i64>,
}

impl Interactions {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Whether this row is a search.
    pub fn is_search(&self, row: usize) -> bool {
        !self.queries.row(row).is_empty()
    }
}

/// Rows to be ranked: each positive among its sampled negatives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranking {
    /// The positives.
    pub positives: Interactions,
    /// Negatives of each positive, all of the same number (99 in the paper's protocol).
    pub negatives: Csr,
}

/// Which part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Parameters are fitted here.
    Train,
    /// Hyper-parameters and the number of epochs are chosen here.
    Valid,
    /// Results are reported here.
    Test,
}

/// A log that is ready for training and evaluation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dataset {
    /// Number of users.
    pub users: usize,
    /// Number of items.
    pub items: usize,
    /// Number of words, the padding word 0 included.
    pub words: usize,
    /// Interactions to learn from.
    pub train: Interactions,
    /// Ranking for choices.
    pub valid: Ranking,
    /// Ranking for results.
    pub test: Ranking,
    /// Words of each item's title and tags, in the vocabulary of the queries.
    pub item_words: Csr,
}
