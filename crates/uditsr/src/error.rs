//! The error of this crate.

use std::path::{Path, PathBuf};

use crate::data::Problem;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a log and an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// A file or folder could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// A file is not what its name or place says.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },

    /// A setting is out of range or contradicts another.
    #[error("invalid configuration `{field}`: {reason}")]
    Config {
        /// The field, as the user writes it.
        field: String,
        /// What was expected and what was found.
        reason: String,
    },

    /// More rows of a log are bad than the limit allows.
    #[error("more than {limit} bad rows, the first: {}", .problems.first().map_or(String::new(), ToString::to_string))]
    BadRows {
        /// How many were allowed.
        limit: usize,
        /// Those seen until then.
        problems: Vec<Problem>,
    },

    /// A user, item or word of a log that the sizes do not allow.
    #[error("{what} {value} is out of range: there are {size}")]
    OutOfRange {
        /// `user`, `item` or `word`.
        what: &'static str,
        /// The number found.
        value: usize,
        /// How many there are.
        size: usize,
    },

    /// A number that is not finite.
    #[error("{what} is not finite at step {step}; a smaller learning rate may help")]
    NotFinite {
        /// The number.
        what: &'static str,
        /// The step of the training.
        step: u64,
    },

    /// A metric could not be computed.
    #[error(transparent)]
    Metric(#[from] trefoil_eval::Error),
}

impl Error {
    /// [`Error::Config`] of a field.
    pub(crate) fn config(field: &str, reason: impl Into<String>) -> Self {
        Self::Config { field: field.into(), reason: reason.into() }
    }

    /// [`Error::Format`] of a file.
    pub(crate) fn format(path: &Path, reason: impl Into<String>) -> Self {
        Self::Format { path: path.into(), reason: reason.into() }
    }
}
