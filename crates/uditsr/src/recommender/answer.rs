//! Requests and answers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a request may ask for beyond its user and query.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RequestOptions {
    /// Which items may be answered.
    pub filter: Filter,
    /// Whether items that the user had to do with are left out: by default in recommendations, but
    /// not in searches.
    pub exclude_seen: Option<bool>,
    /// From 0, the order of the scores, to 1, items as different from each other as possible
    /// (maximal marginal relevance).
    pub diversity: f64,
    /// What the user just did, oldest first. It counts as if it were recorded, but is not kept.
    pub history: Vec<PastEvent>,
    /// Whether every item goes through the model instead of candidates.
    pub exact: bool,
}

/// An event in a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PastEvent {
    /// The shop's id of the item.
    pub item: String,
    /// The query that led to it, empty if none did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
}

/// Which items may be answered. What is empty does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Items with at least one of these tags.
    pub any_tag: Vec<String>,
    /// Items with all of these tags.
    pub all_tags: Vec<String>,
    /// Items with none of these tags.
    pub no_tag: Vec<String>,
    /// These items.
    pub items: Vec<String>,
    /// Not these items.
    pub not_items: Vec<String>,
}

/// An answer, and how it was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The best first.
    pub hits: Vec<Hit>,
    /// What is known about the user.
    pub user: UserKind,
    /// Which items were looked at.
    pub retrieval: Retrieval,
    /// What put them in order.
    pub order: Order,
    /// Words of the query that neither the model nor any title knows.
    pub unmatched_terms: Vec<String>,
    /// Words of the query that only titles and tags were searched for: the model has no vector for
    /// them, or they come after as many words as it looks at.
    pub text_only_terms: Vec<String>,
    /// Fingerprint of the model.
    pub model: String,
}

/// One item of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The shop's id.
    pub item: String,
    /// Its title, empty if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What it is ordered by: larger is better, comparable within an answer.
    pub score: f64,
    /// Who proposed it.
    pub source: Source,
    /// Whether it has no event, so that its vector comes from its words.
    pub is_cold: bool,
}

/// What is known about a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserKind {
    /// Training knew the user.
    Trained,
    /// Events came after the training.
    Recorded,
    /// Nothing but the history of the request.
    Session,
    /// Nothing.
    Stranger,
}

/// Which items went through the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retrieval {
    /// All that the filter allows.
    Everything,
    /// So many candidates.
    Candidates(usize),
}

/// What put the items of an answer in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// A head of the model.
    Model,
    /// The model and BM25, by reciprocal ranks.
    ModelAndText,
    /// The model and cosines with the user's latest items, by reciprocal ranks: training did not know the
    /// user.
    ModelAndNeighbours,
    /// BM25: the model knows no word of the query.
    Text,
    /// Numbers of events: nothing is known about the user.
    Popularity,
    /// Cosine of propagated items.
    Similarity,
}

/// Who proposed an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The translated point of user and demand, or the ranking of everything.
    Model,
    /// Words of its title, its tags, or queries that found it.
    Text,
    /// Both.
    Both,
    /// Its number of events.
    Popularity,
}

impl fmt::Display for UserKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trained => "known from the training",
            Self::Recorded => "known from events since the training",
            Self::Session => "known from the history of the request",
            Self::Stranger => "nobody in particular",
        })
    }
}

impl fmt::Display for Retrieval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("all items"),
            Self::Candidates(count) => write!(f, "{count} candidates"),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "the model",
            Self::ModelAndText => "the model and BM25",
            Self::ModelAndNeighbours => "the model and likeness to the latest items",
            Self::Text => "BM25",
            Self::Popularity => "popularity",
            Self::Similarity => "similarity",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Text => "text",
            Self::Both => "model+text",
            Self::Popularity => "popularity",
        })
    }
}
