//! Layer normalisation over the last axis, alone and fused with a residual addition.

use burn::backend::Dispatch;
use burn::tensor::{Shape, Tensor, module};
use burn_flex::FlexTensor;

use crate::buffer::{contiguous, map_chunks, rows_per_block, tensor_of};
use crate::extension::{Gradients3, Kernels, has_kernel};
use crate::simd::{Isa, Kernel, dispatch, moments, sum_of_pairs};

/// Most partial sums that a weight gradient is gathered from.
const MAX_PARTIALS: usize = 64;

/// `(x - mean) / sqrt(var + epsilon) * weight + bias` with mean and biased variance of the last
/// axis ([arXiv 1607.06450](https://arxiv.org/abs/1607.06450)).
///
/// # Shapes
/// - `x`: `[.., d]`
/// - `weight`, `bias`: `[d]`
/// - output: `[.., d]`
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    if !(has_kernel(&x) && has_kernel(&weight) && has_kernel(&bias)) {
        return module::layer_norm(x, weight, Some(bias), epsilon);
    }
    check_width(&x, &weight, &bias);
    Tensor::from_dispatch(<Dispatch as Kernels>::fused_layer_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        epsilon,
    ))
}

/// [`layer_norm`] of `x + residual`, without the sum ever being stored.
///
/// # Shapes
/// - `x`, `residual`: `[.., d]`
/// - `weight`, `bias`: `[d]`
/// - output: `[.., d]`
pub fn add_layer_norm<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let same_shape = x.dims() == residual.dims();
    let kernel = has_kernel(&x) && has_kernel(&residual);
    if !(same_shape && kernel && has_kernel(&weight) && has_kernel(&bias)) {
        return layer_norm(x + residual, weight, bias, epsilon);
    }
    check_width(&x, &weight, &bias);
    Tensor::from_dispatch(<Dispatch as Kernels>::fused_add_layer_norm(
        x.into_dispatch(),
        residual.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        epsilon,
    ))
}

fn check_width<const D: usize>(x: &Tensor<D>, weight: &Tensor<1>, bias: &Tensor<1>) {
    let (width, weight, bias) = (x.dims()[D - 1], weight.dims()[0], bias.dims()[0]);
    assert!(
        width == weight && width == bias,
        "layer_norm: the last axis has {width} elements, weight {weight}, bias {bias}"
    );
}

struct Forward<'a> {
    rows: &'a mut [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for row in self.rows.chunks_exact_mut(self.weight.len()) {
            let (mean, reciprocal) = moments(row, self.epsilon);
            for ((x, &weight), &bias) in row.iter_mut().zip(self.weight).zip(self.bias) {
                *x = I::mul_add((*x - mean) * reciprocal, weight, bias);
            }
        }
    }
}

/// With `n = (x - mean) / std` and `g = dy * weight`:
/// `dx = (g - mean(g) - n mean(g n)) / std`, `dweight = sum dy n`, `dbias = sum dy`.
struct Backward<'a> {
    x: &'a [f32],
    /// The gradient of the output, which becomes that of the input.
    grad: &'a mut [f32],
    weight: &'a [f32],
    weight_grad: &'a mut [f32],
    bias_grad: &'a mut [f32],
    epsilon: f32,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let width = self.weight.len();
        let rows = self.x.chunks_exact(width);
        for (x, grad) in rows.zip(self.grad.chunks_exact_mut(width)) {
            let (mean, reciprocal) = moments(x, self.epsilon);
            for ((total, &grad), &x) in self.weight_grad.iter_mut().zip(&*grad).zip(x) {
                *total = I::mul_add(grad, (x - mean) * reciprocal, *total);
            }
            for (total, &grad) in self.bias_grad.iter_mut().zip(&*grad) {
                *total += grad;
            }
            for (grad, &weight) in grad.iter_mut().zip(self.weight) {
                *grad *= weight;
            }
            let first = sum_of_pairs(grad, x, |grad, _| grad) / width as f32;
            let second = sum_of_pairs(grad, x, |grad, x| grad * ((x - mean) * reciprocal));
            let second = second / width as f32;
            for (grad, &x) in grad.iter_mut().zip(x) {
                let normalised = (x - mean) * reciprocal;
                *grad = reciprocal * I::mul_add(-normalised, second, *grad - first);
            }
        }
    }
}

struct Add<'a>(&'a mut [f32], &'a [f32]);

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for (x, &y) in self.0.iter_mut().zip(self.1) {
            *x += y;
        }
    }
}

