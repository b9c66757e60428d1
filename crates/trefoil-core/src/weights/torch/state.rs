//! From the values of a pickle to tensors.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use trefoil_kernels::MappedFile;

use crate::pickle::{MAX_VALUES, Pickle, Value};
use crate::weights::tensor::{Element, StoredTensor};

/// Deepest nesting of dictionaries.
const DEEPEST: usize = 32;
/// Longest name of a tensor, in bytes.
const LONGEST_NAME: usize = 512;
/// Most tensors: with shared dictionaries a small file could name very many.
const MOST_TENSORS: usize = 1 << 17;

/// What a persistent id says about the numbers of a tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage<'a> {
    pub(super) key: &'a str,
    pub(super) element: Element,
}

impl<'a> Storage<'a> {
    /// `("storage", class, key, location, length)`; nothing for another value.
    pub(super) fn of(value: Value<'_, 'a>) -> Option<Result<Self, String>> {
        let mut parts = value.persistent()?.items()?;
        let (kind, class, key) = (parts.next()?, parts.next()?, parts.next()?);
        if kind.as_str() != Some("storage") {
            return None;
        }
        let (_, class) = class.global()?;
        let (_location, _length, view) = (parts.next(), parts.next(), parts.next());
        let element = element_of_class(class)
            .ok_or_else(|| format!("a storage of the class `{class}` is not supported"));
        let view = view.is_some_and(|view| !view.is_none());
        let key = key.as_str()?;
        Some(element.and_then(|element| {
            if view {
                Err(format!("storage `{key}` is a view of another, as before PyTorch 0.4"))
            } else {
                Ok(Self { key, element })
            }
        }))
    }
}

/// The number format that a class of storages stands for.
pub(super) fn element_of_class(name: &str) -> Option<Element> {
    Some(match name {
        "DoubleStorage" => Element::F64,
        "FloatStorage" => Element::F32,
        "HalfStorage" => Element::F16,
        "BFloat16Storage" => Element::Bf16,
        "LongStorage" => Element::I64,
        "IntStorage" => Element::I32,
        "ShortStorage" => Element::I16,
        "CharStorage" => Element::I8,
        "ByteStorage" => Element::U8,
        "BoolStorage" => Element::Bool,
        _ => return None,
    })
}

/// The number format of each storage that a pickle mentions.
pub(super) fn elements<'a>(pickle: &Pickle<'a>) -> Result<BTreeMap<&'a str, Element>, String> {
    let mut elements = BTreeMap::new();
    for value in pickle.values() {
        if let Some(storage) = Storage::of(value) {
            let Storage { key, element } = storage?;
            elements.insert(key, element);
        }
    }
    Ok(elements)
}

/// Where the numbers of a storage lie.
type Locate<'l> = &'l dyn Fn(Storage<'_>) -> Result<Range<usize>, String>;

/// All tensors below `root`, by their path.
pub(super) fn tensors(
    file: &Arc<MappedFile>,
    root: Value<'_, '_>,
    locate: Locate<'_>,
) -> Result<BTreeMap<String, StoredTensor>, String> {
    if root.entries().is_none() {
        return Err(format!("expected a dictionary of tensors, found {}", root.kind()));
    }
    let mut walk = Walk { file, locate, tensors: BTreeMap::new(), visited: 0 };
    walk.visit(root, &mut String::new(), 0)?;
    Ok(walk.tensors)
}

struct Walk<'w> {
    file: &'w Arc<MappedFile>,
    locate: Locate<'w>,
    tensors: BTreeMap<String, StoredTensor>,
    /// Shared values are visited once per path: a small file may have very many paths.
    visited: usize,
}

impl Walk<'_> {
    fn visit(
        &mut self,
        value: Value<'_, '_>,
        path: &mut String,
        depth: usize,
    ) -> Result<(), String> {
        self.visited += 1;
        if depth > DEEPEST || self.visited > MAX_VALUES {
            return Err("the dictionaries are nested too deeply".into());
        }
        if let Some((("torch._utils", function), arguments)) = value.call() {
            if function == "_rebuild_parameter" {
                let data = arguments.items().and_then(|mut items| items.next());
                let data = data.ok_or_else(|| format!("parameter `{path}` has no data"))?;
                return self.visit(data, path, depth + 1);
            }
            let tensor = self.tensor(arguments).map_err(|e| format!("tensor `{path}`: {e}"))?;
            if self.tensors.len() >= MOST_TENSORS {
                return Err(format!("the file has more than {MOST_TENSORS} tensors"));
            }
            self.tensors.insert(path.clone(), tensor);
            return Ok(());
        }
        // A dictionary, or the attributes of an object of a script archive.
        let scripted = value.call().is_some_and(|((module, _), _)| module.starts_with("__torch__"));
        let holder = if scripted { value.state() } else { Some(value) };
        let Some(entries) = holder.and_then(Value::entries) else { return Ok(()) };
        for (key, child) in entries {
            let Some(key) = key.as_str() else { continue };
            let length = path.len();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key);
            if path.len() > LONGEST_NAME {
                return Err(format!("a name of more than {LONGEST_NAME} bytes"));
            }
            self.visit(child, path, depth + 1)?;
            path.truncate(length);
        }
        Ok(())
    }

    /// `(storage, offset, shape, strides, ...)`
    fn tensor(&self, arguments: Value<'_, '_>) -> Result<StoredTensor, String> {
        let mut parts = arguments.items().ok_or("it has no arguments")?;
        let mut next = || parts.next().ok_or("it has too few arguments");
        let (storage, offset, shape, strides) = (next()?, next()?, next()?, next()?);
        let storage = Storage::of(storage).ok_or("it has no storage")??;
        let sizes = |value: Value<'_, '_>| -> Option<Vec<usize>> {
            value.items()?.map(Value::as_usize).collect()
        };
        let (shape, strides) = (sizes(shape), sizes(strides));
        let (shape, strides) = shape.zip(strides).ok_or("its shape is not a list of sizes")?;
        let range = (self.locate)(storage)?;
        let start = offset
            .as_usize()
            .and_then(|offset| range.start.checked_add(offset.checked_mul(storage.element.size())?))
            .ok_or("its offset is not a size")?;
        StoredTensor::new(Arc::clone(self.file), storage.element, range, start, shape, strides)
    }
}
