//! V11: score distillation, editing, inverse problems and rewards, where the answer is a formula.

use burn::tensor::{DType, Device, Tensor, TensorData};
use trefoil_core::Seed;

use super::problem::{Bench, LinearStudent, Oracle, line};
use super::quadrature::Rule;
use super::{Check, relative_norm};
use crate::distill::{Problem as _, Streams, StudentBatch, student_loss};
use crate::divergence::Divergence;
use crate::error::{Error, Result};
use crate::exact::ExactDenoiser;
use crate::method::{Choices, Method, StudentKind};
use crate::mixture::{Component, Mixture};
use crate::objective::{Estimator, Normaliser, Views};
use crate::tensors;
use crate::toy::{Observation, Points, Reward, ToyConfig, ToyProblem};

/// V11.
pub(super) fn closed_forms() -> Result<Vec<Check>> {
    let oracle = Oracle::open()?;
    let mut checks = vec![point_gradient(&oracle)?, edit_of_nothing()?];
    checks.extend(inverse_problem(&oracle)?);
    checks.push(reward(&oracle)?);
    Ok(checks)
}

/// Gradient of the integral form with the conditional score, `D_p = x_0`, at points; the mean over the
/// rule of `count` points in each direction, and over levels, weighted by the normaliser.
fn conditional_gradient(
    teacher: &Mixture,
    point: &[f64],
    levels: &[f64],
    count: usize,
) -> Vec<f64> {
    let device = Device::flex().autodiff();
    let exact = ExactDenoiser::new(teacher, &device, DType::F64);
    let d = point.len();
    let rule: Vec<_> = Rule::hermite(count).pairs().collect();
    let mut nodes = vec![(Vec::new(), 1.0)];
    for _ in 0..d {
        nodes = nodes
            .into_iter()
            .flat_map(|(n, w): (Vec<f64>, f64)| {
                rule.iter().map(move |(x, v)| ([&n[..], &[*x]].concat(), w * v))
            })
            .collect();
    }
    let mut gradient = vec![0.0; d];
    for &level in levels {
        let n = nodes.len();
        let tensor = |values: Vec<f64>, columns: usize| {
            Tensor::<2>::from_data(TensorData::new(values, [n, columns]), (&device, DType::F64))
        };
        let x0 = tensor(point.repeat(n), d).require_grad();
        let noise = tensor(nodes.iter().flat_map(|(n, _)| n.clone()).collect(), d);
        let weight = tensor(nodes.iter().map(|(_, w)| *w).collect(), 1);
        let sigma = vec![level; n];
        let x = x0.clone() + noise * level;
        let denoised = exact.evaluate(x.clone(), &sigma, None).denoised;
        let factors = Normaliser::Power { exponent: 2.0 }.factors(&x0, &denoised, &sigma);
        let fake = x0.clone();
        let views =
            Views { x0: x0.clone(), x, sigma: &sigma, teacher: denoised, fake, log_ratio: None };
        let weights = vec![Divergence::ReverseKl.weights(0.0); n];
        let loss = Estimator::Integral.loss(&views, &weights) * factors * weight;
        let found = x0.grad(&loss.sum().backward()).map(tensors::values).unwrap_or_default();
        for row in found.chunks_exact(d) {
            gradient.iter_mut().zip(row).for_each(|(g, x)| *g += x / levels.len() as f64);
        }
    }
    gradient
}

/// The SDS gradient of a point is that of `KL(N(theta, sigma^2) || q_sigma)`.
fn point_gradient(oracle: &Oracle) -> Result<Check> {
    let teacher = oracle.far_teacher()?;
    let thetas = oracle.numbers(&["sds_point", "theta"])?;
    let mut found = Vec::new();
    for theta in thetas {
        found.extend(conditional_gradient(&teacher, &[theta], &[1.0], 64));
    }
    let error = relative_norm(&found, &oracle.numbers(&["sds_point", "grad"])?);
    Ok(Check::new("V11", "SDS gradient of a point at 25 places", error, 1e-6))
}

/// DDS: editing a sample into what it is changes nothing.
fn edit_of_nothing() -> Result<Check> {
    let label = |label, mean: f64| Component {
        label: Some(label),
        ..Component::round(1.0, vec![mean, 0.5], 0.4)
    };
    let mixture = Mixture::new(&[label(0, -1.0), label(1, 1.0)])?;
    let gradient = |to| -> Result<f64> {
        let points = Some(Points { count: 64, from: Some(0), to: Some(to) });
        let config = ToyConfig { conditional: true, points, ..ToyConfig::default() };
        let kind = (StudentKind::Points, 0);
        let problem = ToyProblem::new("edit", mixture.clone(), config, kind, Seed(1))?;
        let fake = problem.fresh_fake()?;
        let student = problem.student_from(&fake)?;
        let plan = Method::find("dds")?.plan(Choices::default())?;
        let objective = &plan.stages[0].objective;
        let mut calibration = objective.ratio.calibration();
        let mut streams = Streams::of(Seed(3), "edit", 0);
        let networks = (&student, &fake);
        let batch = StudentBatch::draw(&problem, objective, 64, &mut streams);
        let data = &mut streams.data;
        let loss = student_loss(&problem, objective, networks, batch, data, &mut calibration)?;
        let points = student.points.as_ref().ok_or_else(|| problem.lacks("points"))?;
        let gradient = points.val().grad(&loss.total.backward());
        let gradient = gradient.ok_or_else(|| problem.lacks("a gradient"))?;
        Ok(tensors::values(gradient).iter().fold(0.0, |worst, g| worst.max(g.abs())))
    };
    let (same, other) = (gradient(0)?, gradient(1)?);
    Ok(Check::new(
        "V11",
        "DDS of a class into itself, relative to another class",
        same / other,
        1e-6,
    ))
}

