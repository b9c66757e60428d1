//! The published `.pkl` files, read as data.
//!
//! Such a file is a pickle of `{"ema": network, ...}`. Each module of the network is an object whose class is
//! in the file as Python text; loading it the usual way runs that text. Here nothing runs: the pickle is read
//! as a tree ([`trefoil_core::pickle`]), and what is taken from it are names and numbers.
//!
//! ```text
//! module   _reconstruct_persistent_obj({"class_name", "module_src", "state"}), or an object of torch.nn
//! state    {"_parameters": {name: tensor}, "_buffers": {name: tensor}, "_modules": {name: module}}
//! tensor   _rebuild_tensor_v2(storage, offset, size, stride, ..), perhaps in _rebuild_parameter(..)
//! storage  _load_from_bytes(a file in PyTorch's old format, which is a few pickles and the numbers)
//! ```
//!
//! Any other global and any other shape of these is an error that says where it was.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::TensorData;
use half::f16;
use trefoil_core::pickle::{Pickle, Value};
use trefoil_core::{Error, Result, fs};

/// Globals that the files have. They are names only.
const GLOBALS: [(&str, &str); 14] = [
    ("torch_utils.persistence", "_reconstruct_persistent_obj"),
    ("torch.nn.modules.container", "ModuleDict"),
    ("torch.nn.modules.container", "ModuleList"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch.storage", "_load_from_bytes"),
    ("torch", "Size"),
    ("torch", "device"),
    ("collections", "OrderedDict"),
    ("builtins", "set"),
    ("dnnlib.util", "EasyDict"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
];

/// First number of PyTorch's old format.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// Its version.
const PROTOCOL: usize = 1001;
/// Modules inside of one another, far more than any network has.
const MAX_DEPTH: usize = 16;
/// Standard deviation of the data where the file does not say.
const SIGMA_DATA: f64 = 0.5;

type Found<T> = std::result::Result<T, String>;

/// Tensors by their published names, and the standard deviation of the data.
///
/// # Errors
/// [`Error::Read`]; [`Error::Format`] with what was expected, what was found, and where.
pub fn read(path: &Path) -> Result<(BTreeMap<String, TensorData>, f64)> {
    let bytes = fs::read(path)?;
    parse(&bytes).map_err(|reason| Error::format(path, reason))
}

fn parse(bytes: &[u8]) -> Found<(BTreeMap<String, TensorData>, f64)> {
    let allowed = |module: &str, name: &str| GLOBALS.contains(&(module, name));
    let pickle = Pickle::read(bytes, &allowed).map_err(|e| e.to_string())?;
    let root = pickle.root();
    let network = root
        .get("ema")
        .ok_or_else(|| format!("expected a dictionary with `ema`, found {}", root.kind()))?;
    let mut tensors = BTreeMap::new();
    collect(network, "", 0, &mut tensors)?;
    let sigma_data = state_of(network, "ema")?.get("sigma_data").and_then(Value::as_float);
    Ok((tensors, sigma_data.unwrap_or(SIGMA_DATA)))
}

/// The attributes of a module.
fn state_of<'p, 'a>(module: Value<'p, 'a>, name: &str) -> Found<Value<'p, 'a>> {
    let state = match module.call() {
        Some(((_, "_reconstruct_persistent_obj"), arguments)) => {
            arguments.tuple::<1>().and_then(|[meta]| meta.get("state"))
        }
        Some((("torch.nn.modules.container", _), _)) => module.state(),
        _ => None,
    };
    state.filter(|state| state.entries().is_some()).ok_or_else(|| {
        format!("`{name}`: expected a module with its state, found {}", module.kind())
    })
}

/// The tensors of a module and of those inside of it.
fn collect(
    module: Value<'_, '_>,
    prefix: &str,
    depth: usize,
    out: &mut BTreeMap<String, TensorData>,
) -> Found<()> {
    let name = if prefix.is_empty() { "ema" } else { prefix };
    if depth > MAX_DEPTH {
        return Err(format!("`{name}`: more than {MAX_DEPTH} modules inside of one another"));
    }
    let state = state_of(module, name)?;
    let members = |kind: &str| -> Found<Vec<(String, Value<'_, '_>)>> {
        let entries = state.get(kind).and_then(Value::entries);
        let entries = entries.ok_or_else(|| format!("`{name}` has no `{kind}`"))?;
        entries
            .filter(|(_, value)| !value.is_none())
            .map(|(key, value)| {
                let key = key.as_str().ok_or_else(|| format!("`{name}`: a name is no text"))?;
                let dot = if prefix.is_empty() { "" } else { "." };
                Ok((format!("{prefix}{dot}{key}"), value))
            })
            .collect()
    };
    for kind in ["_parameters", "_buffers"] {
        for (name, value) in members(kind)? {
            let data = tensor(value).map_err(|reason| format!("tensor `{name}`: {reason}"))?;
            out.insert(name, data);
        }
    }
    for (name, inner) in members("_modules")? {
        collect(inner, &name, depth + 1, out)?;
    }
    Ok(())
}

/// A parameter or a tensor.
fn tensor(value: Value<'_, '_>) -> Found<TensorData> {
    let arguments: Vec<Value<'_, '_>> = match value.call() {
        Some((("torch._utils", "_rebuild_parameter"), arguments)) => {
            let inner = arguments.items().and_then(|mut items| items.next());
            return tensor(inner.ok_or("a parameter without its tensor")?);
        }
        Some((("torch._utils", "_rebuild_tensor_v2"), arguments)) => {
            arguments.items().into_iter().flatten().collect()
        }
        _ => return Err(format!("expected a tensor, found {}", value.kind())),
    };
    let [source, offset, size, stride, ..] = arguments[..] else {
        return Err("expected storage, offset, size and stride".into());
    };
    let sizes = |value: Value<'_, '_>| -> Option<Vec<usize>> {
        value.items()?.map(Value::as_usize).collect()
    };
    let (Some(offset), Some(shape), Some(strides)) =
        (offset.as_usize(), sizes(size), sizes(stride))
    else {
        return Err("offset, size or stride are not numbers".into());
    };
    let values = storage(source)?;
    let count = shape.iter().try_fold(1_usize, |n, &size| n.checked_mul(size));
    let count = count.filter(|&count| shape.len() == strides.len() && count <= values.len());
    let wrong = || format!("size {shape:?} does not fit into {} numbers", values.len());
    let mut picked = Vec::with_capacity(count.ok_or_else(wrong)?);
    let mut index = vec![0; shape.len()];
    for _ in 0..count.unwrap_or_default() {
        let steps =
            index.iter().zip(&strides).try_fold(offset, |at, (&i, &stride): (&usize, _)| {
                at.checked_add(i.checked_mul(stride)?)
            });
        picked.push(*steps.and_then(|at| values.get(at)).ok_or_else(wrong)?);
        for (place, &size) in index.iter_mut().zip(&shape).rev() {
            *place += 1;
            if *place < size {
                break;
            }
            *place = 0;
        }
    }
    Ok(TensorData::new(picked, shape))
}

/// The numbers of a storage: PyTorch's old format inside of bytes.
fn storage(value: Value<'_, '_>) -> Found<Vec<f32>> {
    let bytes = match value.call() {
        Some((("torch.storage", "_load_from_bytes"), arguments)) => {
            arguments.tuple::<1>().and_then(|[bytes]| bytes.as_bytes())
        }
        _ => None,
    };
    let bytes = bytes.ok_or_else(|| format!("expected a storage, found {}", value.kind()))?;
    let types = ["FloatStorage", "HalfStorage", "DoubleStorage"];
    let allowed = |module: &str, name: &str| {
        module == "torch" && types.contains(&name)
            || (module, name) == ("collections", "OrderedDict")
    };
    let mut rest = bytes;
    let mut next = || -> Found<Pickle<'_>> {
        let pickle = Pickle::read(rest, &allowed).map_err(|e| format!("storage: {e}"))?;
        rest = &rest[pickle.length()..];
        Ok(pickle)
    };
    if next()?.root().as_int() != Some(MAGIC) || next()?.root().as_usize() != Some(PROTOCOL) {
        return Err("the storage is not in PyTorch's old format".into());
    }
    let system = next()?;
    if system.root().get("little_endian").and_then(Value::as_bool) != Some(true) {
        return Err("the storage is not little-endian".into());
    }
    let (object, keys) = (next()?, next()?);
    let id: Vec<Value<'_, '_>> =
        object.root().persistent().and_then(Value::items).into_iter().flatten().collect();
    let [kind, class, key, _, count, ..] = id[..] else {
        return Err("expected the reference to a storage".into());
    };
    let keys: Vec<Value<'_, '_>> = keys.root().items().into_iter().flatten().collect();
    let is_only = matches!(keys[..], [only] if only.as_str() == key.as_str());
    let (Some("storage"), Some((_, class)), Some(count), true) =
        (kind.as_str(), class.global(), count.as_usize(), is_only)
    else {
        return Err("expected the reference to one storage".into());
    };
    let (length, data) = rest.split_at_checked(8).ok_or("the storage is cut off")?;
    let stored = length.iter().rev().fold(0_u64, |n, &byte| n << 8 | u64::from(byte));
    if stored != count as u64 {
        return Err(format!("the storage says {count} numbers and has {stored}"));
    }
    let values = match class {
        "HalfStorage" => words(data, count, |word| f16::from_le_bytes(word).to_f32()),
        "DoubleStorage" => words(data, count, |word| f64::from_le_bytes(word) as f32),
        _ => words(data, count, f32::from_le_bytes),
    };
    values.ok_or_else(|| "the storage is cut off".into())
}

/// The first `count` words of some bytes, if there are that many.
fn words<const N: usize>(data: &[u8], count: usize, f: fn([u8; N]) -> f32) -> Option<Vec<f32>> {
    let words = data.as_chunks::<N>().0.get(..count)?;
    Some(words.iter().map(|word| f(*word)).collect())
}
