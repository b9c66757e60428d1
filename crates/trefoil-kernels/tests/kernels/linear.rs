//! Linear layers.

use burn::tensor::{DType, Device, Tensor, module};
use proptest::prelude::*;
use rayon::ThreadPoolBuilder;
use trefoil_kernels::{Activation, activate, linear};

use crate::fixture::{Case, Input, gradient};
use crate::support::{assert_close, compare, normal, value_and_gradients, values};

const ACTIVATIONS: [Option<Activation>; 5] = [
    None,
    Some(Activation::Gelu),
    Some(Activation::GeluTanh),
    Some(Activation::QuickGelu),
    Some(Activation::Silu),
];

fn reference(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Option<Activation>,
) -> Tensor<2> {
    let y = module::linear(x, weight.transpose(), bias);
    match activation {
        Some(activation) => activate(y, activation),
        None => y,
    }
}

#[test]
fn linear_matches_pytorch() {
    let names = ["none", "gelu", "gelu_tanh", "quick_gelu", "silu"];
    for (name, activation) in names.into_iter().zip(ACTIVATIONS) {
        let case = Case::open(&format!("linear.{name}"));
        let (x, w, b) = (case.tracked::<3>("x"), case.tracked::<2>("w"), case.tracked::<1>("b"));
        let y = linear(x.clone(), w.clone(), Some(b.clone()), activation);
        let inputs: [Input; 3] = [("x", &gradient(&x)), ("w", &gradient(&w)), ("b", &gradient(&b))];
        case.check(y, &inputs, 1e-6);
    }
}

#[test]
fn linear_matches_the_framework() {
    // Rows, inputs, outputs: around the sizes of registers and passes; the last takes many tiles.
    let cases = [
        [1, 1, 1],
        [1, 5, 3],
        [2, 33, 1],
        [7, 2, 300],
        [70, 192, 96],
        [130, 1030, 65],
        [300, 21, 801],
        [2500, 40, 50],
    ];
    for (i, [rows, d_in, d_out]) in cases.into_iter().enumerate() {
        let inputs = [
            normal([rows * d_in], 1),
            normal([d_out * d_in], 2) * (1.0 / (d_in as f64).sqrt()),
            normal([d_out], 3),
        ];
        let activation = ACTIVATIONS[i % ACTIVATIONS.len()];
        let split = |x: &[Tensor<1>]| {
            let matrices = (x[0].clone().reshape([rows, d_in]), x[1].clone());
            (matrices.0, matrices.1.reshape([d_out, d_in]), Some(x[2].clone()))
        };
        compare(
            &format!("linear {rows} {d_in} {d_out} {activation:?}"),
            &inputs,
            |x| {
                let (x, weight, bias) = split(x);
                linear(x, weight, bias, activation)
            },
            |x| {
                let (x, weight, bias) = split(x);
                reference(x, weight, bias, activation)
            },
            3e-6,
        );
        compare(
            &format!("linear without bias {rows} {d_in} {d_out} {activation:?}"),
            &inputs[..2],
            |x| {
                let x = [x[0].clone().reshape([rows, d_in]), x[1].clone().reshape([d_out, d_in])];
                linear(x[0].clone(), x[1].clone(), None, activation)
            },
            |x| {
                let x = [x[0].clone().reshape([rows, d_in]), x[1].clone().reshape([d_out, d_in])];
                reference(x[0].clone(), x[1].clone(), None, activation)
            },
            3e-6,
        );
    }
}

