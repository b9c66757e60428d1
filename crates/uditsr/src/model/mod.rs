//! The model: its parameters, the graph that it propagates over, its losses and their gradients.
//!
//! There are two computations with the same results. [`Direct`] follows the equations edge by edge.
//! [`Factored`] moves everything that depends on one node or one word out of the edges, and is the
//! one to use.

mod batch;
mod config;
mod direct;
mod factored;
mod gradients;
mod graph;
mod head;
mod network;
mod objective;
mod parameters;
mod scorer;
mod top_words;

pub use batch::Batch;
pub use config::{
    EdgeQueries, FinalActivation, Generator, Heads, ModelConfig, Padding, Target, TranslationTerm,
};
pub use direct::Direct;
pub use factored::Factored;
pub use gradients::{Gradients, RowGradients, largest_difference};
pub(crate) use graph::places;
pub use graph::{Graph, HoldOut};
pub(crate) use head::translation;
pub use network::{HeadNetwork, Linear, Network};
pub use objective::Losses;
pub(crate) use parameters::fill_uniform;
pub use parameters::{Parameters, Sizes, Tensor};
pub use scorer::Scorer;
pub(crate) use scorer::{Expansion, UserView};

use crate::Result;
use crate::real::Real;

/// Propagated users `[users, dim]` and items `[items, dim]` of all nodes of a graph.
///
/// # Errors
/// A configuration that is out of range.
pub fn propagate<T: Real>(
    config: &ModelConfig,
    graph: &Graph,
    parameters: &Parameters<T>,
) -> Result<[Vec<T>; 2]> {
    match config.edge_queries {
        EdgeQueries::EachLayer => Ok(Direct::new(config)?.nodes(graph, parameters)),
        _ => Ok(Factored::new(config, graph)?.nodes(graph, parameters)),
    }
}

/// A computation of the losses of a batch and of their gradients.
pub trait Step<T: Real> {
    /// Finds the users and items whose embeddings the batch depends on: `u32::MAX` stands at those
    /// that it does not.
    fn reach(&mut self, graph: &Graph, batch: &Batch) -> [&[u32]; 2];

    /// Losses of one batch; `gradients` is overwritten.
    ///
    /// # Errors
    /// A batch that does not fit the graph.
    fn step(
        &mut self,
        graph: &Graph,
        parameters: &Parameters<T>,
        batch: &Batch,
        gradients: &mut Gradients<T>,
    ) -> Result<Losses>;
}
