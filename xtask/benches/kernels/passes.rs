//! Operations that pass over their tensors: what limits them is memory.

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::json;
use trefoil_kernels::{
    GroupNormOptions, NormActivation, add_layer_norm, gather_rows, gelu, gelu_tanh, group_norm,
    group_norm_scale_shift, layer_norm, quick_gelu, segment_mean, silu, softmax,
};

use crate::PICTURE;
use crate::harness::Case;
use crate::operation::{Operation, Run, finish};

/// Rows and width of the hidden layer at the published size.
const HIDDEN: [usize; 2] = [2208, 6144];

/// A function of one tensor.
fn unary<const D: usize>(x: Tensor<D>, f: fn(Tensor<D>) -> Tensor<D>) -> Run {
    Box::new(move |backward| finish(f(x.clone()), backward))
}

pub(crate) fn elementwise() -> Vec<Case> {
    let n = HIDDEN[0] * HIDDEN[1];
    // Forward: one tensor in, one out. Backward, besides: input and gradient in, gradient out.
    let once = |name, op| Operation::passes(name, op, [2 * n, 5 * n]);
    let mut cases = Vec::new();
    cases.extend(once("gelu", "gelu").cases(&HIDDEN, |i, s| unary(i.normal([s[0], s[1]]), gelu)));
    cases.extend(
        once("gelu-tanh", "gelu_tanh")
            .cases(&HIDDEN, |i, s| unary(i.normal([s[0], s[1]]), gelu_tanh)),
    );
    cases.extend(
        once("quick-gelu", "quick_gelu")
            .cases(&HIDDEN, |i, s| unary(i.normal([s[0], s[1]]), quick_gelu)),
    );
    cases.extend(once("silu", "silu").cases(&HIDDEN, |i, s| unary(i.normal([s[0], s[1]]), silu)));
    cases.extend(
        once("softmax", "softmax").cases(&HIDDEN, |i, s| unary(i.normal([s[0], s[1]]), softmax)),
    );
    cases
}

pub(crate) fn norms() -> Vec<Case> {
    let n = HIDDEN[0] * HIDDEN[1];
    let pixels = PICTURE.iter().product::<usize>();
    let mut cases = Vec::new();
    cases.extend(Operation::passes("layer-norm", "layer_norm", [2 * n, 5 * n]).cases(
        &HIDDEN,
        |i, s| {
            let (x, weight, bias) =
                (i.normal([s[0], s[1]]), i.full([s[1]], 1.0), i.full([s[1]], 0.0));
            Box::new(move |backward| {
                finish(layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5), backward);
            })
        },
    ));
    let sum = Operation::passes("add-layer-norm", "layer_norm", [3 * n, 7 * n]);
    cases.extend(sum.options(json!({ "residual": true })).cases(&HIDDEN, |i, s| {
        let (x, y) = (i.normal([s[0], s[1]]), i.normal([s[0], s[1]]));
        let (weight, bias) = (i.full([s[1]], 1.0), i.full([s[1]], 0.0));
        Box::new(move |backward| {
            let (x, y, weight, bias) = (x.clone(), y.clone(), weight.clone(), bias.clone());
            finish(add_layer_norm(x, y, weight, bias, 1e-5), backward);
        })
    }));
    let group = Operation::passes("group-norm-silu", "group_norm_silu", [2 * pixels, 5 * pixels]);
    cases.extend(group.cases(&PICTURE, |i, s| {
        let options =
            GroupNormOptions { groups: 32, epsilon: 1e-5, activation: NormActivation::Silu };
        let x = i.normal([s[0], s[1], s[2], s[3]]);
        let (weight, bias) = (i.full([s[1]], 1.0), i.full([s[1]], 0.0));
        Box::new(move |backward| {
            finish(group_norm(x.clone(), weight.clone(), bias.clone(), options), backward);
        })
    }));
    let adaptive = Operation::passes(
        "group-norm-scale-shift-silu",
        "group_norm_silu",
        [2 * pixels, 5 * pixels],
    );
    cases.extend(adaptive.options(json!({ "adaptive": true })).cases(&PICTURE, |i, s| {
        let options =
            GroupNormOptions { groups: 32, epsilon: 1e-5, activation: NormActivation::Silu };
        let x = i.normal([s[0], s[1], s[2], s[3]]);
        let affine = [i.full([s[1]], 1.0), i.full([s[1]], 0.0)];
        let moved = [i.normal([s[0], s[1]]), i.normal([s[0], s[1]])];
        Box::new(move |backward| {
            let y = group_norm_scale_shift(x.clone(), affine.clone(), moved.clone(), options);
            finish(y, backward);
        })
    }));
    cases
}

pub(crate) fn indexing() -> Vec<Case> {
    /// Rows that are looked up, in a table of a tenth as many.
    const EDGES: usize = 1_000_000;
    const TABLE: [usize; 2] = [EDGES / 10, 64];

    /// As random as is needed, the same everywhere.
    fn indices() -> Tensor<1, Int> {
        let index = |i: usize| (i.wrapping_mul(2_654_435_761) >> 7) % TABLE[0];
        let indices: Vec<i32> = (0..EDGES).map(|i| index(i) as i32).collect();
        Tensor::from_data(TensorData::new(indices, [EDGES]), &Device::flex())
    }
    let (edges, table) = (EDGES * TABLE[1], TABLE[0] * TABLE[1]);
    let options = json!({ "rows": EDGES });
    let gather = Operation::passes("gather", "gather", [2 * edges, 3 * edges + table]);
    let mean =
        Operation::passes("segment-mean", "segment_mean", [edges + table, 2 * edges + 3 * table]);
    let mut cases = Vec::new();
    cases.extend(gather.options(options.clone()).cases(&TABLE, |i, s| {
        let (table, indices) = (i.normal([s[0], s[1]]), indices());
        Box::new(move |backward| finish(gather_rows(table.clone(), indices.clone()), backward))
    }));
    cases.extend(mean.options(options).cases(&TABLE, |i, s| {
        let (table, indices) = (i.normal([s[0], s[1]]), indices());
        let offsets: Vec<i32> = (0..=s[0]).map(|node| (node * EDGES / s[0]) as i32).collect();
        let offsets = TensorData::new(offsets, [s[0] + 1]);
        let offsets = Tensor::<1, Int>::from_data(offsets, &Device::flex());
        Box::new(move |backward| {
            finish(segment_mean(table.clone(), offsets.clone(), indices.clone()), backward);
        })
    }));
    cases
}
