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
        /// Tensors that the model needs, with the shapes that it needs.
        missing: Vec<NamedShape>,
        /// Tensors that the model does not know, with the shapes that they have.
        unexpected: Vec<NamedShape>,
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

/// A tensor by its name in the file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedShape {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
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
    /// How the tensors of a file differ from those of a model; nothing when they do not.
    pub fn mismatch(
        path: &Path,
        missing: Vec<NamedShape>,
        unexpected: Vec<NamedShape>,
        mut misshapen: Vec<Misfit>,
    ) -> Option<Self> {
        let path = path.into();
        match (missing.len(), unexpected.len(), misshapen.len()) {
            (0, 0, 0) => None,
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

/// Entries of a list that a message has. Whoever needs all of them has them in the error.
const SHOWN: usize = 20;

/// The first entries of a list, and how many more there are.
fn first_of<T>(all: &[T], entry: impl Fn(&T) -> String, between: &str) -> String {
    let mut shown: Vec<String> = all.iter().take(SHOWN).map(entry).collect();
    if all.len() > SHOWN {
        shown.push(format!("and {} more", all.len() - SHOWN));
    }
    shown.join(between)
}

fn shorten(names: &[String]) -> String {
    first_of(names, |name| format!("`{name}`"), ", ")
}

/// Missing, unexpected and misshapen tensors in one line.
fn differences(missing: &[NamedShape], unexpected: &[NamedShape], misshapen: &[Misfit]) -> String {
    let mut parts = Vec::new();
    if !missing.is_empty() {
        let entry = |t: &NamedShape| format!("`{}` (expected shape {:?})", t.name, t.shape);
        let list = first_of(missing, entry, ", ");
        parts.push(format!("it lacks {} tensor(s): {list}", missing.len()));
    }
    if !unexpected.is_empty() {
        let entry = |t: &NamedShape| format!("`{}` (found shape {:?})", t.name, t.shape);
        let list = first_of(unexpected, entry, ", ");
        parts.push(format!("it has {} unexpected tensor(s): {list}", unexpected.len()));
    }
    if !misshapen.is_empty() {
        let entry = |Misfit { name, expected, found }: &Misfit| {
            format!("`{name}`: expected shape {expected:?}, found {found:?}")
        };
        parts.push(first_of(misshapen, entry, "; "));
    }
    parts.join("; ")
}
