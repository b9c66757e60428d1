//! The error of this crate.

use std::path::PathBuf;

use crate::data::Problems;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a dataset and a trained model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file, a configuration value, a picture or a tensor: see [`trefoil_core::Error`].
    #[error(transparent)]
    Core(#[from] trefoil_core::Error),

    /// A loss or a gradient that is not finite. The step can be replayed from the named positions.
    #[error(
        "{what} is not finite at step {step} (visits {} to {} of seed {seed}); \
         lower the learning rate or set `clip_norm`",
        visits.start,
        visits.end - 1
    )]
    NonFinite {
        /// The part of the loss, or the parameter whose gradient it is.
        what: String,
        /// Update, counted from zero.
        step: u64,
        /// Global sample counters of the batch: the indices of the random streams in use.
        visits: std::ops::Range<u64>,
        /// Seed of the run.
        seed: u64,
    },

    /// A run was to be resumed with a configuration that gives another run.
    #[error(
        "{} was written with another configuration; changed: {}",
        path.display(),
        fields.join(", ")
    )]
    ConfigChanged {
        /// The checkpoint.
        path: PathBuf,
        /// `field: before -> now`, one for each difference.
        fields: Vec<String>,
    },

    /// No checkpoint of a run can be read.
    #[error("no usable checkpoint in {}: {}", folder.display(), reasons.join("; "))]
    NoCheckpoint {
        /// The folder with the checkpoints.
        folder: PathBuf,
        /// One reason per file.
        reasons: Vec<String>,
    },

    /// A folder that should be new has something in it.
    #[error("{} is not empty", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },

    /// Another process trains in this folder.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The run folder.
        path: PathBuf,
    },

    /// A dataset has problems and the caller asked to stop at them.
    #[error("{problems}")]
    Problems {
        /// All of them.
        problems: Problems,
    },

    /// Nothing of a dataset can be used.
    #[error("{} has no usable sample\n{problems}", path.display())]
    NoSamples {
        /// The dataset.
        path: PathBuf,
        /// Why each sample was skipped; may be empty.
        problems: Problems,
    },

    /// An error of the system that is being trained.
    #[error(transparent)]
    Task(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps the error of a system, for use in a [`crate::Task`].
    pub fn task(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Task(error.into())
    }
}
