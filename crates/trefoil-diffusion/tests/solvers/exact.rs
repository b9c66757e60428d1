//! Closed forms, and the order in which errors vanish.

use std::convert::Infallible;

use burn::tensor::Tensor;
use trefoil_diffusion::solver::{Euler, Heun, vp_levels};
use trefoil_diffusion::{
    FinalSigma, Level, Sampler, SigmaGrid, SolveError, SolverConfig, SolverKind, SolverType,
    VpSchedule, from_fn,
};

use crate::{START, close, proceed, rows, run_toy, sampler, values};

/// DDIM without noise is the first-order step of DPM-Solver++, which is exact where the predicted
/// clean sample does not change.
#[test]
fn deterministic_ddim_is_first_order_dpm_solver() {
    for (steps, final_sigma) in [(9, None), (30, Some(FinalSigma::Min))] {
        let ddim = SolverConfig { final_sigma, ..SolverConfig::new(SolverKind::Ddim, steps) };
        let kind = SolverKind::DpmSolverPlusPlusMulti;
        let first = SolverConfig { kind, order: 1, ..ddim };
        close(&run_toy(ddim), &run_toy(first), 1e-10, 1e-12, "first order");
    }
}

/// For data N(0, d^2) the exact prediction is linear in x, and so is each DDIM step: the result is
/// the start times the product of (alpha' alpha d^2 + sigma' sigma) / (alpha^2 d^2 + sigma^2).
#[test]
fn ddim_on_gaussian_data_is_a_product() {
    let schedule = VpSchedule::default();
    let variance = 0.49;
    // The level an index means: scales of the next entry.
    let level = |k: usize| schedule.discrete().level(k + 1).expect("a level of the process");
    let mut model = from_fn(|x: Tensor<2>, n| {
        let Level { alpha, sigma, .. } = level(n as usize);
        Ok::<_, Infallible>(x * (sigma / (alpha.powi(2) * variance + sigma.powi(2))))
    });
    let mut factor = 1.0;
    let grid = [999, 799, 599, 400, 200];
    let clean = Level { n: 0.0, alpha: 1.0, sigma: 0.0 };
    for (index, &k) in grid.iter().enumerate() {
        let from = level(k);
        let to = grid.get(index + 1).map_or(clean, |&k| level(k));
        factor *= (to.alpha * from.alpha * variance + to.sigma * from.sigma)
            / (from.alpha.powi(2) * variance + from.sigma.powi(2));
    }
    let ddim = sampler(SolverConfig::new(SolverKind::Ddim, 5));
    let end = ddim.sample(&mut model, rows(&START, 7), &mut proceed).expect("a finite run");
    close(&values(end), &START.map(|x| x * factor), 1e-12, 1e-14, "product");
}

/// With the clean sample c known exactly, the state of a stochastic run is `alpha c + sigma e`
/// with e a unit combination of the start's noise and the drawn noise.
#[test]
fn stochastic_ddim_replays_the_given_noise() {
    let schedule = VpSchedule::default();
    let clean = 0.7;
    let level = |k: usize| schedule.discrete().level(k + 1).expect("a level of the process");
    let mut model = from_fn(|x: Tensor<2>, n| {
        let Level { alpha, sigma, .. } = level(n as usize);
        Ok::<_, Infallible>((x - alpha * clean) / sigma)
    });
    let config = SolverConfig {
        eta: 0.6,
        final_sigma: Some(FinalSigma::Min),
        ..SolverConfig::new(SolverKind::Ddim, 4)
    };
    let ddim = sampler(config);
    assert!(ddim.is_stochastic());
    let drawn = [0.3, -1.1, 0.8, 2.0];
    let mut seen = Vec::new();
    let mut noise = |step: usize, shape: [usize; 2]| {
        seen.push((step, shape));
        rows(&vec![drawn[step]; shape[0] * shape[1]], shape[1])
    };
    let end = ddim
        .sample_with_noise(&mut model, rows(&START, 7), &mut noise, &mut proceed)
        .expect("a finite run");
    assert_eq!(seen, [(0, [1, 7]), (1, [1, 7]), (2, [1, 7]), (3, [1, 7])]);

    let grid = [999, 749, 500, 250, 0];
    let first = level(grid[0]);
    let mut e = START.map(|x| (x - first.alpha * clean) / first.sigma);
    for (step, pair) in grid.windows(2).enumerate() {
        let (from, to) = (level(pair[0]), level(pair[1]));
        // Noise relative to the new sigma: s / sigma'.
        let fresh = 0.6 / from.sigma * (1.0 - (from.alpha / to.alpha).powi(2)).sqrt();
        e = e.map(|e| (1.0 - fresh.powi(2)).sqrt() * e + fresh * drawn[step]);
    }
    let last = level(0);
    let expected = e.map(|e| last.alpha * clean + last.sigma * e);
    close(&values(end), &expected, 1e-10, 1e-12, "replayed");

    let missing = ddim.sample(&mut model, rows(&START, 7), &mut proceed);
    assert!(matches!(missing, Err(SolveError::MissingNoise)));
}

