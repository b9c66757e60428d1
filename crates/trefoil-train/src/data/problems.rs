//! What is wrong with a dataset, sample by sample.

use std::fmt;
use std::path::PathBuf;

/// Lines that a printed list has at most.
const SHOWN: usize = 20;

/// What a broken sample leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnProblem {
    /// It is left out and counted.
    #[default]
    Skip,
    /// Reading ends with the list of all problems.
    Stop,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The picture cannot be decoded; what the decoder says.
    BrokenPicture(String),
    /// There is a picture but no caption.
    MissingCaption,
    /// The caption has no characters.
    EmptyCaption,
    /// There is a caption but no picture.
    MissingPicture,
    /// The name, or the same caption for it, came before.
    Duplicate,
    /// The file is listed but not there.
    Absent,
    /// The name leads out of the folder.
    Outside,
    /// A line or an entry that cannot be read; where and why.
    Malformed(String),
    /// An archive that cannot be read to its end.
    BrokenArchive(String),
}

impl Reason {
    /// The kind, for counting.
    fn kind(&self) -> &'static str {
        match self {
            Self::BrokenPicture(_) => "broken picture",
            Self::MissingCaption => "no caption",
            Self::EmptyCaption => "empty caption",
            Self::MissingPicture => "caption without a picture",
            Self::Duplicate => "duplicate name",
            Self::Absent => "listed but absent",
            Self::Outside => "name leads out of the folder",
            Self::Malformed(_) => "malformed entry",
            Self::BrokenArchive(_) => "broken archive",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrokenPicture(why) | Self::Malformed(why) | Self::BrokenArchive(why) => {
                write!(f, "{}: {why}", self.kind())
            }
            _ => f.write_str(self.kind()),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// File: a picture, a list or an archive.
    pub path: PathBuf,
    /// Sample within it; empty when the whole file is meant.
    pub key: String,
    /// What is wrong.
    pub reason: Reason,
}

/// Everything that is wrong, sorted by file. Prints a count by kind and the first lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one.
    pub(crate) fn push(
        &mut self,
        path: impl Into<PathBuf>,
        key: impl Into<String>,
        reason: Reason,
    ) {
        self.0.push(Problem { path: path.into(), key: key.into(), reason });
    }

    pub(crate) fn sort(&mut self) {
        self.0.sort();
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        if self.key.is_empty() || self.path.ends_with(&self.key) {
            write!(f, "{path}: {}", self.reason)
        } else {
            write!(f, "{path}, `{}`: {}", self.key, self.reason)
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: Vec<(&str, usize)> = Vec::new();
        for problem in self {
            let kind = problem.reason.kind();
            match kinds.iter_mut().find(|(k, _)| *k == kind) {
                Some((_, count)) => *count += 1,
                None => kinds.push((kind, 1)),
            }
        }
        let counts: Vec<String> = kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
        let noun = if self.len() == 1 { "problem" } else { "problems" };
        write!(f, "{} {noun} in the dataset", self.len())?;
        if !counts.is_empty() {
            write!(f, " ({})", counts.join(", "))?;
        }
        for problem in self.iter().take(SHOWN) {
            write!(f, "\n  {problem}")?;
        }
        if self.len() > SHOWN {
            write!(f, "\n  ... and {} more", self.len() - SHOWN)?;
        }
        Ok(())
    }
}
