//! Backups: all tables of one moment in one file, from either backend and for either.
//!
//! After eight bytes that name the format come frames: lengths of table name, key and value (four bytes each,
//! little-endian), the three themselves, and the CRC-32C of all that. The last frame has an empty name and, as its
//! key, the number of frames before it; a file without it is not whole.

use std::io::{Read, Write};
use std::path::Path;

use super::{Backend, Result, StoreError, Table};

const MAGIC: &[u8; 8] = b"trefoil\x01";
/// Longest part of a frame.
const LONGEST: usize = 1 << 30;
/// Pairs of a transaction of a restore.
const BATCH: usize = 1000;

fn frame(name: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(16 + name.len() + key.len() + value.len());
    for length in [name.len(), key.len(), value.len()] {
        frame.extend((length as u32).to_le_bytes());
    }
    frame.extend(name.as_bytes());
    frame.extend(key);
    frame.extend(value);
    let sum = crc32c::crc32c(&frame);
    frame.extend(sum.to_le_bytes());
    frame
}

/// Writes a backup. Returns the number of pairs.
///
/// # Errors
/// [`StoreError::File`] with the name `out`, or those of the backend.
pub fn write(backend: &dyn Backend, out: &mut dyn Write) -> Result<u64> {
    let fail = |error: std::io::Error| StoreError::File {
        path: "backup".into(),
        reason: error.to_string(),
    };
    out.write_all(MAGIC).map_err(fail)?;
    let mut count = 0u64;
    backend.snapshot(&mut |table, key, value| {
        count += 1;
        out.write_all(&frame(table.name(), key, value)).map_err(fail)
    })?;
    out.write_all(&frame("", &count.to_le_bytes(), &[])).map_err(fail)?;
    out.flush().map_err(fail)?;
    Ok(count)
}

/// Reads a backup into an empty database: all of it is checked before the first pair is kept. Returns the number of
/// pairs.
///
/// # Errors
/// [`StoreError::File`] when the file is not whole or was changed, [`StoreError::NotEmpty`], or those of the backend.
pub fn restore(backend: &dyn Backend, path: &Path) -> Result<u64> {
    let fail = |reason: String| StoreError::File { path: path.into(), reason };
    let mut count = 0;
    read(path, &mut |_, _, _| Ok(()))?;
    let mut entries = 0;
    backend.snapshot(&mut |table, _, _| {
        entries += usize::from(table != Table::Meta);
        Ok(())
    })?;
    if entries > 0 {
        return Err(StoreError::NotEmpty(entries));
    }
    let mut waiting: Vec<(Table, Vec<u8>, Vec<u8>)> = Vec::new();
    let keep = |waiting: &mut Vec<(Table, Vec<u8>, Vec<u8>)>| {
        backend.write(&mut |transaction| {
            waiting.iter().try_for_each(|(table, key, value)| {
                transaction.put_many(*table, &[(key.clone(), value.clone())])
            })
        })?;
        waiting.clear();
        Ok(())
    };
    read(path, &mut |name, key, value| {
        let table = Table::ALL.iter().find(|table| table.name() == name);
        let table = table.ok_or_else(|| fail(format!("there is no table `{name}`")))?;
        waiting.push((*table, key.to_vec(), value.to_vec()));
        count += 1;
        if waiting.len() == BATCH { keep(&mut waiting) } else { Ok(()) }
    })?;
    keep(&mut waiting)?;
    super::migrate::migrate(backend)?;
    Ok(count)
}

/// What is shown table name, key and value.
type Visit<'a> = &'a mut dyn FnMut(&str, &[u8], &[u8]) -> Result<()>;

/// Shows each pair of a backup, after its checksum was found right.
fn read(path: &Path, visit: Visit<'_>) -> Result<()> {
    let fail = |reason: String| StoreError::File { path: path.into(), reason };
    let cut = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => fail("it ends too early".into()),
        _ => fail(error.to_string()),
    };
    let file = std::fs::File::open(path).map_err(|error| fail(error.to_string()))?;
    let mut file = std::io::BufReader::new(file);
    let mut magic = [0; 8];
    file.read_exact(&mut magic).map_err(cut)?;
    if magic != *MAGIC {
        return Err(fail("it is not a backup of this version".into()));
    }
    let mut count = 0u64;
    loop {
        let mut head = [0; 12];
        file.read_exact(&mut head).map_err(cut)?;
        let length = |part: usize| {
            let bytes = [0, 1, 2, 3].map(|byte| head[4 * part + byte]);
            u32::from_le_bytes(bytes) as usize
        };
        let lengths = [length(0), length(1), length(2)];
        if lengths.iter().any(|length| *length > LONGEST) {
            return Err(fail(format!("entry {count} was changed")));
        }
        let mut frame = head.to_vec();
        let body = lengths.iter().sum::<usize>() + 4;
        (&mut file).take(body as u64).read_to_end(&mut frame).map_err(cut)?;
        if frame.len() != head.len() + body {
            return Err(fail("it ends too early".into()));
        }
        let sum = frame.split_off(frame.len() - 4);
        if crc32c::crc32c(&frame).to_le_bytes() != *sum {
            return Err(fail(format!("entry {count} was changed")));
        }
        let (name, rest) = frame[head.len()..].split_at(lengths[0]);
        let (key, value) = rest.split_at(lengths[1]);
        if name.is_empty() {
            if key != count.to_le_bytes() {
                return Err(fail(format!("it has {count} entries and says otherwise")));
            }
            return Ok(());
        }
        let name = std::str::from_utf8(name).map_err(|error| fail(error.to_string()))?;
        visit(name, key, value)?;
        count += 1;
    }
}
