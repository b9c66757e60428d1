//! Median times of the kernels and of the framework's own operations.
//!
//! Run with `cargo run --release -p trefoil-kernels --example profile`; words after `--` choose the
//! rows whose names contain one of them.

use std::time::Instant;

use burn::tensor::ops::{AttentionModuleOptions, ConvOptions};
use burn::tensor::{Device, Distribution, IndexingUpdateOp, Int, Tensor, activation, module};
use trefoil_kernels::{
    Activation, AdamWStep, AttentionMask, ConvolutionOptions, GroupNormOptions, NormActivation,
    PackedAttention, Padding, add_layer_norm, attention, conv2d, gather_rows, gelu, gelu_tanh,
    group_norm, group_norm_scale_shift, layer_norm, linear, packed_attention, quick_gelu,
    scatter_add_rows, segment_mean, silu, softmax, upsample_conv2d,
};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RUNS: usize = 9;

fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// Forward and forward + backward in milliseconds.
fn measure<const D: usize, const E: usize>(
    inputs: &[Tensor<D>],
    f: &dyn Fn(&[Tensor<D>]) -> Tensor<E>,
) -> [f64; 2] {
    let forward = median(|| drop(f(inputs)));
    let device = Device::flex().autodiff();
    let tracked: Vec<Tensor<D>> = inputs
        .iter()
        .map(|x| Tensor::from_data(x.clone().into_data(), &device).require_grad())
        .collect();
    [forward, median(|| drop(f(&tracked).sum().backward()))]
}

fn chosen(name: &str) -> bool {
    let mut words = std::env::args().skip(1).peekable();
    words.peek().is_none() || words.any(|word| name.contains(&word))
}

fn row<const D: usize, const E: usize>(
    name: &str,
    inputs: &[Tensor<D>],
    framework: &dyn Fn(&[Tensor<D>]) -> Tensor<E>,
    kernel: &dyn Fn(&[Tensor<D>]) -> Tensor<E>,
) {
    if !chosen(name) {
        return;
    }
    let [old, old_both] = measure(inputs, framework);
    let [new, new_both] = measure(inputs, kernel);
    println!(
        "| {name} | {old:.2} | {new:.2} | {:.1} | {old_both:.2} | {new_both:.2} | {:.1} |",
        old / new,
        old_both / new_both
    );
}

fn normal<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

fn rows_of(shape: [usize; 2]) {
    let [_, width] = shape;
    let x = [normal(shape)];
    let two = [normal(shape), normal(shape)];
    let on =
        |x: &Tensor<2>| (Tensor::ones([width], &x.device()), Tensor::zeros([width], &x.device()));
    let name = |function: &str| format!("{function} {shape:?}");
    row(&name("gelu"), &x, &|x| activation::gelu(x[0].clone()), &|x| gelu(x[0].clone()));
    row(&name("gelu_tanh"), &x, &|x| activation::gelu_approximate(x[0].clone()), &|x| {
        gelu_tanh(x[0].clone())
    });
    let quick = |x: &[Tensor<2>]| x[0].clone() * activation::sigmoid(x[0].clone() * 1.702);
    row(&name("quick_gelu"), &x, &quick, &|x| quick_gelu(x[0].clone()));
    row(&name("silu"), &x, &|x| activation::silu(x[0].clone()), &|x| silu(x[0].clone()));
    row(&name("softmax"), &x, &|x| activation::softmax(x[0].clone(), 1), &|x| {
        softmax(x[0].clone())
    });
    let framework = |x: Tensor<2>| {
        let (weight, bias) = on(&x);
        module::layer_norm(x, weight, Some(bias), 1e-5)
    };
    row(&name("layer_norm"), &x, &|x| framework(x[0].clone()), &|x| {
        let (weight, bias) = on(&x[0]);
        layer_norm(x[0].clone(), weight, bias, 1e-5)
    });
    row(&name("add_layer_norm"), &two, &|x| framework(x[0].clone() + x[1].clone()), &|x| {
        let (weight, bias) = on(&x[0]);
        add_layer_norm(x[0].clone(), x[1].clone(), weight, bias, 1e-5)
    });
}

