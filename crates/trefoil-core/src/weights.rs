//! Weight files: safetensors, checked on reading, atomic on writing, strict for loading.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::TensorData;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};
use crate::{fs, params};

/// Number format of the tensors in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// Brain floats.
    Bf16,
}

/// An open safetensors file.
#[derive(Debug)]
pub struct WeightFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl WeightFile {
    /// Reads the file and checks its header.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Format`] when it is not a safetensors file.
    pub fn open(path: &Path) -> Result<Self> {
        let this = Self { path: path.into(), bytes: fs::read(path)? };
        this.tensors()?;
        Ok(this)
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, sorted.
    ///
    /// # Errors
    /// [`Error::Format`] when the header cannot be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> =
            self.tensors()?.names().into_iter().map(ToString::to_string).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The free-form text fields of the header.
    ///
    /// # Errors
    /// [`Error::Format`] when the header cannot be read.
    pub fn metadata(&self) -> Result<BTreeMap<String, String>> {
        let (_, metadata) = SafeTensors::read_metadata(&self.bytes)
            .map_err(|e| Error::format(&self.path, format!("not a safetensors file: {e}")))?;
        Ok(metadata.metadata().clone().unwrap_or_default().into_iter().collect())
    }

    /// Shape of a tensor, or `None` when there is no such name.
    ///
    /// # Errors
    /// [`Error::Format`] when the header cannot be read.
    pub fn shape(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(self.tensors()?.tensor(name).ok().map(|t| t.shape().to_vec()))
    }

    /// A float tensor, converted to f32.
    ///
    /// # Errors
    /// [`Error::MissingTensors`], or [`Error::Format`] when its type is not a float type.
    pub fn get(&self, name: &str) -> Result<TensorData> {
        let tensors = self.tensors()?;
        let view = tensors.tensor(name).map_err(|_| Error::MissingTensors {
            path: self.path.clone(),
            missing: vec![name.to_string()],
        })?;
        let values = floats(&view).ok_or_else(|| {
            let found = view.dtype();
            Error::format(&self.path, format!("tensor `{name}`: expected floats, found {found:?}"))
        })?;
        Ok(TensorData::new(values, view.shape().to_vec()))
    }

    /// An integer tensor, converted to i64 (row-major), with its shape.
    ///
    /// # Errors
    /// [`Error::MissingTensors`], or [`Error::Format`] when its type is not an integer type.
    pub fn get_integers(&self, name: &str) -> Result<(Vec<i64>, Vec<usize>)> {
        let tensors = self.tensors()?;
        let view = tensors.tensor(name).map_err(|_| Error::MissingTensors {
            path: self.path.clone(),
            missing: vec![name.to_string()],
        })?;
        let data = view.data();
        let values = match view.dtype() {
            Dtype::U8 => data.iter().map(|&b| i64::from(b)).collect(),
            Dtype::I32 => words(data, |w: [u8; 4]| i64::from(i32::from_le_bytes(w))),
            Dtype::I64 => words(data, i64::from_le_bytes),
            found => {
                let reason = format!("tensor `{name}`: expected integers, found {found:?}");
                return Err(Error::format(&self.path, reason));
            }
        };
        Ok((values, view.shape().to_vec()))
    }

    fn tensors(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes)
            .map_err(|e| Error::format(&self.path, format!("not a safetensors file: {e}")))
    }
}

/// Reads fixed-size little-endian words.
fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|word| read(*word)).collect()
}

/// The values of a float tensor as f32, or `None` for another type.
fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => words(data, f32::from_le_bytes),
        Dtype::F16 => words(data, |w: [u8; 2]| f16::from_le_bytes(w).to_f32()),
        Dtype::BF16 => words(data, |w: [u8; 2]| bf16::from_le_bytes(w).to_f32()),
        Dtype::F64 => words(data, |w: [u8; 8]| f64::from_le_bytes(w) as f32),
        _ => return None,
    })
}

