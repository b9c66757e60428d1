//! The ablations: what is left when a part of the model or of the data is taken away.

use serde::{Deserialize, Serialize};

use crate::model::{EdgeQueries, Generator, ModelConfig};
use crate::random;
use crate::{Csr, Dataset, Interactions};

/// A part that is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ablation {
    /// No demand in the messages and no translation loss.
    NoTranslation,
    /// The user's frequent words instead of the generator.
    NoGenerator,
    /// The generator never sees a real query.
    NoSupervision,
    /// Queries are permuted among the searches: as many words, without meaning.
    ShuffledQueries,
    /// Searches become recommendations.
    ErasedQueries,
    /// Only recommendations.
    NoSearchData,
    /// Only searches.
    NoRecommendationData,
}

impl Ablation {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NoTranslation,
        Self::NoGenerator,
        Self::NoSupervision,
        Self::ShuffledQueries,
        Self::ErasedQueries,
        Self::NoSearchData,
        Self::NoRecommendationData,
    ];

    /// Takes the part away; validation and test stay as they are.
    pub fn apply(self, model: &mut ModelConfig, dataset: &mut Dataset, seed: u64) {
        let train = &dataset.train;
        match self {
            Self::NoTranslation => {
                (model.edge_queries, model.cst_lambda) = (EdgeQueries::Absent, 0.0);
            }
            Self::NoGenerator => model.generator = Generator::UserWords,
            Self::NoSupervision => model.sg_lambda = 0.0,
            Self::ShuffledQueries => {
                let searches: Vec<usize> =
                    (0..train.len()).filter(|&row| train.is_search(row)).collect();
                let mut others = searches.clone();
                random::shuffle(&mut random::stream(seed, "shuffled queries", 0), &mut others);
                let mut source: Vec<usize> = (0..train.len()).collect();
                searches.iter().zip(&others).for_each(|(&row, &other)| source[row] = other);
                let queries: Csr = source.iter().map(|&row| train.queries.row(row)).collect();
                dataset.train.queries = queries;
            }
            Self::ErasedQueries => {
                dataset.train.queries = (0..train.len()).map(|_| [0_u32; 0]).collect();
            }
            Self::NoSearchData => dataset.train = filter(train, |row| !train.is_search(row)),
            Self::NoRecommendationData => dataset.train = filter(train, |row| train.is_search(row)),
        }
    }
}

fn filter(log: &Interactions, keep: impl Fn(usize) -> bool) -> Interactions {
    let rows: Vec<usize> = (0..log.len()).filter(|&row| keep(row)).collect();
    Interactions {
        users: rows.iter().map(|&row| log.users[row]).collect(),
        items: rows.iter().map(|&row| log.items[row]).collect(),
        queries: rows.iter().map(|&row| log.queries.row(row)).collect(),
        times: rows.iter().map(|&row| log.times[row]).collect(),
    }
}
