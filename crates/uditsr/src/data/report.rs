//! What was found in a log, and what became of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::raw::{Oddities, Problem};

/// Everything that a preparation can say about a log. Its text form is for people, its JSON form
/// has the same numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The files.
    pub inputs: Vec<Input>,
    /// From rows to events.
    pub rows: RowCounts,
    /// Things that are not wrong but unusual.
    pub oddities: Oddities,
    /// The events that are left.
    pub log: LogCounts,
    /// What the split made of them.
    pub split: SplitCounts,
    /// What this means.
    pub findings: Vec<Finding>,
    /// Every bad row.
    pub problems: Vec<Problem>,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Name without folder.
    pub name: String,
    /// Size on disk.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// From rows to events: `read` is the sum of the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    /// Rows of events, without those of catalogues.
    pub read: usize,
    /// Bad ones. Bad rows of catalogues are among the problems only.
    pub bad: usize,
    /// Equal in user, item, time, kind and query to one that was kept.
    pub duplicates: usize,
    /// Of other kinds, or of too little weight.
    pub not_positive: usize,
    /// Made one with another search.
    pub joined: usize,
    /// Of users and items with too few events.
    pub below_core: usize,
    /// What is left.
    pub kept: usize,
}

/// What is in the events that are left.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LogCounts {
    /// Users.
    pub users: usize,
    /// Items.
    pub items: usize,
    /// Events with a query.
    pub searches: usize,
    /// Events without.
    pub recommendations: usize,
    /// Users with both.
    pub users_with_both: usize,
    /// Users with searches only.
    pub users_with_searches_only: usize,
    /// Users with one event.
    pub users_with_one_event: usize,
    /// Items with at least one search.
    pub items_with_query: usize,
    /// Items with both searches and recommendations.
    pub items_with_both: usize,
    /// Different query texts.
    pub distinct_queries: usize,
    /// Searches with this many words; the last key stands for that many and more.
    pub searches_by_words: BTreeMap<usize, usize>,
    /// Events of each kind.
    pub kinds: BTreeMap<String, usize>,
    /// Earliest day of an event.
    pub first_day: Option<String>,
    /// Latest day of an event.
    pub last_day: Option<String>,
    /// Events without a time.
    pub undated: usize,
    /// Events more than twenty years before or after the median.
    pub outlying_times: usize,
    /// Ids of users and items that differ from another one in case or leading zeros only.
    pub similar_ids: usize,
    /// Items of the catalogue.
    pub catalogue: usize,
    /// Items with events that the catalogue does not have.
    pub items_not_in_catalogue: usize,
    /// Of these, those that it has under an id with other case or leading zeros.
    pub items_almost_in_catalogue: usize,
    /// Items of the catalogue without events.
    pub items_without_events: usize,
}

/// What the split made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SplitCounts {
    /// Training.
    pub train: PartCounts,
    /// Validation.
    pub valid: PartCounts,
    /// Test.
    pub test: PartCounts,
    /// Users of the data set.
    pub users: usize,
    /// Items of the data set.
    pub items: usize,
    /// Words of the data set, the reserved ones included.
    pub words: usize,
    /// Items with a query in training.
    pub items_with_training_query: usize,
    /// Searches whose query was hidden.
    pub hidden_queries: usize,
    /// Held-out events of users without training events.
    pub unseen_users: usize,
    /// Held-out events of items without training events.
    pub unseen_items: usize,
    /// Held-out events whose user touched nearly all items, so that negatives ran out.
    pub too_few_negatives: usize,
    /// Held-out events whose user and item occur together in training.
    pub repeats: usize,
    /// Held-out searches none of whose words is known.
    pub unknown_queries: usize,
    /// Training events later than the first test event.
    pub late_training: usize,
}

/// Events of a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartCounts {
    /// Events with a query.
    pub searches: usize,
    /// Events without.
    pub recommendations: usize,
}

impl PartCounts {
    /// All events.
    pub fn total(self) -> usize {
        self.searches + self.recommendations
    }
}

/// A conclusion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// The fact, with its number.
    pub fact: String,
    /// What it means or what to do, if there is something.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The log supports it.
    Good,
    /// Worth knowing.
    Note,
    /// Results will suffer or mislead.
    Warning,
    /// It cannot work.
    Blocker,
}

/// How many bad rows the text form lists.
const LISTED: usize = 20;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, log, split, .. } = self;
        writeln!(f, "rows")?;
        for (name, count) in [
            ("read", rows.read),
            ("bad", rows.bad),
            ("duplicates", rows.duplicates),
            ("no positives", rows.not_positive),
            ("joined with another search", rows.joined),
            ("of rare users or items", rows.below_core),
            ("kept", rows.kept),
        ] {
            if count > 0 || name == "read" || name == "kept" {
                writeln!(f, "  {count:>12}  {name}")?;
            }
        }
        writeln!(f, "log")?;
        for (name, count) in [
            ("users", log.users),
            ("items", log.items),
            ("searches", log.searches),
            ("recommendations", log.recommendations),
            ("different queries", log.distinct_queries),
            ("items in the catalogue", log.catalogue),
        ] {
            writeln!(f, "  {count:>12}  {name}")?;
        }
        if let (Some(first), Some(last)) = (&log.first_day, &log.last_day) {
            writeln!(f, "  {first} to {last}")?;
        }
        writeln!(f, "split: searches, recommendations")?;
        for (name, part) in [("train", split.train), ("valid", split.valid), ("test", split.test)] {
            writeln!(f, "  {:>12} {:>12}  {name}", part.searches, part.recommendations)?;
        }
        writeln!(f, "  {} users, {} items, {} words", split.users, split.items, split.words)?;
        writeln!(f, "findings")?;
        for finding in &self.findings {
            let mark = match finding.level {
                Level::Good => "ok",
                Level::Note => "note",
                Level::Warning => "warning",
                Level::Blocker => "blocker",
            };
            writeln!(f, "  {mark:<8} {}", finding.fact)?;
            if !finding.advice.is_empty() {
                writeln!(f, "           {}", finding.advice)?;
            }
        }
        if !self.problems.is_empty() {
            writeln!(f, "bad rows")?;
            for problem in self.problems.iter().take(LISTED) {
                writeln!(f, "  {problem}")?;
            }
            if self.problems.len() > LISTED {
                writeln!(f, "  and {} more", self.problems.len() - LISTED)?;
            }
        }
        Ok(())
    }
}
