//! The loop: preparation, warm-up, and then fake score and student in turns.

mod record;
mod updates;

use std::time::Instant;

use burn::module::Module as _;
use serde::{Deserialize, Serialize};
use trefoil_train::optim::Optimizer;
use trefoil_train::sampler::Position;
use trefoil_train::snapshot::Snapshot;
use trefoil_train::{Interval, Outcome, Progress, ProgressMode, RunFolder, StopFlag};

use super::config::DistillConfig;
use super::losses::spread;
use super::problem::{Problem, Triptych};
use crate::error::Result;
use crate::method::{Plan, StudentKind};
use crate::objective::{Calibration, Objective};
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
    /// [`NonFinite`](trefoil_train::Error::NonFinite); [`Saturated`](crate::Error::Saturated),
    /// [`Collapsed`](crate::Error::Collapsed) and [`Diverged`](crate::Error::Diverged); those of the problem; and
    /// [`ConfigChanged`](trefoil_train::Error::ConfigChanged) when a run cannot be resumed. Checkpoints before an error stay.
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

    /// The weight of the discriminator's loss, where it is of use now or in a later stage: one that begins with its
    /// stage would mislead the student first.
    fn discriminator_weight(&self, done: u64) -> Option<f64> {
        let now = self.objective(done);
        let rest = self.plan.stages.iter().map(|stage| &stage.objective);
        let mut rest = rest.skip_while(|objective| !std::ptr::eq(*objective, now));
        rest.find(|objective| objective.needs_discriminator())
            .map(|objective| objective.ratio.discriminator_weight)
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

    fn position(&self, step: u64) -> Position {
        Position { step, samples: step * self.config.batch_size as u64, epoch: 0 }
    }
}
