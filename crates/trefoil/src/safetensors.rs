//! The header of a safetensors file, read without its weights.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use trefoil_core::{Error as CoreError, Result as CoreResult};

/// Longest header that the format allows, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// What a file contains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Header {
    /// Tensors in the order of their bytes.
    pub(crate) tensors: Vec<Tensor>,
    /// Free-form texts.
    pub(crate) metadata: BTreeMap<String, String>,
    /// Size of the file in bytes.
    pub(crate) bytes: u64,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Tensor {
    /// Its name.
    pub(crate) name: String,
    /// Number format, as the file names it.
    pub(crate) dtype: String,
    /// Its shape.
    pub(crate) shape: Vec<u64>,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl Tensor {
    /// Number of elements.
    pub(crate) fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |product, side| product.saturating_mul(*side))
    }
}

impl Header {
    /// Reads the header and compares it with the size of the file.
    pub(crate) fn read(path: &Path) -> CoreResult<Self> {
        let fail = |source| CoreError::Read { path: path.into(), source };
        let wrong = |why: String| CoreError::format(path, format!("not a safetensors file: {why}"));
        let mut file = File::open(path).map_err(fail)?;
        let bytes = file.metadata().map_err(fail)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| wrong("it is too short".into()))?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER || length.saturating_add(8) > bytes {
            return Err(wrong(format!("a header of {length} bytes in a file of {bytes}")));
        }
        let mut json = vec![0; length as usize];
        file.read_exact(&mut json).map_err(fail)?;
        let mut entries: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&json).map_err(|e| wrong(e.to_string()))?;
        let metadata = match entries.remove("__metadata__") {
            None => BTreeMap::new(),
            Some(texts) => serde_json::from_value(texts).map_err(|e| wrong(e.to_string()))?,
        };
        let mut tensors = Vec::with_capacity(entries.len());
        let mut end = 0;
        for (name, entry) in entries {
            let Entry { dtype, shape, data_offsets } =
                serde_json::from_value(entry).map_err(|e| wrong(format!("`{name}`: {e}")))?;
            end = end.max(data_offsets[1]);
            tensors.push((data_offsets[0], Tensor { name, dtype, shape }));
        }
        if length + 8 + end != bytes {
            let reason = format!("{} bytes are announced, {bytes} are there", length + 8 + end);
            return Err(CoreError::format(path, reason));
        }
        tensors.sort_by_key(|(start, _)| *start);
        let tensors = tensors.into_iter().map(|(_, tensor)| tensor).collect();
        Ok(Self { tensors, metadata, bytes })
    }

    /// Number of elements of all tensors.
    pub(crate) fn elements(&self) -> u64 {
        self.tensors.iter().map(Tensor::elements).sum()
    }
}