fn group_norms() {
    let shape = [16, 128, 32, 32];
    let options = GroupNormOptions { groups: 32, epsilon: 1e-5, activation: NormActivation::Silu };
    let parameters = |x: &Tensor<4>| {
        (Tensor::<1>::ones([shape[1]], &x.device()), Tensor::<1>::zeros([shape[1]], &x.device()))
    };
    let framework = |x: &[Tensor<4>]| {
        let (weight, bias) = parameters(&x[0]);
        let [b, c, h, w] = shape;
        let x = x[0].clone().reshape([b, 32, c / 32 * h * w]);
        let centred = x.clone() - x.mean_dim(2);
        let variance = (centred.clone() * centred.clone()).mean_dim(2);
        let y = (centred / (variance + 1e-5).sqrt()).reshape(shape);
        let y = y * weight.reshape([1, c, 1, 1]) + bias.reshape([1, c, 1, 1]);
        activation::silu(y)
    };
    row(&format!("group_norm + silu {shape:?}"), &[normal(shape)], &framework, &|x| {
        let (weight, bias) = parameters(&x[0]);
        group_norm(x[0].clone(), weight, bias, options)
    });
}

/// The residual block of a diffusion network: scale and shift per image.
fn adaptive_group_norms() {
    let [b, c, h, w] = [16, 128, 32, 32];
    let options = GroupNormOptions { groups: 32, epsilon: 1e-5, activation: NormActivation::Silu };
    let inputs = [[b, c, h, w], [1, c, 1, 1], [1, c, 1, 1], [b, c, 1, 1], [b, c, 1, 1]].map(normal);
    let flat = |x: &Tensor<4>| x.clone().reshape([c]);
    let per_image = |x: &Tensor<4>| x.clone().reshape([b, c]);
    let framework = |x: &[Tensor<4>]| {
        let groups = x[0].clone().reshape([b, 32, c / 32 * h * w]);
        let centred = groups.clone() - groups.mean_dim(2);
        let variance = (centred.clone() * centred.clone()).mean_dim(2);
        let y = (centred / (variance + 1e-5).sqrt()).reshape([b, c, h, w]);
        let y = y * x[1].clone() + x[2].clone();
        activation::silu(y * (x[3].clone() + 1.0) + x[4].clone())
    };
    row(&format!("group_norm_scale_shift {:?}", [b, c, h, w]), &inputs, &framework, &|x| {
        let affine = [flat(&x[1]), flat(&x[2])];
        group_norm_scale_shift(x[0].clone(), affine, [per_image(&x[3]), per_image(&x[4])], options)
    });
}

fn linears([rows, d_in, d_out]: [usize; 3]) {
    let inputs = [normal([rows, d_in]), normal([d_out, d_in]), normal([1, d_out])];
    let framework = |x: &[Tensor<2>]| {
        let bias = x[2].clone().reshape([d_out]);
        module::linear(x[0].clone(), x[1].clone().transpose(), Some(bias))
    };
    let kernel = |x: &[Tensor<2>], activation| {
        linear(x[0].clone(), x[1].clone(), Some(x[2].clone().reshape([d_out])), activation)
    };
    let shape = format!("{rows} x {d_in} x {d_out}");
    row(&format!("linear {shape}"), &inputs, &framework, &|x| kernel(x, None));
    row(&format!("linear + gelu {shape}"), &inputs, &|x| gelu(framework(x)), &|x| {
        kernel(x, Some(Activation::Gelu))
    });
}

