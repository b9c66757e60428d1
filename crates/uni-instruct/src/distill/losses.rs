//! The two losses of an iteration: of the fake network, and of the student.

use burn::tensor::{Tensor, activation};
use trefoil_core::{Seed, Stream};
use trefoil_diffusion::EdmPreconditioner;

use super::problem::{FakeView, Pairs, Problem, Triptych};
use crate::divergence::{Divergence, softplus};
use crate::error::Result;
use crate::objective::{Calibration, Estimator, FakeKind, Objective, Views};
use crate::tensors;

/// The random streams of an iteration.
#[derive(Debug)]
pub struct Streams {
    /// Noise that becomes samples, and their conditions.
    pub latent: Stream,
    /// Noise levels.
    pub time: Stream,
    /// Noise that is added to samples.
    pub noise: Stream,
    /// Data.
    pub data: Stream,
}

impl Streams {
    /// The streams of a purpose in one update.
    pub fn of(seed: Seed, purpose: &str, step: u64) -> Self {
        let of = |name: &str| seed.stream(&format!("{purpose}-{name}"), step);
        Self { latent: of("latent"), time: of("time"), noise: of("noise"), data: of("data") }
    }
}

/// Clean samples on which the fake network is trained.
#[derive(Debug)]
pub struct FakeBatch<'a, C> {
    /// Samples of the student, without gradients, `[B, D]`.
    pub clean: Tensor<2>,
    /// Data for the discriminator, `[B, D]`.
    pub real: Option<Tensor<2>>,
    /// Standard normal noise, the same for both, `[B, D]`.
    pub noise: Tensor<2>,
    /// Noise levels, `[B]`.
    pub sigma: Vec<f64>,
    /// Conditions of the rows.
    pub condition: Option<&'a C>,
    /// Guidance of the fake score.
    pub guidance: f64,
}

/// The loss of the fake network.
#[derive(Debug)]
pub struct FakeLoss {
    /// What is minimised, `[1]`.
    pub total: Tensor<1>,
    /// EDM loss per coordinate of each sample: 1 at every level for Gaussian data of the right
    /// variance.
    pub denoising: Vec<f64>,
    /// Binary cross-entropy of the discriminator, the mean over both sides: `log 2` when it cannot tell
    /// them apart.
    pub cross_entropy: Option<f64>,
}

/// `(sigma^2 + sd^2) / (sigma sd)^2 |D_p - y|^2` per coordinate, and the cross-entropy.
///
/// # Errors
/// Those of the network.
pub fn fake_loss<P: Problem>(
    problem: &P,
    fake: &P::Fake,
    batch: FakeBatch<'_, P::Condition>,
    discriminator_weight: f64,
) -> Result<FakeLoss> {
    let FakeBatch { clean, real, noise, sigma, condition, guidance } = batch;
    let level = tensors::column(&sigma, &clean);
    let noise = noise * level;
    let x = clean.clone() + noise.clone();
    let FakeView { denoised, logits } = problem.fake(fake, x.clone(), &sigma, condition)?;
    let denoised = match condition {
        Some(_) if guidance != 1.0 => {
            let null = problem.fake(fake, x, &sigma, None)?.denoised;
            null.clone() + (denoised - null) * guidance
        }
        _ => denoised,
    };
    let edm = EdmPreconditioner { sigma_data: problem.sigma_data() };
    let weights: Vec<f64> = sigma.iter().map(|s| edm.loss_weight(*s)).collect();
    let weights = tensors::column(&weights, &clean);
    let each = (denoised - clean).powi_scalar(2).mean_dim(1) * weights;
    let mut total = each.clone().mean();
    let mut cross_entropy = None;
    if let (Some(real), Some(fake_logits)) = (real, logits)
        && let Some(real_logits) = problem.fake(fake, real + noise, &sigma, condition)?.logits
    {
        let loss = -(activation::log_sigmoid(real_logits).mean()
            + activation::log_sigmoid(fake_logits.neg()).mean())
            * 0.5;
        cross_entropy = Some(tensors::scalar(loss.clone()));
        total = total + loss * discriminator_weight;
    }
    Ok(FakeLoss { total, denoising: tensors::values(each), cross_entropy })
}

