//! From a weight file into a module, strictly.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;

use super::naming::Naming;
use super::{Storage, WeightFile};
use crate::error::{Error, Misfit, NamedShape, Result};
use crate::params;

/// Loads every parameter of a module from a file; names in `ignored` (exact, or a prefix that ends in
/// `*`) may be in the file without being in the module.
///
/// Names and shapes are compared before the first number is read. Each tensor is read and converted once, when
/// its parameter is filled, so that no second copy of the weights ever exists.
///
/// # Errors
/// [`Error::TensorMismatch`] with everything that differs, or [`Error::TensorShape`] when that is a single shape, under the
/// names of the file; [`Error::Format`].
pub fn load_strict<M: Module>(module: M, file: &WeightFile, ignored: &[&str]) -> Result<M> {
    check_strict(&module, file, ignored)?;
    params::import(module, &mut |name, _| file.get(name))
}

/// As [`load_strict`], holding matrices, kernels and tables (see [`params::weights`]) in some number format: a tensor
/// that the file has in it stays there and is mapped, every other is converted part by part.
///
/// The file must then stay as it is while the module lives; one that is replaced by renaming does.
///
/// # Errors
/// As [`load_strict`], and [`Error::Config`] when the device does not compute with the format.
pub fn load_strict_as<M: Module>(
    module: M,
    file: &WeightFile,
    ignored: &[&str],
    storage: Storage,
) -> Result<M> {
    check_strict(&module, file, ignored)?;
    let weights: BTreeSet<String> =
        params::weights(&module).into_iter().map(|(name, _)| name).collect();
    params::import(module, &mut |name, _| {
        let storage = if weights.contains(name) { storage } else { Storage::F32 };
        file.get_as(name, storage)
    })
}

/// Compares names and shapes as [`load_strict`] does, and reads nothing.
///
/// # Errors
/// As [`load_strict`].
pub fn check_strict<M: Module>(module: &M, file: &WeightFile, ignored: &[&str]) -> Result<()> {
    let found = file.tensors().map(|(name, tensor)| Found {
        name: name.to_string(),
        origin: tensor.origins().join("`, `"),
        shape: tensor.shape().to_vec(),
    });
    check(module, file.path(), &found.collect::<Vec<_>>(), ignored, &file.naming)
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
    let found = tensors.iter().map(|(name, data)| Found {
        name: name.clone(),
        origin: name.clone(),
        shape: data.shape().to_vec(),
    });
    check(&module, path, &found.collect::<Vec<_>>(), &[], &Naming::default())?;
    params::import(module, &mut |name, _| {
        tensors.remove(name).ok_or_else(|| Error::MissingTensors {
            path: path.into(),
            missing: vec![name.to_string()],
        })
    })
}

/// A tensor of a file.
struct Found {
    /// The name that it was given.
    name: String,
    /// Its name in the file, or the names of its parts.
    origin: String,
    shape: Vec<usize>,
}

/// Compares names and shapes of a module with those of a file, sorted by name. Everything is reported under the names of
/// the file, to which `naming` is the way back.
fn check<M: Module>(
    module: &M,
    path: &Path,
    found: &[Found],
    ignored: &[&str],
    naming: &Naming,
) -> Result<()> {
    let wanted = params::shapes(module);
    let of_name = |name: &str| {
        found.binary_search_by(|other| other.name.as_str().cmp(name)).ok().map(|i| &found[i])
    };
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    let mut known: BTreeSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    let mut compare = |tensor: &Found, expected: &[usize]| {
        if tensor.shape != expected {
            let (name, found) = (tensor.origin.clone(), tensor.shape.clone());
            misshapen.push(Misfit { name, expected: expected.to_vec(), found });
        }
    };
    for (name, expected) in &wanted {
        if let Some(tensor) = of_name(name) {
            compare(tensor, expected);
            continue;
        }
        for (name, shape) in naming.parts(name, expected) {
            // A part that could not be joined with the others has kept its name.
            match found.iter().find(|tensor| tensor.origin == name) {
                Some(tensor) => {
                    known.insert(&tensor.name);
                    compare(tensor, &shape);
                }
                None => missing.push(NamedShape { name, shape }),
            }
        }
    }
    missing.sort_unstable();
    missing.dedup();
    let is_ignored = |name: &str| {
        ignored.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *pattern,
        })
    };
    let unexpected = found
        .iter()
        .filter(|tensor| !known.contains(tensor.name.as_str()) && !is_ignored(&tensor.name))
        .map(|tensor| NamedShape { name: tensor.origin.clone(), shape: tensor.shape.clone() });
    Error::mismatch(path, missing, unexpected.collect(), misshapen).map_or(Ok(()), Err)
}
