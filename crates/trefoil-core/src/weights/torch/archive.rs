//! The directory of a zip archive whose entries are stored as they are, as PyTorch writes it.
//!
//! PKWARE, *.ZIP File Format Specification*, sections 4.3 and 4.5.3 (zip64).

use std::collections::BTreeMap;
use std::ops::Range;

/// First bytes of an archive.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

pub(super) const END: &[u8] = b"PK\x05\x06";
const END_LENGTH: usize = 22;
/// Longest comment after the end record.
const LONGEST_COMMENT: usize = 65_535;
pub(super) const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_LENGTH: usize = 20;
pub(super) const END64: &[u8] = b"PK\x06\x06";
pub(super) const CENTRAL: &[u8] = b"PK\x01\x02";
const CENTRAL_LENGTH: usize = 46;
const LOCAL_LENGTH: usize = 30;
/// A 32-bit field that says "see the zip64 field".
pub(super) const SEE_64: u64 = 0xffff_ffff;

/// Where each entry lies in the file; nothing for one that is compressed or encrypted.
#[derive(Debug)]
pub(super) struct Entries(BTreeMap<String, Option<Range<usize>>>);

impl Entries {
    /// All names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Where an entry lies.
    ///
    /// # Errors
    /// When there is none, or when it is not stored as it is.
    pub(super) fn find(&self, name: &str) -> Result<Range<usize>, String> {
        match self.0.get(name) {
            Some(Some(range)) => Ok(range.clone()),
            Some(None) => Err(format!("entry `{name}` of the archive is compressed or encrypted")),
            None => Err(format!("the archive has no entry `{name}`")),
        }
    }
}

/// Reads the directory at the end of the file.
///
/// # Errors
/// What is wrong with it.
pub(super) fn entries(bytes: &[u8]) -> Result<Entries, String> {
    let (count, start) = directory(bytes).ok_or("the directory of the archive is missing")?;
    let mut at = start;
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let (name, range, next) = entry(bytes, at)?;
        entries.insert(name, range);
        at = next;
    }
    Ok(Entries(entries))
}

/// Number of entries and place of the first one in the directory.
fn directory(bytes: &[u8]) -> Option<(u64, usize)> {
    let lowest = bytes.len().saturating_sub(END_LENGTH + LONGEST_COMMENT);
    let last = bytes.len().checked_sub(END_LENGTH)?;
    let end = (lowest..=last).rev().find(|&at| bytes[at..].starts_with(END))?;
    let locator = end.checked_sub(LOCATOR_LENGTH).filter(|&at| bytes[at..].starts_with(LOCATOR));
    if let Some(locator) = locator {
        let end64 = usize::try_from(number::<8>(bytes, locator + 8)?).ok()?;
        if bytes.get(end64..)?.starts_with(END64) {
            let start = usize::try_from(number::<8>(bytes, end64.checked_add(48)?)?).ok()?;
            return Some((number::<8>(bytes, end64 + 32)?, start));
        }
    }
    Some((number::<2>(bytes, end + 10)?, number::<4>(bytes, end + 16)? as usize))
}

/// Name and bytes of the entry that the directory describes at `at`, and where the next one is described.
fn entry(bytes: &[u8], at: usize) -> Result<(String, Option<Range<usize>>, usize), String> {
    let damaged = || format!("the directory of the archive is damaged at byte {at}");
    let header = bytes.get(at..).and_then(|rest| rest.get(..CENTRAL_LENGTH)).ok_or_else(damaged)?;
    if !header.starts_with(CENTRAL) {
        return Err(damaged());
    }
    let field = |place| number::<2>(header, place).unwrap_or(0) as usize;
    let wide = |place| number::<4>(header, place).unwrap_or(0);
    let name_at = at + CENTRAL_LENGTH;
    let extra_at = name_at + field(28);
    let next = extra_at + field(30) + field(32);
    let name = bytes.get(name_at..extra_at).ok_or_else(damaged)?;
    let name = String::from_utf8_lossy(name).into_owned();
    let extra = bytes.get(extra_at..extra_at + field(30)).ok_or_else(damaged)?;
    let (mut packed, mut size, mut local) = (wide(20), wide(24), wide(42));
    let mut wide_fields = zip64(extra).unwrap_or_default();
    for value in [&mut size, &mut packed, &mut local] {
        if *value == SEE_64 {
            let (number, rest) = wide_fields.split_first_chunk::<8>().ok_or_else(damaged)?;
            *value = u64::from_le_bytes(*number);
            wide_fields = rest;
        }
    }
    let is_plain = field(10) == 0 && packed == size && field(8) & 1 == 0;
    if !is_plain {
        return Ok((name, None, next));
    }
    // The local header repeats the name and has padding of its own.
    let local = usize::try_from(local).map_err(|_| damaged())?;
    let skip = |place: usize| number::<2>(bytes, local.checked_add(place)?);
    let start = skip(26)
        .zip(skip(28))
        .and_then(|(name, extra)| local.checked_add(LOCAL_LENGTH + (name + extra) as usize))
        .filter(|_| bytes.get(local..).is_some_and(|rest| rest.starts_with(MAGIC)))
        .ok_or_else(damaged)?;
    let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size));
    let end = end.filter(|end| *end <= bytes.len()).ok_or_else(damaged)?;
    Ok((name, Some(start..end), next))
}

/// The body of the zip64 field among the extra fields.
fn zip64(mut extra: &[u8]) -> Option<&[u8]> {
    loop {
        let (id, length) = (number::<2>(extra, 0)?, number::<2>(extra, 2)? as usize);
        let body = extra.get(4..4 + length)?;
        if id == 1 {
            return Some(body);
        }
        extra = &extra[4 + length..];
    }
}

/// A little-endian number of `N` bytes.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(bytes.get(at..)?.first_chunk::<N>()?);
    Some(u64::from_le_bytes(wide))
}
