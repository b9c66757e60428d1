//! UDITSR (<https://arxiv.org/abs/2407.00912>): one model for search and recommendation.
//!
//! A user's inherent intent plus a demand intent, which is a query or is generated for the user,
//! translates to an item.

pub mod baselines;
mod csr;
pub mod data;
mod dataset;
mod error;
mod evaluate;
mod files;
mod matrix;
pub mod model;
mod random;
mod real;
pub mod recommender;
pub mod train;

pub use csr::Csr;
pub use dataset::{Dataset, Interactions, Ranking, Split};
pub use error::{Error, Result};
pub use evaluate::{CUTOFFS, Evaluation, Judgements, Protocol, Ranker, evaluate, judge};
pub use real::Real;
pub use recommender::{Recommender, RecommenderOptions};
