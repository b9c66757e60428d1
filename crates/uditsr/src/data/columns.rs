//! Columns of numbers in safetensors files.

use std::borrow::Cow;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, View};

use crate::{Csr, Error, Interactions, Result};

/// A tensor of integers to be written; bytes are made when its turn comes.
pub(super) struct Column<'a> {
    shape: Vec<usize>,
    numbers: Numbers<'a>,
}

enum Numbers<'a> {
    U32(Cow<'a, [u32]>),
    I64(&'a [i64]),
}

impl View for Column<'_> {
    fn dtype(&self) -> Dtype {
        match self.numbers {
            Numbers::U32(_) => Dtype::U32,
            Numbers::I64(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        match &self.numbers {
            Numbers::U32(numbers) => {
                numbers.iter().for_each(|n| bytes.extend_from_slice(&n.to_le_bytes()));
            }
            Numbers::I64(numbers) => {
                numbers.iter().for_each(|n| bytes.extend_from_slice(&n.to_le_bytes()));
            }
        }
        bytes.into()
    }

    fn data_len(&self) -> usize {
        match &self.numbers {
            Numbers::U32(numbers) => numbers.len() * 4,
            Numbers::I64(numbers) => numbers.len() * 8,
        }
    }
}

/// Tensors by name.
#[derive(Default)]
pub(super) struct Columns<'a>(Vec<(String, Column<'a>)>);

impl<'a> Columns<'a> {
    /// Adds numbers, `[rows]` or `[rows, width]`.
    pub(super) fn numbers(&mut self, name: &str, numbers: &'a [u32], shape: Vec<usize>) {
        self.0.push((name.into(), Column { shape, numbers: Numbers::U32(numbers.into()) }));
    }

    /// Adds lists as their lengths and their elements.
    pub(super) fn lists(&mut self, name: &str, lists: &'a Csr) {
        let lengths: Vec<u32> = lists.iter().map(|list| list.len() as u32).collect();
        let shape = vec![lengths.len()];
        let lengths = Column { shape, numbers: Numbers::U32(lengths.into()) };
        self.0.push((format!("{name}.lengths"), lengths));
        self.numbers(&format!("{name}.values"), lists.values(), vec![lists.values().len()]);
    }

    /// Adds interactions under `part.`.
    pub(super) fn interactions(&mut self, part: &str, rows: &'a Interactions) {
        self.numbers(&format!("{part}.users"), &rows.users, vec![rows.len()]);
        self.numbers(&format!("{part}.items"), &rows.items, vec![rows.len()]);
        let times = Column { shape: vec![rows.len()], numbers: Numbers::I64(&rows.times) };
        self.0.push((format!("{part}.times"), times));
        self.lists(&format!("{part}.queries"), &rows.queries);
    }

    /// Writes the file.
    pub(super) fn write(self, path: &Path) -> Result<()> {
        safetensors::serialize_to_file(self.0, None, path).map_err(|error| Error::Write {
            path: path.into(),
            source: std::io::Error::other(error),
        })
    }
}

/// A file of columns that was read.
pub(super) struct ColumnFile<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
}

impl<'a> ColumnFile<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|e| Error::format(path, format!("not a safetensors file: {e}")))?;
        Ok(Self { path, tensors })
    }

    fn bytes(&self, name: &str, dtype: Dtype) -> Result<(&'a [u8], usize)> {
        let tensor = self.tensors.tensor(name).map_err(|e| self.wrong(name, &e.to_string()))?;
        if tensor.dtype() != dtype {
            return Err(
                self.wrong(name, &format!("expected {dtype:?}, found {:?}", tensor.dtype()))
            );
        }
        Ok((tensor.data(), tensor.shape().get(1).copied().unwrap_or(1)))
    }

    fn wrong(&self, name: &str, reason: &str) -> Error {
        Error::format(self.path, format!("tensor `{name}`: {reason}"))
    }

    /// Numbers, all below `limit`, and how many are in a row.
    pub(super) fn numbers(&self, name: &str, limit: usize) -> Result<(Vec<u32>, usize)> {
        let (bytes, width) = self.bytes(name, Dtype::U32)?;
        let numbers: Vec<u32> =
            bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        match numbers.iter().max() {
            Some(&largest) if largest as usize >= limit => {
                Err(self.wrong(name, &format!("row number {largest} of a table of {limit}")))
            }
            _ => Ok((numbers, width)),
        }
    }

    /// Lists of numbers below `limit`.
    pub(super) fn lists(&self, name: &str, limit: usize) -> Result<Csr> {
        let (lengths, _) = self.numbers(&format!("{name}.lengths"), usize::MAX)?;
        let (values, _) = self.numbers(&format!("{name}.values"), limit)?;
        Csr::from_lengths(lengths.iter().map(|&length| length as usize), values)
            .ok_or_else(|| self.wrong(name, "lengths and values do not fit"))
    }

    /// Interactions under `part.`, checked against the numbers of users, items and words.
    pub(super) fn interactions(&self, part: &str, sizes: [usize; 3]) -> Result<Interactions> {
        let [users, items, words] = sizes;
        let (bytes, _) = self.bytes(&format!("{part}.times"), Dtype::I64)?;
        let rows = Interactions {
            users: self.numbers(&format!("{part}.users"), users)?.0,
            items: self.numbers(&format!("{part}.items"), items)?.0,
            queries: self.lists(&format!("{part}.queries"), words)?,
            times: bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
        };
        let lengths = [rows.items.len(), rows.queries.len(), rows.times.len()];
        if lengths.iter().any(|&n| n != rows.len()) {
            return Err(self.wrong(part, "columns of different lengths"));
        }
        Ok(rows)
    }

    /// Rows of the same number of row numbers below `limit`.
    pub(super) fn matrix(&self, name: &str, limit: usize) -> Result<Csr> {
        let (numbers, width) = self.numbers(name, limit)?;
        let rows = match numbers.len().checked_div(width) {
            Some(rows) => rows,
            None => self.rows(name)?,
        };
        Csr::from_lengths(std::iter::repeat_n(width, rows), numbers)
            .ok_or_else(|| self.wrong(name, "not a matrix"))
    }

    fn rows(&self, name: &str) -> Result<usize> {
        let tensor = self.tensors.tensor(name).map_err(|e| self.wrong(name, &e.to_string()))?;
        Ok(tensor.shape().first().copied().unwrap_or(0))
    }
}
