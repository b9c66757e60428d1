//! Files that are never half written, and tensors in them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::real::Real;
use crate::{Error, Result};

/// Writes a file under another name in the same folder, syncs it and renames it into place.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |source| Error::Write { path: path.into(), source };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".uditsr-")
        .suffix(".tmp")
        .tempfile_in(parent.unwrap_or(Path::new(".")))
        .map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    // Temporary files are private; what stays should be an ordinary file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let permissions = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(permissions).map_err(fail)?;
    }
    file.persist(path).map_err(|error| fail(error.error))?;
    Ok(())
}

/// Writes a value as indented JSON, atomically.
pub(crate) fn write_json<V: Serialize>(path: &Path, value: &V) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|source| Error::Write { path: path.into(), source: source.into() })?;
    text.push('\n');
    write_atomic(path, text.as_bytes())
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })
}

/// Reads a JSON file.
pub(crate) fn read_json<V: DeserializeOwned>(path: &Path) -> Result<V> {
    serde_json::from_slice(&read(path)?)
        .map_err(|error| Error::Format { path: path.into(), reason: error.to_string() })
}

/// A named tensor in the form of the file.
pub(crate) struct Stored {
    pub(crate) name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    pub(crate) fn numbers<T: Real>(name: impl Into<String>, shape: &[usize], values: &[T]) -> Self {
        let mut bytes = Vec::with_capacity(std::mem::size_of_val(values));
        for value in values {
            value.write(&mut bytes);
        }
        Self { name: name.into(), dtype: T::DTYPE, shape: shape.to_vec(), bytes }
    }

    pub(crate) fn indices(name: impl Into<String>, shape: &[usize], values: &[u32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name: name.into(), dtype: Dtype::U32, shape: shape.to_vec(), bytes }
    }
}

impl View for &Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes tensors and a JSON text for the header, atomically.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: &[Stored],
    note: Option<(&str, String)>,
) -> Result<()> {
    let header = note.map(|(key, text)| HashMap::from([(key.to_owned(), text)]));
    let named = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor));
    let bytes = safetensors::serialize(named, header).map_err(|error| Error::Write {
        path: path.into(),
        source: std::io::Error::other(error),
    })?;
    write_atomic(path, &bytes)
}

/// A safetensors file in memory.
pub(crate) struct TensorFile<'a> {
    path: &'a Path,
    file: SafeTensors<'a>,
}

impl<'a> TensorFile<'a> {
    pub(crate) fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| Error::Format { path: path.into(), reason: error.to_string() })?;
        Ok(Self { path, file })
    }

    fn tensor(&self, name: &str, shape: &[usize], dtype: Dtype) -> Result<TensorView<'_>> {
        let fail = |reason: String| Error::Format { path: self.path.into(), reason };
        let tensor = self.file.tensor(name).map_err(|error| fail(error.to_string()))?;
        if tensor.shape() != shape || tensor.dtype() != dtype {
            let found = (tensor.dtype(), tensor.shape());
            return Err(fail(format!("`{name}` should be {dtype:?} {shape:?}, found {found:?}")));
        }
        Ok(tensor)
    }

    /// Numbers of a tensor of this shape.
    pub(crate) fn numbers<T: Real>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>> {
        let tensor = self.tensor(name, shape, T::DTYPE)?;
        Ok(tensor.data().chunks_exact(size_of::<T>()).map(T::read).collect())
    }

    /// Indices of a tensor of this shape.
    pub(crate) fn indices(&self, name: &str, shape: &[usize]) -> Result<Vec<u32>> {
        let tensor = self.tensor(name, shape, Dtype::U32)?;
        let words = tensor.data().chunks_exact(4);
        Ok(words.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }
}

/// A text of the header of a safetensors file.
pub(crate) fn read_note(path: &Path, bytes: &[u8], key: &str) -> Result<String> {
    let fail = |reason: String| Error::Format { path: path.into(), reason };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| fail(error.to_string()))?;
    let notes = header.metadata().as_ref();
    notes
        .and_then(|notes| notes.get(key))
        .cloned()
        .ok_or_else(|| fail(format!("no `{key}` in the header")))
}
