//! Numbers that other programs print.

use trefoil_diffusion::solver::{Heun, edm_levels};
use trefoil_diffusion::{
    Churn, EdmNoise, EdmSolverConfig, Error, FinalSigma, GaussianDenoiser, Sampler, SigmaGrid,
    SolverConfig, SolverKind, SolverType, TimestepSpacing,
};

use crate::{close, proceed, rows, run_toy, values};

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
