//! What a preparation can be told.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Format, SplitRule};
use crate::{Error, Result};

/// Settings of a preparation. What is `None` is chosen by the format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrepareOptions {
    /// How to read the files.
    pub format: Format,
    /// Which events are held out.
    pub split: Option<SplitRule>,
    /// Negatives of each event that is held out: items that its user never touched.
    pub negatives: usize,
    /// All random choices follow from it.
    pub seed: u64,
    /// Only events of these kinds, or of all if there are none here.
    pub kinds: Vec<String>,
    /// Events with less weight are no positives.
    pub min_weights: Option<Vec<MinWeight>>,
    /// Users and items with fewer events are left out, again and again until none is left.
    pub core: Option<u32>,
    /// What one search is.
    pub queries: Queries,
    /// Share of searches whose query is hidden, which makes recommendations of them whose true
    /// demand is known.
    pub mask_queries: f64,
    /// What to do with held-out events of users and items that training does not know.
    pub unseen: Unseen,
    /// Largest vocabulary, the padding and the unknown word included.
    pub max_words: usize,
    /// Words that occur less often are unknown.
    pub min_word_count: u32,
    /// Meaning of word numbers.
    pub word_ids: WordIds,
    /// Sizes of tables whose row numbers the log gives, where larger than what occurs.
    pub sizes: Sizes,
    /// Give up after this many bad rows.
    pub max_bad_rows: usize,
}

impl PrepareOptions {
    /// All events are for training: none is held out, and no user or item is left out.
    pub fn for_training() -> Self {
        let split = Some(SplitRule::Pairs { valid: 0.0, test: 0.0 });
        Self { split, core: Some(0), ..Self::default() }
    }
}

impl Default for PrepareOptions {
    fn default() -> Self {
        Self {
            format: Format::default(),
            split: None,
            negatives: 99,
            seed: 0,
            kinds: Vec::new(),
            min_weights: None,
            core: None,
            queries: Queries::Separate,
            mask_queries: 0.0,
            unseen: Unseen::Drop,
            max_words: 20_000,
            min_word_count: 2,
            word_ids: WordIds::Learned,
            sizes: Sizes::default(),
            max_bad_rows: 1000,
        }
    }
}

impl PrepareOptions {
    /// The options with nothing left to the format, checked.
    ///
    /// # Errors
    /// [`Error::Config`] with the field.
    pub(crate) fn resolve(&self) -> Result<Resolved> {
        let mut options = self.clone();
        let row = options.format.row();
        let split = self.split.unwrap_or(row.split);
        split.validate()?;
        if split == SplitRule::Given && row.split != SplitRule::Given {
            return Err(Error::config("split", "only files that say it can be split as `given`"));
        }
        let min_weights = self.min_weights.clone().unwrap_or_else(|| {
            let weight =
                |&(kind, weight): &(&str, f32)| MinWeight { kind: Some(kind.into()), weight };
            row.min_weights.iter().map(weight).collect()
        });
        let core = self.core.unwrap_or(row.core);
        if !(0.0..1.0).contains(&self.mask_queries) {
            return Err(Error::config("mask_queries", "a share is at least 0 and less than 1"));
        }
        if self.max_words < 3 {
            return Err(Error::config("max_words", "two words are reserved, so at least 3"));
        }
        if self.word_ids == WordIds::Given && split != SplitRule::Given {
            return Err(Error::config("word_ids", "`given` goes with the split `given` only"));
        }
        if self.sizes != Sizes::default() && split != SplitRule::Given {
            return Err(Error::config("sizes", "they go with the split `given` only"));
        }
        if split == SplitRule::Given && (core > 0 || self.mask_queries > 0.0) {
            return Err(Error::config("split", "`given` allows neither `core` nor `mask_queries`"));
        }
        options.split = Some(split);
        options.min_weights = Some(min_weights.clone());
        options.core = Some(core);
        Ok(Resolved { split, min_weights, core, utc_offset: row.utc_offset, options })
    }
}

/// Options with nothing left open.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// All options as they will be recorded.
    pub(crate) options: PrepareOptions,
    pub(crate) split: SplitRule,
    pub(crate) min_weights: Vec<MinWeight>,
    pub(crate) core: u32,
    /// Where days start, in seconds before UTC.
    pub(crate) utc_offset: i64,
}

/// What one search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queries {
    /// Each row.
    Separate,
    /// All rows of a user with an item on one day, their queries joined: several tags of one
    /// post are one need.
    Joined,
}

/// What to do with held-out events of users and items that training does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unseen {
    /// Leave them out, and count them.
    Drop,
    /// Keep them, to measure a cold start.
    Keep,
}

/// Meaning of word numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WordIds {
    /// A vocabulary is learned; 0 is padding and 1 the unknown word.
    Learned,
    /// The log has numbers of words; they are kept, and 0 is a word like any other, as in the
    /// authors' program.
    Given,
}

/// Sizes of tables whose row numbers the log gives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sizes {
    /// Users.
    pub users: Option<usize>,
    /// Items.
    pub items: Option<usize>,
    /// Words.
    pub words: Option<usize>,
}

/// Least weight of an event that counts as positive. Its text form is `4`, or `rating=4` for one
/// kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MinWeight {
    /// For events of this kind, or of all.
    pub kind: Option<String>,
    /// The weight.
    pub weight: f32,
}

impl FromStr for MinWeight {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, weight) = match text.split_once('=') {
            Some((kind, weight)) => (Some(kind.trim().to_owned()), weight),
            None => (None, text),
        };
        match weight.trim().parse::<f32>() {
            Ok(weight) if weight.is_finite() => Ok(Self { kind, weight }),
            _ => Err(Error::config(
                "min_weights",
                format!("expected a number or `KIND=NUMBER`, found `{text}`"),
            )),
        }
    }
}

impl fmt::Display for MinWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Some(kind) => write!(f, "{kind}={}", self.weight),
            None => self.weight.fmt(f),
        }
    }
}

impl TryFrom<String> for MinWeight {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<MinWeight> for String {
    fn from(weight: MinWeight) -> Self {
        weight.to_string()
    }
}