/// The loss of the student and what was seen on the way.
#[derive(Debug)]
pub struct StudentLoss {
    /// What is minimised, `[1]`.
    pub total: Tensor<1>,
    /// Its parts, for the log.
    pub parts: Vec<(&'static str, f64)>,
    /// Of the density ratio, where there is one.
    pub ratio: Option<RatioReport>,
    /// Root mean square distance of the samples from their mean.
    pub spread: f64,
    /// The same samples as the networks see them.
    pub triptych: Triptych,
}

/// How the density ratio looks in a batch of student samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatioReport {
    /// `E_p[r]`, 1 for a calibrated discriminator.
    pub mean: f64,
    /// Share of logits at the limit.
    pub saturated: f64,
    /// Jensen-Shannon divergence `E_p[f(r)]` as the ratio has it: the cross-entropy should be
    /// `log 2` minus half of it.
    pub jensen_shannon: f64,
}

/// Adds guidance to a prediction.
fn guided(
    conditional: Tensor<2>,
    scale: f64,
    null: impl FnOnce() -> Result<Tensor<2>>,
) -> Result<Tensor<2>> {
    if scale == 1.0 {
        return Ok(conditional);
    }
    let null = null()?;
    Ok(null.clone() + (conditional - null) * scale)
}

/// Where the samples of a student begin, and the noise that they are seen through.
#[derive(Debug, Clone)]
pub struct StudentBatch<C> {
    /// Standard normal noise that becomes samples, `[B, D]`.
    pub latent: Tensor<2>,
    /// Standard normal noise that is added to them, `[B, D]`.
    pub noise: Tensor<2>,
    /// Noise levels, `[B]`.
    pub sigma: Vec<f64>,
    /// Conditions of the rows.
    pub condition: Option<C>,
}

impl<C> StudentBatch<C> {
    /// Draws `n` of them.
    pub fn draw<P: Problem<Condition = C>>(
        problem: &P,
        objective: &Objective,
        n: usize,
        streams: &mut Streams,
    ) -> Self {
        let (device, shape) = (problem.device(), [n, problem.dims()]);
        let condition = problem.conditions(&mut streams.latent, n);
        let latent = streams.latent.normal_tensor(shape, device);
        let sigma = objective.time.draw(&mut streams.time, n);
        let noise = streams.noise.normal_tensor(shape, device);
        Self { latent, noise, sigma, condition }
    }
}

