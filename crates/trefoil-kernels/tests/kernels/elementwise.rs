//! Activations and softmax.

use burn::tensor::{DType, Device, Tensor, activation};
use proptest::prelude::*;
use trefoil_kernels::{gelu, gelu_tanh, quick_gelu, silu, softmax};

use crate::support::{assert_close, compare, normal, values};

/// Lengths around the vector width, the task size and the threshold of sequential work.
const LENGTHS: [usize; 6] = [1, 17, 8192, 8193, 16_385, 70_001];

#[test]
fn activations_match_the_framework() {
    for n in LENGTHS {
        let x = [normal([n], n as u64) * 3.0];
        let flat = |f: fn(Tensor<1>) -> Tensor<1>| move |x: &[Tensor<1>]| f(x[0].clone());
        compare("gelu", &x, flat(gelu), flat(activation::gelu), 1e-6);
        compare("gelu_tanh", &x, flat(gelu_tanh), flat(activation::gelu_approximate), 2e-6);
        compare("silu", &x, flat(silu), flat(activation::silu), 1e-6);
        let reference = |x: Tensor<1>| x.clone() * activation::sigmoid(x * 1.702);
        compare("quick_gelu", &x, flat(quick_gelu), flat(reference), 1e-6);
    }
}

/// `erf` by its series, and by the continued fraction of `erfc` where that converges better.
fn exact_gelu(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let tail = if z < 2.5 {
        let (mut term, mut sum) = (z, z);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -z * z / n;
            sum += term / (2.0 * n + 1.0);
        }
        0.5 - sum / std::f64::consts::PI.sqrt()
    } else {
        let mut fraction = 0.0;
        for k in (1..200).rev() {
            fraction = f64::from(k) / 2.0 / (z + fraction);
        }
        0.5 * (-z * z).exp() / std::f64::consts::PI.sqrt() / (z + fraction)
    };
    if x < 0.0 { x * tail } else { x - x * tail }
}

#[test]
fn gelu_is_exact_to_half_a_millionth() {
    let points: Vec<f32> = (-80_000..=80_000).map(|i| i as f32 * 1e-4).collect();
    let y = values(gelu(Tensor::<1>::from_floats(points.as_slice(), &Device::flex())));
    for (&x, &y) in points.iter().zip(&y) {
        let exact = exact_gelu(f64::from(x));
        assert!((f64::from(y) - exact).abs() < 5e-7, "gelu({x}) = {y}, not {exact}");
    }
    assert!((exact_gelu(1.0) - 0.841_344_746_068_543).abs() < 1e-12);
    assert!((exact_gelu(-4.0) + 4.0 * 3.167_124_183_311_986e-5).abs() < 1e-14);
}

#[test]
fn activations_keep_the_special_values() {
    let special = [f32::NAN, f32::INFINITY, -100.0, 100.0];
    for f in [gelu::<1>, gelu_tanh::<1>, quick_gelu::<1>, silu::<1>] {
        let y = values(f(Tensor::from_floats(special, &Device::flex())));
        assert!(y[0].is_nan());
        assert_eq!(y[1], f32::INFINITY);
        assert!(y[2].abs() < 1e-30);
        assert_eq!(y[3], 100.0);
    }
}

#[test]
fn shared_inputs_are_left_alone() {
    let x = normal([40_000], 5);
    let before = values(x.clone());
    let first = values(gelu(x.clone()));
    assert_eq!(before, values(x.clone()));
    assert_eq!(first, values(gelu(x)));
}

#[test]
fn views_give_the_same_as_copies() {
    let x = normal([37, 53], 3);
    let copy = |x: Tensor<2>| Tensor::<2>::from_data(x.into_data(), &Device::flex());
    let views =
        [x.clone().transpose(), x.clone().narrow(1, 5, 20), x.clone().narrow(0, 3, 9), x.flip([1])];
    for view in views {
        assert_eq!(values(gelu(view.clone())), values(gelu(copy(view.clone()))));
        assert_eq!(values(softmax(view.clone())), values(softmax(copy(view))));
    }
}

#[test]
fn softmax_matches_the_framework() {
    for [rows, columns] in [[1, 1], [3, 7], [5, 32], [200, 82], [33, 1104], [70, 6144]] {
        let x = [normal([rows * columns], 8) * 4.0];
        compare(
            &format!("softmax {rows} x {columns}"),
            &x,
            |x| softmax(x[0].clone().reshape([rows, columns])),
            |x| activation::softmax(x[0].clone().reshape([rows, columns]), 1),
            1e-6,
        );
    }
}

#[test]
fn softmax_of_masked_and_broken_rows() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = Tensor::<2>::from_floats([[0.0, -inf, 0.0], [1.0, nan, 1.0]], &Device::flex());
    let y = values(softmax(x));
    assert_eq!(y[..3], [0.5, 0.0, 0.5]);
    assert!(y[3..].iter().all(|y| y.is_nan()));
}

#[test]
fn other_precisions_take_the_framework() {
    let x = normal([4, 9], 2);
    for dtype in [DType::F64, DType::BF16] {
        let low = x.clone().cast(dtype);
        let y = silu(low.clone());
        assert_eq!(y.dtype(), dtype);
        let expected = values(silu(low.clone().cast(DType::F32)));
        assert_close("silu", &values(y.cast(DType::F32)), &expected, 1e-2);
        let expected = values(softmax(low.clone().cast(DType::F32)));
        assert_close("softmax", &values(softmax(low).cast(DType::F32)), &expected, 1e-2);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn softmax_rows_are_distributions(
        rows in 1_usize..9, columns in 1_usize..200, shift in -50.0_f32..50.0, seed in 1_u64..1000,
    ) {
        let x = normal([rows, columns], seed) * 5.0;
        let y = values(softmax(x.clone()));
        for row in y.chunks(columns) {
            prop_assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        for (a, b) in y.iter().zip(values(softmax(x + shift))) {
            prop_assert!((a - b).abs() < 2e-5);
        }
    }
}