/// Loads every parameter of a module from a file; names in `ignored` (exact, or a prefix that ends in
/// `*`) may be in the file without being in the module.
///
/// # Errors
/// [`Error::MissingTensors`], [`Error::UnexpectedTensors`], [`Error::TensorShape`], [`Error::Format`].
pub fn load_strict<M: Module>(module: M, file: &WeightFile, ignored: &[&str]) -> Result<M> {
    check_names(&module, &file.path, file.names()?, ignored)?;
    params::import(module, &mut |name, expected| {
        checked(file.get(name)?, &file.path, name, expected)
    })
}

/// As [`load_strict`], from tensors that were read (and perhaps renamed) before; `path` is for messages.
///
/// # Errors
/// As [`load_strict`].
pub fn load_tensors<M: Module>(
    module: M,
    path: &Path,
    mut tensors: BTreeMap<String, TensorData>,
) -> Result<M> {
    check_names(&module, path, tensors.keys().cloned().collect(), &[])?;
    params::import(module, &mut |name, expected| {
        let data = tensors.remove(name).ok_or_else(|| Error::MissingTensors {
            path: path.into(),
            missing: vec![name.to_string()],
        })?;
        checked(data, path, name, expected)
    })
}

/// A tensor whose shape is the expected one.
fn checked(data: TensorData, path: &Path, name: &str, expected: &[usize]) -> Result<TensorData> {
    let found = data.shape().to_vec();
    if found == expected {
        return Ok(data);
    }
    let (path, name, expected) = (path.into(), name.to_string(), expected.to_vec());
    Err(Error::TensorShape { path, name, expected, found })
}

/// Compares the names of a module with the (sorted) names of a file.
fn check_names<M: Module>(
    module: &M,
    path: &Path,
    found: Vec<String>,
    ignored: &[&str],
) -> Result<()> {
    let wanted: BTreeSet<String> =
        params::shapes(module).into_iter().map(|(name, _)| name).collect();
    let missing: Vec<String> =
        wanted.iter().filter(|name| found.binary_search(name).is_err()).cloned().collect();
    if !missing.is_empty() {
        return Err(Error::MissingTensors { path: path.into(), missing });
    }
    let is_ignored = |name: &str| {
        ignored.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *pattern,
        })
    };
    let unexpected: Vec<String> =
        found.into_iter().filter(|name| !wanted.contains(name) && !is_ignored(name)).collect();
    if unexpected.is_empty() {
        return Ok(());
    }
    Err(Error::UnexpectedTensors { path: path.into(), unexpected })
}

/// Writes tensors (f32) to a safetensors file, atomically, in the given precision.
///
/// # Errors
/// [`Error::Write`], or [`Error::NonFinite`] when a value does not survive the conversion.
pub fn save(
    path: &Path,
    tensors: &[(String, TensorData)],
    precision: Precision,
    metadata: BTreeMap<String, String>,
) -> Result<()> {
    let mut encoded = Vec::with_capacity(tensors.len());
    for (name, data) in tensors {
        let values: Vec<f32> = data.iter::<f32>().collect();
        let (dtype, bytes) = encode(&values, precision);
        if precision == Precision::F16
            && bytes.as_chunks::<2>().0.iter().any(|w| !f16::from_le_bytes(*w).is_finite())
        {
            return Err(Error::NonFinite { what: format!("tensor `{name}` in half precision") });
        }
        encoded.push((name.as_str(), dtype, data.shape().to_vec(), bytes));
    }
    let mut views = Vec::with_capacity(encoded.len());
    for (name, dtype, shape, bytes) in &encoded {
        let view = TensorView::new(*dtype, shape.clone(), bytes)
            .map_err(|e| Error::format(path, format!("tensor `{name}`: {e}")))?;
        views.push((*name, view));
    }
    let metadata = (!metadata.is_empty()).then(|| metadata.into_iter().collect());
    let file = safetensors::serialize(views, metadata)
        .map_err(|e| Error::format(path, format!("cannot serialise: {e}")))?;
    fs::write_atomic(path, |out| out.write_all(&file))
}

fn encode(values: &[f32], precision: Precision) -> (Dtype, Vec<u8>) {
    match precision {
        Precision::F32 => (Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Precision::F16 => {
            (Dtype::F16, values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect())
        }
        Precision::Bf16 => {
            (Dtype::BF16, values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect())
        }
    }
}
