//! What a run leaves: lines of its log, looks at the student, and checkpoints, from which it goes on.

use std::time::Instant;

use burn::module::Module as _;
use serde_json::{Value, json};
use trefoil_core::Error as CoreError;
use trefoil_train::Metrics;
use trefoil_train::optim::Optimizer;
use trefoil_train::sampler::Position;
use trefoil_train::snapshot::{self, Snapshot};

use super::super::config::DistillConfig;
use super::super::problem::Problem;
use super::{Distiller, Phase, RANGES, Session};
use crate::error::{Error, Result};
use crate::method::StudentKind;

/// Samples of a batch below which their spread says nothing of the student: that of one is zero.
const SPREAD: usize = 8;

impl<P: Problem> Distiller<'_, P> {
    /// Writes a line of the log, and stops a run that has failed.
    pub(super) fn log(&self, session: &mut Session<P>, phase: Phase) -> Result<()> {
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
                    && self.config.batch_size >= SPREAD
                    && found < self.config.stop_collapsed * expected =>
            {
                Err(Error::Collapsed { step, found, expected })
            }
            _ => Ok(()),
        }
    }

    /// Lets the problem look at the averaged student, once per position.
    pub(super) fn sample(&self, session: &mut Session<P>) -> Result<()> {
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
    pub(super) fn save(&self, session: &mut Session<P>) -> Result<()> {
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

    pub(super) fn resume(&self, session: &mut Session<P>, mut snapshot: Snapshot) -> Result<()> {
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
}
