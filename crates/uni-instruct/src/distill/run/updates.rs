//! The updates of fake score, discriminator and student.

use burn::module::Module as _;
use trefoil_train::optim::{BadGradient, GradientSum, Optimizer};
use trefoil_train::{Error as TrainError, TrainConfig};

use super::super::config::OptimizerConfig;
use super::super::losses::{
    FakeBatch, FakeLoss, RatioReport, Streams, StudentBatch, StudentLoss, best_cross_entropy,
    fake_loss, student_loss,
};
use super::super::problem::Problem;
use super::{Distiller, Phase, RANGES, Session};
use crate::error::{Error, Result};
use crate::objective::{Objective, TimeLaw};
use crate::tensors;

impl<P: Problem> Distiller<'_, P> {
    /// One iteration; returns the loss of the student, or of the fake network before its turn.
    pub(super) fn update(&self, session: &mut Session<P>, phase: Phase) -> Result<f64> {
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
        let judging = self.discriminator_weight(session.counters.done).filter(|_| !preparing);
        let mut real = None;
        if judging.is_some() {
            real = Some(problem.real(&mut streams.data, n, condition)?);
        }
        let sigma = self.fake_levels(objective, &mut streams, preparing);
        let guidance = if preparing { 1.0 } else { objective.guidance.fake_training };
        let noise = streams.noise.normal_tensor([n, problem.dims()], problem.device());
        let batch = FakeBatch { clean, real, noise, sigma: sigma.clone(), condition, guidance };
        let FakeLoss { total, denoising, cross_entropy } =
            fake_loss(problem, &session.fake, batch, judging.unwrap_or_default())?;
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

    fn finite(&self, value: f64, what: &str, step: u64) -> Result<()> {
        if value.is_finite() { Ok(()) } else { Err(self.not_finite(what.into(), step)) }
    }

    fn not_finite(&self, what: String, step: u64) -> Error {
        let n = self.config.batch_size as u64;
        let visits = step * n..(step + 1) * n;
        TrainError::NonFinite { what, step, visits, seed: self.config.seed.0 }.into()
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
