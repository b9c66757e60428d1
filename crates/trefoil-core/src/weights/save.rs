//! Writing safetensors files, one tensor in memory at a time.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::TensorData;
use half::{bf16, f16};
use serde_json::{Map, Value, json};

use super::{Precision, StoredTensor};
use crate::error::{Error, Result};
use crate::fs;

/// A float tensor that can be written: one in memory, or one that is still in another file.
pub trait Store {
    /// Its shape.
    fn shape(&self) -> Vec<usize>;

    /// Its numbers in their order; nothing when they are no floats.
    fn values(&self) -> Option<Vec<f32>>;
}

impl Store for TensorData {
    fn shape(&self) -> Vec<usize> {
        TensorData::shape(self).to_vec()
    }

    fn values(&self) -> Option<Vec<f32>> {
        Some(self.iter::<f32>().collect())
    }
}

impl Store for StoredTensor {
    fn shape(&self) -> Vec<usize> {
        StoredTensor::shape(self).to_vec()
    }

    fn values(&self) -> Option<Vec<f32>> {
        Some(self.read()?.iter::<f32>().collect())
    }
}

impl Precision {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// Its name in the header.
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }
}

/// Writes tensors to a safetensors file, atomically, in the given precision.
///
/// # Errors
/// [`Error::Write`], [`Error::NonFinite`] when a number does not survive the conversion, or [`Error::Format`] when
/// a tensor has no floats.
pub fn save<T: Store>(
    path: &Path,
    tensors: &[(String, T)],
    precision: Precision,
    metadata: BTreeMap<String, String>,
) -> Result<()> {
    let header = header(tensors, precision, metadata);
    let mut refused = None;
    let written = fs::write_atomic(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        for (name, tensor) in tensors {
            let bytes = encoded(path, name, tensor, precision).map_err(|error| {
                refused = Some(error);
                std::io::Error::from(std::io::ErrorKind::InvalidData)
            })?;
            out.write_all(&bytes)?;
        }
        Ok(())
    });
    match refused {
        Some(error) => Err(error),
        None => written,
    }
}

/// The JSON in front of the numbers, filled up with blanks to a multiple of eight bytes.
fn header<T: Store>(
    tensors: &[(String, T)],
    precision: Precision,
    metadata: BTreeMap<String, String>,
) -> String {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".into(), json!(metadata));
    }
    let mut start = 0;
    for (name, tensor) in tensors {
        let shape = tensor.shape();
        let end = start + shape.iter().product::<usize>() * precision.size();
        let entry =
            json!({"dtype": precision.name(), "shape": shape, "data_offsets": [start, end]});
        entries.insert(name.clone(), entry);
        start = end;
    }
    let mut header = Value::Object(entries).to_string();
    let blanks = header.len().next_multiple_of(8) - header.len();
    header.extend(std::iter::repeat_n(' ', blanks));
    header
}

/// The bytes of a tensor in the given precision.
///
/// # Errors
/// [`Error::NonFinite`] when a number does not survive, [`Error::Format`] when the tensor has no floats.
pub(super) fn encoded<T: Store>(
    path: &Path,
    name: &str,
    tensor: &T,
    precision: Precision,
) -> Result<Vec<u8>> {
    let values = tensor.values();
    let values =
        values.ok_or_else(|| Error::format(path, format!("tensor `{name}` has no floats")))?;
    let survives = |v: &f32| f16::from_f32(*v).is_finite();
    if precision == Precision::F16 && !values.iter().all(survives) {
        return Err(Error::NonFinite { what: format!("tensor `{name}` in half precision") });
    }
    Ok(encode(&values, precision))
}

fn encode(values: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Precision::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        Precision::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
    }
}
