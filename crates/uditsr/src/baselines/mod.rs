//! Baselines behind one interface: [`Baseline::fit`] gives a [`Ranker`].
//!
//! A new one is a variant here, its name, and a file.

mod bm25;
mod fusion;
mod linear;
mod neighbours;
mod operator;
mod popularity;

use serde::{Deserialize, Serialize};

use crate::train::AdamWConfig;
use crate::{Dataset, Interactions, Ranker, Result};
use bm25::{Bm25, Document};
pub use fusion::Fused;
use linear::{Linear, Query};
use neighbours::Neighbours;
use operator::Operator;
use popularity::Popularity;

/// A model to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// Number of training rows of an item; for a search, items that were found with a word of the
    /// query come first.
    Popularity,
    /// BM25 on titles and tags of the items, exact, ties by popularity; recommends by popularity.
    Bm25,
    /// The same with the queries of the training searches that found an item added to its text.
    Bm25Searches,
    /// Cosine similarity of items by their users, summed over the user's items.
    ItemNeighbours,
    /// Matrix factorisation with BPR (<https://arxiv.org/abs/1205.2618>) on recommendations only.
    MfFeed,
    /// The same on searches and recommendations, queries ignored.
    MfAll,
    /// Matrix factorisation where the mean of the query words is added to the user.
    MfQueries,
    /// LightGCN (<https://arxiv.org/abs/2002.02126>) on recommendations only.
    LightGcnFeed,
    /// LightGCN on searches and recommendations, queries ignored.
    LightGcnAll,
    /// HyperSaR (<https://doi.org/10.1007/978-3-030-99736-6_3>): users, items and words on hyperedges.
    HyperSar,
    /// Reciprocal-rank fusion of BM25 with searches, popularity and item neighbours.
    Fusion,
}

/// Settings of the baselines that are learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FitConfig {
    /// Width of the embeddings.
    pub dim: usize,
    /// Layers of the baselines that propagate.
    pub layers: usize,
    /// Most passes over the rows.
    pub epochs: usize,
    /// Rows of a batch.
    pub batch_size: usize,
    /// The optimiser.
    pub optimizer: AdamWConfig,
    /// Weight of the squared embeddings of the batch.
    pub regularization: f64,
    /// Weight of the likelihood of queries, of HyperSaR.
    pub query_weight: f64,
    /// Passes between two validations.
    pub validate_every: usize,
    /// Validations without a better result after which training stops.
    pub patience: usize,
    /// Seed of embeddings, order and negatives.
    pub seed: u64,
}

impl Default for FitConfig {
    fn default() -> Self {
        Self {
            dim: 64,
            layers: 2,
            epochs: 100,
            batch_size: 1024,
            optimizer: AdamWConfig {
                learning_rate: 1e-3,
                weight_decay: 0.0,
                ..AdamWConfig::default()
            },
            regularization: 1e-4,
            query_weight: 1e-3,
            validate_every: 1,
            patience: 10,
            seed: 0,
        }
    }
}

impl Baseline {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Popularity,
        Self::Bm25,
        Self::Bm25Searches,
        Self::ItemNeighbours,
        Self::MfFeed,
        Self::MfAll,
        Self::MfQueries,
        Self::LightGcnFeed,
        Self::LightGcnAll,
        Self::HyperSar,
        Self::Fusion,
    ];

    /// Its name, for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Popularity => "popularity",
            Self::Bm25 => "BM25, titles",
            Self::Bm25Searches => "BM25, titles and searches",
            Self::ItemNeighbours => "item neighbours",
            Self::MfFeed => "MF-BPR, feed only",
            Self::MfAll => "MF-BPR, all clicks",
            Self::MfQueries => "MF with queries",
            Self::LightGcnFeed => "LightGCN, feed only",
            Self::LightGcnAll => "LightGCN, all clicks",
            Self::HyperSar => "HyperSaR",
            Self::Fusion => "BM25 + popularity + neighbours",
        }
    }

    /// Whether it has parameters that are learned by gradients, so that settings and seeds matter.
    pub fn is_learned(self) -> bool {
        matches!(
            self,
            Self::MfFeed
                | Self::MfAll
                | Self::MfQueries
                | Self::LightGcnFeed
                | Self::LightGcnAll
                | Self::HyperSar
        )
    }

    /// Fits it to the training rows; the validation rows choose the epoch.
    ///
    /// # Errors
    /// Losses that are not finite, or validation rows that cannot be scored.
    pub fn fit(self, dataset: &Dataset, config: &FitConfig) -> Result<Box<dyn Ranker>> {
        config.optimizer.validate()?;
        let (feed, all) = (rows(&dataset.train, false), rows(&dataset.train, true));
        let linear = |rows: &[usize], operator: Operator, layers: usize, query: Query| {
            Linear::new(config, operator, layers, query).fit(dataset, rows)
        };
        let graph = |rows: &[usize]| Operator::bipartite(dataset, rows);
        Ok(match self {
            Self::Popularity => Box::new(Popularity::new(dataset)),
            Self::Bm25 => Box::new(Bm25::new(dataset, Document::Catalogue)),
            Self::Bm25Searches => Box::new(Bm25::new(dataset, Document::CatalogueAndSearches)),
            Self::ItemNeighbours => Box::new(Neighbours::new(dataset)),
            Self::MfFeed => Box::new(linear(&feed, Operator::none(dataset), 0, Query::Ignored)?),
            Self::MfAll => Box::new(linear(&all, Operator::none(dataset), 0, Query::Ignored)?),
            Self::MfQueries => Box::new(linear(&all, Operator::none(dataset), 0, Query::Mean)?),
            Self::LightGcnFeed => {
                Box::new(linear(&feed, graph(&feed), config.layers, Query::Ignored)?)
            }
            Self::LightGcnAll => {
                Box::new(linear(&all, graph(&all), config.layers, Query::Ignored)?)
            }
            Self::HyperSar => {
                let operator = Operator::hypergraph(dataset);
                Box::new(linear(&all, operator, config.layers, Query::Likelihood)?)
            }
            Self::Fusion => Box::new(Fused::practical(dataset)),
        })
    }
}

/// Rows that are learned from: all, or without searches.
fn rows(log: &Interactions, with_searches: bool) -> Vec<usize> {
    (0..log.len()).filter(|&row| with_searches || !log.is_search(row)).collect()
}

/// Replaces scores by places from the end, so that pairs of numbers can be compared: `-0` is the best,
/// equal scores share a place.
fn by_place(scores: &[(f64, f64)], out: &mut [f32]) {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let compare = |&a: &usize, &b: &usize| {
        let (a, b) = (scores[a], scores[b]);
        b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
    };
    order.sort_by(compare);
    let mut place = 0;
    for (index, &item) in order.iter().enumerate() {
        if index > 0 && compare(&order[index - 1], &item).is_ne() {
            place = index;
        }
        out[item] = -(place as f32);
    }
}
