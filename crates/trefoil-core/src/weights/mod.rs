//! Weight files: safetensors and PyTorch's, whole or in shards; strict for loading, atomic on writing.
//!
//! A file is mapped, not read: a tensor is fetched when its parameter is filled.

mod load;
mod naming;
mod safetensors;
mod save;
mod storage;
mod tensor;
pub mod torch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{DType, TensorData};
use half::f16;
use serde::Deserialize;
use trefoil_kernels::MappedFile;

use crate::error::{Error, Result};
use crate::fs;

use self::naming::Naming;

pub use self::load::{check_strict, load_strict, load_strict_as, load_tensors};
pub use self::save::{Store, save};
pub use self::storage::{Storage, Weight};
pub use self::tensor::{Element, StoredTensor};
pub use self::torch::save_torch;

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

/// Whether a file lists shards: `NAME.index.json`, or `NAME.index.VARIANT.json` as diffusers calls those of a variant.
fn is_index(name: &str) -> bool {
    let parts: Vec<&str> = name.rsplitn(4, '.').collect();
    matches!(parts.as_slice(), ["json", "index", ..] | ["json", _, "index", ..])
}

/// An open weight file: its tensors by name.
#[derive(Debug, Clone)]
pub struct WeightFile {
    path: PathBuf,
    /// The file itself, or its shards.
    files: Vec<PathBuf>,
    tensors: BTreeMap<String, StoredTensor>,
    metadata: BTreeMap<String, String>,
    /// How the names in the file follow from those that the tensors have now.
    naming: Naming,
}

