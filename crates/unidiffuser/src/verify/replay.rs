//! Recorded random numbers, handed out again, and recorded evaluations, put in the place of computed ones.
//!
//! A guided run multiplies rounding: every evaluation feeds its error, times the guidance, into the next one. With random
//! weights the last bit of the noise can move the end by more than a run may differ. So a recorded run is compared in
//! two ways: from beginning to end, where that bit does not decide, and evaluation by evaluation from recorded states.

use burn::tensor::{Tensor, TensorData};
use trefoil_core::weights::WeightFile;

use super::report::DRAWS;
use super::{Check, RUN, Result};
use crate::pipeline::{NoiseKind, NoiseSource, Watch};

/// Hands out recorded noise, and notes when it is asked for something else.
#[derive(Clone)]
pub(super) struct Replay {
    draws: Vec<Vec<f32>>,
    posterior: Vec<f32>,
    next: usize,
    wrong: usize,
}

impl Replay {
    /// `noise.000`, `noise.001`, ...
    pub(super) fn open(file: &WeightFile) -> Result<Self> {
        let mut draws = Vec::new();
        while file.tensor(&format!("noise.{:03}", draws.len())).is_some() {
            draws.push(file.get(&format!("noise.{:03}", draws.len()))?.iter::<f32>().collect());
        }
        let posterior = match file.tensor("vae_noise.0") {
            Some(_) => file.get("vae_noise.0")?.iter::<f32>().collect(),
            None => Vec::new(),
        };
        Ok(Self { draws, posterior, next: 0, wrong: 0 })
    }

    /// The same noise with every number one unit in its last place larger.
    pub(super) fn nudged(&self) -> Self {
        let up = |values: &Vec<f32>| values.iter().map(|v| v * (1.0 + f32::EPSILON)).collect();
        Self { draws: self.draws.iter().map(up).collect(), ..self.clone() }
    }

    /// Whether every recorded draw was asked for, in its order and size.
    pub(super) fn check(&self) -> Check {
        let used = (self.next, self.wrong);
        Check::equal(DRAWS, &used, &(self.draws.len(), 0))
    }
}

impl NoiseSource for Replay {
    fn samples(&self) -> usize {
        1
    }

    fn draw(&mut self, kind: NoiseKind, count: usize) -> Vec<f32> {
        let recorded = match kind {
            NoiseKind::Posterior => Some(&self.posterior),
            _ => self.draws.get(self.next),
        };
        if kind != NoiseKind::Posterior {
            self.next += 1;
        }
        if let Some(values) = recorded.filter(|values| values.len() == count) {
            values.clone()
        } else {
            self.wrong += 1;
            vec![0.0; count]
        }
    }
}

/// Recorded evaluations: the network is asked about the recorded states, and the solver goes on with the recorded
/// noise, so that no evaluation inherits the rounding of another.
pub(super) struct Evaluations {
    /// The state of each evaluation; nothing for the one that the noise itself is.
    states: Vec<Option<Vec<f64>>>,
    noises: Vec<Vec<f64>>,
    /// What was compared so far.
    pub(super) checks: Vec<Check>,
    next: usize,
}

impl Evaluations {
    /// The trace of a solver: `trace.x` and `trace.eps`, `[evaluations, ..]`; nothing when it was not recorded.
    pub(super) fn of_trace(file: &WeightFile) -> Result<Option<Self>> {
        let (Some(states), Some(noises)) = (rows(file, "trace.x")?, rows(file, "trace.eps")?)
        else {
            return Ok(None);
        };
        Ok(Some(Self::new(states.into_iter().map(Some).collect(), noises)))
    }

    /// The steps of diffusers: `latents` after each of them and `noise_pred`, `[steps, ..]`.
    pub(super) fn of_steps(file: &WeightFile) -> Result<Option<Self>> {
        let (Some(after), Some(noises)) = (rows(file, "latents")?, rows(file, "noise_pred")?)
        else {
            return Ok(None);
        };
        let before = std::iter::once(None).chain(after.into_iter().map(Some));
        Ok(Some(Self::new(before.take(noises.len()).collect(), noises)))
    }

    fn new(states: Vec<Option<Vec<f64>>>, noises: Vec<Vec<f64>>) -> Self {
        Self { states, noises, checks: Vec::new(), next: 0 }
    }

    /// The checks, with one for the number of evaluations.
    pub(super) fn finish(mut self) -> Vec<Check> {
        self.checks.push(Check::equal("evaluations", &self.next, &self.noises.len()));
        self.checks
    }

    /// Compares a tensor with what was recorded and returns the record in its place.
    fn replace(&mut self, what: &str, found: Tensor<2>, recorded: Option<Vec<f64>>) -> Tensor<2> {
        let Some(recorded) = recorded else { return found };
        let what = format!("evaluation {}: {what}", self.next);
        let (shape, device) = (found.dims(), found.device());
        let values: Vec<f64> = found.clone().into_data().iter::<f64>().collect();
        self.checks.push(Check::numbers(what, &values, &recorded, RUN));
        if values.len() != recorded.len() {
            return found;
        }
        let recorded: Vec<f32> = recorded.into_iter().map(|v| v as f32).collect();
        Tensor::from_data(TensorData::new(recorded, shape), &device)
    }
}

impl Watch for Evaluations {
    fn state(&mut self, x: Tensor<2>) -> Tensor<2> {
        let recorded = self.states.get_mut(self.next).and_then(Option::take);
        self.replace("state", x, recorded)
    }

    fn noise(&mut self, predicted: Tensor<2>) -> Tensor<2> {
        let recorded = self.noises.get_mut(self.next).map(std::mem::take);
        let noise = self.replace("noise", predicted, recorded);
        self.next += 1;
        noise
    }
}

/// The rows of a tensor along its first axis, when it was recorded.
fn rows(file: &WeightFile, name: &str) -> Result<Option<Vec<Vec<f64>>>> {
    let Some(shape) = file.shape(name)? else { return Ok(None) };
    let count = shape.first().copied().unwrap_or(0);
    let values = file.get_f64(name)?;
    let width = (values.len() / count.max(1)).max(1);
    Ok(Some(values.chunks(width).map(<[f64]>::to_vec).collect()))
}