/// Perceptron of a transformer block.
fn perceptron([rows, d, hidden]: [usize; 3]) {
    let shapes = [[rows, d], [hidden, d], [1, hidden], [d, hidden], [1, d]];
    let bias = |x: &Tensor<2>| Some(x.clone().reshape([x.dims()[1]]));
    row(
        &format!("perceptron {rows} x {d} x {hidden}"),
        &shapes.map(normal),
        &|x| {
            let y = module::linear(x[0].clone(), x[1].clone().transpose(), bias(&x[2]));
            module::linear(gelu(y), x[3].clone().transpose(), bias(&x[4]))
        },
        &|x| {
            let y = linear(x[0].clone(), x[1].clone(), bias(&x[2]), Some(Activation::Gelu));
            linear(y, x[3].clone(), bias(&x[4]), None)
        },
    );
}

/// A graph with ten neighbours per node.
fn rows_by_index([nodes, edges, d]: [usize; 3]) {
    let device = Device::flex();
    let integers = |count: usize, f: &dyn Fn(usize) -> usize| {
        let values: Vec<i32> = (0..count).map(|i| f(i) as i32).collect();
        Tensor::<1, Int>::from_ints(values.as_slice(), &device)
    };
    // A permutation of the edges' numbers, so that neighbours lie far apart.
    let indices = integers(edges, &|i| i.wrapping_mul(7_368_787) % edges % nodes);
    let offsets = integers(nodes + 1, &|i| i * (edges / nodes));
    let owners = integers(edges, &|i| i / (edges / nodes));
    let select = |x: &[Tensor<2>]| x[0].clone().select(0, indices.clone());
    let add = |x: Tensor<2>, indices: &Tensor<1, Int>| {
        let zeros = Tensor::<2>::zeros([nodes, d], &x.device());
        zeros.select_assign(0, indices.clone(), x, IndexingUpdateOp::Add)
    };
    let shape = format!("{edges} of {nodes} x {d}");
    let (table, values) = ([normal([nodes, d])], [normal([edges, d])]);
    row(&format!("gather_rows {shape}"), &table, &select, &|x| {
        gather_rows(x[0].clone(), indices.clone())
    });
    row(&format!("scatter_add_rows {shape}"), &values, &|x| add(x[0].clone(), &indices), &|x| {
        scatter_add_rows(x[0].clone(), indices.clone(), nodes)
    });
    let mean = |x: &[Tensor<2>]| add(select(x), &owners) / (edges / nodes) as f64;
    row(&format!("segment_mean {shape}"), &table, &mean, &|x| {
        segment_mean(x[0].clone(), offsets.clone(), indices.clone())
    });
}

fn attentions([b, h, l, d]: [usize; 4]) {
    let framework =
        |q, k, v| module::attention(q, k, v, None, None, AttentionModuleOptions::default());
    let qkv = [normal([b, h, l, d]), normal([b, h, l, d]), normal([b, h, l, d])];
    row(
        &format!("attention {:?}", [b, h, l, d]),
        &qkv,
        &|x| framework(x[0].clone(), x[1].clone(), x[2].clone()),
        &|x| attention(x[0].clone(), x[1].clone(), x[2].clone(), AttentionMask::Full),
    );
    let options = PackedAttention { heads: h, mask: AttentionMask::Full };
    row(
        &format!("packed_attention {:?}", [b, l, 3 * h * d]),
        &[normal([b, l, 3 * h * d])],
        &|x| {
            let [q, k, v] = [0, 1, 2].map(|i| {
                let part = x[0].clone().narrow(2, i * h * d, h * d);
                part.reshape([b, l, h, d]).swap_dims(1, 2)
            });
            framework(q, k, v).swap_dims(1, 2).reshape([b, l, h * d])
        },
        &|x| packed_attention(x[0].clone(), options),
    );
}

/// Batch, channels and side of the input, channels of the output, and side of the kernel.
fn convolution([b, c, side, o, k]: [usize; 5], options: ConvolutionOptions) {
    let inputs = [normal([b, c, side, side]), normal([o, c, k, k]), normal([o, 1, 1, 1])];
    let bias = |x: &Tensor<4>| Some(x.clone().reshape([o]));
    let Padding { top, bottom, left, right } = options.padding;
    row(
        &format!("{k}x{k} stride {} {:?} to {o}", options.stride[0], [b, c, side, side]),
        &inputs,
        &|x| {
            let padded = x[0].clone().pad((left, right, top, bottom), 0.0);
            let plain = ConvOptions::new(options.stride, [0, 0], [1, 1], 1);
            module::conv2d(padded, x[1].clone(), bias(&x[2]), plain)
        },
        &|x| conv2d(x[0].clone(), x[1].clone(), bias(&x[2]), options),
    );
}

