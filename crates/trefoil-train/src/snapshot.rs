//! Checkpoints of trainings with several networks: the optimisers of all of them and a JSON value in one file.
//!
//! The files are those of [`crate::checkpoint`], with the network's name in front of each tensor:
//! `student.model.NAME`, `student.ema.NAME`, ...

use std::path::{Path, PathBuf};

use serde_json::Value;
use trefoil_core::Error as CoreError;

use crate::checkpoint::{compare, list, push_slices, remove_old};
use crate::error::{Error, Result};
use crate::optim::{Moments, Optimizer};
use crate::state_file::{self, Contents, Unusable};

/// Writes `NUMBER.safetensors` and removes all but the newest `keep` files.
///
/// # Errors
/// [`CoreError::Write`].
pub fn save(
    folder: &Path,
    number: u64,
    optimizers: &[(&str, &Optimizer)],
    state: &Value,
    keep: usize,
) -> Result<PathBuf> {
    let path = folder.join(format!("{number:09}.safetensors"));
    let mut slices = Vec::new();
    for (network, optimizer) in optimizers {
        push_slices(&mut slices, &format!("{network}."), optimizer);
    }
    state_file::write(&path, &slices, &state.to_string())?;
    remove_old(folder, keep.max(1))?;
    Ok(path)
}

/// A checkpoint that was read.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    state: Value,
    contents: Contents,
    skipped: Vec<String>,
}

impl Snapshot {
    /// Reads the newest checkpoint that is whole; `None` when there is no checkpoint at all.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`] when none of several can be read, and those of reading.
    pub fn open(folder: &Path) -> Result<Option<Self>> {
        let mut skipped = Vec::new();
        for path in list(folder)?.into_iter().rev() {
            match state_file::read(&path) {
                Ok(contents) => {
                    let state = serde_json::from_str(&contents.state)
                        .map_err(|e| CoreError::format(&path, e.to_string()))?;
                    return Ok(Some(Self { path, state, contents, skipped }));
                }
                Err(Unusable::Other(error)) => return Err(error.into()),
                Err(Unusable::Damaged(reason)) => {
                    tracing::warn!("skipped a damaged checkpoint: {reason}");
                    let aside = path.with_extension("safetensors.damaged");
                    std::fs::rename(&path, &aside)
                        .map_err(|source| CoreError::Write { path: aside, source })?;
                    skipped.push(reason);
                }
            }
        }
        if skipped.is_empty() {
            return Ok(None);
        }
        Err(Error::NoCheckpoint { folder: folder.into(), reasons: skipped })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The JSON value that was saved.
    pub fn state(&self) -> &Value {
        &self.state
    }

    /// Newer checkpoints that are damaged, with the reason; they were renamed to `*.damaged`.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// Makes sure that a part of the state is what it is now.
    ///
    /// # Errors
    /// [`Error::ConfigChanged`] with every field that differs.
    pub fn check(&self, field: &str, now: &Value) -> Result<()> {
        let before = self.state.get(field).unwrap_or(&Value::Null);
        let now = serde_json::from_str(&now.to_string()).unwrap_or_default();
        let mut fields = Vec::new();
        compare(field, before, &now, &mut fields);
        if fields.is_empty() {
            return Ok(());
        }
        Err(Error::ConfigChanged { path: self.path.clone(), fields })
    }

    /// Moves the tensors of a network into its optimiser, which is of no use after an error.
    ///
    /// # Errors
    /// Missing and misshapen tensors by name.
    pub fn fill(&mut self, network: &str, optimizer: &mut Optimizer) -> Result<()> {
        let path = &self.path;
        for parameter in &mut optimizer.parameters {
            let mut take = |prefix: &str, into: &mut Vec<f32>| -> Result<()> {
                let name = format!("{network}.{prefix}.{}", parameter.name);
                match self.contents.tensors.remove(&name) {
                    None => {
                        let missing = vec![name];
                        Err(CoreError::MissingTensors { path: path.clone(), missing }.into())
                    }
                    Some((found, _)) if found != parameter.shape => {
                        let (path, expected) = (path.clone(), parameter.shape.clone());
                        Err(CoreError::TensorShape { path, name, expected, found }.into())
                    }
                    Some((_, values)) => {
                        *into = values;
                        Ok(())
                    }
                }
            };
            take("model", &mut parameter.value)?;
            if let Some(Moments { m, v, ema }) = &mut parameter.moments {
                take("ema", ema)?;
                take("m", m)?;
                take("v", v)?;
            }
        }
        Ok(())
    }

    /// Makes sure that every tensor of the file was used.
    ///
    /// # Errors
    /// [`CoreError::UnexpectedTensors`] with those that were not.
    pub fn finish(self) -> Result<()> {
        if self.contents.tensors.is_empty() {
            return Ok(());
        }
        let mut unexpected: Vec<String> = self.contents.tensors.into_keys().collect();
        unexpected.sort();
        Err(CoreError::UnexpectedTensors { path: self.path, unexpected }.into())
    }
}