/// For data N(0, d^2) the flow is known: y(s) = y(S) sqrt((d^2 + s^2) / (d^2 + S^2)). Halving the
/// step divides the error by 2 (Euler) and 4 (Heun).
#[test]
fn euler_and_heun_converge_with_their_order() {
    let schedule = VpSchedule::default();
    let variance = 0.49_f64;
    let mut model = from_fn(|x: Tensor<2>, n| {
        let Level { alpha, sigma, .. } = schedule.level(n / 1000.0);
        Ok::<_, Infallible>(x * (sigma / (alpha.powi(2) * variance + sigma.powi(2))))
    });
    for sigmas in [SigmaGrid::Uniform, SigmaGrid::Karras] {
        let mut error = |kind, steps| {
            let grid = vp_levels(steps, sigmas, FinalSigma::Min, &schedule).expect("valid");
            let (first, last) = (grid[0], grid[steps]);
            let sampler = match kind {
                SolverKind::Euler => Sampler::new(Euler::new(grid).expect("decreasing")),
                _ => Sampler::new(Heun::new(grid).expect("decreasing")),
            };
            let end = sampler.sample(&mut model, rows(&[1.0], 1), &mut proceed);
            let flow = |l: Level| (l.alpha.powi(2) * variance + l.sigma.powi(2)).sqrt();
            (values(end.expect("a finite run"))[0] - flow(last) / flow(first)).abs()
        };
        for (kind, order) in [(SolverKind::Euler, 1.0), (SolverKind::Heun, 2.0)] {
            let observed = (error(kind, 160) / error(kind, 320)).log2();
            assert!((observed - order).abs() < 0.15, "{kind} {sigmas:?}: order {observed}");
        }
    }
}

/// One answer for all: the reference is the third-order solver with very many steps.
#[test]
fn all_solvers_converge_to_one_answer() {
    let fine = SolverConfig {
        final_sigma: Some(FinalSigma::Zero),
        ..SolverConfig::new(SolverKind::DpmSolverPlusPlusSingle, 3000)
    };
    let reference = run_toy(fine);
    let error = |config: SolverConfig| {
        run_toy(config)
            .iter()
            .zip(&reference)
            .map(|(a, b)| (a - b).abs() / b.abs())
            .fold(0.0, f64::max)
    };
    let zero = Some(FinalSigma::Zero);
    let base = |kind| SolverConfig { final_sigma: zero, ..SolverConfig::new(kind, 20) };
    let single = base(SolverKind::DpmSolverPlusPlusSingle);
    let multi = base(SolverKind::DpmSolverPlusPlusMulti);
    let table = [
        (single, 2e-4),
        (SolverConfig { order: 2, ..single }, 2e-4),
        (SolverConfig { order: 1, ..single }, 1e-2),
        (multi, 5e-3),
        (SolverConfig { order: 2, solver_type: SolverType::Heun, ..multi }, 5e-3),
        (SolverConfig { order: 1, ..multi }, 2e-2),
        (SolverConfig { sigmas: SigmaGrid::Karras, ..multi }, 5e-3),
        (base(SolverKind::Ddim), 2e-2),
        (base(SolverKind::Euler), 1e-2),
        (SolverConfig { sigmas: SigmaGrid::Karras, ..base(SolverKind::Euler) }, 2e-2),
        (base(SolverKind::Heun), 1e-3),
        (SolverConfig { sigmas: SigmaGrid::Karras, ..base(SolverKind::Heun) }, 1e-3),
    ];
    for (config, tolerance) in table {
        let (coarse, fine) = (error(config), error(SolverConfig { steps: 400, ..config }));
        println!("{} {:?} order {}: {coarse:e} {fine:e}", config.kind, config.sigmas, config.order);
        assert!(fine < coarse, "{config:?}: {fine} after {coarse}");
        assert!(fine < tolerance, "{config:?}: {fine}");
    }
}
