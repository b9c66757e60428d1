//! Events since the training, in a file that only grows.
//!
//! After eight bytes that name the format come frames: length of the payload, CRC-32C of the length,
//! CRC-32C of the payload (each four bytes, little-endian), and the payload in JSON. A frame that
//! was not finished when a process or a machine stopped can only be the last one; it is cut off and
//! reported. Anything else that does not match its checksum is damage, and is an error.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::events::Record;
use crate::files::write_atomic;
use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"uditsr\x00\x01";
const HEADER: usize = 12;
/// Longest payload; nothing that is written comes near.
const LONGEST: usize = 1 << 24;
const LOCK_TRIES: usize = 30;

/// When an event is on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Before it is acknowledged: it survives a loss of power.
    #[default]
    Sync,
    /// When the operating system likes: it survives the end of the process, but not of the machine.
    Flush,
}

/// What a process may do with the journal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read it and append to it, as the only process that does.
    #[default]
    Append,
    /// Read what is there now, beside a process that appends. Nothing can be recorded.
    Read,
}

/// What was found when the journal was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// Records that were applied again.
    pub records: usize,
    /// Bytes of an unfinished record that were cut off.
    pub cut: u64,
}

/// The file, open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    end: u64,
    durability: Durability,
}

fn frame(record: &Record) -> std::io::Result<Vec<u8>> {
    let payload = serde_json::to_vec(record)?;
    let length = (payload.len() as u32).to_le_bytes();
    let mut frame = length.to_vec();
    frame.extend(crc32c::crc32c(&length).to_le_bytes());
    frame.extend(crc32c::crc32c(&payload).to_le_bytes());
    frame.extend(payload);
    Ok(frame)
}

/// Finds the records, and where the last whole one ends.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Record>, usize)> {
    if bytes.len() < MAGIC.len() && MAGIC.starts_with(bytes) {
        return Ok((Vec::new(), 0));
    }
    if !bytes.starts_with(MAGIC) {
        return Err(Error::format(path, "not a journal of events of this version"));
    }
    let (mut records, mut at) = (Vec::new(), MAGIC.len());
    let number =
        |at: usize| bytes[at..at + 4].iter().rev().fold(0, |n, &byte| n << 8 | u32::from(byte));
    loop {
        let rest = &bytes[at..];
        // After a loss of power the end may have been reserved and not written.
        if rest.len() < HEADER || rest.iter().all(|&byte| byte == 0) {
            return Ok((records, at));
        }
        let damage =
            |what: &str| Error::format(path, format!("the {what} at byte {at} was changed"));
        let length = number(at) as usize;
        if crc32c::crc32c(&rest[..4]) != number(at + 4) || length > LONGEST {
            return Err(damage("length of the record"));
        }
        let Some(payload) = rest.get(HEADER..HEADER + length) else {
            return Ok((records, at));
        };
        if crc32c::crc32c(payload) != number(at + 8) {
            if rest.len() == HEADER + length {
                return Ok((records, at));
            }
            return Err(damage("record"));
        }
        let record =
            serde_json::from_slice(payload).map_err(|e| Error::format(path, e.to_string()))?;
        records.push(record);
        at += HEADER + length;
    }
}

