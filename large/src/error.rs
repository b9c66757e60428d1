//! The error of this crate.

use std::path::PathBuf;

use datafusion::error::DataFusionError;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in a preparation outside of memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log, the options or the folder, as in a preparation in memory.
    #[error(transparent)]
    Log(#[from] uditsr::Error),

    /// A query failed.
    #[error("{step}: {source}")]
    Query {
        /// The step that it belongs to.
        step: String,
        /// What the engine says.
        source: Box<DataFusionError>,
    },

    /// A query gave something else than its step expects.
    #[error("{step}: expected {expected}, found {found}")]
    Result {
        /// The step.
        step: String,
        /// What it needs.
        expected: String,
        /// What came.
        found: String,
    },

    /// The folder of intermediate files.
    #[error("cannot use {} for intermediate files", path.display())]
    Work {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },

    /// Scheduler or executor of a cluster.
    #[error("{who}: {reason}")]
    Cluster {
        /// Which, and where.
        who: String,
        /// What went wrong.
        reason: String,
    },
}

impl Error {
    /// [`Error::Query`] of a step.
    pub(crate) fn query(step: &str) -> impl Fn(DataFusionError) -> Self + '_ {
        move |source| Self::Query { step: step.into(), source: Box::new(source) }
    }
}
