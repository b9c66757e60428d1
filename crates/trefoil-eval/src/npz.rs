//! Archives of arrays as numpy writes them: a zip file of `.npy` files, stored or deflated.
//!
//! Formats: the appnote of PKWARE (without encryption, spanning and files above 4 GiB) and
//! `numpy.lib.format`, versions 1 to 3, with little-endian numbers.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::Crc;
use flate2::read::DeflateDecoder;

/// Largest array that is read, in bytes: far above the 32 MiB of a 2048x2048 covariance.
const MAX_ARRAY: usize = 1 << 30;
/// Signature of the record before an entry.
const LOCAL: u32 = 0x0403_4b50;
/// Signature of a record in the list of entries.
const CENTRAL: u32 = 0x0201_4b50;
/// Signature of the record at the end.
const END: u32 = 0x0605_4b50;
/// Bytes of the record at the end.
const END_BYTES: usize = 22;
/// Most bytes of a comment after it.
const COMMENT: usize = 65_535;

/// What is wrong with a file.
type Result<T> = std::result::Result<T, String>;

/// An array in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

impl Array {
    /// Fails unless it has a shape; `name` is for the message.
    pub(crate) fn expect(&self, name: &str, shape: &[usize]) -> Result<()> {
        if self.shape == shape && !self.values.is_empty() {
            return Ok(());
        }
        Err(format!("array `{name}`: expected shape {shape:?}, found {:?}", self.shape))
    }

    /// The first value.
    pub(crate) fn first(&self) -> f64 {
        self.values.first().copied().unwrap_or_default()
    }
}

/// The entries of an archive, compressed as they are.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    entries: BTreeMap<String, Entry<'a>>,
}

#[derive(Debug)]
struct Entry<'a> {
    deflated: bool,
    checksum: u32,
    size: usize,
    bytes: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl<'a> Archive<'a> {
    /// Reads the list of entries.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self> {
        let broken = || "not an .npz archive: no list of entries".to_string();
        let first = bytes.len().saturating_sub(END_BYTES + COMMENT);
        let last = bytes.len().checked_sub(END_BYTES).ok_or_else(broken)?;
        let is_end = |at: &usize| u32_at(bytes, *at) == Some(END);
        let end = (first..=last).rev().find(is_end).ok_or_else(broken)?;
        let count = u16_at(bytes, end + 10).ok_or_else(broken)?;
        let mut at = u32_at(bytes, end + 16).ok_or_else(broken)? as usize;
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let (name, entry, next) = Self::entry(bytes, at)
                .ok_or_else(|| format!("not an .npz archive: damaged entry at byte {at}"))?;
            entries.insert(name, entry);
            at = next;
        }
        Ok(Self { entries })
    }

    /// One record of the list: name, entry, and where the next record begins.
    fn entry(bytes: &'a [u8], at: usize) -> Option<(String, Entry<'a>, usize)> {
        (u32_at(bytes, at)? == CENTRAL).then_some(())?;
        let (flags, method) = (u16_at(bytes, at + 8)?, u16_at(bytes, at + 10)?);
        ((method == 0 || method == 8) && flags & 1 == 0).then_some(())?;
        let checksum = u32_at(bytes, at + 16)?;
        let [packed, size] = [u32_at(bytes, at + 20)? as usize, u32_at(bytes, at + 24)? as usize];
        let lengths = [28, 30, 32].map(|place| u16_at(bytes, at + place));
        let [name, extra, comment] = [lengths[0]?, lengths[1]?, lengths[2]?];
        let local = u32_at(bytes, at + 42)? as usize;
        let text = std::str::from_utf8(bytes.get(at + 46..at + 46 + name)?).ok()?;
        (u32_at(bytes, local)? == LOCAL).then_some(())?;
        let data = local + 30 + u16_at(bytes, local + 26)? + u16_at(bytes, local + 28)?;
        let bytes = bytes.get(data..data.checked_add(packed)?)?;
        let entry = Entry { deflated: method == 8, checksum, size, bytes };
        Some((text.to_string(), entry, at + 46 + name + extra + comment))
    }

    /// An array by name, or `None` when there is none.
    pub(crate) fn array(&self, name: &str) -> Result<Option<Array>> {
        let Some(entry) = self.entries.get(&format!("{name}.npy")) else { return Ok(None) };
        let named = |reason: String| format!("array `{name}`: {reason}");
        let bytes = entry.contents().map_err(named)?;
        decode(&bytes).map(Some).map_err(named)
    }
}

