//! Lists of different lengths in one allocation.

use serde::{Deserialize, Serialize};

/// Rows of different lengths: row `r` is `values[offsets[r]..offsets[r + 1]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Csr {
    /// Start of each row, and the end of the last: one more than there are rows.
    offsets: Vec<usize>,
    /// All rows, one after the other.
    values: Vec<u32>,
}

impl Default for Csr {
    fn default() -> Self {
        Self { offsets: vec![0], values: Vec::new() }
    }
}

impl Csr {
    /// Rows of these lengths, cut from `values` in order; none if the lengths do not add up.
    pub fn from_lengths(
        lengths: impl IntoIterator<Item = usize>,
        values: Vec<u32>,
    ) -> Option<Self> {
        let mut offsets = vec![0];
        let mut end = 0usize;
        for length in lengths {
            end = end.checked_add(length)?;
            offsets.push(end);
        }
        (end == values.len()).then_some(Self { offsets, values })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One row.
    pub fn row(&self, index: usize) -> &[u32] {
        &self.values[self.offsets[index]..self.offsets[index + 1]]
    }

    /// Adds a row at the end.
    pub fn push(&mut self, row: &[u32]) {
        self.values.extend_from_slice(row);
        self.offsets.push(self.values.len());
    }

    /// Start of each row, and the end of the last.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// All rows, one after the other.
    pub fn values(&self) -> &[u32] {
        &self.values
    }

    /// The rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.offsets.windows(2).map(|ends| &self.values[ends[0]..ends[1]])
    }
}

impl<R: AsRef<[u32]>> FromIterator<R> for Csr {
    fn from_iter<I: IntoIterator<Item = R>>(rows: I) -> Self {
        let mut csr = Self::default();
        for row in rows {
            csr.push(row.as_ref());
        }
        csr
    }
}
