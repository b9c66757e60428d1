//! For query engines that do the relational steps of a preparation outside of memory.
//!
//! [`Prepare::stage`] reads and checks the files row by row; the engine cleans, splits and numbers
//! the rows, with the functions here for what is no relational algebra; [`Output`] writes the
//! folder. The steps in memory call the same functions, so an engine gives the same bytes if it
//! keeps to the orders that each of them states. Ids and queries are in order when they are sorted
//! by length and then by bytes.

mod functions;
mod output;

use std::path::Path;

pub use functions::{
    date, day_start, divide, is_hidden, item_words, join_queries, negatives, plain_id, two_of,
    word_counts,
};
pub use output::{Output, Spool};

use super::doctor::{self, Evidence};
use super::options::Resolved;
use super::prepare::{self, QUERY_WORDS};
use super::raw::{Oddities, Sink};
use super::report::{Input, LogCounts, Report, RowCounts, SplitCounts};
use super::steps::clean;
use super::steps::split::Splitter;
use super::vocabulary::RESERVED;
use super::{
    CatalogueItem, Prepare, PrepareOptions, Problem, Queries, SplitRule, Unseen, Vocabulary,
    WordIds,
};
use crate::{Error, Result};

pub use super::raw::CheckedEvent;
pub use super::steps::split::Cut;

/// A log of which everything but the good rows was kept.
#[derive(Debug)]
pub struct Staged {
    /// Rows of events, bad ones included.
    pub read: usize,
    /// Good rows, all of which were handed on.
    pub good: usize,
    /// The kinds of events that occur.
    pub kinds: Vec<String>,
    /// One row of each item of the catalogue, in order of the ids.
    pub catalogue: Vec<CatalogueItem>,
    inputs: Vec<Input>,
    oddities: Oddities,
    problems: Vec<Problem>,
    resolved: Resolved,
    unseen: Unseen,
}

impl Prepare {
    /// Reads and checks all files and hands each good row on, in the order of the files.
    ///
    /// # Errors
    /// As [`Prepare::check`], and those of `take`. [`Error::Config`] for a split `given` by the
    /// files, which keeps the order of the rows and has no relational form.
    pub fn stage(
        &self,
        mut take: impl FnMut(CheckedEvent<'_>) -> Result<()> + Send,
    ) -> Result<Staged> {
        let resolved = self.options.resolve()?;
        if resolved.split == SplitRule::Given {
            let reason = "`given` files are prepared in memory only";
            return Err(Error::config("split", reason));
        }
        let mut good = 0;
        let mut count = |event: CheckedEvent<'_>| {
            good += 1;
            take(event)
        };
        let (sink, inputs) = self.read(Sink::through(self.options.max_bad_rows, &mut count))?;
        let read = sink.rows() as usize;
        let mut log = sink.log;
        clean::catalogue(&mut log);
        let mut problems = log.problems;
        problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
        Ok(Staged {
            read,
            good,
            kinds: log.kinds.iter().map(ToOwned::to_owned).collect(),
            catalogue: log.catalogue,
            inputs,
            oddities: log.oddities,
            problems,
            resolved,
            unseen: self.unseen(),
        })
    }
}

impl Staged {
    /// The options with nothing left to the format.
    pub fn options(&self) -> &PrepareOptions {
        &self.resolved.options
    }

    /// Which events are held out.
    pub fn split(&self) -> SplitRule {
        self.resolved.split
    }

    /// Users and items with fewer events are left out, again and again until none is left.
    pub fn core(&self) -> u32 {
        self.resolved.core
    }

    /// Where days start, in seconds before UTC.
    pub fn utc_offset(&self) -> i64 {
        self.resolved.utc_offset
    }

    /// Whether the searches of a user for an item on a day are joined.
    pub fn joins_queries(&self) -> bool {
        self.options().queries == Queries::Joined
    }

    /// Whether held-out events of users and items without training events are left out.
    pub fn drops_unseen(&self) -> bool {
        self.unseen == Unseen::Drop
    }

    /// The least weight of a positive of this kind, which is more than 0 in any case; none if
    /// events of this kind are left out.
    pub fn least_weight(&self, kind: &str) -> Option<f32> {
        let options = self.options();
        clean::least_weight(kind, &options.kinds, &self.resolved.min_weights)
    }

    /// Where a split by the clock alone cuts a log whose last event has this time, and which has so
    /// many `dated` events of all; none if the split is of another kind.
    ///
    /// # Errors
    /// [`Error::Config`] if the split needs times and no event has one.
    pub fn cut(&self, last: i64, dated: usize, all: usize) -> Result<Option<Cut>> {
        let Resolved { split, utc_offset, .. } = self.resolved;
        let splitter = Splitter { rule: split, seed: self.options().seed, utc_offset };
        if all > 0 {
            splitter.check_times(dated > 0)?;
        }
        Ok(match split {
            SplitRule::Dates { .. } | SplitRule::Days { .. } | SplitRule::Latest { .. } => {
                Some(splitter.cut(last, dated))
            }
            _ => None,
        })
    }

    /// The report: what was found while reading, these counts, and what follows from them.
    pub fn report(&self, rows: RowCounts, log: LogCounts, split: SplitCounts) -> Report {
        let evidence = Evidence {
            rows: &rows,
            oddities: &self.oddities,
            log: &log,
            split: &split,
            negatives: self.options().negatives,
            query_words: QUERY_WORDS,
        };
        let findings = doctor::findings(&evidence);
        Report {
            inputs: self.inputs.clone(),
            rows,
            oddities: self.oddities.clone(),
            log,
            split,
            findings,
            problems: self.problems.clone(),
        }
    }

    /// Refuses a log of which nothing is left for training.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn require_training(&self, report: &Report) -> Result<()> {
        prepare::require_training(report)
    }
}

/// Refuses to write over a folder that is no prepared log.
///
/// # Errors
/// [`Error::Config`].
pub fn check_target(folder: &Path) -> Result<()> {
    super::staging::check_target(folder)
}

impl Vocabulary {
    /// A learned vocabulary of these words: the most frequent in queries first, then in the
    /// catalogue, then by their bytes; the reserved words are added.
    pub fn of_words(words: impl IntoIterator<Item = String>) -> Self {
        let reserved = RESERVED.iter().map(ToString::to_string);
        Self::new(reserved.chain(words).collect(), WordIds::Learned)
    }
}
