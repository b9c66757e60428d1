//! The loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use burn::module::Module;
use burn::tensor::Tensor;
use trefoil_core::Error as CoreError;

use crate::checkpoint::{self, Resumed, State};
use crate::config::TrainConfig;
use crate::error::{Error, Result};
use crate::metrics::{Interval, Metrics};
use crate::optim::{BadGradient, GradientSum, Optimizer, Task};
use crate::progress::{Progress, ProgressMode};
use crate::run::RunFolder;
use crate::sampler::{Batch, Position, Sampler};

/// A request to stop, shared with a signal handler: the update under way is finished and saved.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks for the end.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The duration is reached.
    Finished,
    /// A stop was requested; a checkpoint is written and the run can be resumed.
    Interrupted,
}

/// The result of a training.
#[derive(Debug)]
pub struct Trained<M> {
    /// How it ended.
    pub outcome: Outcome,
    /// The network with the averaged weights, without gradients: the one to use.
    pub average: M,
    /// The network with the last weights, without gradients.
    pub last: M,
    /// Where it ended.
    pub position: Position,
    /// The checkpoint from which it continued.
    pub resumed: Option<Resumed>,
}

/// Trains a [`Task`] in a [`RunFolder`].
#[derive(Debug)]
pub struct Trainer<'a> {
    /// Settings.
    pub config: &'a TrainConfig,
    /// Where everything is written; when it has a checkpoint, the run continues from it.
    pub run: &'a RunFolder,
    /// A request to stop.
    pub stop: StopFlag,
    /// How progress is shown.
    pub progress: ProgressMode,
}

/// What changes during a training.
struct Session<M> {
    model: M,
    optimizer: Optimizer,
    sampler: Sampler,
    state: State,
    /// Samples at the last checkpoint and at the last call of `on_sample`.
    saved: Option<u64>,
    sampled: Option<u64>,
    /// Time and samples at the last line of the log.
    line: (Instant, u64),
}

