//! The formats that logs come in. A new one is a file here and a row of [`FORMATS`].

mod events;
mod hetrec;
mod jdsearch;
mod json;
mod kuaisar;
mod movielens;
mod mt;
#[cfg(feature = "parquet")]
mod parquet;
mod retrotech;
mod table;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub(crate) use events::catalogue;

use super::SplitRule;
use super::raw::Sink;
use super::source::LogFile;
use crate::{Error, Result};

/// Reads the files of one format.
pub(crate) trait Importer: Sync {
    /// Whether a file of a folder is one of this format.
    fn wants(&self, file: &LogFile) -> bool;

    /// Puts all rows of all files into the sink.
    fn read(&self, files: &[LogFile], sink: &mut Sink) -> Result<()>;
}

/// A format, and what is usual with it.
pub(crate) struct FormatRow {
    name: &'static str,
    about: &'static str,
    pub(crate) importer: &'static dyn Importer,
    pub(crate) split: SplitRule,
    pub(crate) min_weights: &'static [(&'static str, f32)],
    pub(crate) core: u32,
    /// Where days start, in seconds before UTC.
    pub(crate) utc_offset: i64,
}

const ORDINARY: FormatRow = FormatRow {
    name: "events",
    about: "CSV, TSV, JSON Lines or Parquet with a header: user, item, time, kind, query, weight",
    importer: &events::Events,
    split: SplitRule::LeaveOneOut,
    min_weights: &[],
    core: 0,
    utc_offset: 0,
};

/// All formats; the first is the default.
static FORMATS: [FormatRow; 7] = [
    ORDINARY,
    FormatRow {
        name: "mt-small",
        about: "train_data.csv, valid_data.csv and test_data.csv of the authors of UDITSR",
        importer: &mt::MtSmall,
        split: SplitRule::Given,
        ..ORDINARY
    },
    FormatRow {
        name: "kuaisar",
        about: "rec_inter.csv, src_inter.csv and item_features.csv of KuaiSAR",
        importer: &kuaisar::KuaiSar,
        split: SplitRule::Days { valid: 1, test: 1 },
        core: 5,
        utc_offset: kuaisar::BEIJING,
        ..ORDINARY
    },
    FormatRow {
        name: "jdsearch",
        about: "user_behavior_data.txt and product_meta_data.txt of JDsearch",
        importer: &jdsearch::JdSearch,
        ..ORDINARY
    },
    FormatRow {
        name: "movielens",
        about: "ratings, tags and movies of MovieLens (.csv or .dat); a tag is a search",
        importer: &movielens::MovieLens,
        min_weights: &[("rating", 4.0)],
        ..ORDINARY
    },
    FormatRow {
        name: "hetrec-lastfm",
        about: "the .dat files of Last.fm of HetRec 2011; a tag is a search",
        importer: &hetrec::LastFm,
        split: SplitRule::Pairs { valid: 0.2, test: 0.2 },
        ..ORDINARY
    },
    FormatRow {
        name: "retrotech",
        about: "*_sessions and products of RetroTech (.csv, .gz, .tgz); a session is a user",
        importer: &retrotech::RetroTech,
        split: SplitRule::LeaveOneOutAtRandom,
        ..ORDINARY
    },
];

/// The format of a log, by name; the default is `events`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Format(usize);

impl Format {
    /// All formats, the default first.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..FORMATS.len()).map(Self)
    }

    /// Name, as it is written in files and commands.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What it is, in a line.
    pub fn about(self) -> &'static str {
        self.row().about
    }

    pub(crate) fn row(self) -> &'static FormatRow {
        &FORMATS[self.0]
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::all().find(|format| format.name() == name).ok_or_else(|| {
            let names: Vec<_> = Self::all().map(|format| format!("`{format}`")).collect();
            Error::config("format", format!("expected {}, found `{name}`", names.join(", ")))
        })
    }
}

impl TryFrom<String> for Format {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.name().into()
    }
}