/// The list of shards that the Hugging Face libraries write.
#[derive(Debug, Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl WeightFile {
    /// Opens a safetensors file, a PyTorch file, or the list of shards of either; the content decides, not the
    /// name, except for `*.index.json`.
    ///
    /// # Errors
    /// [`Error::Read`], or [`Error::Format`] when it is none of them or asks for more than reading.
    pub fn open(path: &Path) -> Result<Self> {
        if is_index(&path.to_string_lossy()) {
            return Self::open_shards(path);
        }
        let fail = |source| Error::Read { path: path.into(), source };
        let file = Arc::new(MappedFile::open(path).map_err(fail)?);
        let bytes = file.bytes();
        let (tensors, metadata) = if torch::is_torch(bytes) {
            (torch::read(&file).map_err(|reason| Error::format(path, reason))?, BTreeMap::new())
        } else if safetensors::is_safetensors(bytes) || has_extension(path, "safetensors") {
            safetensors::read(&file).map_err(|reason| Error::format(path, reason))?
        } else {
            let reason = "expected a safetensors file or one that torch.save wrote";
            return Err(Error::format(path, reason));
        };
        let named = |(name, tensor): (String, StoredTensor)| {
            let tensor = tensor.named(&name);
            (name, tensor)
        };
        let tensors = tensors.into_iter().map(named).collect();
        let naming = Naming::default();
        Ok(Self { path: path.into(), files: vec![path.into()], tensors, metadata, naming })
    }

    /// Opens the first of these files of a folder that exists.
    ///
    /// # Errors
    /// As [`Self::open`]; [`Error::Format`] with the names when there is none of them.
    pub fn open_first(folder: &Path, names: &[&str]) -> Result<Self> {
        let found = names.iter().map(|name| folder.join(name)).find(|path| path.exists());
        let path = found.ok_or_else(|| {
            let reason = format!("expected one of {}, found none", names.join(", "));
            Error::format(folder, reason)
        })?;
        Self::open(&path)
    }

    fn open_shards(path: &Path) -> Result<Self> {
        let ShardIndex { weight_map } = fs::read_json(path)?;
        let names: BTreeSet<&String> = weight_map.values().collect();
        let folder = path.parent().unwrap_or(Path::new("."));
        let (mut tensors, mut files) = (BTreeMap::new(), Vec::new());
        for name in names {
            // A name only, and no other index: an index must not lead out of its folder, nor to itself.
            let is_name = Path::new(name).file_name().is_some_and(|file| file == name.as_str());
            if !is_name || is_index(name) {
                return Err(Error::format(path, format!("`{name}` is not the name of a shard")));
            }
            let shard = Self::open(&folder.join(name))?;
            files.extend(shard.files);
            tensors
                .extend(shard.tensors.into_iter().filter(|(t, _)| weight_map.get(t) == Some(name)));
        }
        let missing: Vec<String> =
            weight_map.into_keys().filter(|name| !tensors.contains_key(name)).collect();
        if missing.is_empty() {
            let (metadata, naming) = (BTreeMap::new(), Naming::default());
            Ok(Self { path: path.into(), files, tensors, metadata, naming })
        } else {
            Err(Error::MissingTensors { path: path.into(), missing })
        }
    }

    /// The same file with other tensors: renamed, stacked or left out.
    pub fn with_tensors(self, tensors: BTreeMap<String, StoredTensor>) -> Self {
        Self { tensors, ..self }
    }

    /// The same file with other names; a tensor without a name is left out.
    pub fn renamed(self, rename: impl Fn(&str) -> Option<String>) -> Self {
        let named = |(name, tensor): (String, StoredTensor)| Some((rename(&name)?, tensor));
        Self { tensors: self.tensors.into_iter().filter_map(named).collect(), ..self }
    }

    /// The same file, which says `describe(name, shape)` where its tensors now have this name and shape: the names and
    /// shapes of the parts that it is made of. Messages about absent tensors then name what is absent in the file.
    pub fn written_as(
        self,
        describe: impl Fn(&str, &[usize]) -> Vec<(String, Vec<usize>)> + Send + Sync + 'static,
    ) -> Self {
        Self { naming: self.naming.before(describe), ..self }
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself, or its shards.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Names and tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &StoredTensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// A tensor that is not read yet.
    pub fn tensor(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.get(name)
    }

    /// Names of all tensors, sorted.
    ///
    /// # Errors
    /// None; the header was checked on opening.
    pub fn names(&self) -> Result<Vec<String>> {
        Ok(self.tensors.keys().cloned().collect())
    }

    /// The free-form text fields of the header.
    ///
    /// # Errors
    /// None; the header was checked on opening.
    pub fn metadata(&self) -> Result<BTreeMap<String, String>> {
        Ok(self.metadata.clone())
    }

    /// Shape of a tensor, or `None` when there is no such name.
    ///
    /// # Errors
    /// None; the header was checked on opening.
    pub fn shape(&self, name: &str) -> Result<Option<Vec<usize>>> {
        Ok(self.tensor(name).map(|tensor| tensor.shape().to_vec()))
    }

    /// A float tensor, converted to f32.
    ///
    /// # Errors
    /// [`Error::MissingTensors`], or [`Error::Format`] when its type is not a float type.
    pub fn get(&self, name: &str) -> Result<TensorData> {
        self.read(name, "floats", StoredTensor::read)
    }

    /// A float tensor in the format in which it is to be held.
    ///
    /// # Errors
    /// As [`Self::get`], and [`Error::NonFinite`] when a number is too large for the format.
    pub fn get_as(&self, name: &str, storage: Storage) -> Result<Weight> {
        let weight = self.read(name, "floats", |tensor| tensor.read_as(storage))?;
        let too_large = matches!(&weight, Weight::Floats(data) if data.dtype() == DType::F16
            && self.tensor(name).is_some_and(|stored| stored.element() != Element::F16)
            && data.as_slice::<f16>().is_ok_and(has_infinite));
        if too_large {
            let what = format!("{}: tensor `{name}` in f16", self.path.display());
            return Err(Error::NonFinite { what });
        }
        Ok(weight)
    }

    /// A float tensor in double precision (row-major).
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_f64(&self, name: &str) -> Result<Vec<f64>> {
        self.read(name, "floats", StoredTensor::read_f64)
    }

    /// An integer tensor, converted to i64 (row-major), with its shape.
    ///
    /// # Errors
    /// [`Error::MissingTensors`], or [`Error::Format`] when its type is not an integer type.
    pub fn get_integers(&self, name: &str) -> Result<(Vec<i64>, Vec<usize>)> {
        self.read(name, "integers", |tensor| {
            Some((tensor.read_integers()?, tensor.shape().to_vec()))
        })
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&StoredTensor) -> Option<T>,
    ) -> Result<T> {
        let tensor = self.tensor(name).ok_or_else(|| Error::MissingTensors {
            path: self.path.clone(),
            missing: vec![name.to_string()],
        })?;
        read(tensor).ok_or_else(|| {
            let found = tensor.element();
            let reason = format!("tensor `{name}`: expected {expected}, found {found:?}");
            Error::format(&self.path, reason)
        })
    }
}

/// Looks at many numbers at once, and stops when there is one among them.
fn has_infinite(numbers: &[f16]) -> bool {
    let among = |part: &[f16]| part.iter().fold(false, |found, n| found | n.is_infinite());
    numbers.chunks(4096).any(among)
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}
