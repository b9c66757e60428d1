//! Operations that are products of matrices: what limits them is arithmetic.

use serde_json::{Value, json};
use trefoil_kernels::{
    Activation, AttentionMask, ConvolutionOptions, PackedAttention, attention, conv2d, linear,
    packed_attention, upsample_conv2d,
};

use crate::PICTURE;
use crate::harness::Case;
use crate::operation::{Inputs, Operation, Run, finish};

pub(crate) fn attentions() -> Vec<Case> {
    /// Images, tokens, width of the packed tensor and heads of the published network.
    const LARGE: ([usize; 3], usize) = ([2, 1104, 3 * 1536], 24);
    /// The same of a network of the shipped kind.
    const SMALL: ([usize; 3], usize) = ([32, 82, 3 * 256], 4);

    let packed = |name, (shape, heads): ([usize; 3], usize), build| {
        let [images, tokens, width] = shape;
        let operations = 4.0 * (images * tokens * tokens * width / 3) as f64;
        Operation::products(name, "packed_attention", operations)
            .options(json!({ "heads": heads }))
            .cases(&shape, build)
    };
    let mut cases = Vec::new();
    cases.extend(packed("attention", LARGE, |i, s| packed_run(i, s, LARGE.1)));
    cases.extend(packed("attention-small", SMALL, |i, s| packed_run(i, s, SMALL.1)));
    let causal = Operation::products(
        "attention-causal",
        "attention",
        2.0 * 8.0 * 8.0 * 512.0 * 512.0 * 64.0,
    );
    cases.extend(causal.options(json!({ "causal": true })).cases(&[8, 8, 512, 64], |i, s| {
        let shape = [s[0], s[1], s[2], s[3]];
        let (q, k, v) = (i.normal(shape), i.normal(shape), i.normal(shape));
        Box::new(move |backward| {
            let (q, k, v) = (q.clone(), k.clone(), v.clone());
            finish(attention(q, k, v, AttentionMask::Causal), backward);
        })
    }));
    cases
}

fn packed_run(inputs: &Inputs, shape: &[usize], heads: usize) -> Run {
    let x = inputs.normal([shape[0], shape[1], shape[2]]);
    let options = PackedAttention { heads, mask: AttentionMask::Full };
    Box::new(move |backward| finish(packed_attention(x.clone(), options), backward))
}

pub(crate) fn linears() -> Vec<Case> {
    let case = |name, shape: [usize; 3], options: Value, build| {
        let operations = 2.0 * shape.iter().product::<usize>() as f64;
        Operation::products(name, "linear", operations).options(options).cases(&shape, build)
    };
    let gelu = json!({ "activation": "gelu" });
    let mut cases = Vec::new();
    cases.extend(case("linear-square", [2208, 1536, 1536], json!({}), |i, s| layer(i, s, None)));
    cases.extend(case("linear-gelu", [1104, 1536, 6144], gelu.clone(), |i, s| {
        layer(i, s, Some(Activation::Gelu))
    }));
    // The shipped model: 32 samples of 35 tokens.
    cases.extend(case("linear-small", [32 * 35, 192, 576], json!({}), |i, s| layer(i, s, None)));
    cases.extend(case("linear-gelu-small", [32 * 35, 192, 768], gelu, |i, s| {
        layer(i, s, Some(Activation::Gelu))
    }));
    cases
}

fn layer(inputs: &Inputs, s: &[usize], activation: Option<Activation>) -> Run {
    let (x, weight) = (inputs.normal([s[0], s[1]]), inputs.normal([s[2], s[1]]));
    let bias = inputs.full([s[2]], 0.0);
    Box::new(move |backward| {
        let y = linear(x.clone(), weight.clone(), Some(bias.clone()), activation);
        finish(y, backward);
    })
}

pub(crate) fn convolutions() -> Vec<Case> {
    /// One of them: input, outputs, side of the kernel, distance of outputs.
    fn case(
        name: &'static str,
        shape: [usize; 4],
        [outputs, kernel, stride]: [usize; 3],
        build: fn(&Inputs, &[usize]) -> Run,
    ) -> [Case; 2] {
        let [images, inputs, height, width] = shape;
        let pixels = images * height * width / stride / stride;
        let operations = 2.0 * (pixels * inputs * outputs * kernel * kernel) as f64;
        Operation::products(name, "conv2d", operations)
            .options(json!({ "c_out": outputs, "kernel": kernel, "stride": stride }))
            .cases(&shape, build)
    }
    let doubling = [16, 64, 16, 16];
    let mut cases = Vec::new();
    cases.extend(case("conv-3x3", PICTURE, [128, 3, 1], |i, s| convolution(i, s, [128, 3, 1])));
    cases.extend(case("conv-1x1", PICTURE, [128, 1, 1], |i, s| convolution(i, s, [128, 1, 1])));
    cases
        .extend(case("conv-3x3-half", PICTURE, [128, 3, 2], |i, s| convolution(i, s, [128, 3, 2])));
    // The levels of the shipped autoencoder.
    cases.extend(case("conv-3x3-24", [16, 24, 32, 32], [24, 3, 1], |i, s| {
        convolution(i, s, [24, 3, 1])
    }));
    cases.extend(case("conv-3x3-64", [16, 64, 8, 8], [64, 3, 1], |i, s| {
        convolution(i, s, [64, 3, 1])
    }));
    // Every target pixel sees four sums of the weights instead of nine.
    let operations = 2.0 * 4.0 * (4 * 16 * 16 * 16 * 64 * 64) as f64;
    let upsampling = Operation::products("upsample-conv", "conv2d", operations);
    let options = json!({ "c_out": 64, "upsample": true });
    cases.extend(upsampling.options(options).cases(&doubling, |i, s| {
        let (x, weight) = (i.normal([s[0], s[1], s[2], s[3]]), i.normal([64, s[1], 3, 3]));
        let bias = i.full([64], 0.0);
        Box::new(move |backward| {
            finish(upsample_conv2d(x.clone(), weight.clone(), Some(bias.clone())), backward);
        })
    }));
    cases
}

fn convolution(inputs: &Inputs, s: &[usize], [outputs, kernel, stride]: [usize; 3]) -> Run {
    let x = inputs.normal([s[0], s[1], s[2], s[3]]);
    let weight = inputs.normal([outputs, s[1], kernel, kernel]);
    let bias = inputs.full([outputs], 0.0);
    let options = ConvolutionOptions::new(stride, kernel / 2);
    Box::new(move |backward| {
        finish(conv2d(x.clone(), weight.clone(), Some(bias.clone()), options), backward);
    })
}
