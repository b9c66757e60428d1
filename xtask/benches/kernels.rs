//! Times of the kernels on the CPU, in f32, each next to the same operation in PyTorch.
//!
//! ```sh
//! cargo bench --workspace --bench kernels -- softmax
//! ```

mod harness;

use std::hint::black_box;

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;
use serde_json::{Value, json};
use trefoil_core::Seed;
use trefoil_kernels::{
    AdamWStep, AttentionMask, GroupNormOptions, NormActivation, PackedAttention, add_layer_norm,
    attention, gelu, gelu_tanh, group_norm, layer_norm, multiply_adds, packed_attention,
    quick_gelu, silu, softmax,
};

use harness::{Case, Step, Work};

/// Rows and width of the hidden layer at the published size.
const HIDDEN: [usize; 2] = [2208, 6144];
/// A picture in the middle of a U-Net.
const PICTURE: [usize; 4] = [16, 128, 32, 32];

fn main() {
    let mut cases = machine();
    cases.extend(elementwise());
    cases.extend(norms());
    cases.extend(attentions());
    cases.push(adamw());
    harness::run("kernels", cases);
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
            Box::new(|| (Box::new(|| drop(black_box(multiply_adds(COUNT)))), 0)),
        ),
        alone(
            "machine/copy",
            format!("{} MiB", 4 * MOVED >> 20),
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
