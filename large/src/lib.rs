//! The preparation of logs (`uditsr::data`) as relational queries, for logs larger than memory and,
//! with the feature `cluster`, larger than a machine.
//!
//! [`Preparation`] reads and checks the files as [`Prepare`](uditsr::data::Prepare) does, but puts
//! the rows into Parquet files. What follows is SQL over these files on an [`Engine`]: either
//! DataFusion in this process, which spills to disk when its memory is used up, or a cluster of
//! Ballista. The folder that comes out is the one of the preparation in memory, bit for bit.

#[cfg(feature = "cluster")]
pub mod cluster;
mod engine;
mod error;
mod functions;
mod memory;
mod preparation;
mod rows;
mod steps;

pub use engine::{Engine, LocalOptions};
pub use error::{Error, Result};
pub use preparation::Preparation;
