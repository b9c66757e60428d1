//! What holds for a run of any solver: its steps, its failures, its rows.

use std::convert::Infallible;
use std::ops::ControlFlow;

use burn::tensor::{DType, Device, Tensor};
use trefoil_diffusion::{
    FinalSigma, NoisePredictor, SolveError, SolverConfig, SolverKind, Thresholding, from_fn,
};

use crate::{START, close, proceed, rows, run_toy, sampler, toy, toy_model, values};

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
