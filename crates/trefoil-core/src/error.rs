//! The error of this crate and of everything that only reads, writes and checks.

use std::path::{Path, PathBuf};

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

    /// Names and shapes of a file differ from those of the model in several ways.
    #[error("{} does not fit the model: {}", path.display(), differences(missing, unexpected, misshapen))]
    TensorMismatch {
        /// The weight file.
        path: PathBuf,
        /// Tensors that the model needs.
        missing: Vec<String>,
        /// Tensors that the model does not know.
        unexpected: Vec<String>,
        /// Tensors of another shape.
        misshapen: Vec<Misfit>,
    },

    /// The Hub refuses, is not there, or sends something else.
    #[error("{url}: {reason}")]
    Hub {
        /// The address, or what was asked for.
        url: String,
        /// What it says, or what was expected and found.
        reason: String,
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

/// A tensor whose shape is not the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Its name.
    pub name: String,
    /// Shape of the configured network.
    pub expected: Vec<usize>,
    /// Shape in the file.
    pub found: Vec<usize>,
}

impl Error {
    /// The simplest variant that says how the tensors of a file differ from those of a model; nothing when they do
    /// not.
    pub fn mismatch(
        path: &Path,
        missing: Vec<String>,
        unexpected: Vec<String>,
        mut misshapen: Vec<Misfit>,
    ) -> Option<Self> {
        let path = path.into();
        match (missing.len(), unexpected.len(), misshapen.len()) {
            (0, 0, 0) => None,
            (_, 0, 0) => Some(Self::MissingTensors { path, missing }),
            (0, _, 0) => Some(Self::UnexpectedTensors { path, unexpected }),
            (0, 0, 1) => {
                let Misfit { name, expected, found } = misshapen.remove(0);
                Some(Self::TensorShape { path, name, expected, found })
            }
            _ => Some(Self::TensorMismatch { path, missing, unexpected, misshapen }),
        }
    }

    /// A [`Error::Config`] from anything printable.
    pub fn config(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Config { field: field.into(), reason: reason.into() }
    }

    /// A [`Error::Format`] from anything printable.
    pub fn format(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Format { path: path.into(), reason: reason.into() }
    }
}

/// Names and shapes that a message lists.
const SHOWN: usize = 5;

/// The first few names of a long list.
fn shorten(names: &[String]) -> String {
    let mut text =
        names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(", ...");
    }
    text
}

/// Missing, unexpected and misshapen tensors in one line.
fn differences(missing: &[String], unexpected: &[String], misshapen: &[Misfit]) -> String {
    let mut parts = Vec::new();
    if !missing.is_empty() {
        parts.push(format!("it lacks {} tensor(s): {}", missing.len(), shorten(missing)));
    }
    if !unexpected.is_empty() {
        let count = unexpected.len();
        parts.push(format!("it has {count} unexpected tensor(s): {}", shorten(unexpected)));
    }
    for Misfit { name, expected, found } in misshapen.iter().take(SHOWN) {
        parts.push(format!("`{name}`: expected shape {expected:?}, found {found:?}"));
    }
    if misshapen.len() > SHOWN {
        parts.push(format!("{} other shapes", misshapen.len() - SHOWN));
    }
    parts.join("; ")
}
