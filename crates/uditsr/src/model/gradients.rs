//! Gradients of all parameters.

use super::config::ModelConfig;
use super::graph::NONE;
use super::network::Network;
use super::parameters::{Parameters, Sizes, Tensor};
use crate::matrix::zeros;
use crate::real::Real;

/// Gradients of some rows of a table; all others are zero.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowGradients<T> {
    /// Place of each row of the table in `values`, or `u32::MAX`.
    pub slots: Vec<u32>,
    /// The gradients, row by row.
    pub values: Vec<T>,
}

impl<T: Real> RowGradients<T> {
    /// Gradients of all rows.
    pub(crate) fn dense(rows: usize, dim: usize) -> Self {
        Self { slots: (0..rows as u32).collect(), values: vec![T::ZERO; rows * dim] }
    }

    /// The whole table.
    fn to_dense(&self, dim: usize) -> Vec<T> {
        let mut table = vec![T::ZERO; self.slots.len() * dim];
        for (row, &slot) in table.chunks_exact_mut(dim).zip(&self.slots) {
            if slot != NONE {
                row.copy_from_slice(&self.values[slot as usize * dim..(slot as usize + 1) * dim]);
            }
        }
        table
    }
}

/// Gradients of [`Parameters`].
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients<T> {
    /// Of the words, all rows.
    pub words: Vec<T>,
    /// Of the users that the batch reaches.
    pub users: RowGradients<T>,
    /// Of the items that the batch reaches.
    pub items: RowGradients<T>,
    /// Of the networks.
    pub network: Network<T>,
}

impl<T: Real> Gradients<T> {
    /// Zeros for the given sizes.
    pub fn zeros(config: &ModelConfig, sizes: Sizes) -> Self {
        Self {
            words: vec![T::ZERO; sizes.words * config.dim],
            users: RowGradients { slots: vec![NONE; sizes.users], values: Vec::new() },
            items: RowGradients { slots: vec![NONE; sizes.items], values: Vec::new() },
            network: Network::zeros(config),
        }
    }

    /// Sets words and networks to zero; the rows of users and items are set by each step.
    pub(crate) fn clear(&mut self) {
        let words = self.words.len();
        zeros(&mut self.words, words);
        self.network.clear();
    }

    /// The same numbers in the form of the parameters, with all rows.
    pub fn to_dense(&self, config: &ModelConfig, sizes: Sizes) -> Parameters<T> {
        Parameters {
            sizes,
            dim: config.dim,
            words: self.words.clone(),
            users: self.users.to_dense(config.dim),
            items: self.items.to_dense(config.dim),
            network: self.network.clone(),
        }
    }
}

/// Largest difference of two lists of tensors, relative to the largest number of each tensor (or to a
/// millionth, for those that cancel), with the name of the tensor.
#[doc(hidden)]
pub fn largest_difference<T: Real>(a: &[Tensor<'_, T>], b: &[Tensor<'_, T>]) -> (f64, String) {
    let mut worst = (0.0, String::new());
    for (a, b) in a.iter().zip(b) {
        let size = a.values.iter().chain(b.values).fold(1e-6, |m: f64, v| m.max(v.wide().abs()));
        let pairs = a.values.iter().zip(b.values);
        let difference = pairs.fold(0.0, |m: f64, (x, y)| m.max((x.wide() - y.wide()).abs()));
        if difference / size > worst.0 {
            worst = (difference / size, a.name.clone());
        }
    }
    worst
}
