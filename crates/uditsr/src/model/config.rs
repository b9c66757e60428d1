//! What the model is made of.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What an empty place in a list of words stands for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// Word 0, an ordinary word with a vector, as in the published program.
    #[default]
    Word,
    /// Nothing: no vector and no attention.
    Masked,
}

/// How the real query enters the supervision of the generator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Generator and words move towards each other, as in the published program.
    #[default]
    Learned,
    /// Only the generator moves.
    Constant,
}

/// What follows the last layer of a head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinalActivation {
    /// A leaky rectifier, as in the published program: negative scores shrink a hundredfold.
    #[default]
    LeakyRelu,
    /// The score itself.
    Identity,
}

/// The demand intents on the edges of the graph.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeQueries {
    /// Computed once from the embeddings, as in the published program.
    #[default]
    Once,
    /// Computed again from the nodes of each layer. Only [`super::Direct`] can.
    EachLayer,
    /// None: messages are not translated.
    Absent,
}

/// Where the demand intent of a recommendation comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// The network of the paper.
    #[default]
    Network,
    /// The sum of the user's most frequent query words.
    UserWords,
}

/// The heads of search and recommendation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Heads {
    /// One head each.
    #[default]
    Separate,
    /// The head of search for both.
    Shared,
    /// None: the score is the translation term alone, so the nearest items are the best ones.
    Absent,
}

/// A term that is added to the score of a head, with a learned weight for each head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TranslationTerm {
    /// None, as in the paper.
    #[default]
    Absent,
    /// `(u + q) . i`.
    Dot,
    /// `-|u + q - i|^2`.
    Distance,
}

/// Sizes, weights of the losses, and variants. The default is the published program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Width of all embeddings.
    pub dim: usize,
    /// Layers of propagation.
    pub layers: usize,
    /// Words of a query that are used.
    pub query_words: usize,
    /// Most frequent query words that describe a user.
    pub user_words: usize,
    /// Most frequent query words that describe an item.
    pub item_words: usize,
    /// Weight of the search supervision of the generator.
    pub sg_lambda: f64,
    /// Weight of the contrastive translation loss.
    pub cst_lambda: f64,
    /// Empty places of word lists.
    pub padding: Padding,
    /// Real queries in the supervision.
    pub target: Target,
    /// End of the heads.
    pub final_activation: FinalActivation,
    /// Demand intents in the graph.
    pub edge_queries: EdgeQueries,
    /// Demand intent of a recommendation.
    pub generator: Generator,
    /// Heads of the two scenarios.
    pub heads: Heads,
    /// Translation in the score.
    pub translation_term: TranslationTerm,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            dim: 100,
            layers: 2,
            query_words: 3,
            user_words: 3,
            item_words: 10,
            sg_lambda: 1.5,
            cst_lambda: 0.2,
            padding: Padding::default(),
            target: Target::default(),
            final_activation: FinalActivation::default(),
            edge_queries: EdgeQueries::default(),
            generator: Generator::default(),
            heads: Heads::default(),
            translation_term: TranslationTerm::default(),
        }
    }
}

impl ModelConfig {
    /// The paper's model with what its authors' program does by accident put right, and with the
    /// translation in the score.
    pub fn corrected() -> Self {
        Self { padding: Padding::Masked, translation_term: TranslationTerm::Dot, ..Self::default() }
    }

    /// What did best on logs of searches and clicks, of all variants (`docs/results/uditsr.md`): the
    /// corrected model without heads, so that the nearest items to the translated user are the best
    /// ones. Train it with [`HoldOut::EdgesAndWords`](super::HoldOut::EdgesAndWords).
    pub fn recommended() -> Self {
        Self { heads: Heads::Absent, ..Self::corrected() }
    }

    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// Names the first field that is out of range.
    pub fn validate(&self) -> Result<()> {
        let fail =
            |field: &str, reason: String| Err(Error::Config { field: field.to_owned(), reason });
        if self.dim < 2 {
            return fail("dim", format!("must be at least 2, found {}", self.dim));
        }
        let lists = [
            ("query_words", self.query_words),
            ("user_words", self.user_words),
            ("item_words", self.item_words),
        ];
        if let Some((field, _)) = lists.iter().find(|(_, length)| *length == 0) {
            return fail(field, "must be at least 1".to_owned());
        }
        if self.heads == Heads::Absent && self.translation_term == TranslationTerm::Absent {
            return fail(
                "heads",
                "`absent` needs a translation term, or there is no score".to_owned(),
            );
        }
        let weights = [("sg_lambda", self.sg_lambda), ("cst_lambda", self.cst_lambda)];
        for (field, weight) in weights {
            if !weight.is_finite() || weight < 0.0 {
                return fail(field, format!("must be finite and not negative, found {weight}"));
            }
        }
        Ok(())
    }
}
