//! One-step generators from diffusion teachers, under any f-divergence (Uni-Instruct, arXiv 2505.20755).
//!
//! A [`Divergence`] knows the weights that a density ratio gives to gradients; an [`Objective`] joins it
//! with a gradient estimator, noise levels, a fake score and further terms; a [`Method`] is a published
//! method as such a description. Everything lives in EDM coordinates, `x = x_0 + sigma n`.

mod divergence;
mod error;
mod exact;
mod mixture;
mod symmetric;
mod tensors;

pub mod compare;
pub mod distill;
pub mod edm;
pub mod inception;
pub mod joint;
pub mod method;
pub mod objective;
pub mod pictures;
pub mod recipe;
pub mod scenes;
pub mod toy;
pub mod verify;

pub use divergence::{Divergence, Weights};
pub use error::{Error, Result};
pub use exact::{Exact, ExactDenoiser, Labels};
pub use method::{Method, Plan};
pub use mixture::{Component, Mixture};
pub use objective::Objective;
pub use recipe::Recipe;
