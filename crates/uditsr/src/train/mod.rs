//! Training: optimiser, order of the data, checkpoints, and the loop.

mod optimizer;

pub use optimizer::{AdamW, AdamWConfig};