/// Batch, channels and side of the input.
fn upsampled_convolution([b, c, side]: [usize; 3]) {
    let inputs = [normal([b, c, side, side]), normal([c, c, 3, 3]), normal([c, 1, 1, 1])];
    let bias = |x: &Tensor<4>| Some(x.clone().reshape([c]));
    row(
        &format!("doubled 3x3 {:?}", [b, c, side, side]),
        &inputs,
        &|x| {
            let doubled = x[0].clone().reshape([b, c, side, 1, side, 1]);
            let doubled = doubled.expand([b, c, side, 2, side, 2]);
            let doubled = doubled.reshape([b, c, 2 * side, 2 * side]);
            let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
            module::conv2d(doubled, x[1].clone(), bias(&x[2]), options)
        },
        &|x| upsample_conv2d(x[0].clone(), x[1].clone(), bias(&x[2])),
    );
}

fn convolutions() {
    let same = ConvolutionOptions::new(1, 1);
    let point = ConvolutionOptions::new(1, 0);
    let half =
        ConvolutionOptions::with_padding(2, Padding { bottom: 1, right: 1, ..Padding::default() });
    for shape in [[16, 128, 32, 128, 3], [16, 24, 32, 24, 3], [16, 48, 16, 48, 3]] {
        convolution(shape, same);
    }
    for shape in [[16, 64, 8, 64, 3], [16, 3, 32, 24, 3], [16, 24, 32, 3, 3]] {
        convolution(shape, same);
    }
    for shape in [[16, 24, 16, 48, 1], [16, 48, 8, 64, 1], [16, 128, 32, 128, 1]] {
        convolution(shape, point);
    }
    convolution([16, 24, 32, 24, 3], half);
    convolution([16, 48, 16, 48, 3], half);
    convolution([32, 4, 8, 256, 2], ConvolutionOptions::new(2, 0));
    convolution([128, 3, 32, 128, 4], ConvolutionOptions::new(4, 0));
    for shape in [[16, 64, 8], [16, 48, 16], [16, 128, 16]] {
        upsampled_convolution(shape);
    }
}

fn optimizer(count: usize) {
    let step = AdamWStep {
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        bias_correction1: 0.1,
        bias_correction2: 0.001,
        grad_scale: 1.0,
        ema_decay: Some(0.999),
    };
    if !chosen("AdamW") {
        return;
    }
    let (mut param, grad) = (vec![1.0; count], vec![0.1; count]);
    let (mut m, mut v, mut ema) = (vec![0.0; count], vec![0.0; count], vec![1.0; count]);
    let time = median(|| step.apply(&mut param, &grad, &mut m, &mut v, Some(&mut ema)));
    println!("\nAdamW with average, {count} parameters: {time:.2} ms");
}

fn main() {
    println!("| ms, framework and kernel | forward | | gain | forward + backward | | gain |");
    println!("|---|---|---|---|---|---|---|");
    convolutions();
    rows_of([2208, 1536]);
    rows_of([32 * 82, 1024]);
    group_norms();
    adaptive_group_norms();
    linears([1104, 1536, 6144]);
    linears([2208, 1536, 1536]);
    // The shipped U-ViT: 32 samples of 35 tokens, width 192.
    linears([32 * 35, 192, 576]);
    linears([32 * 35, 384, 192]);
    linears([32 * 35, 192, 192]);
    perceptron([32 * 35, 192, 768]);
    rows_by_index([100_000, 1_000_000, 64]);
    attentions([32, 4, 82, 64]);
    attentions([2, 24, 1104, 64]);
    optimizer(10_000_000);
}
