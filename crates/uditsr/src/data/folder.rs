//! A prepared log as a folder: written in full or not at all, checked when it is read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::columns::{ColumnFile, Columns};
use super::interner::Interner;
use super::options::PrepareOptions;
use super::raw::CatalogueItem;
use super::report::{Input, Report};
use super::source::{LogFile, hex};
use super::vocabulary::Vocabulary;
use crate::files::read;
use crate::{Csr, Dataset, Error, Ranking, Result};

const MANIFEST: &str = "prepare.json";
const REPORT: &str = "report.json";
const EVENTS: &str = "events.safetensors";
const HIDDEN: &str = "hidden.safetensors";
const USERS: &str = "users.jsonl";
const ITEMS: &str = "items.jsonl";
const WORDS: &str = "words.jsonl";
const CATALOGUE: &str = "catalogue.jsonl";
/// Version of the layout.
const VERSION: u32 = 1;

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
struct Manifest {
    version: u32,
    users: usize,
    items: usize,
    words: usize,
    options: PrepareOptions,
    inputs: Vec<Input>,
    /// SHA-256 of each file.
    files: BTreeMap<String, String>,
    /// SHA-256 of this text with nothing here: the name of all that is in the folder.
    content: String,
}

impl Manifest {
    /// What `content` should be.
    fn fingerprint(&mut self) -> Result<String> {
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
        check_target(folder)?;
        let parent = match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let fail = |source| Error::Write { path: folder.into(), source };
        fs::create_dir_all(parent).map_err(fail)?;
        let mut builder = tempfile::Builder::new();
        let staged = builder.prefix(".trefoil-").suffix(".tmp").tempdir_in(parent).map_err(fail)?;
        self.write_files(staged.path())?;
        set_permissions(staged.path(), 0o755).map_err(fail)?;
        if folder.exists() {
            // The old folder goes when the new one is in its place.
            let old = builder.tempdir_in(parent).map_err(fail)?;
            fs::rename(folder, old.path().join("old")).map_err(fail)?;
            fs::rename(staged.keep(), folder).map_err(fail)
        } else {
            fs::rename(staged.keep(), folder).map_err(fail)
        }
    }

    fn write_files(&self, folder: &Path) -> Result<()> {
        let data = &self.dataset;
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
        columns.write(&folder.join(EVENTS))?;
        let mut files = vec![EVENTS, USERS, ITEMS, WORDS, CATALOGUE, REPORT];
        if let Some(hidden) = &self.hidden {
            let mut columns = Columns::default();
            columns.lists("train", &hidden.train);
            columns.lists("valid", &hidden.valid);
            columns.lists("test", &hidden.test);
            columns.write(&folder.join(HIDDEN))?;
            files.push(HIDDEN);
        }
        write_lines(&folder.join(USERS), self.users.iter())?;
        write_lines(&folder.join(ITEMS), self.items.iter())?;
        write_lines(&folder.join(WORDS), self.words.words().iter())?;
        write_lines(&folder.join(CATALOGUE), self.catalogue.iter())?;
        write_json(&folder.join(REPORT), &self.report)?;
        let mut hashes = BTreeMap::new();
        for name in files {
            let path = folder.join(name);
            let settle = || {
                set_permissions(&path, 0o644)?;
                File::open(&path)?.sync_all()
            };
            settle().map_err(|source| Error::Write { path: path.clone(), source })?;
            hashes.insert(name.to_owned(), LogFile::new(&path).fingerprint()?.1);
        }
        let mut manifest = Manifest {
            version: VERSION,
            users: data.users,
            items: data.items,
            words: data.words,
            options: self.options.clone(),
            inputs: self.report.inputs.clone(),
            files: hashes,
            content: String::new(),
        };
        manifest.content = manifest.fingerprint()?;
        write_json(&folder.join(MANIFEST), &manifest)
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

/// Refuses to write over a folder that is no prepared log.
pub(super) fn check_target(folder: &Path) -> Result<()> {
    let Ok(mut entries) = fs::read_dir(folder) else {
        return if folder.exists() {
            Err(Error::config("out", format!("`{}` is no folder", folder.display())))
        } else {
            Ok(())
        };
    };
    if entries.next().is_some() && !folder.join(MANIFEST).is_file() {
        let reason = format!("`{}` has other files than a prepared log", folder.display());
        return Err(Error::config("out", reason));
    }
    Ok(())
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

fn write_lines<T: Serialize>(path: &Path, values: impl Iterator<Item = T>) -> Result<()> {
    write(path, |out| {
        for value in values {
            serde_json::to_writer(&mut *out, &value)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// Writes and syncs a file.
fn write(path: &Path, with: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let fail = |source| Error::Write { path: path.into(), source };
    let mut out = BufWriter::new(File::create(path).map_err(fail)?);
    with(&mut out).map_err(fail)?;
    out.into_inner().map_err(|e| fail(e.into_error()))?.sync_all().map_err(fail)
}

/// Temporary files and folders are private; what stays should be ordinary.
#[cfg(unix)]
fn set_permissions(path: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn set_permissions(_: &Path, _: u32) -> std::io::Result<()> {
    Ok(())
}