/// The loss of a batch of student samples.
///
/// `networks` are the student and the fake network; the caller freezes the latter, and gradients flow
/// through its input where the objective says so. `data` chooses the pairs of a regression.
///
/// # Errors
/// Those of the networks, and [`crate::Error::Unsupported`] when the problem lacks what a term needs.
pub fn student_loss<P: Problem>(
    problem: &P,
    objective: &Objective,
    networks: (&P::Student, &P::Fake),
    batch: StudentBatch<P::Condition>,
    data: &mut Stream,
    calibration: &mut Calibration,
) -> Result<StudentLoss> {
    let (student, fake) = networks;
    let (device, d) = (problem.device(), problem.dims());
    let StudentBatch { latent, noise, sigma, condition } = batch;
    let (condition, n) = (condition.as_ref(), sigma.len());
    let x0 = problem.generate(student, latent, condition)?;
    let noise = noise * tensors::column(&sigma, &x0);

    // The integral form takes no gradient through a network, so none is recorded.
    let expanded = matches!(objective.estimator, Estimator::Expanded(_));
    let x = x0.clone() + noise.clone();
    let seen = if expanded { x.clone() } else { x.clone().detach() };
    let teacher = guided(
        problem.teacher(seen.clone(), &sigma, condition)?,
        condition.map_or(1.0, |_| objective.guidance.teacher),
        || problem.teacher(seen.clone(), &sigma, None),
    )?;
    let (denoised, logits) = match objective.fake.kind {
        FakeKind::Conditional => (x0.clone(), None),
        FakeKind::Reference => {
            let (reference, condition) = problem.reference(n)?;
            let x = reference.clone() + noise;
            let kept = problem.teacher(x, &sigma, condition.as_ref())?;
            (x0.clone() + kept - reference, None)
        }
        FakeKind::Learned | FakeKind::LowRank { .. } => {
            let adversarial = objective.adversarial.is_some();
            let input = if adversarial { x.clone() } else { seen.clone() };
            let FakeView { denoised, logits } = problem.fake(fake, input, &sigma, condition)?;
            let scale = condition.map_or(1.0, |_| objective.guidance.fake);
            let null = || Ok(problem.fake(fake, seen.clone(), &sigma, None)?.denoised);
            (guided(denoised, scale, null)?, logits)
        }
    };

    let mut report = None;
    let mut log_ratios = vec![0.0; n];
    let mean_logit = logits.clone().map(|logits| logits.mean_dim(1));
    if objective.needs_ratio() {
        let logit = mean_logit.clone().ok_or_else(|| problem.lacks("a discriminator"))?;
        let (logs, saturated) =
            objective.ratio.log_ratios(&tensors::values(logit), &sigma, calibration);
        let mean = |f: &dyn Fn(f64) -> f64| logs.iter().map(|l| f(*l)).sum::<f64>() / n as f64;
        let jensen_shannon = mean(&|l| Divergence::JensenShannon.value(l));
        report = Some(RatioReport { mean: mean(&f64::exp), saturated, jensen_shannon });
        log_ratios = logs;
    }
    let weights = objective.ratio.weights(objective.divergence, &log_ratios);
    let factors = objective.normaliser.factors(&x0, &teacher, &sigma);
    let triptych = Triptych {
        student: tensors::values(x0.clone()),
        teacher: tensors::values(teacher.clone()),
        fake: tensors::values(denoised.clone()),
    };
    let log_ratio = mean_logit.filter(|_| objective.estimator.uses_logit());
    let views = Views { x0: x0.clone(), x, sigma: &sigma, teacher, fake: denoised, log_ratio };
    let score = (objective.estimator.loss(&views, &weights) * factors.clone()).mean();

    let mut sum = Sum { total: None, parts: Vec::new() };
    sum.add("score", score, objective.score_weight);
    if let Some(term) = objective.adversarial {
        let logits = logits.ok_or_else(|| problem.lacks("a discriminator"))?;
        let scale = if term.normalised { factors * d as f64 } else { factors.ones_like() };
        let (loss, value) = adversarial(term.divergence, logits, &scale);
        sum.add("adversarial", loss, term.weight);
        sum.parts.push(("adversarial_value", value));
    }
    if objective.regression != 0.0 {
        let Pairs { noise, samples, condition } = problem.pairs(data, n)?;
        let error = problem.generate(student, noise, condition.as_ref())? - samples;
        sum.add("regression", error.powi_scalar(2).mean(), objective.regression);
    }
    if objective.reward != 0.0 {
        sum.add("reward", problem.reward(x0.clone())?.mean(), -objective.reward);
    }
    if objective.fidelity != 0.0 {
        sum.add("fidelity", problem.fidelity(x0)?.mean(), objective.fidelity);
    }
    let spread = spread(&triptych.student, d);
    let total = sum.total.unwrap_or_else(|| Tensor::zeros([1], device));
    Ok(StudentLoss { total, parts: sum.parts, ratio: report, spread, triptych })
}

/// Weighted terms and their values before weighting.
struct Sum {
    total: Option<Tensor<1>>,
    parts: Vec<(&'static str, f64)>,
}

impl Sum {
    fn add(&mut self, name: &'static str, term: Tensor<1>, weight: f64) {
        self.parts.push((name, tensors::scalar(term.clone())));
        if weight != 0.0 {
            let term = term * weight;
            self.total = Some(match self.total.take() {
                Some(total) => total + term,
                None => term,
            });
        }
    }
}

/// A loss with the gradient of `E_p[phi(l)]`, `phi' = -h`, and the value of `phi`.
fn adversarial(f: Divergence, logits: Tensor<2>, scale: &Tensor<2>) -> (Tensor<1>, f64) {
    let locations = logits.dims()[1];
    let values = tensors::values(logits.clone());
    let slopes: Vec<f64> = values.iter().map(|l| -f.weights(*l).h).collect();
    let value = values.iter().map(|l| f.adversarial(*l)).sum::<f64>() / values.len() as f64;
    let slopes = tensors::matrix(&slopes, locations, &logits) * scale.clone().detach();
    ((slopes * logits).mean(), value)
}

/// Root mean square distance of rows from their mean.
pub(crate) fn spread(rows: &[f64], d: usize) -> f64 {
    let n = (rows.len() / d.max(1)).max(1) as f64;
    let mut mean = vec![0.0; d];
    rows.chunks_exact(d).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, x)| *m += x / n));
    let squares = rows.chunks_exact(d).flat_map(|row| row.iter().zip(&mean));
    (squares.map(|(x, m)| (x - m).powi(2)).sum::<f64>() / n).sqrt()
}

/// `log 2 - JS / 2`, where the cross-entropy of a perfect discriminator lies.
pub fn best_cross_entropy(jensen_shannon: f64) -> f64 {
    softplus(0.0) - jensen_shannon / 2.0
}
