//! Writing PyTorch's files: a zip archive of a pickle that describes the tensors and of their numbers.
//!
//! The pickle is of protocol 2 and names nothing but an ordered dictionary, `torch._utils._rebuild_tensor_v2` and one
//! class of storages, so that `torch.load` opens the file with `weights_only=True`.

use std::io::{Error as IoError, ErrorKind, Result as IoResult, Write};
use std::path::Path;

use super::archive::{CENTRAL, END, END64, LOCATOR, MAGIC, SEE_64};
use crate::error::Result;
use crate::fs;
use crate::weights::save::encoded;
use crate::weights::{Precision, Store};

/// Numbers begin at multiples of this, as PyTorch puts them, so that a mapped file has them aligned.
const ALIGNMENT: usize = 64;
/// The extra field that fills up the space before them.
const PADDING: [u8; 2] = *b"FB";
/// A field of 16 bits that says "see the zip64 record".
const SEE_64_SHORT: u16 = u16::MAX;

/// Writes tensors to a file of `torch.save`, atomically, in the given precision.
///
/// # Errors
/// [`crate::Error::Write`], [`crate::Error::NonFinite`] when a number does not survive the conversion, or [`crate::Error::Format`] when
/// a tensor has no floats or a name is too long.
pub fn save_torch<T: Store>(
    path: &Path,
    tensors: &[(String, T)],
    precision: Precision,
) -> Result<()> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let pickle = pickle(tensors, precision);
    let mut refused = None;
    let written = fs::write_atomic(path, |out| {
        let mut archive = Archive { out, at: 0, entries: Vec::new() };
        archive.add(&format!("{stem}/data.pkl"), &pickle)?;
        archive.add(&format!("{stem}/byteorder"), b"little")?;
        for (i, (name, tensor)) in tensors.iter().enumerate() {
            let bytes = encoded(path, name, tensor, precision).map_err(|error| {
                refused = Some(error);
                IoError::from(ErrorKind::InvalidData)
            })?;
            archive.add(&format!("{stem}/data/{i}"), &bytes)?;
        }
        archive.add(&format!("{stem}/version"), b"3\n")?;
        archive.finish()
    });
    match refused {
        Some(error) => Err(error),
        None => written,
    }
}

/// An ordered dictionary from names to tensors, each the whole of a storage of its own.
fn pickle<T: Store>(tensors: &[(String, T)], precision: Precision) -> Vec<u8> {
    let storage = match precision {
        Precision::F32 => "FloatStorage",
        Precision::F16 => "HalfStorage",
        Precision::Bf16 => "BFloat16Storage",
    };
    let mut out = Vec::from(*b"\x80\x02");
    ordered_dictionary(&mut out);
    out.push(b'(');
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        let shape = tensor.shape();
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis].max(1);
        }
        text(&mut out, name);
        global(&mut out, "torch._utils", "_rebuild_tensor_v2");
        out.extend(b"((");
        text(&mut out, "storage");
        global(&mut out, "torch", storage);
        text(&mut out, &i.to_string());
        text(&mut out, "cpu");
        integer(&mut out, shape.iter().product());
        out.extend(b"tQ");
        integer(&mut out, 0);
        for numbers in [&shape, &strides] {
            out.push(b'(');
            for &number in numbers {
                integer(&mut out, number);
            }
            out.push(b't');
        }
        // No gradient, no hooks.
        out.push(b'\x89');
        ordered_dictionary(&mut out);
        out.extend(b"tR");
    }
    out.extend(b"u.");
    out
}

fn ordered_dictionary(out: &mut Vec<u8>) {
    global(out, "collections", "OrderedDict");
    out.extend(b")R");
}

fn global(out: &mut Vec<u8>, module: &str, name: &str) {
    out.extend(format!("c{module}\n{name}\n").bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.bytes());
}

