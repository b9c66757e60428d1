//! Every solver against published numbers, closed forms and its order of convergence.

use std::{convert::Infallible, ops::ControlFlow};

use burn::tensor::{DType, Device, Tensor, TensorData};
use trefoil_diffusion::{
    Churn, EdmNoise, EdmSolverConfig, Error, FinalSigma, GaussianDenoiser, Level, NoisePredictor,
    Sampler, SigmaGrid, SolveError, SolverConfig, SolverKind, SolverType, Step, Thresholding,
    TimestepSpacing, VpSchedule, from_fn,
    solver::{Euler, Heun, edm_levels, vp_levels},
};

const START: [f64; 7] = [-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0];

fn rows(values: &[f64], width: usize) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), [values.len() / width, width]);
    Tensor::from_data(data, (&Device::flex(), DType::F64))
}

fn values(tensor: Tensor<2>) -> Vec<f64> {
    tensor.into_data().try_to_vec().expect("f64 data")
}

/// eps(x, n) = tanh(0.7 x) (0.4 + 0.5 n / 1000) + 0.05 cos(3 x)
fn toy(x: Tensor<2>, n: f64) -> Tensor<2> {
    (x.clone() * 0.7).tanh() * (0.4 + 0.5 * n / 1000.0) + (x * 3.0).cos() * 0.05
}

fn toy_model() -> impl NoisePredictor<Error = Infallible> {
    from_fn(|x, n| Ok(toy(x, n)))
}

fn proceed(_: Step<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn sampler(config: SolverConfig) -> Sampler {
    config.build(&VpSchedule::default()).expect("a valid configuration")
}

fn run_toy(config: SolverConfig) -> Vec<f64> {
    let end = sampler(config).sample(&mut toy_model(), rows(&START, 7), &mut proceed);
    values(end.expect("a finite run"))
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], relative: f64, absolute: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= relative * b.abs() + absolute,
            "{what}: entry {index} is {a}, expected {b}"
        );
    }
}

#[test]
fn single_step_solver_matches_the_original_program() {
    for (steps, expected) in [
        (
            50,
            [
                -18.21131693,
                -5.51545641,
                -1.67884264,
                -0.25251294,
                0.66720334,
                5.90631291,
                32.48955246,
            ],
        ),
        (
            20,
            [
                -18.06941403,
                -5.52016723,
                -1.68221468,
                -0.25285307,
                0.66920526,
                5.90661527,
                32.36634877,
            ],
        ),
        (
            9,
            [
                -18.20321789,
                -5.54147147,
                -1.65760813,
                -0.25018004,
                0.66019910,
                5.85615834,
                32.83577433,
            ],
        ),
        (
            7,
            [
                -18.24431467,
                -5.65104868,
                -1.65798095,
                -0.24811542,
                0.65984211,
                5.85874647,
                32.84533135,
            ],
        ),
    ] {
        let config = SolverConfig { steps, ..Default::default() };
        close(&run_toy(config), &expected, 0.0, 6e-9, &format!("{steps} evaluations"));
    }
}

