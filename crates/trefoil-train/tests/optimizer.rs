//! The optimiser against PyTorch (`reference/adamw.py`) and against itself.

mod common;

use burn::module::Module as _;
use burn::tensor::Tensor;
use common::{Affine, Regression};
use trefoil_core::rng::Seed;
use trefoil_train::optim::{GradientSum, Optimizer};
use trefoil_train::{Position, Sampler, Task as _, TrainConfig};

fn close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let distance = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(distance <= tolerance, "{distance}: {found:?} is not {expected:?}");
}

/// Gradients of `sum(g * parameter)`, which are the given ones.
fn gradients(model: &Affine, weight: [[f32; 2]; 2], bias: [f32; 2]) -> GradientSum {
    let device = model.weight.val().device();
    let of_weight = model.weight.val() * Tensor::<2>::from_floats(weight, &device);
    let of_bias = model.bias.val() * Tensor::<1>::from_floats(bias, &device);
    let mut sum = GradientSum::default();
    sum.add(model, (of_weight.sum() + of_bias.sum()).backward());
    sum
}

#[test]
fn four_updates_equal_those_of_pytorch() {
    let config = TrainConfig {
        batch_size: 4,
        warmup: 8,
        learning_rate: 0.1,
        betas: [0.9, 0.99],
        weight_decay: 0.1,
        clip_norm: Some(1.0),
        ema_rate: Some(0.9),
        ..TrainConfig::default()
    };
    #[rustfmt::skip]
    let updates = [
        ([[1.0, -2.0], [0.5, 0.0]], [0.25, -0.75], 2.423_84,
         [0.5, -1.0, 2.0, 0.25, 0.1, -0.2]),
        ([[0.1, 0.2], [-0.3, 0.4]], [0.0, 0.1], 0.556_776_46,
         [0.456_088_7, -0.971_161_5, 2.001_677_8, 0.211_627, 0.065_920_99, -0.178_531_44]),
        ([[-3.0, 1.0], [2.0, -1.0]], [1.5, 0.5], 4.183_300_5,
         [0.473_939_63, -0.943_311_2, 1.941_861, 0.192_942_7, -0.010_151_155, -0.169_135_82]),
        ([[0.01, 0.0], [0.0, 0.02]], [-0.01, 0.0], 0.024_494_898,
         [0.486_901_3, -0.918_986_14, 1.889_766_5, 0.174_926_79, -0.070_386_216, -0.161_196_35]),
    ];
    let mut model = Affine::new().train();
    let mut optimizer = Optimizer::new(&model, |_| true);
    for (step, (weight, bias, norm, expected)) in (0..).zip(updates) {
        let position = Position { step, samples: 4 * step, epoch: 0 };
        let sum = gradients(&model, weight, bias);
        let found = optimizer.update(&sum, &config, position).unwrap();
        assert!((found - norm).abs() < 1e-6, "{found}");
        model = optimizer.write_to(model).unwrap();
        close(&model.values(), &expected, 5e-7);
    }
    let average = optimizer.write_average_to(Affine::new()).unwrap().values();
    #[rustfmt::skip]
    close(&average, &[0.492_787_87, -0.984_460_65, 1.983_879_9, 0.234_249_3, 0.070_287_36, -0.191_602_87], 5e-7);
}

#[test]
fn accumulated_parts_equal_the_whole_batch() {
    let task = Regression::new();
    let batch = Sampler::new(10, 8, Seed(5)).unwrap().batch(Position::default());
    let updated = |parts: usize| {
        let model = Affine::new().train();
        let mut optimizer = Optimizer::new(&model, |_| true);
        let mut sum = GradientSum::default();
        for part in batch.split(parts) {
            sum.add(&model, task.loss(&model, &part).unwrap().total.backward());
        }
        let config = TrainConfig { warmup: 0, batch_size: 8, ..TrainConfig::default() };
        let norm = optimizer.update(&sum, &config, Position::default()).unwrap();
        (norm, optimizer.write_to(model).unwrap().values())
    };
    let (norm, whole) = updated(1);
    close(&whole[..1], &[0.5 + 2e-4 - 0.5 * 2e-4 * 0.03], 1e-6);
    for parts in [2, 4, 8] {
        let (found, values) = updated(parts);
        assert!((found - norm).abs() < 1e-5 * norm, "{found} is not {norm}");
        close(&values, &whole, 3e-7);
    }
}

#[test]
fn frozen_parameters_stay_and_a_bad_gradient_is_named_and_changes_nothing() {
    let model = Affine::new().train();
    let mut optimizer = Optimizer::new(&model, |name| name != "bias");
    let config = TrainConfig { warmup: 0, learning_rate: 0.1, ..TrainConfig::default() };
    let start = Position::default();

    let bad = gradients(&model, [[1.0, f32::NAN], [1.0, 1.0]], [1.0, 1.0]);
    assert_eq!(optimizer.update(&bad, &config, start).unwrap_err().parameter, "weight");
    assert_eq!(optimizer.write_to(Affine::new()).unwrap().values(), Affine::new().values());

    let good = gradients(&model, [[1.0; 2]; 2], [f32::NAN; 2]);
    assert_eq!(optimizer.update(&good, &config, start), Ok(2.0));
    let values = optimizer.write_to(model).unwrap().values();
    assert_eq!(values[4..], [0.1, -0.2]);
    close(&values[..4], &[0.3985, -1.097, 1.894, 0.149_25], 1e-6);
}
