//! Checkpoints: everything from which a run continues bit for bit, in one file.
//!
//! `state/000128000.safetensors` (the number is that of the samples seen) holds the tensors
//! `model.NAME`, `ema.NAME`, `m.NAME` and `v.NAME` in the order of the network, and in its header the
//! position, the configuration and the sums of the log line that is under way. Files are written
//! under another name, synced and renamed, and carry a checksum.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use trefoil_core::Error as CoreError;

use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::metrics::Interval;
use crate::optim::{Moments, Optimizer};
use crate::sampler::Position;
use crate::state_file::{self, Contents, Slice, Unusable};

/// What a checkpoint holds beside the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) position: Position,
    pub(crate) config: TrainConfig,
    /// [`crate::Task::fingerprint`].
    pub(crate) task: Value,
    pub(crate) interval: Interval,
    /// Seconds trained so far.
    pub(crate) seconds: f64,
}

/// Where a resumed run continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// The checkpoint.
    pub path: PathBuf,
    /// Position of the checkpoint.
    pub position: Position,
    /// Newer checkpoints that are damaged, with the reason. They were renamed to `*.damaged`.
    pub skipped: Vec<String>,
}

/// Writes a checkpoint and removes all but the newest `keep_checkpoints`.
pub(crate) fn save(folder: &Path, optimizer: &Optimizer, state: &State) -> Result<PathBuf> {
    let path = folder.join(format!("{:09}.safetensors", state.position.samples));
    let mut slices = Vec::new();
    push_slices(&mut slices, "", optimizer);
    let json = serde_json::to_string(state)
        .map_err(|e| CoreError::Write { path: path.clone(), source: e.into() })?;
    state_file::write(&path, &slices, &json)?;
    remove_old(folder, state.config.keep_checkpoints)?;
    Ok(path)
}

/// Adds what an optimiser holds, each name with `prefix` in front.
pub(crate) fn push_slices<'a>(slices: &mut Vec<Slice<'a>>, prefix: &str, optimizer: &'a Optimizer) {
    for parameter in &optimizer.parameters {
        let mut push = |part: &str, values| {
            let name = format!("{prefix}{part}.{}", parameter.name);
            slices.push(Slice { name, shape: &parameter.shape, values });
        };
        push("model", &parameter.value[..]);
        if let Some(Moments { m, v, ema }) = &parameter.moments {
            push("ema", ema);
            push("m", m);
            push("v", v);
        }
    }
}

/// Removes all but the newest `keep` checkpoints.
pub(crate) fn remove_old(folder: &Path, keep: usize) -> Result<()> {
    let files = list(folder)?;
    for old in &files[..files.len().saturating_sub(keep)] {
        std::fs::remove_file(old)
            .map_err(|source| CoreError::Write { path: old.clone(), source })?;
    }
    Ok(())
}

/// Continues from the newest checkpoint that is whole; `None` when there is no checkpoint at all.
///
/// `current` has the configuration of this run; on success its position and sums are the file's.
pub(crate) fn restore(
    folder: &Path,
    optimizer: &mut Optimizer,
    current: &mut State,
) -> Result<Option<Resumed>> {
    let mut skipped = Vec::new();
    let mut damaged = Vec::new();
    for path in list(folder)?.into_iter().rev() {
        let contents = match state_file::read(&path) {
            Ok(contents) => contents,
            Err(Unusable::Other(error)) => return Err(error.into()),
            Err(Unusable::Damaged(reason)) => {
                tracing::warn!("skipped a damaged checkpoint: {reason}");
                skipped.push(reason);
                damaged.push(path);
                continue;
            }
        };
        let state: State = serde_json::from_str(&contents.state)
            .map_err(|e| CoreError::format(&path, e.to_string()))?;
        let fields = differences(&state, current);
        if !fields.is_empty() {
            return Err(Error::ConfigChanged { path, fields });
        }
        fill(optimizer, contents, &path)?;
        for file in damaged {
            let aside = file.with_extension("safetensors.damaged");
            std::fs::rename(&file, &aside)
                .map_err(|source| CoreError::Write { path: aside, source })?;
        }
        current.position = state.position;
        current.interval = state.interval;
        current.seconds = state.seconds;
        return Ok(Some(Resumed { path, position: state.position, skipped }));
    }
    if skipped.is_empty() {
        return Ok(None);
    }
    Err(Error::NoCheckpoint { folder: folder.into(), reasons: skipped })
}

/// All checkpoints, oldest first.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |source| CoreError::Read { path: folder.into(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let samples = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(samples) = samples
            && path.extension().is_some_and(|e| e == "safetensors")
        {
            files.push((samples, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// `field: before -> now` for each setting that may not change within a run.
fn differences(before: &State, now: &State) -> Vec<String> {
    let mut fields = Vec::new();
    let [before_config, now_config] =
        [&before.config, &now.config].map(|c| serde_json::to_value(c).unwrap_or_default());
    compare("", &before_config, &as_read(&now_config), &mut fields);
    fields.retain(|line| {
        let field = line.split([':', '.']).next().unwrap_or_default();
        !TrainConfig::MAY_CHANGE.contains(&field)
    });
    compare("task", &before.task, &as_read(&now.task), &mut fields);
    fields
}

/// A value as it comes back from a file: the last bit of a number may be another.
fn as_read(value: &Value) -> Value {
    serde_json::from_str(&value.to_string()).unwrap_or_default()
}

/// Walks two JSON values and lists where they differ.
pub(crate) fn compare(path: &str, before: &Value, now: &Value, out: &mut Vec<String>) {
    let (Value::Object(a), Value::Object(b)) = (before, now) else {
        if before != now {
            out.push(format!("{path}: {before} -> {now}"));
        }
        return;
    };
    let join = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    for (key, value) in a {
        compare(&join(key), value, b.get(key).unwrap_or(&Value::Null), out);
    }
    for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
        compare(&join(key), &Value::Null, value, out);
    }
}

/// Moves the tensors of a file into the optimiser, which is of no use after an error.
fn fill(optimizer: &mut Optimizer, mut contents: Contents, path: &Path) -> Result<()> {
    let mut missing = Vec::new();
    for parameter in &mut optimizer.parameters {
        let mut take = |prefix: &str, into: &mut Vec<f32>| {
            let name = format!("{prefix}.{}", parameter.name);
            match contents.tensors.remove(&name) {
                None => missing.push(name),
                Some((found, _)) if found != parameter.shape => {
                    let expected = parameter.shape.clone();
                    return Err(CoreError::TensorShape {
                        path: path.into(),
                        name,
                        expected,
                        found,
                    });
                }
                Some((_, values)) => *into = values,
            }
            Ok(())
        };
        take("model", &mut parameter.value)?;
        if let Some(Moments { m, v, ema }) = &mut parameter.moments {
            take("ema", ema)?;
            take("m", m)?;
            take("v", v)?;
        }
    }
    if !missing.is_empty() {
        return Err(CoreError::MissingTensors { path: path.into(), missing }.into());
    }
    if !contents.tensors.is_empty() {
        let mut unexpected: Vec<String> = contents.tensors.into_keys().collect();
        unexpected.sort();
        return Err(CoreError::UnexpectedTensors { path: path.into(), unexpected }.into());
    }
    Ok(())
}