/// The weight as the view of `[in, out]`, and the input as a view of part of the sequence.
#[test]
fn views_have_values_and_gradients() {
    let inputs = [normal([3 * 11 * 20], 1), normal([20 * 34], 2), normal([34], 3)];
    let split = |x: &[Tensor<1>]| {
        let part = x[0].clone().reshape([3, 11, 20]).narrow(1, 4, 5);
        (part, x[1].clone().reshape([20, 34]).transpose(), x[2].clone())
    };
    compare(
        "linear of views",
        &inputs,
        |x| {
            let (x, weight, bias) = split(x);
            linear(x, weight, Some(bias), Some(Activation::Silu))
        },
        |x| {
            let (x, weight, bias) = split(x);
            activate(module::linear(x, weight.transpose(), Some(bias)), Activation::Silu)
        },
        2e-6,
    );
    let (x, weight) = (normal([9, 20], 1), normal([34, 20], 2));
    let copy = |x: Tensor<2>| Tensor::<2>::from_data(x.into_data(), &Device::flex());
    let flipped = linear(x.clone().flip([0]), weight.clone().flip([1]), None, None);
    let copied = linear(copy(x.clone().flip([0])), copy(weight.clone().flip([1])), None, None);
    assert_eq!(values(flipped), values(copied));
    let turned = copy(x.clone().transpose()).transpose();
    let expected = values(linear(x, weight.clone(), None, None));
    assert_close("turned", &values(linear(turned, weight, None, None)), &expected, 1e-6);
}

#[test]
fn only_what_is_tracked_gets_a_gradient() {
    let device = Device::flex().autodiff();
    let on = |x: Tensor<2>| Tensor::<2>::from_data(x.into_data(), &device);
    let (x, weight) = (on(normal([5, 4], 1)), on(normal([3, 4], 2)).require_grad());
    let bias = Tensor::<1>::from_data(normal([3], 3).into_data(), &device);
    let y = linear(x.clone(), weight.clone(), Some(bias.clone()), Some(Activation::Gelu));
    let gradients = y.sum().backward();
    assert!(x.grad(&gradients).is_none() && bias.grad(&gradients).is_none());
    assert_eq!(weight.grad(&gradients).expect("a gradient").dims(), [3, 4]);
}

#[test]
fn other_precisions_take_the_framework() {
    let (x, weight, bias) = (normal([6, 9], 1), normal([5, 9], 2), normal([5], 3));
    let low = |x: Tensor<2>| x.cast(DType::F64);
    let gelu = Some(Activation::Gelu);
    let y = linear(low(x.clone()), low(weight.clone()), Some(bias.clone().cast(DType::F64)), gelu);
    assert_eq!(y.dtype(), DType::F64);
    let expected = values(linear(x, weight, Some(bias), gelu));
    assert_close("linear", &values(y.cast(DType::F32)), &expected, 2e-6);
}

#[test]
#[should_panic(expected = "linear: the last axis has 4 elements, weight [3, 5], bias 3")]
fn shapes_are_checked() {
    let _ = linear(normal([2, 4], 1), normal([3, 5], 2), None, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn threads_and_other_rows_do_not_matter(
        rows in 1_usize..400, d_in in 1_usize..700, d_out in 1_usize..500, seed in 1_u64..1000,
    ) {
        let inputs =
            [normal([rows * d_in], seed), normal([d_out * d_in], seed + 1), normal([d_out], 3)];
        let layer = |x: &[Tensor<1>]| {
            let rows = x[0].clone().reshape([rows, d_in]);
            let weight = x[1].clone().reshape([d_out, d_in]);
            linear(rows, weight, Some(x[2].clone()), Some(Activation::Gelu))
        };
        let run = |threads: usize| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| value_and_gradients(&inputs, layer))
        };
        let all = run(1);
        prop_assert!(all == run(3), "one and three threads differ");

        let some = 1 + seed as usize % rows;
        let first = inputs[0].clone().reshape([rows, d_in]).narrow(0, 0, some);
        let weight = inputs[1].clone().reshape([d_out, d_in]);
        let y = linear(first, weight, Some(inputs[2].clone()), Some(Activation::Gelu));
        prop_assert!(values(y) == all[0][..some * d_out], "{some} rows of {rows} differ");
    }
}

#[test]
fn a_few_columns_beyond_the_tiles_do_not_matter() {
    let (x, weight) = (normal([49, 442], 1), normal([194, 442], 2));
    let all = values(linear(x.clone(), weight.clone(), None, None));
    let two = values(linear(x.narrow(0, 0, 2), weight, None, None));
    assert_eq!(two, all[..2 * 194]);
}
