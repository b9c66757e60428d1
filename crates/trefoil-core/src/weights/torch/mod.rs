//! Reading PyTorch's files (`.pth`, `.pt`, `.bin`) without running the pickle inside.
//!
//! Two containers are understood: the zip archive that `torch.save` and `torch.jit.save` write, and the older
//! file of several pickles with the numbers behind them. In both, a pickle describes the tensors and the numbers
//! lie apart, so that only the small part is parsed and the large part stays on disk until it is asked for.

mod archive;
mod state;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use trefoil_kernels::MappedFile;

use self::state::{Storage, element_of_class};
pub use self::write::save_torch;
use super::tensor::{Element, StoredTensor};
use crate::pickle::{Pickle, Value};

/// First bytes of an old file: protocol 2, then this number as a long of ten bytes.
const OLD_MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
/// Version of the old container.
const OLD_VERSION: i128 = 1001;

/// Whether a file starts as one of the containers does.
pub(super) fn is_torch(bytes: &[u8]) -> bool {
    bytes.starts_with(archive::MAGIC) || bytes.starts_with(OLD_MAGIC)
}

/// The tensors of a state dictionary by name, those of nested dictionaries joined by dots.
///
/// # Errors
/// What is wrong with the file, and what in it is not allowed.
pub(super) fn read(file: &Arc<MappedFile>) -> Result<BTreeMap<String, StoredTensor>, String> {
    let bytes = file.bytes();
    if bytes.starts_with(archive::MAGIC) { read_archive(file) } else { read_old(file, bytes) }
}

/// `NAME/data.pkl` and `NAME/data/KEY`.
fn read_archive(file: &Arc<MappedFile>) -> Result<BTreeMap<String, StoredTensor>, String> {
    const INDEX: &str = "/data.pkl";
    let bytes = file.bytes();
    let entries = archive::entries(bytes)?;
    let stem = entries
        .names()
        .find_map(|name| name.strip_suffix(INDEX).filter(|stem| !stem.contains('/')));
    let stem = stem.ok_or("the archive has no data.pkl: not a PyTorch file")?;
    if let Ok(order) = entries.find(&format!("{stem}/byteorder"))
        && bytes[order] != *b"little"
    {
        return Err("the numbers are not little-endian".into());
    }
    let index = entries.find(&format!("{stem}{INDEX}"))?;
    let pickle = parse(&bytes[index])?;
    state::tensors(file, pickle.root(), &|storage| {
        entries.find(&format!("{stem}/data/{}", storage.key))
    })
}

/// Magic number, version, facts about the machine, the object, the keys of its storages; then each storage with
/// its length in front.
fn read_old(
    file: &Arc<MappedFile>,
    bytes: &[u8],
) -> Result<BTreeMap<String, StoredTensor>, String> {
    let mut at = 0;
    let mut next = || -> Result<Pickle<'_>, String> {
        let pickle = parse(&bytes[at..])?;
        at += pickle.length();
        Ok(pickle)
    };
    let (_magic, version, _machine) = (next()?, next()?, next()?);
    if version.root().as_int() != Some(OLD_VERSION) {
        return Err(format!("expected a PyTorch file of version {OLD_VERSION}"));
    }
    let (object, keys) = (next()?, next()?);
    let elements = state::elements(&object)?;
    let storages = old_storages(bytes, at, keys.root(), &elements)?;
    state::tensors(file, object.root(), &|storage| {
        let found = storages.get(storage.key).cloned();
        found.ok_or_else(|| format!("the file has no storage `{}`", storage.key))
    })
}

/// Where each storage of an old file lies.
fn old_storages(
    bytes: &[u8],
    mut at: usize,
    keys: Value<'_, '_>,
    elements: &BTreeMap<&str, Element>,
) -> Result<BTreeMap<String, Range<usize>>, String> {
    let mut storages = BTreeMap::new();
    let keys = keys.items().ok_or("the list of storages is missing")?;
    for key in keys {
        let key = key.as_str().ok_or("the key of a storage is not a string")?;
        let element = elements.get(key).ok_or_else(|| format!("storage `{key}` has no type"))?;
        let length = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
        let length = length.ok_or_else(|| format!("the file ends before storage `{key}`"))?;
        let start = at + 8;
        let end = usize::try_from(i64::from_le_bytes(*length))
            .ok()
            .and_then(|length| start.checked_add(length.checked_mul(element.size())?))
            .filter(|end| *end <= bytes.len())
            .ok_or_else(|| format!("the file ends within storage `{key}`"))?;
        storages.insert(key.to_string(), start..end);
        at = end;
    }
    Ok(storages)
}

/// The bytes of the storage that an old file holds as its only object, and their type: what
/// `torch.storage._load_from_bytes` would be called with inside another pickle.
///
/// # Errors
/// What is wrong with it.
pub fn embedded_storage(bytes: &[u8]) -> Result<(Element, Range<usize>), String> {
    let mut at = 0;
    let mut pickles = Vec::with_capacity(5);
    for _ in 0..5 {
        let pickle = parse(bytes.get(at..).unwrap_or_default())?;
        at += pickle.length();
        pickles.push(pickle);
    }
    let (object, keys) = (&pickles[3], &pickles[4]);
    let storage = Storage::of(object.root()).ok_or("expected a storage")??;
    let elements = BTreeMap::from([(storage.key, storage.element)]);
    let mut storages = old_storages(bytes, at, keys.root(), &elements)?;
    let range = storages.remove(storage.key);
    Ok((storage.element, range.ok_or_else(|| format!("no storage `{}`", storage.key))?))
}

fn parse(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    Pickle::read(bytes, &is_allowed).map_err(|e| e.to_string())
}

/// The globals of a state dictionary. None of them is called.
fn is_allowed(module: &str, name: &str) -> bool {
    match module {
        "collections" => name == "OrderedDict",
        "torch._utils" => {
            matches!(name, "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_parameter")
        }
        "torch" => element_of_class(name).is_some() || matches!(name, "Size" | "device"),
        "torch.jit._pickle" => name.starts_with("build_") || name == "restore_type_tag",
        // Classes of a script archive, whose attributes are read as a dictionary.
        _ => module == "__torch__" || module.starts_with("__torch__."),
    }
}
