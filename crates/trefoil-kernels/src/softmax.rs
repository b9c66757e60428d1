//! Softmax over the last axis.

use burn::backend::Dispatch;
use burn::tensor::{Tensor, activation};
use burn_flex::FlexTensor;

use crate::buffer::{contiguous, map_chunks, rows_per_block};
use crate::extension::{Kernels, has_kernel};
use crate::simd::{Isa, Kernel, dispatch, exp, maximum, sum_of, sum_of_pairs};

/// `exp(x_i - max x) / sum_j exp(x_j - max x)` over the last axis.
///
/// # Shapes
/// `[.., n]`, and the output has the same.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !has_kernel(&x) {
        return activation::softmax(x, D - 1);
    }
    Tensor::from_dispatch(<Dispatch as Kernels>::fused_softmax(x.into_dispatch()))
}

/// Replaces a row by `exp(x - max x)`; returns the largest value and the sum of the exponentials.
#[inline(always)]
fn exponentiate<I: Isa>(row: &mut [f32]) -> (f32, f32) {
    let largest = maximum(row);
    for x in row.iter_mut() {
        *x = exp::<I>(*x - largest);
    }
    (largest, sum_of(row, |x| x))
}

struct Forward<'a> {
    rows: &'a mut [f32],
    row_len: usize,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for row in self.rows.chunks_exact_mut(self.row_len) {
            let (_, sum) = exponentiate::<I>(row);
            let scale = 1.0 / sum;
            for x in row {
                *x *= scale;
            }
        }
    }
}

/// `dx = y (dy - sum_j y_j dy_j)`.
struct Backward<'a> {
    probabilities: &'a [f32],
    grad: &'a mut [f32],
    row_len: usize,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let rows = self.probabilities.chunks_exact(self.row_len);
        for (y, grad) in rows.zip(self.grad.chunks_exact_mut(self.row_len)) {
            let mean = sum_of_pairs(y, grad, |y, grad| y * grad);
            for (grad, &y) in grad.iter_mut().zip(y) {
                *grad = y * (*grad - mean);
            }
        }
    }
}

pub(crate) fn forward(x: FlexTensor) -> FlexTensor {
    let row_len = last_axis(&x);
    let step = |_, rows: &mut [f32]| dispatch(Forward { rows, row_len });
    map_chunks(x, rows_per_block(row_len) * row_len, step).0
}

pub(crate) fn backward(output: FlexTensor, grad: FlexTensor) -> FlexTensor {
    let row_len = last_axis(&output);
    let output = contiguous(output);
    let probabilities: &[f32] = output.storage();
    let chunk_len = rows_per_block(row_len) * row_len;
    let step = |i: usize, grad: &mut [f32]| {
        let probabilities = &probabilities[i * chunk_len..][..grad.len()];
        dispatch(Backward { probabilities, grad, row_len });
    };
    map_chunks(grad, chunk_len, step).0
}

fn last_axis(tensor: &FlexTensor) -> usize {
    let shape = tensor.layout().shape();
    shape[shape.num_dims() - 1]
}
