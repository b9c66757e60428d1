//! How a prepared folder is written: in full, under another name, and then renamed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::TempDir;

use super::folder::{MANIFEST, Manifest, REPORT, VERSION};
use super::options::PrepareOptions;
use super::report::Report;
use super::source::LogFile;
use crate::{Error, Result};

/// A folder under another name until all of its files are there.
#[derive(Debug)]
pub(super) struct Staging {
    target: PathBuf,
    parent: PathBuf,
    folder: TempDir,
    files: Vec<&'static str>,
}

impl Staging {
    /// Begins a folder beside its target.
    pub(super) fn new(target: &Path) -> Result<Self> {
        check_target(target)?;
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let fail = |source| Error::Write { path: target.into(), source };
        fs::create_dir_all(parent).map_err(fail)?;
        let folder = temporary_folder(parent).map_err(fail)?;
        Ok(Self { target: target.into(), parent: parent.into(), folder, files: Vec::new() })
    }

    /// The path of a file that is to be written.
    pub(super) fn file(&mut self, name: &'static str) -> PathBuf {
        self.files.push(name);
        self.folder.path().join(name)
    }

    /// Writes one JSON value per line.
    pub(super) fn lines<T: Serialize>(
        &mut self,
        name: &'static str,
        values: impl IntoIterator<Item = T>,
    ) -> Result<()> {
        let mut lines = Lines::create(self.file(name))?;
        values.into_iter().try_for_each(|value| lines.push(&value))?;
        lines.finish()
    }

    /// Adds report and manifest, and puts the folder in its place.
    pub(super) fn finish(
        mut self,
        [users, items, words]: [usize; 3],
        options: &PrepareOptions,
        report: &Report,
    ) -> Result<()> {
        write_json(&self.file(REPORT), report)?;
        let mut hashes = BTreeMap::new();
        for name in &self.files {
            let path = self.folder.path().join(name);
            let settle = || {
                set_permissions(&path, 0o644)?;
                File::open(&path)?.sync_all()
            };
            settle().map_err(|source| Error::Write { path: path.clone(), source })?;
            hashes.insert((*name).to_owned(), LogFile::new(&path).fingerprint()?.1);
        }
        let mut manifest = Manifest {
            version: VERSION,
            users,
            items,
            words,
            options: options.clone(),
            inputs: report.inputs.clone(),
            files: hashes,
            content: String::new(),
        };
        manifest.content = manifest.fingerprint()?;
        write_json(&self.folder.path().join(MANIFEST), &manifest)?;
        self.rename()
    }

    fn rename(self) -> Result<()> {
        let Self { target, parent, folder, .. } = self;
        let fail = |source| Error::Write { path: target.clone(), source };
        set_permissions(folder.path(), 0o755).map_err(fail)?;
        // An old folder goes when the new one is in its place.
        let mut old = None;
        if target.exists() {
            let place = temporary_folder(&parent).map_err(fail)?;
            fs::rename(&target, place.path().join("old")).map_err(fail)?;
            old = Some(place);
        }
        fs::rename(folder.path(), &target)
            .or_else(|error| {
                if let Some(place) = &old {
                    fs::rename(place.path().join("old"), &target)?;
                }
                Err(error)
            })
            .map_err(fail)?;
        let _ = folder.keep();
        Ok(())
    }
}

fn temporary_folder(parent: &Path) -> std::io::Result<TempDir> {
    tempfile::Builder::new().prefix(".trefoil-").suffix(".tmp").tempdir_in(parent)
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

/// A file of JSON values, one per line, in the making.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Lines {
    pub(super) fn create(path: PathBuf) -> Result<Self> {
        match File::create(&path) {
            Ok(file) => Ok(Self { path, out: BufWriter::new(file) }),
            Err(source) => Err(Error::Write { path, source }),
        }
    }

    /// Adds a value.
    pub(super) fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let written = serde_json::to_writer(&mut self.out, value).map_err(Into::into);
        let written = written.and_then(|()| self.out.write_all(b"\n"));
        written.map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Writes what is still in memory.
    pub(super) fn finish(mut self) -> Result<()> {
        self.out.flush().map_err(|source| Error::Write { path: self.path, source })
    }
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
