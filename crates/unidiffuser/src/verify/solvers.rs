//! The noise schedule, and both published solvers on a noise model that everybody can compute.

use std::convert::Infallible;
use std::ops::ControlFlow;

use burn::tensor::{DType, Tensor, TensorData};
use trefoil_core::weights::WeightFile;
use trefoil_core::{Error, Result as CoreResult};
use trefoil_diffusion::{SolverConfig, SolverKind, VpSchedule, from_fn};

use super::{Check, Oracle, Result, Tolerance};

/// Tables of the schedule, in double precision on both sides.
const TABLE: Tolerance = Tolerance::Relative(1e-12);
/// The single-step solver, in double precision on both sides.
const SINGLE: Tolerance = Tolerance::Relative(1e-6);
/// The multistep solver, whose reference holds its tables and state in single precision.
const MULTI: Tolerance = Tolerance::Relative(2e-5);

/// `eps(x, n) = tanh(0.7 x) (0.4 + 0.5 n / 1000) + 0.05 cos(3 x)`
fn toy(x: Tensor<2>, n: f64) -> Tensor<2> {
    (x.clone() * 0.7).tanh() * (0.4 + 0.5 * n / 1000.0) + (x * 3.0).cos() * 0.05
}

/// Group `solvers`.
pub(super) fn compare(oracle: &Oracle, group: &str) -> Result<Vec<Check>> {
    let file = oracle.open(group)?;
    let schedule = VpSchedule::default();
    let discrete = schedule.discrete();
    let known = |name: &str, found: &[f64], tolerance| -> Result<Check> {
        Ok(Check::numbers(name, found, &file.get_f64(name)?, tolerance))
    };
    let levels = discrete.num_train_timesteps();
    let knots: Vec<f64> =
        (1..=levels).map(|n| schedule.log_alpha(n as f64 / levels as f64)).collect();
    let products = discrete.alphas_cumprod();
    let products = &products[products.len() - levels..];
    let betas = discrete.betas();
    let mut checks = vec![
        known("betas", &betas[betas.len() - levels..], TABLE)?,
        known("alphas_cumprod", products, TABLE)?,
        known("log_alpha_knots", &knots, TABLE)?,
    ];
    for (kind, prefix, end, tolerance) in [
        (SolverKind::DpmSolverPlusPlusSingle, "fast", "out", SINGLE),
        (SolverKind::DpmSolverPlusPlusMulti, "multistep", "trace", MULTI),
    ] {
        for steps in recorded(&file, prefix, end) {
            let name = format!("{prefix}.{steps}.{end}");
            let states = run(oracle, &file, &schedule, SolverConfig::new(kind, steps))?;
            // The multistep solver is recorded after each step, the other at its end.
            let found = if end == "trace" {
                states.concat()
            } else {
                states.last().cloned().unwrap_or_default()
            };
            checks.push(known(&name, &found, tolerance)?);
        }
    }
    Ok(checks)
}

/// The numbers of steps that were recorded.
fn recorded(file: &WeightFile, prefix: &str, end: &str) -> Vec<usize> {
    let steps = |name: &str| -> Option<usize> {
        let (steps, rest) = name.strip_prefix(prefix)?.strip_prefix('.')?.split_once('.')?;
        if rest == end { steps.parse().ok() } else { None }
    };
    file.tensors().filter_map(|(name, _)| steps(name)).collect()
}

/// The state after each step.
fn run(
    oracle: &Oracle,
    file: &WeightFile,
    schedule: &VpSchedule,
    config: SolverConfig,
) -> Result<Vec<Vec<f64>>> {
    let start = file.get_f64("toy.x_init")?;
    let shape: [usize; 2] = two_axes(file, "toy.x_init")?;
    let device = (&oracle.device, DType::F64);
    let start = Tensor::<2>::from_data(TensorData::new(start, shape), device);
    let mut states = Vec::new();
    let mut model = from_fn(|x, n| Ok::<_, Infallible>(toy(x, n)));
    let values = |x: &Tensor<2>| x.to_data().iter::<f64>().collect::<Vec<f64>>();
    let end = config.build(schedule)?.sample(&mut model, start, &mut |step| {
        states.push(values(step.x));
        ControlFlow::Continue(())
    });
    if let Ok(end) = end
        && let Some(last) = states.last_mut()
    {
        *last = values(&end);
    }
    Ok(states)
}

fn two_axes(file: &WeightFile, name: &str) -> CoreResult<[usize; 2]> {
    let shape = file.shape(name)?.unwrap_or_default();
    shape.as_slice().try_into().map_err(|_| {
        Error::format(file.path(), format!("tensor `{name}`: expected 2 axes, found {shape:?}"))
    })
}