/// Numbers of diffusers' multistep scheduler (0.42), whose tables are single precision.
#[test]
fn multistep_solver_matches_diffusers() {
    let base = SolverConfig::new(SolverKind::DpmSolverPlusPlusMulti, 9);
    let min = Some(FinalSigma::Min);
    let cases = [
        (
            SolverConfig { steps: 50, ..base },
            [-18.2170168, -5.5150687, -1.6745496, -0.2519164, 0.6635008, 5.9076756, 32.4552240],
        ),
        (
            SolverConfig { steps: 20, ..base },
            [-18.2399437, -5.5439957, -1.6899077, -0.2539082, 0.6647133, 5.9399969, 32.5204741],
        ),
        (base, [-18.3573633, -5.6356733, -1.7625560, -0.2616686, 0.6712974, 6.1084539, 32.8248959]),
        (
            SolverConfig { steps: 3, ..base },
            [-18.6120879, -5.8055352, -2.1238788, -0.3250150, 0.6994697, 6.9206719, 32.4432086],
        ),
        (
            SolverConfig { spacing: TimestepSpacing::Leading, steps_offset: 1, ..base },
            [-11.1004857, -3.6262839, -1.2443757, -0.1944234, 0.5170596, 3.8942785, 19.0886735],
        ),
        (
            SolverConfig { spacing: TimestepSpacing::Trailing, ..base },
            [-18.3575638, -5.6348007, -1.7628798, -0.2616995, 0.6714036, 6.1100011, 32.8225330],
        ),
        (
            SolverConfig { final_sigma: min, ..base },
            [-18.3633072, -5.6476894, -1.7722037, -0.2629340, 0.6762807, 6.1197090, 32.8245161],
        ),
        (
            SolverConfig { final_sigma: min, steps: 20, ..base },
            [-18.1527041, -5.5533472, -1.6819651, -0.2556785, 0.6638809, 5.9649636, 32.5285238],
        ),
        (
            SolverConfig { order: 2, ..base },
            [-18.2463219, -5.5773967, -1.7054088, -0.2548352, 0.6644956, 6.0239549, 32.8020123],
        ),
        (
            SolverConfig { order: 2, steps: 20, solver_type: SolverType::Heun, ..base },
            [-18.2173318, -5.5189325, -1.6750028, -0.2514885, 0.6633793, 5.9171805, 32.4748156],
        ),
        (
            SolverConfig { order: 1, ..base },
            [-18.2723222, -5.6434237, -1.8645831, -0.2880717, 0.6835768, 6.2375902, 32.6548829],
        ),
        (
            SolverConfig { sigmas: SigmaGrid::Karras, ..base },
            [-18.4132118, -5.6935084, -1.8519129, -0.2821746, 0.6945824, 6.1450292, 32.6108667],
        ),
        (
            SolverConfig { lower_order_final: false, final_sigma: min, ..base },
            [-18.4114472, -5.5641269, -1.7273410, -0.2915691, 0.6863595, 5.7448449, 32.6249008],
        ),
        (
            SolverConfig { euler_at_final: true, final_sigma: min, steps: 20, ..base },
            [-18.2459835, -5.5550140, -1.6989013, -0.2549531, 0.6692770, 5.9504213, 32.5195519],
        ),
    ];
    for (config, expected) in cases {
        close(&run_toy(config), &expected, 5e-5, 0.0, &format!("{config:?}"));
    }
}

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

/// EDM's Heun sampler with the exact denoiser of N(0.3, 0.5^2), 18 steps from sigma 80 to 0.
#[test]
fn edm_heun_matches_published_and_exact_flow() {
    let gaussian = GaussianDenoiser { mean: 0.3, deviation: 0.5 };
    let start = [-120.0, -40.0, 0.0, 55.0, 160.0];
    let run = |steps| {
        let sampler = Sampler::new(
            Heun::new(edm_levels(steps, 0.002, 80.0, 7.0).expect("valid")).expect("decreasing"),
        );
        assert_eq!(sampler.evaluations(), 2 * steps - 1);
        let end = sampler.sample(&mut EdmNoise(gaussian), rows(&start, 5), &mut proceed);
        values(end.expect("a finite run"))
    };
    let published = [-0.493416, 0.034209, 0.298021, 0.660763, 1.353271];
    close(&run(18), &published, 0.0, 6e-7, "18 steps");
    let exact = [-0.451860, 0.048130, 0.298125, 0.641868, 1.298106];
    close(&run(1000), &exact, 0.0, 2e-5, "exact flow");
}