impl Trainer<'_> {
    /// Trains until the duration, a stop or an error. The model may be on any device, with or without
    /// autodiff.
    ///
    /// # Errors
    /// Those of the task; [`Error::NonFinite`] when a loss or gradient is not finite (the checkpoints
    /// before it stay); [`Error::ConfigChanged`] and others when a run cannot be resumed.
    pub fn fit<T: Task>(&self, task: &mut T, model: T::Model) -> Result<Trained<T::Model>> {
        self.config.validate()?;
        let (mut session, resumed) = self.start(task, model)?;
        let end = self.config.duration;
        let begin = session.state.position.samples;
        let mut progress = Progress::new(self.progress, "samples", begin, end);
        if let Some(resumed) = &resumed {
            for reason in &resumed.skipped {
                progress.say(&format!("skipped a damaged checkpoint: {reason}"));
            }
            progress.say(&format!("resumed from {}", resumed.path.display()));
        }

        let mut outcome = Outcome::Finished;
        while session.state.position.samples < end {
            if self.stop.is_requested() {
                outcome = Outcome::Interrupted;
                break;
            }
            let before = session.state.position.samples;
            let clock = Instant::now();
            let loss = self.update(task, &mut session)?;
            session.state.seconds += clock.elapsed().as_secs_f64();
            let now = session.state.position.samples;
            let due = |every: u64| every > 0 && now / every > before / every;

            progress.update(now.min(end), &format!("loss {loss:.5}"));
            if due(self.config.log_every) || now >= end {
                self.log(&mut session)?;
            }
            if due(self.config.sample_every) {
                self.sample(task, &mut session)?;
            }
            if due(self.config.checkpoint_every) {
                self.save(&mut session)?;
            }
        }
        if outcome == Outcome::Finished && self.config.sample_every > 0 && begin < end {
            self.sample(task, &mut session)?;
        }
        self.save(&mut session)?;
        progress.finish();
        Ok(Trained {
            outcome,
            average: session.optimizer.write_average_to(session.model.valid())?,
            last: session.model.valid(),
            position: session.state.position,
            resumed,
        })
    }

    /// A fresh session, or the one of the newest checkpoint.
    fn start<T: Task>(
        &self,
        task: &T,
        model: T::Model,
    ) -> Result<(Session<T::Model>, Option<Resumed>)> {
        let model = model.valid().train();
        let mut optimizer = Optimizer::new(&model, |name| task.trainable(name));
        let sampler = Sampler::new(task.samples(), self.config.batch_size, self.config.seed)?;
        let mut state = State {
            position: Position::default(),
            config: self.config.clone(),
            task: task.fingerprint(),
            interval: Interval::default(),
            seconds: 0.0,
        };
        let resumed = checkpoint::restore(&self.run.state_dir(), &mut optimizer, &mut state)?;
        if resumed.is_some() || self.run.metrics_path().is_file() {
            self.run.rewind(state.position.samples)?;
        }
        let samples = state.position.samples;
        // The position follows from the samples; a dataset of another size is caught here at the latest.
        if sampler.position(samples) != state.position {
            let reason = "the checkpoint was written with another number of samples";
            return Err(CoreError::config("data", reason).into());
        }
        let model = optimizer.write_to(model)?;
        let saved = resumed.as_ref().map(|_| samples);
        let line = (Instant::now(), samples);
        Ok((Session { model, optimizer, sampler, state, saved, sampled: None, line }, resumed))
    }

    /// One update; returns its mean loss.
    fn update<T: Task>(&self, task: &T, session: &mut Session<T::Model>) -> Result<f64> {
        let at = session.state.position;
        let batch = session.sampler.batch(at);
        let weight = 1.0 / self.config.accumulation as f64;
        let mut gradients = GradientSum::default();
        let mut sums: Vec<(&'static str, f64)> = Vec::new();
        let mut total = 0.0;
        for part in batch.split(self.config.accumulation) {
            let losses = task.loss(&session.model, &part)?;
            for (name, value) in losses.parts {
                let value = weight * finite(value, &format!("loss `{name}`"), &part)?;
                match sums.iter_mut().find(|(n, _)| *n == name) {
                    Some((_, sum)) => *sum += value,
                    None => sums.push((name, value)),
                }
            }
            total += weight * finite(losses.total.clone(), "the loss", &part)?;
            gradients.add(&session.model, losses.total.backward());
        }
        let norm = session.optimizer.update(&gradients, self.config, at).map_err(
            |BadGradient { parameter }| {
                not_finite(format!("the gradient of `{parameter}`"), &batch)
            },
        )?;
        let model = session.model.clone();
        session.model = session.optimizer.write_to(model)?;

        let state = &mut session.state;
        state.interval.count_update();
        state.interval.add("loss", total);
        state.interval.add("gradient_norm", norm);
        for (name, value) in sums {
            state.interval.add(&format!("parts.{name}"), value);
        }
        state.position = session.sampler.position(at.samples + self.config.batch_size as u64);
        Ok(total)
    }

    fn log<M>(&self, session: &mut Session<M>) -> Result<()> {
        let interval = std::mem::take(&mut session.state.interval);
        let Position { step, samples, epoch } = session.state.position;
        let last = samples - self.config.batch_size as u64;
        let (time, from) = session.line;
        let now = Instant::now();
        session.line = (now, samples);
        let parts = interval.means("parts.").into_iter().map(|(name, mean)| (name, mean.into()));
        self.run.log(&Metrics {
            step,
            samples,
            epoch,
            loss: interval.mean("loss"),
            parts: parts.collect(),
            gradient_norm: interval.mean("gradient_norm"),
            learning_rate: self.config.learning_rate(last),
            ema_decay: self.config.ema_decay(last),
            samples_per_second: (samples - from) as f64 / (now - time).as_secs_f64().max(1e-9),
            seconds: session.state.seconds,
        })
    }

    /// Lets the task draw samples from the averaged weights, once per position.
    fn sample<T: Task>(&self, task: &mut T, session: &mut Session<T::Model>) -> Result<()> {
        let position = session.state.position;
        if session.sampled == Some(position.samples) {
            return Ok(());
        }
        let average = session.optimizer.write_average_to(session.model.valid())?;
        task.on_sample(&average, self.run, position)?;
        session.sampled = Some(position.samples);
        Ok(())
    }

    /// Writes a checkpoint, once per position.
    fn save<M>(&self, session: &mut Session<M>) -> Result<()> {
        let samples = session.state.position.samples;
        if session.saved == Some(samples) {
            return Ok(());
        }
        checkpoint::save(&self.run.state_dir(), &session.optimizer, &session.state)?;
        session.saved = Some(samples);
        Ok(())
    }
}

/// Reads a loss.
fn finite(value: Tensor<1>, what: &str, batch: &Batch) -> Result<f64> {
    let value = f64::from(value.into_scalar::<f32>());
    if value.is_finite() { Ok(value) } else { Err(not_finite(what.into(), batch)) }
}

fn not_finite(what: String, batch: &Batch) -> Error {
    let first = batch.items.first().map_or(0, |item| item.visit);
    let visits = first..first + batch.items.len() as u64;
    Error::NonFinite { what, step: batch.step, visits, seed: batch.seed.0 }
}
