//! From a weight file into a module, strictly.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;

use super::{Storage, WeightFile};
use crate::error::{Error, Misfit, Result};
use crate::params;

/// Loads every parameter of a module from a file; names in `ignored` (exact, or a prefix that ends in
/// `*`) may be in the file without being in the module.
///
/// Names and shapes are compared before the first number is read. Each tensor is read and converted once, when
/// its parameter is filled, so that no second copy of the weights ever exists.
///
/// # Errors
/// [`Error::MissingTensors`], [`Error::UnexpectedTensors`], [`Error::TensorShape`], or
/// [`Error::TensorMismatch`] with all of them; [`Error::Format`].
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
    let found: Vec<(String, Vec<usize>)> =
        file.tensors().map(|(name, tensor)| (name.to_string(), tensor.shape().to_vec())).collect();
    check(module, file.path(), &found, ignored)
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
    let found: Vec<(String, Vec<usize>)> =
        tensors.iter().map(|(name, data)| (name.clone(), data.shape().to_vec())).collect();
    check(&module, path, &found, &[])?;
    params::import(module, &mut |name, _| {
        tensors.remove(name).ok_or_else(|| Error::MissingTensors {
            path: path.into(),
            missing: vec![name.to_string()],
        })
    })
}

/// Compares names and shapes of a module with the (sorted) ones of a file.
fn check<M: Module>(
    module: &M,
    path: &Path,
    found: &[(String, Vec<usize>)],
    ignored: &[&str],
) -> Result<()> {
    let wanted = params::shapes(module);
    let shape_of = |name: &str| {
        let place = found.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        Some(&found[place].1)
    };
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    for (name, expected) in &wanted {
        match shape_of(name) {
            None => missing.push(name.clone()),
            Some(found) if found == expected => {}
            Some(found) => misshapen.push(Misfit {
                name: name.clone(),
                expected: expected.clone(),
                found: found.clone(),
            }),
        }
    }
    missing.sort_unstable();
    let names: BTreeSet<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    let is_ignored = |name: &str| {
        ignored.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *pattern,
        })
    };
    let names_found = found.iter().map(|(name, _)| name);
    let unexpected: Vec<String> = names_found
        .filter(|name| !names.contains(name.as_str()) && !is_ignored(name))
        .cloned()
        .collect();
    Error::mismatch(path, missing, unexpected, misshapen).map_or(Ok(()), Err)
}
