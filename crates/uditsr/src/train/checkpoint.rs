//! Everything from which a training continues bit for bit, in one file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::config::TrainConfig;
use super::optimizer::{AdamW, Moments};
use super::progress::EpochRecord;
use crate::files::{Stored, TensorFile, read, read_note, write_tensors};
use crate::model::{ModelConfig, Parameters, Sizes, Tensor};
use crate::{Error, Result};

/// What a checkpoint holds beside the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Epochs that are done.
    pub(super) epoch: usize,
    pub(super) steps: u64,
    pub(super) best: Option<EpochRecord>,
    /// Validations since the best.
    pub(super) waited: usize,
    pub(super) model: ModelConfig,
    pub(super) train: TrainConfig,
    pub(super) sizes: Sizes,
    /// Training rows, a check that the data is the same.
    pub(super) rows: usize,
}

/// Key of the state in the header.
const STATE: &str = "state";

/// Parameters, optimiser and state, as they were saved.
pub(super) struct Checkpoint {
    pub(super) state: State,
    pub(super) parameters: Parameters<f32>,
    pub(super) optimizer: AdamW<f32>,
}

/// Writes a checkpoint, atomically. All rows of the optimiser must be up to date.
pub(super) fn save(
    path: &Path,
    state: &State,
    parameters: &Parameters<f32>,
    optimizer: &AdamW<f32>,
) -> Result<()> {
    let mut stored = Vec::new();
    for (Tensor { name, shape, values }, moments) in
        parameters.tensors().into_iter().zip(&optimizer.moments)
    {
        stored.push(Stored::numbers(format!("first/{name}"), &shape, &moments.first));
        stored.push(Stored::numbers(format!("second/{name}"), &shape, &moments.second));
        stored.push(Stored::numbers(format!("value/{name}"), &shape, values));
    }
    let text = serde_json::to_string(state)
        .map_err(|source| Error::Write { path: path.into(), source: source.into() })?;
    write_tensors(path, &stored, Some((STATE, text)))
}

/// Reads a checkpoint.
pub(super) fn load(path: &Path) -> Result<Checkpoint> {
    let bytes = read(path)?;
    let note = read_note(path, &bytes, STATE)?;
    let state: State = serde_json::from_str(&note)
        .map_err(|error| Error::Format { path: path.into(), reason: error.to_string() })?;
    let file = TensorFile::new(path, &bytes)?;
    let mut parameters = Parameters::zeros(&state.model, state.sizes);
    let mut optimizer = AdamW::new(state.train.optimizer, &parameters);
    let named = parameters.tensors().into_iter().map(|tensor| (tensor.name, tensor.shape));
    let named: Vec<_> = named.collect();
    let values = parameters.values_mut().into_iter().zip(&mut optimizer.moments);
    for ((name, shape), (value, moments)) in named.iter().zip(values) {
        let read = |part: &str| file.numbers(&format!("{part}/{name}"), shape);
        value.copy_from_slice(&read("value")?);
        *moments = Moments { first: read("first")?, second: read("second")? };
    }
    optimizer.resume(state.steps);
    Ok(Checkpoint { state, parameters, optimizer })
}
