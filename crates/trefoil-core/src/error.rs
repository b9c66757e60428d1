//! The error of this crate and of everything that only reads, writes and checks.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a file and a tensor.
///
/// Each variant says what was expected, what was found, and where; a source error is kept.
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

    /// A configuration value is out of range or contradicts another.
    #[error("invalid configuration `{field}`: {reason}")]
    Config {
        /// The field, as the user writes it.
        field: String,
        /// What was expected and what was found.
        reason: String,
    },

    /// A picture could not be decoded.
    #[error("{name} is not a readable picture: {reason}")]
    Image {
        /// File or archive entry.
        name: String,
        /// What the decoder says.
        reason: String,
    },

    /// A checkpoint tensor does not have the shape that the configuration asks for.
    #[error("tensor `{name}` in {}: expected shape {expected:?}, found {found:?}", path.display())]
    TensorShape {
        /// The weight file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Shape of the configured network.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },

    /// Tensors that the model needs are not in the file.
    #[error("{} lacks {} tensor(s): {}", path.display(), missing.len(), shorten(missing))]
    MissingTensors {
        /// The weight file.
        path: PathBuf,
        /// Their names.
        missing: Vec<String>,
    },

    /// The file has tensors that the model does not know.
    #[error("{} has {} unexpected tensor(s): {}", path.display(), unexpected.len(), shorten(unexpected))]
    UnexpectedTensors {
        /// The weight file.
        path: PathBuf,
        /// Their names.
        unexpected: Vec<String>,
    },

    /// A device that does not exist or is not part of this build.
    #[error("device `{name}`: {reason}")]
    Device {
        /// As the user wrote it.
        name: String,
        /// What is wrong and what is possible.
        reason: String,
    },

    /// A number that is not finite where it must be.
    #[error("{what} is not finite")]
    NonFinite {
        /// Which quantity, and where it arose.
        what: String,
    },
}

impl Error {
    /// A [`Error::Config`] from anything printable.
    pub fn config(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { field: field.into(), reason: reason.into() }
    }

    /// A [`Error::Format`] from anything printable.
    pub fn format(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Format { path: path.into(), reason: reason.into() }
    }
}

/// The first few names of a long list.
fn shorten(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text =
        names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(", ...");
    }
    text
}