/// RED-diff with a Gaussian prior: the published minimum is where the gradient vanishes, and it is not the
/// posterior mean.
fn inverse_problem(oracle: &Oracle) -> Result<Vec<Check>> {
    let of = |key| oracle.numbers(&["reddiff", key]);
    let covariance = of("S")?.chunks_exact(3).map(<[f64]>::to_vec).collect();
    let prior = Component {
        weight: 1.0,
        mean: of("m")?,
        deviation: None,
        covariance: Some(covariance),
        label: None,
    };
    let prior = Mixture::new(&[prior])?;
    let observation = Observation {
        matrix: of("H")?.chunks_exact(3).map(<[f64]>::to_vec).collect(),
        value: of("y")?,
        deviation: oracle.number(&["reddiff", "sigma_y"])?,
    };
    let config = ToyConfig { observation: Some(observation), ..ToyConfig::default() };
    let kind = (StudentKind::Points, 0);
    let problem = ToyProblem::new("inverse", prior.clone(), config, kind, Seed(1))?;
    let levels = of("sigmas")?;
    let gradient = |point: &[f64]| -> Result<Vec<f64>> {
        let device = problem.device();
        let data = TensorData::new(point.to_vec(), [1, 3]);
        let x0 = Tensor::<2>::from_data(data, (device, DType::F64)).require_grad();
        let loss = problem.fidelity(x0.clone())?;
        let fit = x0.grad(&loss.sum().backward()).map(tensors::values).unwrap_or_default();
        // The prior's gradient is linear in the noise: two points in each direction are exact.
        let prior = conditional_gradient(&prior, point, &levels, 2);
        Ok(fit.iter().zip(prior).map(|(a, b)| a + b).collect())
    };
    let norm = |g: &[f64]| g.iter().map(|g| g * g).sum::<f64>().sqrt();
    let scale = norm(&gradient(&of("m")?)?);
    let best = norm(&gradient(&of("mu_star")?)?) / scale;
    let mean = norm(&gradient(&of("exact_posterior_mean")?)?) / scale;
    Ok(vec![
        Check::new("V11", "RED-diff: gradient at its minimum, Gaussian prior", best, 1e-6),
        Check::new("V11", "RED-diff: 0.001 / gradient at the posterior mean", 1e-3 / mean, 1.0),
    ])
}

/// A linear reward moves a Gaussian by a known shift.
fn reward(oracle: &Oracle) -> Result<Check> {
    let of = |key| oracle.number(&["rlhf_gauss", key]);
    let (c, beta, sd, shift) = (of("c")?, of("beta")?, of("sd")?, of("shift_integral")?);
    let teacher = line(&[1.0], &[0.3], &[sd])?;
    let student = LinearStudent::line(&line(&[1.0], &[0.3 + shift], &[sd])?);
    let nodes = student.quadrature(4);
    let bench = Bench::new(&teacher, &student, &nodes)?;
    let levels = oracle.numbers(&["rlhf_gauss", "sigmas"])?;
    let mut pull = 0.0;
    for level in &levels {
        let n = nodes.weights.len();
        let weigh = |l: f64| Divergence::ReverseKl.weights(l);
        let factors = vec![level.powi(-2); n];
        let gradient =
            bench.gradient(&Estimator::Integral, &weigh, &vec![*level; n], Some(&factors));
        pull += beta * gradient[0] / levels.len() as f64;
    }
    let config = ToyConfig { reward: Some(Reward { direction: vec![c] }), ..ToyConfig::default() };
    let kind = (StudentKind::Network, 0);
    let problem = ToyProblem::new("reward", teacher, config, kind, Seed(1))?;
    let x0 = Tensor::<2>::from_data([[0.0_f64]], (problem.device(), DType::F64)).require_grad();
    let slope = x0.grad(&problem.reward(x0.clone())?.sum().backward()).map(tensors::scalar);
    let slope = slope.ok_or_else(|| -> Error { problem.lacks("a gradient") })?;
    let what = format!("reward: forces balance at the shift {shift:.6}");
    Ok(Check::new("V11", what, (pull - slope).abs() / slope, 1e-6))
}