/// The shortest opcode for a non-negative integer.
fn integer(out: &mut Vec<u8>, number: usize) {
    if let Ok(byte) = u8::try_from(number) {
        out.extend([b'K', byte]);
    } else if let Ok(number) = i32::try_from(number) {
        out.push(b'J');
        out.extend(number.to_le_bytes());
    } else {
        out.extend(b"\x8a\x08");
        out.extend((number as u64).to_le_bytes());
    }
}

/// A zip archive of stored entries that is being written.
struct Archive<'a> {
    out: &'a mut dyn Write,
    at: u64,
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    crc: u32,
    size: u32,
    offset: u64,
}

impl Archive<'_> {
    fn write(&mut self, bytes: &[u8]) -> IoResult<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn add(&mut self, name: &str, bytes: &[u8]) -> IoResult<()> {
        let too_large =
            |()| IoError::new(ErrorKind::InvalidInput, format!("`{name}` is too large"));
        let size = u32::try_from(bytes.len()).ok().filter(|&size| u64::from(size) < SEE_64);
        let size = size.ok_or(()).map_err(too_large)?;
        let length = u16::try_from(name.len()).map_err(|_| too_large(()))?;
        let entry = Entry { name: name.into(), crc: crc32fast::hash(bytes), size, offset: self.at };
        let mut header = Vec::from(MAGIC);
        entry.common(&mut header);
        let start = self.at as usize + header.len() + 4 + name.len() + 4;
        let padding = start.next_multiple_of(ALIGNMENT) - start;
        header.extend(length.to_le_bytes());
        header.extend((padding as u16 + 4).to_le_bytes());
        header.extend(name.bytes());
        header.extend(PADDING);
        header.extend((padding as u16).to_le_bytes());
        header.extend(std::iter::repeat_n(b'Z', padding));
        self.write(&header)?;
        self.write(bytes)?;
        self.entries.push(entry);
        Ok(())
    }

    /// The directory, and where it is.
    fn finish(mut self) -> IoResult<()> {
        let start = self.at;
        for entry in std::mem::take(&mut self.entries) {
            let extra = if entry.offset < SEE_64 {
                Vec::new()
            } else {
                [&[1, 0, 8, 0][..], &entry.offset.to_le_bytes()].concat()
            };
            let mut header = Vec::from(CENTRAL);
            header.extend([0, 0]);
            entry.common(&mut header);
            header.extend((entry.name.len() as u16).to_le_bytes());
            header.extend((extra.len() as u16).to_le_bytes());
            // No comment, the first disk, no attributes.
            header.extend([0; 10]);
            header.extend((entry.offset.min(SEE_64) as u32).to_le_bytes());
            header.extend(entry.name.bytes());
            header.extend(extra);
            self.entries.push(entry);
            self.write(&header)?;
        }
        let (count, end) = (self.entries.len() as u64, self.at);
        if start >= SEE_64 || count >= u64::from(SEE_64_SHORT) {
            let mut record = Vec::from(END64);
            record.extend(44_u64.to_le_bytes());
            record.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            record.extend([count, count, end - start, start].map(u64::to_le_bytes).concat());
            record.extend(LOCATOR);
            record.extend([0; 4]);
            record.extend(end.to_le_bytes());
            record.extend(1_u32.to_le_bytes());
            self.write(&record)?;
        }
        let mut record = Vec::from(END);
        record.extend([0; 4]);
        let short = count.min(u64::from(SEE_64_SHORT)) as u16;
        record.extend([short, short].map(u16::to_le_bytes).concat());
        record.extend([end - start, start.min(SEE_64)].map(|n| (n as u32).to_le_bytes()).concat());
        record.extend([0, 0]);
        self.write(&record)
    }
}

impl Entry {
    /// What both headers of an entry have: version 2.0, no flags, stored, 1980-01-01, checksum, size twice.
    fn common(&self, out: &mut Vec<u8>) {
        out.extend([20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
        out.extend([self.crc, self.size, self.size].map(u32::to_le_bytes).concat());
    }
}
