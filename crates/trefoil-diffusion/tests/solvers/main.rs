//! Every solver against published numbers, closed forms and its order of convergence.

mod exact;
mod published;
mod runs;

use std::{convert::Infallible, ops::ControlFlow};

use burn::tensor::{DType, Device, Tensor, TensorData};
use trefoil_diffusion::{NoisePredictor, Sampler, SolverConfig, Step, VpSchedule, from_fn};

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
