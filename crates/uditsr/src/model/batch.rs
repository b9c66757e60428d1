//! Training rows of one step.

use super::graph::{Graph, NONE};

/// Rows of a batch, each with one negative item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Rows of the training log, which are also edges of the graph.
    pub rows: Vec<u32>,
    /// User of each row.
    pub users: Vec<u32>,
    /// Item of each row.
    pub items: Vec<u32>,
    /// An item for each row that its user did not touch.
    pub negatives: Vec<u32>,
    /// Whether each row is a search.
    pub searches: Vec<bool>,
    /// Query words of each row, as many as the model uses, [`NONE`] for no word.
    pub(crate) words: Vec<u32>,
}

impl Batch {
    /// The given training rows with these negatives.
    pub fn new(graph: &Graph, rows: &[u32], negatives: &[u32]) -> Self {
        let rows_of = |column: &[u32]| rows.iter().map(|&row| column[row as usize]).collect();
        Self {
            rows: rows.to_vec(),
            users: rows_of(&graph.edge_users),
            items: rows_of(&graph.edge_items),
            negatives: negatives.to_vec(),
            searches: rows.iter().map(|&row| graph.searches[row as usize]).collect(),
            words: rows.iter().flat_map(|&row| graph.edge_words(row as usize)).copied().collect(),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Query words of a row that have a vector.
    pub(crate) fn words_of(&self, row: usize) -> impl Iterator<Item = usize> {
        let width = self.words.len() / self.len();
        let words = &self.words[row * width..(row + 1) * width];
        words.iter().filter(|&&word| word != NONE).map(|&word| word as usize)
    }
}
