//! Norms, softmax and attention next to PyTorch, values and gradients.

use burn::tensor::Tensor;
use trefoil_kernels::{
    AttentionMask, GroupNormOptions, NormActivation, PackedAttention, add_layer_norm, attention,
    group_norm, layer_norm, packed_attention, softmax,
};

use crate::fixture::{Case, Input, gradient};

const EPSILON: f64 = 1e-5;
const TOLERANCE: f32 = 2e-6;

#[test]
fn softmax_matches() {
    let case = Case::open("softmax");
    let x: Tensor<3> = case.tracked("x");
    case.check(softmax(x.clone()), &[("x", &gradient(&x))], TOLERANCE);
}

#[test]
fn layer_norms_match() {
    let case = Case::open("layer_norm");
    let x: Tensor<3> = case.tracked("x");
    let [weight, bias]: [Tensor<1>; 2] = ["weight", "bias"].map(|key| case.tracked(key));
    let y = layer_norm(x.clone(), weight.clone(), bias.clone(), EPSILON);
    let inputs: [Input; 3] =
        [("x", &gradient(&x)), ("weight", &gradient(&weight)), ("bias", &gradient(&bias))];
    case.check(y, &inputs, TOLERANCE);

    let case = Case::open("add_layer_norm");
    let [x, residual]: [Tensor<3>; 2] = ["x", "residual"].map(|key| case.tracked(key));
    let [weight, bias]: [Tensor<1>; 2] = ["weight", "bias"].map(|key| case.tracked(key));
    let y = add_layer_norm(x.clone(), residual.clone(), weight.clone(), bias.clone(), EPSILON);
    let inputs: [Input; 4] = [
        ("x", &gradient(&x)),
        ("residual", &gradient(&residual)),
        ("weight", &gradient(&weight)),
        ("bias", &gradient(&bias)),
    ];
    case.check(y, &inputs, TOLERANCE);
}

#[test]
fn group_norms_match() {
    for (name, activation) in
        [("group_norm", NormActivation::Identity), ("group_norm_silu", NormActivation::Silu)]
    {
        let case = Case::open(name);
        let x: Tensor<4> = case.tracked("x");
        let [weight, bias]: [Tensor<1>; 2] = ["weight", "bias"].map(|key| case.tracked(key));
        let options = GroupNormOptions { groups: 4, epsilon: EPSILON, activation };
        let y = group_norm(x.clone(), weight.clone(), bias.clone(), options);
        let inputs: [Input; 3] =
            [("x", &gradient(&x)), ("weight", &gradient(&weight)), ("bias", &gradient(&bias))];
        case.check(y, &inputs, TOLERANCE);
    }
}

#[test]
fn attention_matches() {
    for (name, mask) in
        [("attention", AttentionMask::Full), ("causal_attention", AttentionMask::Causal)]
    {
        let case = Case::open(name);
        let [q, k, v]: [Tensor<4>; 3] = ["q", "k", "v"].map(|key| case.tracked(key));
        let y = attention(q.clone(), k.clone(), v.clone(), mask);
        let inputs: [Input; 3] = [("q", &gradient(&q)), ("k", &gradient(&k)), ("v", &gradient(&v))];
        case.check(y, &inputs, TOLERANCE);
    }
    let case = Case::open("packed_attention");
    let qkv: Tensor<3> = case.tracked("qkv");
    let options = PackedAttention { heads: 3, mask: AttentionMask::Full };
    let y = packed_attention(qkv.clone(), options);
    case.check(y, &[("qkv", &gradient(&qkv))], TOLERANCE);
}