/// Numbers of `reference/edm_torch.py`: six steps on Gaussian data, with the noise given.
#[test]
fn churn_matches_the_algorithm() {
    let noise = [
        [0.3, -1.1, 0.7],
        [1.2, 0.4, -0.6],
        [-0.9, 0.1, 1.5],
        [0.2, -0.3, 0.8],
        [2.0, -1.7, 0.05],
        [0.6, 0.9, -0.4],
    ];
    let churn = Churn { amount: 4.0, min: 0.05, max: 50.0, noise: 1.003 };
    let config = EdmSolverConfig { steps: 6, churn, ..EdmSolverConfig::default() };
    let sampler = config.build().expect("valid");
    assert!(sampler.is_stochastic());
    assert_eq!((sampler.steps(), sampler.evaluations()), (6, 11));
    let mut model = EdmNoise(GaussianDenoiser { mean: 0.3, deviation: 0.5 });
    let mut source = |step: usize, _: [usize; 2]| rows(&noise[step], 1);
    let start = rows(&[-120.0, 0.0, 55.0], 1);
    let end = sampler.sample_with_noise(&mut model, start.clone(), &mut source, &mut proceed);
    let expected = [-0.137263893813094, 0.24727147680670208, 1.7063908980695022];
    close(&values(end.expect("a finite run")), &expected, 1e-10, 0.0, "churn");

    // Without churn, or with none where the grid is, it is Heun's method.
    let plain = EdmSolverConfig { churn: Churn::default(), ..config }.build().expect("valid");
    let below = Churn { max: 1e-4, min: 0.0, ..churn };
    let outside = EdmSolverConfig { churn: below, ..config }.build().expect("valid");
    assert!(!plain.is_stochastic() && !outside.is_stochastic());
    let run = |sampler: &Sampler| {
        let mut model = EdmNoise(GaussianDenoiser { mean: 0.3, deviation: 0.5 });
        values(sampler.sample(&mut model, start.clone(), &mut proceed).expect("a finite run"))
    };
    assert_eq!(run(&plain), run(&outside));
    for (bad, name) in [
        (EdmSolverConfig { steps: 0, ..config }, "steps"),
        (EdmSolverConfig { sigma_min: 0.0, ..config }, "sigma_min"),
        (EdmSolverConfig { churn: Churn { max: 0.01, ..churn }, ..config }, "churn.max"),
        (EdmSolverConfig { churn: Churn { amount: f64::NAN, ..churn }, ..config }, "churn.amount"),
    ] {
        match bad.build() {
            Err(Error::OutOfRange { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
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

#[test]
fn the_callback_sees_every_step_and_can_cancel() {
    for kind in SolverKind::ALL {
        let sampler = sampler(SolverConfig::new(kind, 8));
        let mut evaluated = 0;
        let mut model = from_fn(|x, n| {
            evaluated += 1;
            Ok::<_, Infallible>(toy(x, n))
        });
        let mut seen = Vec::new();
        let mut last = Vec::new();
        let end = sampler.sample(&mut model, rows(&START, 7), &mut |step| {
            assert_eq!(step.count, sampler.steps());
            assert_eq!(step.x0.dims(), [1, 7]);
            seen.push((step.index, step.evaluations, step.n));
            last = values(step.x.clone());
            ControlFlow::Continue(())
        });
        assert_eq!(values(end.expect("a finite run")), last, "{kind}");
        assert_eq!(evaluated, sampler.evaluations(), "{kind}");
        assert_eq!(seen.len(), sampler.steps(), "{kind}");
        assert_eq!(seen.last().map(|s| s.1), Some(evaluated), "{kind}");
        assert!(seen.is_sorted_by(|a, b| a.0 + 1 == b.0 && a.2 > b.2), "{kind}: {seen:?}");
        assert!(seen.last().is_some_and(|s| s.2 <= 1.0 + 1e-9), "{kind}: {seen:?}");

        let end = sampler.sample(&mut toy_model(), rows(&START, 7), &mut |step| {
            if step.index == 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(end, Err(SolveError::Cancelled { step: 1 })), "{kind}: {end:?}");
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("out of memory")]
struct OutOfMemory;

#[test]
fn failures_name_the_step() {
    for kind in SolverKind::ALL {
        let sampler = sampler(SolverConfig::new(kind, 8));
        // Which step that is differs between solvers.
        let mut poison = from_fn(|x: Tensor<2>, n| {
            Ok::<_, Infallible>(toy(if n < 500.0 { x * f64::NAN } else { x }, n))
        });
        let mut reached = 0;
        let end = sampler.sample(&mut poison, rows(&START, 7), &mut |step| {
            reached = step.index + 1;
            ControlFlow::Continue(())
        });
        match end {
            Err(SolveError::NonFinite { step }) => assert_eq!(step, reached, "{kind}"),
            other => panic!("{kind}: {other:?}"),
        }

        let mut failing =
            from_fn(|x: Tensor<2>, n| if n < 500.0 { Err(OutOfMemory) } else { Ok(x.tanh()) });
        let end = sampler.sample(&mut failing, rows(&START, 7), &mut proceed);
        match end {
            Err(SolveError::Model { step, source }) => {
                assert_eq!((step > 0, source), (true, OutOfMemory), "{kind}");
            }
            other => panic!("{kind}: {other:?}"),
        }

        let mut wrong = from_fn(|x: Tensor<2>, _| Ok::<_, Infallible>(x.narrow(1, 0, 3)));
        let end = sampler.sample(&mut wrong, rows(&START, 7), &mut proceed);
        assert!(
            matches!(end, Err(SolveError::Shape { step: 0, expected: [1, 7], found: [1, 3] })),
            "{kind}: {end:?}"
        );
    }
}

/// A row is the same alone and in a batch, also with thresholding and drawn noise.
#[test]
fn rows_do_not_depend_on_the_batch() {
    let batch: Vec<f64> = (0..21).map(|i| (f64::from(i) * 1.7).sin() * 2.0).collect();
    let thresholding = Some(Thresholding { ratio: 0.8, max_value: 1.5 });
    for kind in SolverKind::ALL {
        let eta = if kind == SolverKind::Ddim { 0.5 } else { 0.0 };
        for thresholding in [None, thresholding] {
            let config = SolverConfig { eta, thresholding, ..SolverConfig::new(kind, 7) };
            let sampler = sampler(config);
            let run = |x: &[f64], first: usize| {
                let mut noise = |step: usize, [count, width]: [usize; 2]| {
                    let draw = |i: usize| ((first + i / width) * 31 + i % width + step * 7) as f64;
                    let drawn: Vec<f64> = (0..count * width).map(|i| draw(i).sin()).collect();
                    rows(&drawn, width)
                };
                let model: &mut dyn NoisePredictor<Error = Infallible> = &mut toy_model();
                let x = rows(x, 7);
                let end = sampler.sample_with_noise(model, x, &mut noise, &mut proceed);
                values(end.expect("a finite run"))
            };
            let together = run(&batch, 0);
            for row in 0..3 {
                let range = row * 7..(row + 1) * 7;
                close(
                    &run(&batch[range.clone()], row),
                    &together[range],
                    1e-12,
                    1e-12,
                    kind.name(),
                );
            }
        }
    }
}

/// Thresholding keeps every clean sample, and so the end of a clean run, inside the limit.
#[test]
fn thresholding_bounds_the_result() {
    for kind in SolverKind::ALL {
        let config = SolverConfig {
            final_sigma: Some(FinalSigma::Zero),
            thresholding: Some(Thresholding { ratio: 0.9, max_value: 1.25 }),
            ..SolverConfig::new(kind, 12)
        };
        let end = run_toy(config);
        let largest = end.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        assert!(largest <= 1.25 + 1e-9, "{kind}: {end:?}");
        assert!(run_toy(SolverConfig { thresholding: None, ..config })[6] > 20.0, "{kind}");
    }
}

/// Single precision states work too: coefficients are scalars of the host.
#[test]
fn single_precision_stays_close_to_double() {
    let exact = run_toy(SolverConfig::default());
    let x = Tensor::<2>::from_floats([START.map(|x| x as f32)], &Device::flex());
    let end = sampler(SolverConfig::default()).sample(&mut toy_model(), x, &mut proceed);
    let end = end.expect("a finite run");
    assert_eq!(end.dtype(), DType::F32);
    let found: Vec<f64> = end.into_data().iter::<f64>().collect();
    close(&found, &exact, 2e-4, 1e-5, "single precision");
}
