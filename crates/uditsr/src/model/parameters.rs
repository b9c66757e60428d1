//! All numbers that are learned.

use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};

use super::config::ModelConfig;
use super::network::Network;
use crate::Result;
use crate::files::{Stored, TensorFile, read, write_tensors};
use crate::random;
use crate::real::Real;

/// How many users, items and words there are, the padding word included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Number of users.
    pub users: usize,
    /// Number of items.
    pub items: usize,
    /// Number of words, the padding word 0 included.
    pub words: usize,
}

/// The tables of embeddings and the networks.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters<T> {
    /// Rows of the tables.
    pub sizes: Sizes,
    /// Width of the tables.
    pub dim: usize,
    /// `[words, dim]`.
    pub words: Vec<T>,
    /// `[users, dim]`.
    pub users: Vec<T>,
    /// `[items, dim]`.
    pub items: Vec<T>,
    /// Everything else.
    pub network: Network<T>,
}

/// One named tensor of [`Parameters`].
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<'a, T> {
    /// Name in the published weights.
    pub name: String,
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its numbers, row by row.
    pub values: &'a [T],
}

/// Names of the three tables in the published weights.
const TABLES: [&str; 3] =
    ["query_embedding.weight", "embedding_dict.user_emb", "embedding_dict.item_emb"];

impl<T: Real> Parameters<T> {
    /// All zeros.
    pub fn zeros(config: &ModelConfig, sizes: Sizes) -> Self {
        let table = |rows: usize| vec![T::ZERO; rows * config.dim];
        Self {
            sizes,
            dim: config.dim,
            words: table(sizes.words),
            users: table(sizes.users),
            items: table(sizes.items),
            network: Network::zeros(config),
        }
    }

    /// Random numbers by the published law: tables uniform within `sqrt(6 / (rows + dim))`, layers
    /// within `1 / sqrt(inputs)`.
    pub fn init(config: &ModelConfig, sizes: Sizes, seed: u64) -> Self {
        let mut parameters = Self::zeros(config, sizes);
        let Self { words, users, items, network, .. } = &mut parameters;
        let tables = [
            ("words", words, sizes.words),
            ("users", users, sizes.users),
            ("items", items, sizes.items),
        ];
        for (name, table, rows) in tables {
            let bound = (6.0 / (rows + config.dim) as f64).sqrt();
            Draw(random::stream(seed, name, 0)).uniform(table, bound);
        }
        network.init(config, &mut Draw(random::stream(seed, "network", 0)));
        parameters
    }

    /// Writes all tensors under their published names, atomically.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let stored =
            |tensor: Tensor<'_, T>| Stored::numbers(tensor.name, &tensor.shape, tensor.values);
        write_tensors(path, &self.tensors().into_iter().map(stored).collect::<Vec<_>>(), None)
    }

    /// Reads what [`Self::save`] wrote, or published weights: other tensors in the file are ignored.
    ///
    /// # Errors
    /// The file cannot be read, or a tensor is missing or of another size.
    pub fn load(config: &ModelConfig, sizes: Sizes, path: &Path) -> Result<Self> {
        let bytes = read(path)?;
        let file = TensorFile::new(path, &bytes)?;
        let mut parameters = Self::zeros(config, sizes);
        let named = parameters.tensors().into_iter().map(|tensor| (tensor.name, tensor.shape));
        let named: Vec<_> = named.collect();
        for ((name, shape), values) in named.iter().zip(parameters.values_mut()) {
            values.copy_from_slice(&file.numbers::<T>(name, shape)?);
        }
        Ok(parameters)
    }

    /// All tensors in a fixed order, the tables first.
    pub fn tensors(&self) -> Vec<Tensor<'_, T>> {
        let Sizes { users, items, words } = self.sizes;
        let tables = [(words, &self.words), (users, &self.users), (items, &self.items)];
        let tables = TABLES.iter().zip(tables).map(|(name, (rows, values))| Tensor {
            name: (*name).to_owned(),
            shape: vec![rows, self.dim],
            values: &values[..],
        });
        let network = self.network.tensors().into_iter();
        tables.chain(network.map(|(name, shape, values)| Tensor { name, shape, values })).collect()
    }

    /// The numbers of [`Self::tensors`], in its order.
    pub fn values_mut(&mut self) -> Vec<&mut [T]> {
        let Self { words, users, items, network, .. } = self;
        let tables: [&mut [T]; 3] = [words, users, items];
        tables.into_iter().chain(network.values_mut()).collect()
    }
}

/// Fills with numbers uniform within `-bound..bound`.
pub(crate) fn fill_uniform(stream: ChaCha8Rng, out: &mut [f32], bound: f64) {
    Draw(stream).uniform(out, bound);
}

/// Uniform numbers.
pub(crate) struct Draw(pub(crate) ChaCha8Rng);

impl Draw {
    /// Fills with numbers uniform within `-bound..bound`, of 53 random bits each.
    pub(crate) fn uniform<T: Real>(&mut self, out: &mut [T], bound: f64) {
        for out in out {
            let unit = (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
            *out = T::of((2.0 * unit - 1.0) * bound);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_have_the_published_names_and_sizes() {
        let sizes = Sizes { users: 56_887, items: 4_059, words: 5_000 };
        let parameters = Parameters::<f32>::zeros(&ModelConfig::default(), sizes);
        let tensors = parameters.tensors();
        assert_eq!(tensors.len(), 25);
        assert_eq!(tensors.iter().map(|t| t.values.len()).sum::<usize>(), 6_898_402);
        assert!(tensors.iter().all(|t| t.shape.iter().product::<usize>() == t.values.len()));
        let find = |name: &str| tensors.iter().find(|t| t.name == name).map(|t| t.shape.clone());
        assert_eq!(find("embedding_dict.user_emb"), Some(vec![56_887, 100]));
        assert_eq!(find("linear_K.weight"), Some(vec![100, 400]));
        assert_eq!(find("recommend_score_predictor.2.weight"), Some(vec![75, 150]));
        assert_eq!(find("demand_mlp.3.bias"), Some(vec![200]));
    }

    #[test]
    fn initial_numbers_follow_the_published_law() {
        let sizes = Sizes { users: 900, items: 40, words: 60 };
        let config = ModelConfig { dim: 24, ..ModelConfig::default() };
        let parameters = Parameters::<f64>::init(&config, sizes, 3);
        assert_eq!(parameters, Parameters::init(&config, sizes, 3));
        let check = |values: &[f64], bound: f64| {
            let largest = values.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            assert!(largest < bound && largest > 0.9 * bound, "{largest} of {bound}");
            let square = values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64;
            assert!((square / (bound * bound / 3.0) - 1.0).abs() < 0.1);
        };
        check(&parameters.users, (6.0_f64 / 924.0).sqrt());
        check(&parameters.items, (6.0_f64 / 64.0).sqrt());
        check(&parameters.network.demand[0].weight, 1.0 / 96.0_f64.sqrt());
        check(&parameters.network.recommend.layers[0].weight, 1.0 / 72.0_f64.sqrt());
    }
}