pub(crate) fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    epsilon: f64,
) -> FlexTensor {
    let (weight, bias) = (contiguous(weight), contiguous(bias));
    let (weight, bias): (&[f32], &[f32]) = (weight.storage(), bias.storage());
    let step = |_, rows: &mut [f32]| {
        dispatch(Forward { rows, weight, bias, epsilon: epsilon as f32 });
    };
    map_chunks(x, rows_per_block(weight.len()) * weight.len(), step).0
}

pub(crate) fn add_forward(
    x: FlexTensor,
    residual: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    epsilon: f64,
) -> FlexTensor {
    // The one that can be written over comes first.
    let (x, residual) = if x.is_unique() { (x, residual) } else { (residual, x) };
    let residual = contiguous(residual);
    let (weight, bias) = (contiguous(weight), contiguous(bias));
    let residual: &[f32] = residual.storage();
    let (weight, bias): (&[f32], &[f32]) = (weight.storage(), bias.storage());
    let chunk_len = rows_per_block(weight.len()) * weight.len();
    let step = |i: usize, rows: &mut [f32]| {
        dispatch(Add(rows, &residual[i * chunk_len..][..rows.len()]));
        dispatch(Forward { rows, weight, bias, epsilon: epsilon as f32 });
    };
    map_chunks(x, chunk_len, step).0
}

/// Gradients of the input, the weight and the bias.
///
/// The parameters' gradients are sums over all rows: each chunk of rows, whose size depends only
/// on the shape, has its own partial sum, and these are added up in the order of the rows.
pub(crate) fn backward(
    x: FlexTensor,
    weight: FlexTensor,
    grad: FlexTensor,
    epsilon: f64,
) -> Gradients3<FlexTensor> {
    let (x, weight) = (contiguous(x), contiguous(weight));
    let x: &[f32] = x.storage();
    backward_rows(weight.storage(), grad, epsilon, |start, len, step| step(&x[start..][..len]))
}

pub(crate) fn add_backward(
    x: FlexTensor,
    residual: FlexTensor,
    weight: FlexTensor,
    grad: FlexTensor,
    epsilon: f64,
) -> Gradients3<FlexTensor> {
    let (x, residual, weight) = (contiguous(x), contiguous(residual), contiguous(weight));
    let (x, residual): (&[f32], &[f32]) = (x.storage(), residual.storage());
    backward_rows(weight.storage(), grad, epsilon, |start, len, step| {
        let mut sum = x[start..][..len].to_vec();
        dispatch(Add(&mut sum, &residual[start..][..len]));
        step(&sum);
    })
}

/// `with_input(start, len, step)` calls `step` with that range of the normalised tensor.
fn backward_rows(
    weight: &[f32],
    grad: FlexTensor,
    epsilon: f64,
    with_input: impl Fn(usize, usize, &mut dyn FnMut(&[f32])) + Sync,
) -> Gradients3<FlexTensor> {
    let width = weight.len();
    let rows = grad.layout().num_elements() / width.max(1);
    let chunk_len = rows_per_block(width).max(rows.div_ceil(MAX_PARTIALS)) * width;
    let (grad, partials) = map_chunks(grad, chunk_len, |i, grad| {
        let (mut weight_grad, mut bias_grad) = (vec![0.0; width], vec![0.0; width]);
        // Cache-sized pieces, so that a summed input stays in the cache.
        let piece_len = rows_per_block(width) * width;
        for (piece, grad) in grad.chunks_mut(piece_len).enumerate() {
            let start = i * chunk_len + piece * piece_len;
            with_input(start, grad.len(), &mut |x| {
                dispatch(Backward {
                    x,
                    grad: &mut *grad,
                    weight,
                    weight_grad: &mut weight_grad,
                    bias_grad: &mut bias_grad,
                    epsilon: epsilon as f32,
                });
            });
        }
        (weight_grad, bias_grad)
    });
    let (weight_grads, bias_grads): (Vec<_>, Vec<_>) = partials.into_iter().unzip();
    let shape = Shape::from([width]);
    (
        grad,
        tensor_of(add_up(&weight_grads, width), shape.clone()),
        tensor_of(add_up(&bias_grads, width), shape),
    )
}

/// The sum of equally long vectors, in their order.
pub(crate) fn add_up(partials: &[Vec<f32>], len: usize) -> Vec<f32> {
    let mut total = vec![0.0; len];
    for partial in partials {
        dispatch(Add(&mut total, partial));
    }
    total
}
