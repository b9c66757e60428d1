//! The container of a checkpoint: safetensors, written from slices, with a checksum over all of it.

use std::collections::HashMap;
use std::path::Path;

use safetensors::SafeTensors;
use trefoil_core::{Error, Result, fs};

/// Version of the layout.
const VERSION: &str = "1";

/// A tensor to be written.
pub(crate) struct Slice<'a> {
    pub(crate) name: String,
    pub(crate) shape: &'a [usize],
    pub(crate) values: &'a [f32],
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) state: String,
    pub(crate) tensors: HashMap<String, (Vec<usize>, Vec<f32>)>,
}

/// Writes tensors and the JSON text `state`, atomically.
pub(crate) fn write(path: &Path, tensors: &[Slice<'_>], state: &str) -> Result<()> {
    let mut crc = crc32c::crc32c(state.as_bytes());
    for tensor in tensors {
        for_chunks(tensor.values, |bytes| {
            crc = crc32c::crc32c_append(crc, bytes);
            Ok(())
        })
        .map_err(|source| Error::Write { path: path.into(), source })?;
    }
    let mut header = serde_json::Map::new();
    let metadata = serde_json::json!({
        "format": "trefoil-state", "version": VERSION, "crc32c": format!("{crc:08x}"), "state": state,
    });
    header.insert("__metadata__".into(), metadata);
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + 4 * tensor.values.len();
        let entry = serde_json::json!({
            "dtype": "F32", "shape": tensor.shape, "data_offsets": [offset, end],
        });
        header.insert(tensor.name.clone(), entry);
        offset = end;
    }
    let mut header = serde_json::Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    fs::write_atomic(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        tensors
            .iter()
            .try_for_each(|tensor| for_chunks(tensor.values, |bytes| out.write_all(bytes)))
    })
}

/// Hands the little-endian bytes of a slice over in pieces.
fn for_chunks(
    values: &[f32],
    mut sink: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(4 * 16_384);
    for chunk in values.chunks(16_384) {
        buffer.clear();
        buffer.extend(chunk.iter().flat_map(|v| v.to_le_bytes()));
        sink(&buffer)?;
    }
    Ok(())
}

/// Why a file could not be used.
pub(crate) enum Unusable {
    /// It is cut off or changed.
    Damaged(String),
    /// It is whole but of another kind, or it cannot be read now: not a reason to take an older one.
    Other(Error),
}

/// Reads a file and checks its checksum.
pub(crate) fn read(path: &Path) -> Result<Contents, Unusable> {
    let bytes = fs::read(path).map_err(Unusable::Other)?;
    let damaged = |reason: String| Unusable::Damaged(format!("{}: {reason}", path.display()));
    let (header, metadata) =
        SafeTensors::read_metadata(&bytes).map_err(|e| damaged(e.to_string()))?;
    let fields = metadata.metadata().clone().unwrap_or_default();
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    if field("format") != "trefoil-state" || field("version") != VERSION {
        let reason = format!(
            "expected a training state of version {VERSION}, found `{}` of version `{}`",
            field("format"),
            field("version")
        );
        return Err(Unusable::Other(Error::format(path, reason)));
    }
    let file = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
    let state = field("state");
    let data = bytes.get(8 + header..).unwrap_or_default();
    let crc = format!("{:08x}", crc32c::crc32c_append(crc32c::crc32c(state.as_bytes()), data));
    if crc != field("crc32c") {
        let reason = format!("expected the checksum {}, found {crc}", field("crc32c"));
        return Err(damaged(reason));
    }
    let tensors = file
        .iter()
        .map(|(name, view)| {
            let words = view.data().as_chunks::<4>().0;
            let values = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
            (name.to_string(), (view.shape().to_vec(), values))
        })
        .collect();
    Ok(Contents { state: state.into(), tensors })
}
