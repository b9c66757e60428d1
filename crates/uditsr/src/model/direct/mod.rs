//! The model edge by edge, as the equations say it: the measure of the faster computation.

mod generator;
mod propagation;

use super::Step;
use super::batch::Batch;
use super::config::ModelConfig;
use super::gradients::{Gradients, RowGradients};
use super::graph::Graph;
use super::objective::{Losses, RowVectors, objective};
use super::parameters::Parameters;
use crate::Result;
use crate::matrix::row;
use crate::real::{Real, add};
use generator::{Pairs, generate, generate_backward};
use propagation::{propagate, propagate_backward};

/// The whole graph for every batch, and the generator on every edge.
#[derive(Debug, Clone)]
pub struct Direct {
    config: ModelConfig,
    /// Zero for all users and items: the whole graph is in reach.
    all: [Vec<u32>; 2],
}

/// Gradients of all rows of users and items.
struct NodeGradients<T> {
    users: Vec<T>,
    items: Vec<T>,
}

impl Direct {
    /// The computation of this model.
    ///
    /// # Errors
    /// A configuration that is out of range.
    pub fn new(config: &ModelConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { config: config.clone(), all: [Vec::new(), Vec::new()] })
    }

    /// Propagated users `[users, dim]` and items `[items, dim]`.
    pub(crate) fn nodes<T: Real>(&self, graph: &Graph, parameters: &Parameters<T>) -> [Vec<T>; 2] {
        let tape = propagate(&self.config, graph, parameters);
        [tape.users, tape.items]
    }
}

/// Sum of the vectors of some words.
fn word_sum<T: Real>(parameters: &Parameters<T>, words: impl Iterator<Item = usize>) -> Vec<T> {
    let mut sum = vec![T::ZERO; parameters.dim];
    for word in words {
        add(&mut sum, row(&parameters.words, parameters.dim, word));
    }
    sum
}

fn pick<T: Real>(table: &[T], dim: usize, rows: &[u32]) -> Vec<T> {
    rows.iter().flat_map(|&r| row(table, dim, r as usize)).copied().collect()
}

fn scatter<T: Real>(table: &mut [T], dim: usize, rows: &[u32], values: &[T]) {
    for (&r, values) in rows.iter().zip(values.chunks_exact(dim)) {
        add(&mut table[r as usize * dim..(r as usize + 1) * dim], values);
    }
}

impl<T: Real> Step<T> for Direct {
    fn reach(&mut self, graph: &Graph, _: &Batch) -> [&[u32]; 2] {
        self.all[0].resize(graph.sizes.users, 0);
        self.all[1].resize(graph.sizes.items, 0);
        [&self.all[0], &self.all[1]]
    }

    fn step(
        &mut self,
        graph: &Graph,
        parameters: &Parameters<T>,
        batch: &Batch,
        gradients: &mut Gradients<T>,
    ) -> Result<Losses> {
        let (config, d) = (&self.config, self.config.dim);
        gradients.clear();
        let tape = propagate(config, graph, parameters);
        let tables = (&parameters.users[..], &parameters.items[..]);
        let positive = Pairs { users: &batch.users, items: &batch.items };
        let negative = Pairs { users: &batch.users, items: &batch.negatives };
        let positive_tape = generate(config, graph, parameters, tables, positive);
        let negative_tape = generate(config, graph, parameters, tables, negative);
        let real = |r: usize| {
            let words = batch.words_of(r).filter(|_| batch.searches[r]);
            word_sum(parameters, words)
        };
        let vectors = RowVectors {
            users: pick(&tape.users, d, &batch.users),
            items: pick(&tape.items, d, &batch.items),
            negatives: pick(&tape.items, d, &batch.negatives),
            real: (0..batch.len()).flat_map(real).collect(),
            generated: positive_tape.demand.clone(),
            generated_negative: negative_tape.demand.clone(),
        };
        let (losses, _, back) = objective(
            config,
            &parameters.network,
            &batch.searches,
            &vectors,
            &mut gradients.network,
        );

        let mut stars = NodeGradients {
            users: vec![T::ZERO; parameters.users.len()],
            items: vec![T::ZERO; parameters.items.len()],
        };
        scatter(&mut stars.users, d, &batch.users, &back.users);
        scatter(&mut stars.items, d, &batch.items, &back.items);
        scatter(&mut stars.items, d, &batch.negatives, &back.negatives);
        for r in (0..batch.len()).filter(|&r| batch.searches[r]) {
            for word in batch.words_of(r) {
                add(&mut gradients.words[word * d..(word + 1) * d], row(&back.real, d, r));
            }
        }
        let mut nodes = propagate_backward(config, graph, (parameters, &tape), &stars, gradients);
        let passes = [
            (positive, &positive_tape, back.generated),
            (negative, &negative_tape, back.generated_negative),
        ];
        for (pairs, tape, demand) in passes {
            let input = (graph, parameters, tables);
            generate_backward(config, input, (pairs, tape), &demand, (gradients, &mut nodes));
        }
        gradients.users =
            RowGradients { values: nodes.users, ..RowGradients::dense(graph.sizes.users, 0) };
        gradients.items =
            RowGradients { values: nodes.items, ..RowGradients::dense(graph.sizes.items, 0) };
        Ok(losses)
    }
}
