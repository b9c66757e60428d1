//! The loop: preparation, warm-up, and then fake score and student in turns.

use std::time::Instant;

use burn::module::Module;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use trefoil_core::Error as CoreError;
use trefoil_train::optim::{BadGradient, GradientSum, Optimizer};
use trefoil_train::sampler::Position;
use trefoil_train::snapshot::{self, Snapshot};
use trefoil_train::{
    Error as TrainError, Interval, Metrics, Outcome, Progress, ProgressMode, RunFolder, StopFlag,
    TrainConfig,
};

use super::config::{DistillConfig, OptimizerConfig};
use super::losses::{
    FakeBatch, FakeLoss, RatioReport, Streams, StudentBatch, StudentLoss, best_cross_entropy,
    fake_loss, spread, student_loss,
};
use super::problem::{Problem, Triptych};
use crate::error::{Error, Result};
use crate::method::{Plan, StudentKind};
use crate::objective::{Calibration, Objective, TimeLaw};
use crate::tensors;

/// Upper ends of the ranges of sigma in which the loss of the fake score is logged.
const RANGES: [(&str, f64); 4] =
    [("below_0.1", 0.1), ("0.1_to_0.5", 0.5), ("0.5_to_2.5", 2.5), ("above_2.5", f64::INFINITY)];

/// Distils a [`Problem`] in a [`RunFolder`].
#[derive(Debug)]
pub struct Distiller<'a, P> {
    /// Teacher, networks and data.
    pub problem: &'a P,
    /// The method.
    pub plan: &'a Plan,
    /// Settings.
    pub config: &'a DistillConfig,
    /// Where everything is written; when it has a checkpoint, the run continues from it.
    pub run: &'a RunFolder,
    /// A request to stop.
    pub stop: StopFlag,
    /// How progress is shown.
    pub progress: ProgressMode,
}

/// The result of a distillation.
#[derive(Debug)]
pub struct Distilled<F, S> {
    /// How it ended.
    pub outcome: Outcome,
    /// The student with averaged weights.
    pub student: S,
    /// The fake network with its last weights.
    pub fake: F,
    /// Seconds of training, over all parts of the run.
    pub seconds: f64,
    /// What the problem measured at the end of this part of the run.
    pub measured: Vec<(String, f64)>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Counters {
    /// Samples of all three parts.
    done: u64,
    /// Updates of the fake network, without those of the preparation.
    fake: u64,
    /// Updates of the student.
    student: u64,
}

/// What changes during a run.
struct Session<P: Problem> {
    fake: P::Fake,
    student: P::Student,
    fake_optimizer: Optimizer,
    student_optimizer: Optimizer,
    counters: Counters,
    calibration: Calibration,
    interval: Interval,
    seconds: f64,
    /// Spread of the teacher's samples.
    teacher_spread: f64,
    saved: Option<u64>,
    sampled: Option<u64>,
    line: (Instant, u64),
    views: Option<Triptych>,
    measured: Vec<(String, f64)>,
}

/// The parts of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Prepare,
    WarmUp,
    Turns,
}

