//! What a training says while it runs.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::evaluate::Evaluation;
use crate::model::Losses;
use crate::{Error, Result};

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Steps taken since the start.
    pub steps: u64,
    /// Mean losses of the epoch.
    pub losses: Losses,
    /// Seconds of the epoch, without the validation.
    pub seconds: f64,
    /// Results on the validation rows, in the epochs that have a validation.
    pub valid: Option<Evaluation>,
    /// The number by which the best epoch is chosen.
    pub selection: Option<f64>,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step of an epoch is done.
    Step {
        /// The epoch, from 1.
        epoch: usize,
        /// Batches done, and batches of the epoch.
        batches: (usize, usize),
        /// Losses of the batch.
        losses: Losses,
    },
    /// An epoch is done.
    Epoch(&'a EpochRecord),
}

/// Hears of every event, and may stop the training: `Break` after a step loses the epoch under way,
/// after an epoch nothing.
pub type Listener<'a> = &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

/// Appends a line to `metrics.jsonl`.
pub(super) fn append(path: &Path, record: &EpochRecord) -> Result<()> {
    let fail = |source| Error::Write { path: path.into(), source };
    let mut line = serde_json::to_vec(record).map_err(|error| fail(error.into()))?;
    line.push(b'\n');
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(&line)).map_err(fail)
}

/// Leaves only the lines of the first epochs, for a training that continues after them.
pub(super) fn truncate(path: &Path, epochs: usize) -> Result<()> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(()) };
    let kept = text.lines().filter(|line| {
        serde_json::from_str::<EpochRecord>(line).is_ok_and(|record| record.epoch <= epochs)
    });
    let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
    crate::files::write_atomic(path, kept.as_bytes())
}
