//! Layer and group normalisation.

use burn::tensor::{DType, Device, Tensor, activation, module};
use trefoil_kernels::{
    GroupNormOptions, NormActivation, add_layer_norm, group_norm, group_norm_scale_shift,
    group_norm_silu, layer_norm,
};

use crate::fixture::{Case, Input, gradient};
use crate::support::{assert_close, compare, normal, values};

const EPSILON: f64 = 1e-5;

fn reference_layer_norm(x: Tensor<2>, weight: Tensor<1>, bias: Tensor<1>) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    centred / (variance + EPSILON).sqrt() * weight.unsqueeze() + bias.unsqueeze()
}

#[test]
fn layer_norm_matches_the_framework() {
    for [rows, width] in [[1, 1], [3, 5], [2, 33], [300, 82], [700, 64], [37, 1536]] {
        let inputs =
            [normal([rows * width], 1) * 2.0 + 0.5, normal([width], 2) + 1.0, normal([width], 3)];
        compare(
            &format!("layer_norm {rows} x {width}"),
            &inputs,
            |x| {
                let rows = x[0].clone().reshape([rows, width]);
                layer_norm(rows, x[1].clone(), x[2].clone(), EPSILON)
            },
            |x| {
                let rows = x[0].clone().reshape([rows, width]);
                reference_layer_norm(rows, x[1].clone(), x[2].clone())
            },
            3e-6,
        );
    }
}

#[test]
fn layer_norm_agrees_with_the_module_of_the_framework() {
    let (x, weight, bias) = (normal([4, 7, 30], 1), normal([30], 2), normal([30], 3));
    let expected = module::layer_norm(x.clone(), weight.clone(), Some(bias.clone()), EPSILON);
    let actual = layer_norm(x, weight, bias, EPSILON);
    assert_close("layer_norm", &values(actual), &values(expected), 1e-6);
}

#[test]
fn add_layer_norm_matches_the_framework() {
    for [rows, width] in [[1, 3], [30, 33], [500, 82], [37, 1536]] {
        let inputs = [
            normal([rows * width], 1),
            normal([rows * width], 2) * 3.0,
            normal([width], 3) + 1.0,
            normal([width], 4),
        ];
        let matrix = |x: &Tensor<1>| x.clone().reshape([rows, width]);
        compare(
            &format!("add_layer_norm {rows} x {width}"),
            &inputs,
            |x| add_layer_norm(matrix(&x[0]), matrix(&x[1]), x[2].clone(), x[3].clone(), EPSILON),
            |x| reference_layer_norm(matrix(&x[0]) + matrix(&x[1]), x[2].clone(), x[3].clone()),
            3e-6,
        );
    }
}

#[test]
fn a_large_mean_does_not_hurt() {
    let x = normal([6, 512], 1) + 1000.0;
    let (ones, zeros) =
        (Tensor::ones([512], &Device::flex()), Tensor::zeros([512], &Device::flex()));
    let exact: Vec<f32> = values(x.clone())
        .chunks(512)
        .flat_map(|row| {
            let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / 512.0;
            let variance = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / 512.0;
            let scale = 1.0 / (variance + EPSILON).sqrt();
            row.iter().map(move |&x| ((f64::from(x) - mean) * scale) as f32).collect::<Vec<_>>()
        })
        .collect();
    assert_close("layer_norm", &values(layer_norm(x, ones, zeros, EPSILON)), &exact, 1e-4);
}

fn reference_group_norm(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    options: GroupNormOptions,
) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let x = x.reshape([b, options.groups, c * h * w / options.groups]);
    let centred = x.clone() - x.mean_dim(2);
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    let y = (centred / (variance + options.epsilon).sqrt()).reshape([b, c, h, w]);
    let y = y * weight.reshape([1, c, 1, 1]) + bias.reshape([1, c, 1, 1]);
    match options.activation {
        NormActivation::Identity => y,
        NormActivation::Silu => activation::silu(y),
    }
}

#[test]
fn group_norm_matches_the_framework() {
    for (shape, groups) in
        [([1, 2, 1, 3], 1), ([2, 6, 5, 7], 3), ([3, 8, 4, 4], 8), ([4, 32, 16, 16], 8)]
    {
        for activation in [NormActivation::Identity, NormActivation::Silu] {
            let options = GroupNormOptions { groups, epsilon: EPSILON, activation };
            let channels = shape[1];
            let inputs = [
                normal([shape.iter().product()], 1) * 2.0 - 0.3,
                normal([channels], 2) + 1.0,
                normal([channels], 3),
            ];
            compare(
                &format!("group_norm {shape:?} {options:?}"),
                &inputs,
                |x| group_norm(x[0].clone().reshape(shape), x[1].clone(), x[2].clone(), options),
                |x| {
                    let image = x[0].clone().reshape(shape);
                    reference_group_norm(image, x[1].clone(), x[2].clone(), options)
                },
                5e-6,
            );
        }
    }
}

