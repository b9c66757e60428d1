//! Times of the kernels on the CPU, in f32, each next to the same operation in PyTorch.
//!
//! ```sh
//! cargo bench --workspace --bench kernels -- softmax
//! ```

mod harness;

use std::hint::black_box;

use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use serde_json::{Value, json};
use trefoil_core::Seed;
use trefoil_kernels::{
    Activation, AdamWStep, AttentionMask, ConvolutionOptions, GroupNormOptions, NormActivation,
    PackedAttention, add_layer_norm, attention, conv2d, gather_rows, gelu, gelu_tanh, group_norm,
    group_norm_scale_shift, layer_norm, linear, multiply_adds, packed_attention, quick_gelu,
    segment_mean, silu, softmax, upsample_conv2d,
};

use harness::{Case, Step, Work};

/// Rows and width of the hidden layer at the published size.
const HIDDEN: [usize; 2] = [2208, 6144];
/// A picture in the middle of a U-Net.
const PICTURE: [usize; 4] = [16, 128, 32, 32];

fn main() {
    harness::run("kernels", cases);
}

fn cases() -> Vec<Case> {
    let mut cases = machine();
    cases.extend(elementwise());
    cases.extend(norms());
    cases.extend(attentions());
    cases.extend(linears());
    cases.extend(convolutions());
    cases.extend(indexing());
    cases.push(adamw());
    cases
}

/// An operation: what it is called here and in `bench_ops.py`.
struct Operation {
    name: &'static str,
    op: &'static str,
    options: Value,
    /// Of the forward pass, and of both.
    work: [Work; 2],
}

impl Operation {
    /// One that passes over its tensors: so many elements read or written forward, and in both.
    fn passes(name: &'static str, op: &'static str, elements: [usize; 2]) -> Self {
        Self { name, op, options: json!({}), work: elements.map(Work::traffic) }
    }

    /// One whose gradients take as much arithmetic again for each of two operands.
    fn products(name: &'static str, op: &'static str, operations: f64) -> Self {
        let work = [Work::operations(operations), Work::operations(3.0 * operations)];
        Self { name, op, options: json!({}), work }
    }

    fn options(self, options: Value) -> Self {
        Self { options, ..self }
    }

    /// Its forward pass, and that with the gradients of the sum of its output.
    fn cases(self, shape: &[usize], build: fn(&Inputs, &[usize]) -> Run) -> [Case; 2] {
        [false, true].map(|backward| {
            let name = if backward { "forward-backward" } else { "forward" };
            let torch = json!({
                "case": "op",
                "op": self.op,
                "shape": shape,
                "options": self.options,
                "operations": [if backward { "backward" } else { "forward" }],
            });
            let sizes = shape.to_vec();
            let prepare = move || {
                let run = build(&Inputs { backward }, &sizes);
                (Box::new(move || run(backward)) as Step, 0)
            };
            Case {
                id: format!("{}/{name}", self.name),
                shape: format!("{shape:?}"),
                work: self.work[usize::from(backward)],
                torch,
                prepare: Box::new(prepare),
            }
        })
    }
}

/// One pass, with gradients or without.
type Run = Box<dyn Fn(bool)>;

/// Tensors on the CPU, tracked if gradients are asked for.
struct Inputs {
    backward: bool,
}

impl Inputs {
    fn device(&self) -> Device {
        if self.backward { Device::flex().autodiff() } else { Device::flex() }
    }

    fn track<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        if self.backward { tensor.require_grad() } else { tensor }
    }

    fn normal<const D: usize>(&self, shape: [usize; D]) -> Tensor<D> {
        let mut stream = Seed(1).stream("input", 0);
        self.track(stream.normal_tensor(shape, &self.device()))
    }

    fn full<const D: usize>(&self, shape: [usize; D], value: f32) -> Tensor<D> {
        self.track(Tensor::full(shape, value, &self.device()))
    }
}

/// Computes the gradients of the sum, if they are asked for.
fn finish<const D: usize>(output: Tensor<D>, backward: bool) {
    if backward {
        black_box(output.sum().backward());
    } else {
        black_box(output);
    }
}

/// A function of one tensor.
fn unary<const D: usize>(x: Tensor<D>, f: fn(Tensor<D>) -> Tensor<D>) -> Run {
    Box::new(move |backward| finish(f(x.clone()), backward))
}

/// What the machine can do at best.
fn machine() -> Vec<Case> {
    const COUNT: usize = 200_000_000;
    const MOVED: usize = 64 << 20;
    let alone = |id: &str, shape: String, work, prepare: Box<dyn Fn() -> (Step, usize)>| Case {
        id: id.into(),
        shape,
        work,
        torch: Value::Null,
        prepare,
    };
    let arithmetic = Work::operations(2.0 * multiply_adds(COUNT) as f64);
    vec![
        alone(
            "machine/multiply-add",
            "in registers".into(),
            arithmetic,
            Box::new(|| {
                let step = || {
                    black_box(multiply_adds(COUNT));
                };
                (Box::new(step), 0)
            }),
        ),
        alone(
            "machine/copy",
            format!("{} MiB", (4 * MOVED) >> 20),
            Work::traffic(2 * MOVED),
            Box::new(|| {
                let (from, mut to) = (vec![1.0_f32; MOVED], vec![0.0_f32; MOVED]);
                let step = move || {
                    let chunks = to.par_chunks_mut(1 << 20).zip(from.par_chunks(1 << 20));
                    chunks.for_each(|(to, from)| to.copy_from_slice(from));
                    black_box(&to);
                };
                (Box::new(step), 0)
            }),
        ),
    ]
}

fn elementwise() -> Vec<Case> {
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

fn norms() -> Vec<Case> {
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

fn attentions() -> Vec<Case> {
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

fn linears() -> Vec<Case> {
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

fn convolutions() -> Vec<Case> {
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

fn indexing() -> Vec<Case> {
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

/// The optimiser with its average of the weights.
fn adamw() -> Case {
    const COUNT: usize = 10_000_000;
    let prepare = || {
        let update = AdamWStep {
            lr: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            bias_correction1: 0.1,
            bias_correction2: 0.001,
            grad_scale: 1.0,
            ema_decay: Some(0.999),
        };
        let (mut param, grad) = (vec![1.0; COUNT], vec![0.1; COUNT]);
        let (mut m, mut v, mut ema) = (vec![0.0; COUNT], vec![0.0; COUNT], vec![1.0; COUNT]);
        let step = move || {
            update.apply(&mut param, &grad, &mut m, &mut v, Some(&mut ema));
        };
        (Box::new(step) as Step, 0)
    };
    let torch = json!({ "case": "op", "op": "adamw", "shape": [COUNT], "operations": ["forward"] });
    Case {
        id: "adamw/step".into(),
        shape: format!("[{COUNT}], with the average of the weights"),
        work: Work::traffic(9 * COUNT),
        torch,
        prepare: Box::new(prepare),
    }
}
