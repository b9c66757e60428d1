//! V6 and V7: learned discriminator and fake score against the exact ones.

use burn::tensor::{Tensor, TensorData};
use trefoil_core::Seed;
use trefoil_train::TrainConfig;
use trefoil_train::config::Decay;
use trefoil_train::optim::{GradientSum, Optimizer};
use trefoil_train::sampler::Position;

use super::Check;
use super::problem::{Oracle, line};
use super::quadrature::Rule;
use crate::distill::{FakeBatch, Problem as _, fake_loss};
use crate::divergence::softplus;
use crate::error::Result;
use crate::method::StudentKind;
use crate::mixture::Mixture;
use crate::objective::TimeLaw;
use crate::tensors;
use crate::toy::{Network, NetworkConfig, ToyConfig, ToyProblem};

/// Levels of the training and of the comparison.
const LEVELS: [(&str, f64); 4] = [("0.1", 0.1), ("0.5", 0.5), ("1.0", 1.0), ("2.5", 2.5)];

fn problem(name: &str, teacher: Mixture) -> Result<ToyProblem> {
    let network = NetworkConfig { width: 64, depth: 3 };
    let config = ToyConfig { network, ..ToyConfig::default() };
    ToyProblem::new(name, teacher, config, (StudentKind::Network, 0), Seed(2))
}

/// Trains a fake network with its discriminator on samples of `student`.
fn train(problem: &ToyProblem, student: &Mixture, steps: u64) -> Result<Network> {
    const SAMPLES: usize = 1024;
    let config = TrainConfig {
        batch_size: SAMPLES,
        duration: steps * SAMPLES as u64,
        learning_rate: 4e-3,
        warmup: 0,
        decay: Decay::Cosine { to: 0.0 },
        weight_decay: 0.0,
        betas: [0.9, 0.999],
        ema_half_life: 30_000.0,
        ..TrainConfig::default()
    };
    let law = TimeLaw::Levels { sigmas: LEVELS.map(|(_, sigma)| sigma).into() };
    let mut network = problem.fresh_fake()?;
    let mut optimizer = Optimizer::new(&network, |_| true);
    network = optimizer.write_to(network)?;
    for step in 0..steps {
        let mut stream = Seed(11).stream("learned", step);
        let clean = student.sample(&mut stream, &[None; SAMPLES]);
        let shape = [SAMPLES, problem.dims()];
        let batch = FakeBatch {
            clean: Tensor::from_data(TensorData::new(clean, shape), problem.device()),
            real: Some(problem.real(&mut stream, SAMPLES, None)?),
            noise: stream.normal_tensor(shape, problem.device()),
            sigma: law.draw(&mut stream, SAMPLES),
            condition: None,
            guidance: 1.0,
        };
        let loss = fake_loss(problem, &network, batch, 4.0)?;
        let mut gradients = GradientSum::default();
        gradients.add(&network, loss.total.backward());
        let at = Position { step, samples: step * SAMPLES as u64, epoch: 0 };
        optimizer.update(&gradients, &config, at).map_err(|bad| {
            trefoil_core::Error::NonFinite { what: format!("the gradient of {}", bad.parameter) }
        })?;
        network = optimizer.write_to(network)?;
    }
    Ok(optimizer.write_average_to(network)?)
}

/// Denoised points and logits of a network on a line.
fn look(
    problem: &ToyProblem,
    network: &Network,
    points: &[f64],
    sigma: f64,
) -> Result<[Vec<f64>; 2]> {
    let n = points.len();
    let data = TensorData::new(points.to_vec(), [n, 1]).convert::<f32>();
    let x = Tensor::<2>::from_data(data, problem.device());
    let view = problem.fake(network, x, &vec![sigma; n], None)?;
    Ok([tensors::values(view.denoised), view.logits.map(tensors::values).unwrap_or_default()])
}

/// V6 and V7 on the oracle's mixture, and the EDM loss on Gaussian data of unit coordinate loss.
pub(super) fn networks() -> Result<Vec<Check>> {
    const POINTS: usize = 2001;
    let oracle = Oracle::open()?;
    let [q, p] = oracle.pair("mix", "RKL")?;
    let problem = problem("mix", q.clone())?;
    let network = train(&problem, &p, 900)?;
    let (mut entropy, mut mean_ratio, mut denoiser) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (key, sigma) in LEVELS {
        let reach = 4.0 + 6.0 * sigma;
        let step = 2.0 * reach / (POINTS - 1) as f64;
        let points: Vec<f64> = (0..POINTS).map(|i| -reach + step * i as f64).collect();
        let [denoised, logits] = look(&problem, &network, &points, sigma)?;
        let (mut bce, mut ratio, mut error) = (0.0, 0.0, 0.0);
        for ((x, d), l) in points.iter().zip(denoised).zip(logits) {
            let (real, fake) = (q.at(&[*x], sigma), p.at(&[*x], sigma));
            let (real, density) = (real.log_density.exp(), fake.log_density.exp());
            bce += 0.5 * step * (real * softplus(-l) + density * softplus(l));
            ratio += step * density * l.exp();
            error += step * density * (d - x - sigma * sigma * fake.score[0]).powi(2);
        }
        let best = oracle.number(&["discriminator_optimum", "mix", key, "bce_half"])?;
        let tolerance = (0.02 * (std::f64::consts::LN_2 - best)).max(1e-3);
        entropy = entropy.max((bce - best).abs() / tolerance);
        mean_ratio = mean_ratio.max((ratio - 1.0).abs());
        denoiser = denoiser.max(error.sqrt() / p.deviation());
    }
    Ok(vec![
        Check::new(
            "V6",
            "cross-entropy = log 2 - JS/2 at 4 levels, in its tolerance",
            entropy,
            1.0,
        ),
        Check::new("V6", "E_p[r] = 1 at 4 levels", mean_ratio, 0.05),
        Check::new("V7", "learned E[x_0 | x] at 4 levels, in deviations", denoiser, 0.02),
        unit_loss()?,
    ])
}

/// Data N(0, 0.25): the EDM loss of a trained network is 1 at every level.
fn unit_loss() -> Result<Check> {
    let data = line(&[1.0], &[0.0], &[0.5])?;
    let problem = problem("gauss", data.clone())?;
    let network = train(&problem, &data, 300)?;
    let rule = Rule::hermite(24);
    let mut worst = 0.0_f64;
    for (_, sigma) in LEVELS {
        let nodes = rule.pairs().flat_map(|a| rule.pairs().map(move |b| (a, b)));
        let nodes: Vec<_> =
            nodes.map(|((z, wz), (n, wn))| (0.5 * z, 0.5 * z + sigma * n, wz * wn)).collect();
        let points: Vec<f64> = nodes.iter().map(|(_, x, _)| *x).collect();
        let [denoised, _] = look(&problem, &network, &points, sigma)?;
        let weight = (sigma * sigma + 0.25) / (0.5 * sigma).powi(2);
        let loss: f64 =
            nodes.iter().zip(denoised).map(|((x0, _, w), d)| w * weight * (d - x0).powi(2)).sum();
        worst = worst.max((loss - 1.0).abs());
    }
    Ok(Check::new("V7", "EDM loss 1 on N(0, 0.25) at 4 levels", worst, 0.02))
}