#[test]
fn scale_and_shift_match_pytorch() {
    let case = Case::open("scale_shift");
    let x = case.tracked::<4>("x");
    let [weight, bias] = ["weight", "bias"].map(|key| case.tracked::<1>(key));
    let [scale, shift] = ["scale", "shift"].map(|key| case.tracked::<2>(key));
    let options =
        GroupNormOptions { groups: 4, epsilon: EPSILON, activation: NormActivation::Silu };
    let y = group_norm_scale_shift(
        x.clone(),
        [weight.clone(), bias.clone()],
        [scale.clone(), shift.clone()],
        options,
    );
    let inputs: [Input; 5] = [
        ("x", &gradient(&x)),
        ("weight", &gradient(&weight)),
        ("bias", &gradient(&bias)),
        ("scale", &gradient(&scale)),
        ("shift", &gradient(&shift)),
    ];
    case.check(y, &inputs, 2e-6);
}

#[test]
fn scale_and_shift_match_the_framework() {
    for (shape, groups) in [([1, 1, 1, 2], 1), ([3, 6, 5, 7], 3), ([2, 64, 16, 16], 32)] {
        for activation in [NormActivation::Identity, NormActivation::Silu] {
            let options = GroupNormOptions { groups, epsilon: EPSILON, activation };
            let [b, c, _, _] = shape;
            let inputs = [
                normal([shape.iter().product()], 1) * 2.0 - 0.3,
                normal([c], 2) + 1.0,
                normal([c], 3),
                normal([b * c], 4),
                normal([b * c], 5),
            ];
            let per_image = |x: &[Tensor<1>], i: usize| x[i].clone().reshape([b, c]);
            compare(
                &format!("group_norm_scale_shift {shape:?} {options:?}"),
                &inputs,
                |x| {
                    let affine = [x[1].clone(), x[2].clone()];
                    let adaptive = [per_image(x, 3), per_image(x, 4)];
                    group_norm_scale_shift(x[0].clone().reshape(shape), affine, adaptive, options)
                },
                |x| {
                    let plain =
                        GroupNormOptions { activation: NormActivation::Identity, ..options };
                    let image = x[0].clone().reshape(shape);
                    let y = reference_group_norm(image, x[1].clone(), x[2].clone(), plain);
                    let scale = per_image(x, 3).reshape([b, c, 1, 1]) + 1.0;
                    let y = y * scale + per_image(x, 4).reshape([b, c, 1, 1]);
                    match activation {
                        NormActivation::Identity => y,
                        NormActivation::Silu => activation::silu(y),
                    }
                },
                5e-6,
            );
        }
    }
    let x = normal([2, 6, 4, 4], 1);
    let options =
        GroupNormOptions { groups: 2, epsilon: EPSILON, activation: NormActivation::Silu };
    let run = |x: Tensor<4>, dtype| {
        let affine = [normal([6], 2), normal([6], 3)].map(|x| x.cast(dtype));
        let adaptive = [normal([2, 6], 4), normal([2, 6], 5)].map(|x| x.cast(dtype));
        values(group_norm_scale_shift(x.cast(dtype), affine, adaptive, options).cast(DType::F32))
    };
    assert_close("double", &run(x.clone(), DType::F64), &run(x, DType::F32), 3e-6);
}

#[test]
fn views_and_other_precisions() {
    let (weight, bias) = (normal([6], 2), normal([6], 3));
    let channels_last = normal([2, 5, 4, 6], 1);
    let view = channels_last.permute([0, 3, 1, 2]);
    let copy = Tensor::<4>::from_data(view.clone().into_data(), &Device::flex());
    let norm = |x, weight, bias| group_norm_silu(x, weight, bias, 3, EPSILON);
    let expected = values(norm(copy.clone(), weight.clone(), bias.clone()));
    assert_eq!(values(norm(view, weight.clone(), bias.clone())), expected);
    let double = |x: Tensor<1>| x.cast(DType::F64);
    let y = norm(copy.cast(DType::F64), double(weight), double(bias));
    assert_eq!(y.dtype(), DType::F64);
    assert_close("group_norm", &values(y.cast(DType::F32)), &expected, 2e-6);

    let x = normal([20, 9], 5).transpose();
    let copy = Tensor::<2>::from_data(x.clone().into_data(), &Device::flex());
    let (weight, bias) = (normal([40], 6).narrow(0, 7, 20), normal([20], 7).flip([0]));
    let expected = values(layer_norm(copy, weight.clone(), bias.clone(), EPSILON));
    assert_eq!(values(layer_norm(x, weight, bias, EPSILON)), expected);
}
