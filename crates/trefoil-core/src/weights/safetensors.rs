//! Reading safetensors files: a JSON header, then numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::tensor::{Dtype, SafeTensors};
use trefoil_kernels::MappedFile;

use super::tensor::{Element, StoredTensor};

/// Tensors by name, and the free-form texts of the header.
pub(super) type Contents = (BTreeMap<String, StoredTensor>, BTreeMap<String, String>);

/// Bytes before the header.
const PREFIX: usize = 8;

/// Whether a file starts as this format does: the length of the header, then an opening brace.
pub(super) fn is_safetensors(bytes: &[u8]) -> bool {
    let Some(length) = bytes.first_chunk::<PREFIX>() else { return false };
    u64::from_le_bytes(*length) < bytes.len() as u64 && bytes.get(PREFIX) == Some(&b'{')
}

/// Checks the header.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(file: &Arc<MappedFile>) -> Result<Contents, String> {
    let wrong = |e: &dyn std::fmt::Display| format!("not a safetensors file: {e}");
    let bytes = file.bytes();
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| wrong(&e))?;
    let first = PREFIX + header;
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        let element = element(info.dtype).ok_or_else(|| {
            format!("tensor `{name}`: the type {:?} is not supported", info.dtype)
        })?;
        let range = first.saturating_add(start)..first.saturating_add(end);
        let tensor = StoredTensor::contiguous(Arc::clone(file), element, range, info.shape.clone())
            .map_err(|e| wrong(&format!("tensor `{name}`: {e}")))?;
        tensors.insert(name, tensor);
    }
    let texts = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok((tensors, texts))
}

fn element(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::F64 => Element::F64,
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::I64 => Element::I64,
        Dtype::I32 => Element::I32,
        Dtype::I16 => Element::I16,
        Dtype::I8 => Element::I8,
        Dtype::U8 => Element::U8,
        Dtype::BOOL => Element::Bool,
        _ => return None,
    })
}