impl Journal {
    /// Opens or creates a journal and reads it. An unfinished end is cut off.
    pub(super) fn open(
        path: &Path,
        durability: Durability,
    ) -> Result<(Self, Vec<Record>, Recovery)> {
        let fail = |source| Error::Write { path: path.into(), source };
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = options.map_err(fail)?;
        lock(&file).map_err(fail)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|source| Error::Read { path: path.into(), source })?;
        let (records, end) = parse(path, &bytes)?;
        let recovery = Recovery { records: records.len(), cut: (bytes.len() - end) as u64 };
        let mut journal = Self { path: path.into(), file, end: end as u64, durability };
        if recovery.cut > 0 {
            journal.truncate().map_err(fail)?;
        }
        if end == 0 {
            journal.write(MAGIC).map_err(fail)?;
            sync_folder(path).map_err(fail)?;
        }
        Ok((journal, records, recovery))
    }

    /// Reads a journal that another process may be appending to; one that is not there has no records.
    pub(super) fn read(path: &Path) -> Result<(Vec<Record>, Recovery)> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            bytes => bytes.map_err(|source| Error::Read { path: path.into(), source })?,
        };
        let (records, end) = parse(path, &bytes)?;
        let recovery = Recovery { records: records.len(), cut: (bytes.len() - end) as u64 };
        Ok((records, recovery))
    }

    fn truncate(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.sync_all()
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(bytes)?;
        if self.durability == Durability::Sync {
            self.file.sync_data()?;
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Appends records: all of them or, if that fails, none.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<()> {
        let frames: std::io::Result<Vec<Vec<u8>>> = records.iter().map(frame).collect();
        let written = frames.and_then(|frames| self.write(&frames.concat()));
        written.map_err(|source| {
            // The error to report is that of the write; the next opening cuts what this could not.
            let _ = self.truncate();
            Error::Write { path: self.path.clone(), source }
        })
    }

    /// Replaces all records, in one step.
    pub(super) fn rewrite(&mut self, records: &[Record]) -> Result<()> {
        let fail = |source| Error::Write { path: self.path.clone(), source };
        let frames: std::io::Result<Vec<Vec<u8>>> = records.iter().map(frame).collect();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(frames.map_err(fail)?.concat());
        write_atomic(&self.path, &bytes)?;
        sync_folder(&self.path).map_err(fail)?;
        let file = OpenOptions::new().read(true).write(true).open(&self.path).map_err(fail)?;
        lock(&file).map_err(fail)?;
        (self.file, self.end) = (file, bytes.len() as u64);
        Ok(())
    }
}

/// Keeps other processes from appending, since two that do would damage the file. A lock may outlive
/// its owner for a moment, in a process that the owner is starting, so it is tried more than once.
fn lock(file: &File) -> std::io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
    Err(std::io::Error::other("it is in use by another process"))
}

/// Makes sure that a new name in a folder stays.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if cfg!(unix) { File::open(parent.unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recommender::Event;

    fn record(n: u64) -> Record {
        let event = Event {
            user: format!("u{n}"),
            item: "i".to_owned(),
            time: n as i64,
            ..Event::default()
        };
        Record::Event { id: n, event }
    }

    fn reopen(path: &Path) -> Result<(Vec<Record>, Recovery)> {
        let (_, records, recovery) = Journal::open(path, Durability::Flush)?;
        Ok((records, recovery))
    }

    #[test]
    fn a_journal_cut_at_any_byte_keeps_all_whole_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut ends = vec![MAGIC.len()];
        {
            let mut journal = Journal::open(&path, Durability::Flush).unwrap().0;
            for n in 0..4 {
                journal.append(&[record(n)]).unwrap();
                ends.push(journal.end as usize);
            }
        }
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), ends[4]);
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
            let (records, recovery) = reopen(&path).unwrap();
            assert_eq!(records, (0..whole as u64).map(record).collect::<Vec<_>>(), "{cut}");
            let kept = if cut < MAGIC.len() { 0 } else { ends[whole] };
            assert_eq!(recovery.cut, (cut - kept) as u64);
            // What was cut is gone, and the journal goes on after it.
            Journal::open(&path, Durability::Sync).unwrap().0.append(&[record(9)]).unwrap();
            let (records, recovery) = reopen(&path).unwrap();
            assert_eq!((records.len(), recovery.cut), (whole + 1, 0), "{cut}");
        }
    }

    #[test]
    fn a_changed_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        Journal::open(&path, Durability::Flush).unwrap().0.append(&[record(0), record(1)]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - frame(&record(1)).unwrap().len();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            std::fs::write(&path, &changed).unwrap();
            match reopen(&path) {
                Err(error) => assert!(matches!(error, Error::Format { .. }), "{error}"),
                // The payload of the last record may have been under way.
                Ok((records, recovery)) => {
                    assert!(at >= last + 8 && records == [record(0)] && recovery.cut > 0, "{at}");
                }
            }
        }
    }

    #[test]
    fn a_journal_has_one_owner_and_can_be_rewritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, ..) = Journal::open(&path, Durability::Sync).unwrap();
        assert!(matches!(reopen(&path), Err(Error::Write { .. })));
        journal.append(&[record(0), record(1)]).unwrap();
        journal.rewrite(&[record(1)]).unwrap();
        journal.append(&[record(2)]).unwrap();
        assert!(matches!(reopen(&path), Err(Error::Write { .. })));
        drop(journal);
        assert_eq!(reopen(&path).unwrap().0, [record(1), record(2)]);
    }
}
