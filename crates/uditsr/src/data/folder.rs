//! A prepared log as a folder: written in full or not at all, checked when it is read.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::columns::{ColumnFile, Columns};
use super::interner::Interner;
use super::options::PrepareOptions;
use super::raw::CatalogueItem;
use super::report::{Input, Report};
use super::source::hex;
use super::staging::Staging;
use super::vocabulary::Vocabulary;
use crate::files::read;
use crate::{Csr, Dataset, Error, Ranking, Result};

pub(super) const MANIFEST: &str = "prepare.json";
pub(super) const REPORT: &str = "report.json";
pub(super) const EVENTS: &str = "events.safetensors";
pub(super) const HIDDEN: &str = "hidden.safetensors";
pub(super) const USERS: &str = "users.jsonl";
pub(super) const ITEMS: &str = "items.jsonl";
pub(super) const WORDS: &str = "words.jsonl";
pub(super) const CATALOGUE: &str = "catalogue.jsonl";
/// Version of the layout.
pub(super) const VERSION: u32 = 1;

/// Everything that a prepared folder holds.
#[derive(Debug)]
pub struct Prepared {
    /// What the model sees.
    pub dataset: Dataset,
    /// The log's own ids of users.
    pub users: Ids,
    /// The log's own ids of items.
    pub items: Ids,
    /// Words of queries and titles.
    pub words: Vocabulary,
    /// All items of the catalogue, also those without events.
    pub catalogue: Vec<CatalogueItem>,
    /// Queries that were hidden, if some were.
    pub hidden: Option<Hidden>,
    /// How the log was prepared.
    pub options: PrepareOptions,
    /// What was found in it.
    pub report: Report,
}

/// Words of hidden queries: a row for each event of a part, empty where nothing is hidden.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Of the training events.
    pub train: Csr,
    /// Of the validation events.
    pub valid: Csr,
    /// Of the test events.
    pub test: Csr,
}

/// External ids by row number, and row numbers by id.
#[derive(Debug)]
pub struct Ids(Interner);

impl Ids {
    pub(super) fn new(ids: Interner) -> Self {
        Self(ids)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id of a row.
    pub fn get(&self, row: u32) -> &str {
        self.0.get(row)
    }

    /// The row of an id.
    pub fn find(&self, id: &str) -> Option<u32> {
        self.0.find(id)
    }

    /// The ids by row.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter()
    }
}

/// What the folder says about itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) version: u32,
    pub(super) users: usize,
    pub(super) items: usize,
    pub(super) words: usize,
    pub(super) options: PrepareOptions,
    pub(super) inputs: Vec<Input>,
    /// SHA-256 of each file.
    pub(super) files: BTreeMap<String, String>,
    /// SHA-256 of this text with nothing here: the name of all that is in the folder.
    pub(super) content: String,
}

impl Manifest {
    /// What `content` should be.
    pub(super) fn fingerprint(&mut self) -> Result<String> {
        let content = std::mem::take(&mut self.content);
        let text = serde_json::to_vec_pretty(&self)
            .map_err(|e| Error::format(Path::new(MANIFEST), e.to_string()));
        self.content = content;
        Ok(hash(&text?))
    }
}

impl Prepared {
    /// Reads a folder.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Format`] with the file: something is missing, was changed since
    /// it was written, or does not fit the rest.
    pub fn load(folder: &Path) -> Result<Self> {
        let manifest = manifest(folder)?;
        let file = |name: &str| checked(folder, &manifest, name);
        let words: Vec<String> = lines(&folder.join(WORDS), &file(WORDS)?)?;
        let hidden = if manifest.files.contains_key(HIDDEN) {
            Some(hidden(folder, &file(HIDDEN)?, manifest.words)?)
        } else {
            None
        };
        let this = Self {
            dataset: dataset(folder, &manifest)?,
            users: ids(&folder.join(USERS), &file(USERS)?, manifest.users)?,
            items: ids(&folder.join(ITEMS), &file(ITEMS)?, manifest.items)?,
            catalogue: lines(&folder.join(CATALOGUE), &file(CATALOGUE)?)?,
            report: json(&folder.join(REPORT), &file(REPORT)?)?,
            words: Vocabulary::new(words, manifest.options.word_ids),
            hidden,
            options: manifest.options,
        };
        expect_rows(&folder.join(WORDS), this.words.len(), manifest.words)?;
        Ok(this)
    }

