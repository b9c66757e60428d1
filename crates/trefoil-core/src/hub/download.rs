//! Fetching a model into the shared cache.
//!
//! A file is kept once under the name of its content, `blobs/ETAG`, and appears in `snapshots/COMMIT` as a link. What has
//! arrived of it waits in `blobs/ETAG.incomplete`, from where the next attempt goes on. A lock is held
//! meanwhile, at the place where the Python libraries have theirs, so that a file is fetched once.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::choice::wanted;
use super::remote::{Failure, Hub, is_safe};
use super::{HubCache, HubId};
use crate::error::{Error, Result};
use crate::fs;

/// How far a download is.
#[derive(Debug, Clone, Copy)]
pub struct Fetching<'a> {
    /// The file, as the repository names it.
    pub file: &'a str,
    /// Its place among those that are fetched, and their number.
    pub place: [usize; 2],
    /// Bytes that are here, and all bytes where the Hub says how many.
    pub bytes: (u64, Option<u64>),
}

type OnProgress<'a> = &'a mut dyn FnMut(Fetching<'_>);

impl Hub {
    /// Makes sure that a revision of a model is in the cache and returns its folder. What is there is not fetched again,
    /// and what was begun is continued.
    ///
    /// # Errors
    /// [`Error::Hub`] with the address when the Hub refuses or stays silent; [`Error::Format`] when what arrived is not
    /// what it should be; [`Error::Write`].
    pub fn pull(
        &self,
        cache: &HubCache,
        id: &HubId,
        on_progress: OnProgress<'_>,
    ) -> Result<PathBuf> {
        let listing = self.list(id)?;
        let commit = listing.sha.as_str();
        if commit.is_empty() || !commit.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let reason = format!("expected the name of a commit, found `{commit}`");
            return Err(Error::Hub { url: id.to_string(), reason });
        }
        let root = cache.folder(id);
        let snapshot = root.join("snapshots").join(commit);
        let names = listing.files();
        if let Some(name) = names.iter().find(|name| !is_safe(name)) {
            let reason = format!("the name `{name}` leads out of the folder");
            return Err(Error::Hub { url: id.to_string(), reason });
        }
        let files = wanted(&names);
        if files.is_empty() {
            let reason = "the repository has no files".to_string();
            return Err(Error::Hub { url: id.to_string(), reason });
        }
        for (i, file) in files.iter().enumerate() {
            let target = snapshot.join(file);
            // A link whose blob is gone is no file.
            if target.is_file() {
                continue;
            }
            let facts = self.facts(id, commit, file)?;
            let blob = root.join("blobs").join(&facts.etag);
            let _lock = lock(cache, id, &facts.etag)?;
            if !blob.is_file() {
                let mut report = |here| {
                    let bytes = (here, facts.size);
                    on_progress(Fetching { file, place: [i + 1, files.len()], bytes });
                };
                self.fetch(id, (commit, file), (&blob, facts.size), &mut report)?;
            }
            link(&blob, &target, file.split('/').count() + 1)?;
        }
        // Last, so that the revision is found when it is complete.
        let reference = root.join("refs").join(id.revision());
        if id.revision() != commit {
            create_parent(&reference)?;
            fs::write_atomic(&reference, |out| out.write_all(commit.as_bytes()))?;
        }
        Ok(snapshot)
    }

    /// Brings a file to its end and gives it its name.
    fn fetch(
        &self,
        id: &HubId,
        file: (&str, &str),
        (blob, size): (&Path, Option<u64>),
        report: &mut dyn FnMut(u64),
    ) -> Result<()> {
        create_parent(blob)?;
        let mut partial = blob.as_os_str().to_owned();
        partial.push(".incomplete");
        let partial = PathBuf::from(partial);
        self.retry(|| self.append(id, file, (&partial, size), report))?;
        if let Err(error) = check(&partial, blob, size) {
            // Nothing to go on from.
            let _ = std::fs::remove_file(&partial);
            return Err(error);
        }
        std::fs::rename(&partial, blob).map_err(|source| Error::Write { path: blob.into(), source })
    }

    /// One request: goes on where the file ends.
    fn append(
        &self,
        id: &HubId,
        file: (&str, &str),
        (partial, size): (&Path, Option<u64>),
        report: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let fail = |source| Error::Write { path: partial.into(), source };
        // Not truncated: what is there is what was fetched before.
        let mut out = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(partial)
            .map_err(fail)?;
        let mut here = out.seek(SeekFrom::End(0)).map_err(fail)?;
        if size.is_some_and(|size| here > size) {
            out.set_len(0).map_err(fail)?;
            here = out.seek(SeekFrom::Start(0)).map_err(fail)?;
        }
        if size == Some(here) {
            return Ok(());
        }
        let Some(mut part) = self.read(id, file, here)? else {
            out.set_len(0).map_err(fail)?;
            let reason = format!("there is nothing after byte {here}");
            let error = Error::Hub { url: file.1.into(), reason };
            return Err(Failure::Broken { error, progress: false });
        };
        if part.start != here {
            out.set_len(part.start).map_err(fail)?;
            here = out.seek(SeekFrom::Start(part.start)).map_err(fail)?;
        }
        let begin = here;
        let mut buffer = vec![0; 1 << 16];
        let reason = loop {
            match part.bytes.read(&mut buffer) {
                Ok(0) => break "the connection ended".to_string(),
                Ok(n) => {
                    out.write_all(&buffer[..n]).map_err(fail)?;
                    here += n as u64;
                    report(here);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => break error.to_string(),
            }
        };
        out.sync_all().map_err(fail)?;
        if size.is_none_or(|size| here == size) && reason == "the connection ended" {
            return Ok(());
        }
        let found = size.map_or_else(String::new, |size| format!(" at byte {here} of {size}"));
        let error = Error::Hub { url: file.1.into(), reason: format!("{reason}{found}") };
        Err(Failure::Broken { error, progress: here > begin })
    }
}

/// Whether a file has the length and, where its name says it, the SHA-256 that it must have.
fn check(path: &Path, blob: &Path, size: Option<u64>) -> Result<()> {
    let fail = |source| Error::Read { path: path.into(), source };
    let mut file = File::open(path).map_err(fail)?;
    let found = file.metadata().map_err(fail)?.len();
    if let Some(size) = size.filter(|&size| size != found) {
        return Err(Error::format(path, format!("expected {size} bytes, found {found}")));
    }
    let expected = blob.file_name().unwrap_or_default().to_string_lossy();
    if expected.len() != 64 {
        return Ok(());
    }
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(fail)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == expected {
        Ok(())
    } else {
        Err(Error::format(path, format!("expected content with SHA-256 {expected}, found {found}")))
    }
}

/// The lock of a blob, at the place where the Python libraries have theirs; it is released when it is dropped.
fn lock(cache: &HubCache, id: &HubId, etag: &str) -> Result<File> {
    let folder = cache.locks(id);
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{etag}.lock"));
    let fail = |source| Error::Write { path: path.clone(), source };
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(fail)?;
    file.lock().map_err(fail)?;
    Ok(file)
}

/// Makes the blob appear in the snapshot, `depth` folders below the model's.
fn link(blob: &Path, target: &Path, depth: usize) -> Result<()> {
    let fail = |source| Error::Write { path: target.into(), source };
    create_parent(target)?;
    if target.is_symlink() {
        std::fs::remove_file(target).map_err(fail)?;
    }
    let name = blob.file_name().unwrap_or_default();
    let mut relative: PathBuf = std::iter::repeat_n("..", depth).collect();
    relative.extend(["blobs".as_ref(), name]);
    symlink(&relative, target).or_else(|_| std::fs::copy(blob, target).map(drop)).map_err(fail)
}

#[cfg(unix)]
fn symlink(to: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

fn create_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}