impl Entry<'_> {
    fn contents(&self) -> Result<Vec<u8>> {
        if self.size > MAX_ARRAY {
            return Err(format!("{} bytes are more than {MAX_ARRAY}", self.size));
        }
        let mut bytes = Vec::new();
        if self.deflated {
            let limit = self.size as u64 + 1;
            let outcome = DeflateDecoder::new(self.bytes).take(limit).read_to_end(&mut bytes);
            outcome.map_err(|e| e.to_string())?;
        } else {
            bytes.extend_from_slice(self.bytes);
        }
        let mut sum = Crc::new();
        sum.update(&bytes);
        if bytes.len() == self.size && sum.sum() == self.checksum {
            Ok(bytes)
        } else {
            Err("damaged: another length or checksum than its entry says".into())
        }
    }
}

/// An `.npy` file.
fn decode(bytes: &[u8]) -> Result<Array> {
    let broken = || "not an .npy file".to_string();
    let version = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', version, ..] => *version,
        _ => return Err(broken()),
    };
    let (start, length) = match version {
        1 => (10, u16_at(bytes, 8)),
        2 | 3 => (12, u32_at(bytes, 8).map(|n| n as usize)),
        _ => return Err(format!("version {version} of .npy files is not known")),
    };
    let length = length.ok_or_else(broken)?;
    let header = bytes.get(start..start + length).ok_or_else(broken)?;
    let header = std::str::from_utf8(header).map_err(|_| broken())?;
    let field = |name: &str| {
        let (_, rest) = header.split_once(&format!("'{name}':"))?;
        Some(rest.trim_start())
    };
    let kind = field("descr").and_then(|text| text.strip_prefix('\'')?.split('\'').next());
    let shape = field("shape").and_then(|text| text.strip_prefix('(')?.split(')').next());
    let by_columns = field("fortran_order").map(|text| text.starts_with("True"));
    let (Some(kind), Some(shape), Some(by_columns)) = (kind, shape, by_columns) else {
        return Err(format!("header without type, order or shape: {}", header.trim()));
    };
    let sizes = shape.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::parse);
    let mut shape = sizes
        .collect::<std::result::Result<Vec<usize>, _>>()
        .map_err(|_| format!("shape ({shape}) is not one of numbers"))?;
    let data = &bytes[start + length..];
    let mut values = numbers(kind, data)?;
    if shape.iter().try_fold(1, |n: usize, &size| n.checked_mul(size)) != Some(values.len()) {
        return Err(format!("{} values of type {kind} for shape {shape:?}", values.len()));
    }
    if let (true, [rows, columns]) = (by_columns, &shape[..]) {
        values = (0..values.len()).map(|i| values[i % columns * rows + i / columns]).collect();
    }
    if shape.is_empty() {
        shape.push(1);
    }
    Ok(Array { shape, values })
}

/// Numbers of one of the types that statistics have.
fn numbers(kind: &str, data: &[u8]) -> Result<Vec<f64>> {
    fn words<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks::<N>().0.iter().map(|word| read(*word)).collect()
    }
    match kind {
        "<f8" => Ok(words(data, f64::from_le_bytes)),
        "<f4" => Ok(words(data, |word| f32::from_le_bytes(word).into())),
        "<i8" => Ok(words(data, |word| i64::from_le_bytes(word) as f64)),
        "<i4" => Ok(words(data, |word| i32::from_le_bytes(word).into())),
        "|u1" => Ok(data.iter().map(|&byte| byte.into()).collect()),
        _ => Err(format!("expected numbers of type <f8, <f4, <i8, <i4 or |u1, found {kind}")),
    }
}

