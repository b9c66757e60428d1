//! From a raw log to a prepared folder.
//!
//! [`Prepare`] reads events and a catalogue in any of the [`Format`]s, checks every row, cuts the
//! log into training, validation and test by a [`SplitRule`], learns a [`Vocabulary`], draws
//! negatives, and writes one folder that [`Dataset::load`](crate::Dataset::load) and
//! [`Prepared::load`] read. The same rows, in any order and from any number of files, with the same
//! [`PrepareOptions`] give the same bytes.

mod columns;
pub mod compat;
mod doctor;
#[cfg(feature = "large-logs")]
pub mod engine;
mod folder;
mod formats;
mod interner;
mod mt19937;
mod options;
mod prepare;
mod raw;
mod report;
mod source;
mod split_rule;
mod staging;
mod steps;
mod stream;
mod survey;
pub mod synthetic;
mod text;
mod time;
mod vocabulary;

pub use folder::{Hidden, Ids, Prepared};
pub use formats::Format;
pub use mt19937::Mt19937;
pub use options::{MinWeight, PrepareOptions, Queries, Sizes, Unseen, WordIds};
pub use prepare::Prepare;
pub use raw::{CatalogueItem, Oddities, Problem};
pub use report::{Finding, Input, Level, LogCounts, PartCounts, Report, RowCounts, SplitCounts};
pub use split_rule::SplitRule;
pub use text::words;
pub use vocabulary::{Encoded, PADDING, UNKNOWN_WORD, Vocabulary};
