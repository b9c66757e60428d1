//! Where generated demand comes from, and its sums over the edges of each node.

use super::field::Field;
use super::layers::Nodes;
use super::pairs::StepPairs;
use crate::model::gradients::Gradients;
use crate::model::graph::Graph;
use crate::model::parameters::Parameters;
use crate::real::Real;

/// Everything that a pass over the pairs of a step reads.
#[derive(Clone, Copy)]
pub(super) struct Context<'a, T> {
    pub(super) graph: &'a Graph,
    pub(super) parameters: &'a Parameters<T>,
    pub(super) field: &'a Field,
    pub(super) pairs: &'a StepPairs,
}

/// Demand of pairs of a user and an item.
pub(super) trait Demand<T: Real>: Send + Sync {
    /// Writes the sum of the demand over the recommended edges of each node that gets messages, by
    /// slot, and the demand of the pairs of the batch.
    fn forward(&mut self, context: Context<'_, T>, sums: &mut Nodes<T>, batch: &mut Vec<T>);

    /// From the gradients of what [`Self::forward`] wrote to those of words, networks, and (by
    /// slot) of the embeddings of users and items.
    fn backward(
        &mut self,
        context: Context<'_, T>,
        gradients_of: (&Nodes<T>, &[T]),
        gradients: &mut Gradients<T>,
        base: &mut Nodes<T>,
    );
}
