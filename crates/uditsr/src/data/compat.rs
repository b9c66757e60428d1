//! The order of rows and the negatives of the authors' program, so that a run of it can be repeated.

use super::Mt19937;

/// Order of the training rows in each epoch of the authors' program.
///
/// The first epoch takes the rows as they are in the file. Before each later one the generator is
/// seeded with 0 again and the current order is shuffled, so epoch `k` applies one fixed
/// permutation `k - 1` times.
#[derive(Debug, Clone)]
pub struct EpochOrder {
    order: Vec<u32>,
}

impl EpochOrder {
    /// The order of the first epoch over this many rows.
    pub fn first(rows: usize) -> Self {
        Self { order: (0..rows as u32).collect() }
    }

    /// Row numbers in their order.
    pub fn rows(&self) -> &[u32] {
        &self.order
    }

    /// Goes to the next epoch.
    pub fn advance(&mut self) {
        Mt19937::numpy(0).shuffle(&mut self.order);
    }
}

/// Negatives of the authors' program: `random.choice` over all items until one is not a training
/// item of the user. One stream serves the whole training.
#[derive(Debug, Clone)]
pub struct NegativeStream {
    generator: Mt19937,
    items: u32,
}

impl NegativeStream {
    /// The stream after `random.seed(0)` over this many items.
    ///
    /// # Panics
    /// When there is no item.
    pub fn new(items: u32) -> Self {
        assert!(items > 0, "negatives are drawn among items");
        Self { generator: Mt19937::python(0), items }
    }

    /// The next item that is not known, or none after `tries` draws: their program would loop
    /// forever for a user who has interacted with everything.
    pub fn next(&mut self, tries: usize, is_known: impl Fn(u32) -> bool) -> Option<u32> {
        (0..tries).map(|_| self.generator.choice(self.items)).find(|&item| !is_known(item))
    }
}