    /// Writes a folder. An earlier prepared folder of this name is replaced, any other is not.
    ///
    /// # Errors
    /// [`Error::Write`] with the file, or [`Error::Config`] if the folder has other content.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let data = &self.dataset;
        let mut staged = Staging::new(folder)?;
        let mut columns = Columns::default();
        columns.interactions("train", &data.train);
        for (part, ranking) in [("valid", &data.valid), ("test", &data.test)] {
            columns.interactions(part, &ranking.positives);
            let rows = ranking.negatives.len();
            let width = ranking.negatives.values().len().checked_div(rows).unwrap_or(0);
            let name = format!("{part}.negatives");
            columns.numbers(&name, ranking.negatives.values(), vec![rows, width]);
        }
        columns.lists("item_words", &data.item_words);
        columns.write(&staged.file(EVENTS))?;
        if let Some(hidden) = &self.hidden {
            let mut columns = Columns::default();
            columns.lists("train", &hidden.train);
            columns.lists("valid", &hidden.valid);
            columns.lists("test", &hidden.test);
            columns.write(&staged.file(HIDDEN))?;
        }
        staged.lines(USERS, self.users.iter())?;
        staged.lines(ITEMS, self.items.iter())?;
        staged.lines(WORDS, self.words.words())?;
        staged.lines(CATALOGUE, &self.catalogue)?;
        staged.finish([data.users, data.items, data.words], &self.options, &self.report)
    }
}

impl Dataset {
    /// Reads the data set of a prepared folder, without names and titles.
    ///
    /// # Errors
    /// As [`Prepared::load`].
    pub fn load(folder: &Path) -> Result<Self> {
        dataset(folder, &manifest(folder)?)
    }
}

fn manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    let mut manifest: Manifest = json(&path, &read(&path)?)?;
    if manifest.version != VERSION {
        let reason = format!("version {}, this program reads {VERSION}", manifest.version);
        return Err(Error::format(&path, reason));
    }
    if manifest.fingerprint()? != manifest.content {
        return Err(Error::format(&path, "changed since it was written"));
    }
    Ok(manifest)
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Reads a file of the folder and compares it with the manifest.
fn checked(folder: &Path, manifest: &Manifest, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(name);
    let bytes = read(&path)?;
    match manifest.files.get(name) {
        Some(expected) if *expected == hash(&bytes) => Ok(bytes),
        Some(_) => Err(Error::format(&path, "changed since it was written")),
        None => Err(Error::format(&path, format!("not listed in {MANIFEST}"))),
    }
}

fn dataset(folder: &Path, manifest: &Manifest) -> Result<Dataset> {
    let path = folder.join(EVENTS);
    let bytes = checked(folder, manifest, EVENTS)?;
    let file = ColumnFile::new(&path, &bytes)?;
    let &Manifest { users, items, words, .. } = manifest;
    let ranking = |part: &str| -> Result<Ranking> {
        let positives = file.interactions(part, [users, items, words])?;
        let negatives = file.matrix(&format!("{part}.negatives"), items)?;
        expect_rows(&path, negatives.len(), positives.len())?;
        Ok(Ranking { positives, negatives })
    };
    let item_words = file.lists("item_words", words)?;
    expect_rows(&path, item_words.len(), items)?;
    let train = file.interactions("train", [users, items, words])?;
    let (valid, test) = (ranking("valid")?, ranking("test")?);
    Ok(Dataset { users, items, words, train, valid, test, item_words })
}

fn hidden(folder: &Path, bytes: &[u8], words: usize) -> Result<Hidden> {
    let path = folder.join(HIDDEN);
    let file = ColumnFile::new(&path, bytes)?;
    let lists = |part| file.lists(part, words);
    Ok(Hidden { train: lists("train")?, valid: lists("valid")?, test: lists("test")? })
}

fn ids(path: &Path, bytes: &[u8], rows: usize) -> Result<Ids> {
    let mut ids = Interner::default();
    for id in lines::<String>(path, bytes)? {
        ids.intern(&id);
    }
    expect_rows(path, ids.len(), rows)?;
    Ok(Ids(ids))
}

fn expect_rows(path: &Path, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::format(path, format!("expected {expected} rows, found {found}")))
}

fn json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::format(path, e.to_string()))
}

/// One JSON value per line.
fn lines<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<Vec<T>> {
    let values = serde_json::Deserializer::from_slice(bytes).into_iter();
    values.collect::<Result<_, _>>().map_err(|e| Error::format(path, e.to_string()))
}