impl<P: Problem> Distiller<'_, P> {
    /// Distils until the duration, a stop or an error.
    ///
    /// # Errors
    /// [`TrainError::NonFinite`]; [`Error::Saturated`], [`Error::Collapsed`] and [`Error::Diverged`]; those of the problem; and
    /// [`TrainError::ConfigChanged`] when a run cannot be resumed. Checkpoints before an error stay.
    pub fn fit(&self, fake: P::Fake) -> Result<Distilled<P::Fake, P::Student>> {
        self.config.validate()?;
        self.plan.validate()?;
        let mut session = self.start(fake)?;
        let total = self.total();
        let mut progress = Progress::new(self.progress, "samples", session.counters.done, total);
        if session.saved.is_some() {
            progress.say(&format!("resumed after {} samples", session.counters.done));
        }
        let mut outcome = Outcome::Finished;
        while session.counters.done < total {
            if self.stop.is_requested() {
                outcome = Outcome::Interrupted;
                break;
            }
            let before = session.counters.done;
            let phase = self.phase(before);
            let clock = Instant::now();
            let loss = self.update(&mut session, phase)?;
            session.seconds += clock.elapsed().as_secs_f64();
            let now = session.counters.done;
            let next = self.phase(now);
            let due = |every: u64| every > 0 && now / every > before / every;
            progress.update(now.min(total), &format!("loss {loss:.5}"));
            if due(self.config.log_every) || next != phase || now >= total {
                self.log(&mut session, phase)?;
            }
            if phase == Phase::Prepare && next != phase {
                self.begin(&mut session)?;
            }
            if due(self.config.sample_every) && next == Phase::Turns {
                self.sample(&mut session)?;
            }
            if due(self.config.checkpoint_every) {
                self.save(&mut session)?;
            }
        }
        if outcome == Outcome::Finished {
            self.sample(&mut session)?;
        }
        self.save(&mut session)?;
        progress.finish();
        let student = session.student_optimizer.write_average_to(session.student.no_grad())?;
        Ok(Distilled {
            outcome,
            student: student.no_grad(),
            fake: session.fake.no_grad(),
            seconds: session.seconds,
            measured: session.measured,
        })
    }

    fn objective(&self, done: u64) -> &Objective {
        let main = done.saturating_sub(self.total() - self.config.duration);
        let stage = self.plan.stage(main as f64 / self.config.duration as f64);
        &self.plan.stages[stage].objective
    }

    /// Whether there is a fake network to train.
    fn has_fake(&self) -> bool {
        self.plan.stages.iter().any(|stage| stage.objective.fake.kind.is_network())
    }

    /// Samples of preparation: points need none, and so does a student that nothing is trained beside.
    fn prepare(&self) -> u64 {
        if self.plan.student == StudentKind::Points && !self.has_fake() {
            return 0;
        }
        self.config.prepare
    }

    fn warm_up(&self) -> u64 {
        if self.has_fake() { self.config.warm_up } else { 0 }
    }

    /// All samples of this run.
    fn total(&self) -> u64 {
        self.prepare() + self.warm_up() + self.config.duration
    }

    fn phase(&self, done: u64) -> Phase {
        match done {
            done if done < self.prepare() => Phase::Prepare,
            done if done < self.prepare() + self.warm_up() => Phase::WarmUp,
            _ => Phase::Turns,
        }
    }

    /// A fresh session, or the one of the newest checkpoint.
    fn start(&self, fake: P::Fake) -> Result<Session<P>> {
        let problem = self.problem;
        let fake_optimizer = Optimizer::new(&fake, |_| true);
        let student = problem.student_from(&fake)?;
        let student_optimizer = Optimizer::new(&student, |_| true);
        let mut stream = self.config.seed.stream("spread", 0);
        let condition = problem.conditions(&mut stream, 1024);
        let real = problem.real(&mut stream, 1024, condition.as_ref())?;
        let mut session = Session {
            fake,
            student,
            fake_optimizer,
            student_optimizer,
            counters: Counters::default(),
            calibration: self.objective(0).ratio.calibration(),
            interval: Interval::default(),
            seconds: 0.0,
            teacher_spread: spread(&tensors::values(real), problem.dims()),
            saved: None,
            sampled: None,
            line: (Instant::now(), 0),
            views: None,
            measured: Vec::new(),
        };
        match Snapshot::open(&self.run.state_dir())? {
            None => {
                if self.run.metrics_path().is_file() {
                    self.run.rewind(0)?;
                }
                if self.prepare() == 0 {
                    self.begin(&mut session)?;
                }
            }
            Some(snapshot) => self.resume(&mut session, snapshot)?,
        }
        session.line = (Instant::now(), session.counters.done);
        Ok(session)
    }

    fn resume(&self, session: &mut Session<P>, mut snapshot: Snapshot) -> Result<()> {
        snapshot.check("settings", &self.settings())?;
        let path = snapshot.path().to_path_buf();
        let state = snapshot.state().clone();
        let read = |field: &str| state.get(field).cloned().unwrap_or_default();
        let bad = |e: serde_json::Error| CoreError::format(&path, e.to_string());
        session.counters = serde_json::from_value(read("counters")).map_err(bad)?;
        session.interval = serde_json::from_value(read("interval")).map_err(bad)?;
        session.calibration = serde_json::from_value(read("calibration")).map_err(bad)?;
        session.seconds = read("seconds").as_f64().unwrap_or_default();
        if self.phase(session.counters.done) != Phase::Prepare {
            let trains = |name: &str| self.problem.trains(name);
            session.fake_optimizer = Optimizer::new(&session.fake, trains);
            snapshot.fill("student", &mut session.student_optimizer)?;
        }
        snapshot.fill("fake", &mut session.fake_optimizer)?;
        snapshot.finish()?;
        session.fake = session.fake_optimizer.write_to(session.fake.clone())?;
        session.student = session.student_optimizer.write_to(session.student.clone())?;
        self.run.rewind(session.counters.done)?;
        session.saved = Some(session.counters.done);
        Ok(())
    }

    /// The student begins where the averaged fake network is after its preparation.
    fn begin(&self, session: &mut Session<P>) -> Result<()> {
        let fake = session.fake_optimizer.write_average_to(session.fake.clone())?;
        let student = self.problem.student_from(&fake)?;
        session.fake_optimizer = Optimizer::new(&fake, |name| self.problem.trains(name));
        session.student_optimizer = Optimizer::new(&student, |_| true);
        session.fake = session.fake_optimizer.write_to(fake)?;
        session.student = session.student_optimizer.write_to(student)?;
        Ok(())
    }

    /// One iteration; returns the loss of the student, or of the fake network before its turn.
    fn update(&self, session: &mut Session<P>, phase: Phase) -> Result<f64> {
        session.interval.count_update();
        let loss = match phase {
            Phase::Prepare | Phase::WarmUp => self.update_fake(session, phase, 1.0)?,
            Phase::Turns => {
                if self.has_fake() {
                    let updates = self.objective(session.counters.done).fake.updates;
                    for _ in 0..updates {
                        self.update_fake(session, phase, 1.0 / updates as f64)?;
                    }
                }
                self.update_student(session)?
            }
        };
        session.counters.done += self.config.batch_size as u64;
        session.interval.add("loss", loss);
        Ok(loss)
    }

    /// An update of fake score and discriminator, on data in the preparation, else on the student.
    fn update_fake(&self, session: &mut Session<P>, phase: Phase, share: f64) -> Result<f64> {
        let (problem, n) = (self.problem, self.config.batch_size);
        let objective = self.objective(session.counters.done);
        let (purpose, step) = match phase {
            Phase::Prepare => ("prepare", session.counters.done / n as u64),
            Phase::WarmUp | Phase::Turns => ("fake", session.counters.fake),
        };
        let mut streams = Streams::of(self.config.seed, purpose, step);
        let condition = problem.conditions(&mut streams.latent, n);
        let condition = condition.as_ref();
        let latent = streams.latent.normal_tensor([n, problem.dims()], problem.device());
        let preparing = phase == Phase::Prepare;
        let clean = if preparing {
            problem.real(&mut streams.data, n, condition)?
        } else {
            problem.generate(&session.student.clone().no_grad(), latent, condition)?.detach()
        };
        let mut real = None;
        if objective.needs_discriminator() && !preparing {
            real = Some(problem.real(&mut streams.data, n, condition)?);
        }
        let sigma = self.fake_levels(objective, &mut streams, preparing);
        let guidance = if preparing { 1.0 } else { objective.guidance.fake_training };
        let noise = streams.noise.normal_tensor([n, problem.dims()], problem.device());
        let batch = FakeBatch { clean, real, noise, sigma: sigma.clone(), condition, guidance };
        let weight = objective.ratio.discriminator_weight;
        let FakeLoss { total, denoising, cross_entropy } =
            fake_loss(problem, &session.fake, batch, weight)?;
        let loss = tensors::scalar(total.clone());
        self.finite(loss, "the loss of the fake network", step)?;
        let mut gradients = GradientSum::default();
        gradients.add(&session.fake, total.backward());
        let (settings, duration) = if preparing {
            (&self.config.preparation, self.prepare())
        } else {
            (&self.config.fake, self.warm_up() + self.config.duration)
        };
        let norm =
            self.apply(&mut session.fake_optimizer, &gradients, settings, (step, duration))?;
        session.fake = session.fake_optimizer.write_to(session.fake.clone())?;
        if !preparing {
            session.counters.fake += 1;
        }

        let interval = &mut session.interval;
        interval.add("parts.fake", share * denoising.iter().sum::<f64>() / n as f64);
        interval.add("fake_norm", share * norm);
        if let Some(cross_entropy) = cross_entropy {
            interval.add("parts.cross_entropy", share * cross_entropy);
        }
        for ((name, _), (sum, count)) in RANGES.iter().zip(by_range(&sigma, &denoising)) {
            interval.add(&format!("sum.fake_{name}"), sum);
            interval.add(&format!("count.fake_{name}"), f64::from(count));
        }
        Ok(loss)
    }

    /// Levels for the fake network: its own law, and the student's for a share of the samples.
    fn fake_levels(
        &self,
        objective: &Objective,
        streams: &mut Streams,
        preparing: bool,
    ) -> Vec<f64> {
        let n = self.config.batch_size;
        let own = objective.fake.time.draw(&mut streams.time, n);
        let student = objective.time.draw(&mut streams.time, n);
        // Preparation has to know all levels, and those at which a student network starts as well.
        let share = if preparing { 0.5 } else { objective.fake.student_share };
        let wide = TimeLaw::LogUniform { min: 0.01, max: 80.0 }.draw(&mut streams.time, n);
        let coins = streams.time.uniforms(n);
        let other = if preparing { wide } else { student };
        let pick = own.into_iter().zip(other).zip(coins);
        pick.map(|((own, other), coin)| if f64::from(coin) < share { other } else { own }).collect()
    }

    fn update_student(&self, session: &mut Session<P>) -> Result<f64> {
        let objective = self.objective(session.counters.done);
        let step = session.counters.student;
        objective.ratio.fit(&mut session.calibration);
        let mut streams = Streams::of(self.config.seed, "student", step);
        let frozen = session.fake.clone().no_grad();
        let n = self.config.batch_size;
        let batch = StudentBatch::draw(self.problem, objective, n, &mut streams);
        let StudentLoss { total, parts, ratio, spread, triptych } = student_loss(
            self.problem,
            objective,
            (&session.student, &frozen),
            batch,
            &mut streams.data,
            &mut session.calibration,
        )?;
        let loss = tensors::scalar(total.clone());
        self.finite(loss, "the loss of the student", step)?;
        let mut gradients = GradientSum::default();
        gradients.add(&session.student, total.backward());
        let settings = (&self.config.student, self.config.duration);
        let norm =
            self.apply(&mut session.student_optimizer, &gradients, settings.0, (step, settings.1))?;
        session.student = session.student_optimizer.write_to(session.student.clone())?;
        session.counters.student += 1;
        session.views = Some(triptych);

        let interval = &mut session.interval;
        interval.add("gradient_norm", norm);
        interval.add("parts.spread", spread);
        for (name, value) in parts {
            interval.add(&format!("parts.{name}"), value);
        }
        if let Some(RatioReport { mean, saturated, jensen_shannon }) = ratio {
            interval.add("parts.ratio_mean", mean);
            interval.add("parts.ratio_saturated", saturated);
            interval.add("parts.best_cross_entropy", best_cross_entropy(jensen_shannon));
        }
        Ok(loss)
    }

    /// Applies a gradient; `(step, duration)` are of this network alone.
    fn apply(
        &self,
        optimizer: &mut Optimizer,
        gradients: &GradientSum,
        settings: &OptimizerConfig,
        (step, duration): (u64, u64),
    ) -> Result<f64> {
        let config: TrainConfig = self.config.train_config(settings, duration);
        let position = self.position(step);
        optimizer.update(gradients, &config, position).map_err(|BadGradient { parameter }| {
            self.not_finite(format!("the gradient of `{parameter}`"), step)
        })
    }

    fn position(&self, step: u64) -> Position {
        Position { step, samples: step * self.config.batch_size as u64, epoch: 0 }
    }

    fn finite(&self, value: f64, what: &str, step: u64) -> Result<()> {
        if value.is_finite() { Ok(()) } else { Err(self.not_finite(what.into(), step)) }
    }

    fn not_finite(&self, what: String, step: u64) -> Error {
        let n = self.config.batch_size as u64;
        let visits = step * n..(step + 1) * n;
        TrainError::NonFinite { what, step, visits, seed: self.config.seed.0 }.into()
    }

    /// Writes a line of the log, and stops a run that has failed.
    fn log(&self, session: &mut Session<P>, phase: Phase) -> Result<()> {
        let interval = std::mem::take(&mut session.interval);
        let samples = session.counters.done;
        let (time, from) = session.line;
        session.line = (Instant::now(), samples);
        let mut parts = serde_json::Map::new();
        for (name, mean) in interval.means("parts.") {
            parts.insert(name, mean.into());
        }
        for (name, _) in RANGES {
            let count = interval.mean(&format!("count.fake_{name}"));
            if count > 0.0 {
                let mean = interval.mean(&format!("sum.fake_{name}")) / count;
                parts.insert(format!("fake_{name}"), mean.into());
            }
        }
        let number = |name: &str| parts.get(name).and_then(Value::as_f64);
        let (saturated, spread) = (number("ratio_saturated"), number("spread"));
        let turns = phase == Phase::Turns;
        let norm = if turns { "gradient_norm" } else { "fake_norm" };
        let settings = match phase {
            Phase::Prepare => &self.config.preparation,
            Phase::WarmUp => &self.config.fake,
            Phase::Turns => &self.config.student,
        };
        let last = session.counters.student.saturating_sub(1);
        let config = self.config.train_config(settings, self.config.duration);
        self.run.log(&Metrics {
            step: session.counters.student,
            samples,
            epoch: 0,
            loss: interval.mean("loss"),
            parts,
            gradient_norm: interval.mean(norm),
            learning_rate: config.learning_rate(self.position(last).samples),
            ema_decay: config.ema_decay(self.position(last).samples),
            samples_per_second: (samples - from) as f64 / time.elapsed().as_secs_f64().max(1e-9),
            seconds: session.seconds,
        })?;
        if !turns {
            return Ok(());
        }
        let step = session.counters.student;
        if let Some(share) = saturated.filter(|share| *share > self.config.stop_saturated) {
            let limit = self.objective(samples).ratio.logit_limit;
            return Err(Error::Saturated { step, share, limit });
        }
        let expected = session.teacher_spread;
        match spread {
            Some(found) if found > self.config.stop_diverged * expected => {
                Err(Error::Diverged { step, found, expected })
            }
            Some(found)
                if self.plan.student == StudentKind::Network
                    && found < self.config.stop_collapsed * expected =>
            {
                Err(Error::Collapsed { step, found, expected })
            }
            _ => Ok(()),
        }
    }

    /// Lets the problem look at the averaged student, once per position.
    fn sample(&self, session: &mut Session<P>) -> Result<()> {
        let done = session.counters.done;
        if session.sampled == Some(done) {
            return Ok(());
        }
        let average = session.student.clone().no_grad();
        let average = session.student_optimizer.write_average_to(average)?.no_grad();
        let position = Position { step: session.counters.student, samples: done, epoch: 0 };
        session.measured = self.problem.on_sample(&average, self.run, position)?;
        let named: Vec<(String, f64)> = session
            .measured
            .iter()
            .map(|(name, value)| (format!("measured/{name}"), *value))
            .collect();
        let scalars: Vec<(&str, f64)> = named.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        self.run.log_scalars(done, &scalars)?;
        if let Some(views) = &session.views {
            self.problem.on_views(views, self.run, done)?;
        }
        session.sampled = Some(done);
        Ok(())
    }

    /// What may not change within a run.
    fn settings(&self) -> Value {
        let mut config = serde_json::to_value(self.config).unwrap_or_default();
        if let Some(fields) = config.as_object_mut() {
            fields.retain(|name, _| !DistillConfig::MAY_CHANGE.contains(&name.as_str()));
        }
        json!({ "train": config, "plan": self.plan, "problem": self.problem.fingerprint() })
    }

    /// Writes a checkpoint, once per position.
    fn save(&self, session: &mut Session<P>) -> Result<()> {
        let done = session.counters.done;
        if session.saved == Some(done) {
            return Ok(());
        }
        let state = json!({
            "settings": self.settings(),
            "counters": session.counters,
            "interval": session.interval,
            "calibration": session.calibration,
            "seconds": session.seconds,
        });
        let mut optimizers = vec![("fake", &session.fake_optimizer)];
        if self.phase(done) != Phase::Prepare {
            optimizers.push(("student", &session.student_optimizer));
        }
        let keep = self.config.keep_checkpoints;
        snapshot::save(&self.run.state_dir(), done, &optimizers, &state, keep)?;
        session.saved = Some(done);
        Ok(())
    }
}

/// Sums and counts of values by range of sigma.
fn by_range(sigma: &[f64], values: &[f64]) -> Vec<(f64, u32)> {
    let mut sums = vec![(0.0, 0); RANGES.len()];
    for (s, value) in sigma.iter().zip(values) {
        let range = RANGES.iter().position(|(_, end)| s < end).unwrap_or(RANGES.len() - 1);
        sums[range].0 += value;
        sums[range].1 += 1;
    }
    sums
}
