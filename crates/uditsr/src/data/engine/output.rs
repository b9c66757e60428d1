//! The folder, written column by column without being in memory.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _, Write};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::data::folder::{CATALOGUE, EVENTS, HIDDEN, ITEMS, USERS, WORDS};
use crate::data::staging::{Lines, Staging};
use crate::data::{CatalogueItem, PrepareOptions, Report, Vocabulary};
use crate::{Error, Result};

/// A prepared folder in the making.
#[derive(Debug)]
pub struct Output {
    staging: Staging,
    sizes: [usize; 3],
}

/// The numbers of one tensor, on disk until the file is put together.
#[derive(Debug)]
pub struct Spool {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: usize,
    path: PathBuf,
    out: BufWriter<File>,
}

impl Spool {
    /// A tensor of 32-bit numbers whose bytes wait in a file of this folder.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn numbers(folder: &Path, name: impl Into<String>) -> Result<Self> {
        Self::new(folder, name.into(), Dtype::U32)
    }

    /// A tensor of 64-bit numbers with a sign, which is what times are.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn times(folder: &Path, name: impl Into<String>) -> Result<Self> {
        Self::new(folder, name.into(), Dtype::I64)
    }

    fn new(folder: &Path, name: String, dtype: Dtype) -> Result<Self> {
        let path = folder.join(&name);
        let fail = |source| Error::Write { path: path.clone(), source };
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let out = BufWriter::with_capacity(1 << 18, file.map_err(fail)?);
        Ok(Self { name, dtype, shape: Vec::new(), bytes: 0, path, out })
    }

    /// Adds 32-bit numbers.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn push(&mut self, numbers: &[u32]) -> Result<()> {
        numbers.iter().try_for_each(|number| self.write(&number.to_le_bytes()))
    }

    /// Adds a time.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn push_time(&mut self, time: i64) -> Result<()> {
        self.write(&time.to_le_bytes())
    }

    /// Gives the tensor rows of this many numbers each; without it there is one number in a row.
    pub fn set_rows(&mut self, rows: usize, width: usize) {
        self.shape = vec![rows, width];
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len();
        self.out.write_all(bytes).map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    fn copy(self, to: &mut impl Write) -> io::Result<()> {
        let mut file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        io::copy(&mut BufReader::with_capacity(1 << 20, file), to)?;
        std::fs::remove_file(&self.path)
    }
}

impl Output {
    /// Begins a folder under another name beside its target. An earlier prepared folder of this
    /// name is replaced in the end, any other is not.
    ///
    /// # Errors
    /// [`Error::Config`] if there is another folder, [`Error::Write`] if there can be none.
    pub fn begin(folder: &Path) -> Result<Self> {
        Ok(Self { staging: Staging::new(folder)?, sizes: [0; 3] })
    }

    /// The ids of users by number.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn users(&mut self) -> Result<IdFile<'_>> {
        let lines = Lines::create(self.staging.file(USERS))?;
        Ok(IdFile { lines, count: &mut self.sizes[0] })
    }

    /// The ids of items by number.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn items(&mut self) -> Result<IdFile<'_>> {
        let lines = Lines::create(self.staging.file(ITEMS))?;
        Ok(IdFile { lines, count: &mut self.sizes[1] })
    }

    /// Writes vocabulary and catalogue.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn texts(&mut self, words: &Vocabulary, catalogue: &[CatalogueItem]) -> Result<()> {
        self.sizes[2] = words.len();
        self.staging.lines(WORDS, words.words())?;
        self.staging.lines(CATALOGUE, catalogue)
    }

    /// Puts the file of events together.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn events(&mut self, tensors: Vec<Spool>) -> Result<()> {
        let path = self.staging.file(EVENTS);
        assemble(&path, tensors)
    }

    /// Puts the file of hidden queries together, which there is only if there are some.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn hidden(&mut self, tensors: Vec<Spool>) -> Result<()> {
        let path = self.staging.file(HIDDEN);
        assemble(&path, tensors)
    }

    /// Adds report and manifest, and puts the folder in its place.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(self, options: &PrepareOptions, report: &Report) -> Result<()> {
        self.staging.finish(self.sizes, options, report)
    }
}

/// Ids by number, one a line.
#[derive(Debug)]
pub struct IdFile<'a> {
    lines: Lines,
    count: &'a mut usize,
}

impl IdFile<'_> {
    /// Adds the id of the next number.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn push(&mut self, id: &str) -> Result<()> {
        *self.count += 1;
        self.lines.push(id)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn finish(self) -> Result<()> {
        self.lines.finish()
    }
}

/// Writes a safetensors file in the order of that library: wide numbers first, then by name.
fn assemble(path: &Path, mut tensors: Vec<Spool>) -> Result<()> {
    tensors.sort_by(|a, b| b.dtype.cmp(&a.dtype).then_with(|| a.name.cmp(&b.name)));
    let mut end = 0;
    let describe = |tensor: &Spool| {
        let start = end;
        end += tensor.bytes;
        let width = tensor.dtype.bitsize() / 8;
        let plain = || vec![tensor.bytes / width];
        let shape = if tensor.shape.is_empty() { plain() } else { tensor.shape.clone() };
        let data_offsets = (start, end);
        (tensor.name.clone(), TensorInfo { dtype: tensor.dtype, shape, data_offsets })
    };
    let infos = tensors.iter().map(describe).collect();
    let write = || -> io::Result<()> {
        let header = Metadata::new(None, infos).map_err(io::Error::other)?;
        let mut header = serde_json::to_vec(&header)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        tensors.into_iter().try_for_each(|tensor| tensor.copy(&mut out))?;
        out.flush()
    };
    write().map_err(|source| Error::Write { path: path.into(), source })
}