/// Values that can be written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Values<'a> {
    Double(&'a [f64]),
    Single(&'a [f32]),
    Integer(&'a [i64]),
    Byte(&'a [u8]),
}

impl Values<'_> {
    fn encode(self, shape: &[usize]) -> Vec<u8> {
        let (kind, data): (&str, Vec<u8>) = match self {
            Self::Double(values) => ("<f8", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Self::Single(values) => ("<f4", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Self::Integer(values) => ("<i8", values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Self::Byte(values) => ("|u1", values.to_vec()),
        };
        let sizes: Vec<String> = shape.iter().map(|size| format!("{size}, ")).collect();
        let sizes = sizes.concat();
        let mut header =
            format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sizes}), }}");
        // Numbers begin at a multiple of 64 bytes, after a line feed.
        header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
        header.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.into_bytes());
        bytes.extend(data);
        bytes
    }
}

/// Writes archives, without compression as `numpy.savez` does.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    list: Vec<u8>,
    count: u16,
}

impl Writer {
    /// Adds an array. An archive may have up to 4 GiB.
    pub(crate) fn add(&mut self, name: &str, shape: &[usize], values: Values<'_>) {
        let contents = values.encode(shape);
        let mut sum = Crc::new();
        sum.update(&contents);
        let name = format!("{name}.npy").into_bytes();
        let place = self.bytes.len() as u32;
        // Version, flags, method, and the first day that the format knows.
        let mut common: Vec<u8> = [20_u16, 0, 0, 0, 0x21].map(u16::to_le_bytes).concat();
        let size = contents.len() as u32;
        common.extend([sum.sum(), size, size].map(u32::to_le_bytes).concat());
        common.extend([name.len() as u16, 0].map(u16::to_le_bytes).concat());

        self.bytes.extend(LOCAL.to_le_bytes());
        self.bytes.extend(&common);
        self.bytes.extend(&name);
        self.bytes.extend(contents);
        self.list.extend(CENTRAL.to_le_bytes());
        self.list.extend(20_u16.to_le_bytes());
        self.list.extend(common);
        // Comment, disk, attributes.
        self.list.extend([0; 10]);
        self.list.extend(place.to_le_bytes());
        self.list.extend(name);
        self.count += 1;
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let (place, size) = (self.bytes.len() as u32, self.list.len() as u32);
        self.bytes.extend(self.list);
        self.bytes.extend(END.to_le_bytes());
        self.bytes.extend([0, 0, self.count, self.count].map(u16::to_le_bytes).concat());
        self.bytes.extend([size, place].map(u32::to_le_bytes).concat());
        self.bytes.extend([0; 2]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_come_back_and_damage_is_noticed() {
        let mut writer = Writer::default();
        writer.add("a", &[2, 3], Values::Double(&[1., 2., 3., 4., 5., 6.]));
        writer.add("b", &[2], Values::Byte(b"xy"));
        writer.add("c", &[1], Values::Integer(&[-3]));
        let bytes = writer.finish();
        let archive = Archive::open(&bytes).unwrap();
        let a = archive.array("a").unwrap().unwrap();
        assert_eq!((a.shape, a.values), (vec![2, 3], vec![1., 2., 3., 4., 5., 6.]));
        assert_eq!(archive.array("b").unwrap().unwrap().values, [120.0, 121.0]);
        assert_eq!(archive.array("c").unwrap().unwrap().first(), -3.0);
        assert_eq!(archive.array("d").unwrap(), None);

        let mut damaged = bytes.clone();
        damaged[150] ^= 1; // a number of `a`
        let archive = Archive::open(&damaged).unwrap();
        assert!(archive.array("a").unwrap_err().contains("checksum"));
        // Whatever is cut off or changed, there is an answer.
        for length in 0..bytes.len() {
            assert!(Archive::open(&bytes[..length]).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] = !changed[at];
            if let Ok(archive) = Archive::open(&changed) {
                let _ = archive.array("a");
            }
        }
    }
}
