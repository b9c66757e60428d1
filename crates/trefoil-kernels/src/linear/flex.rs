//! The computation behind [`linear`](crate::linear()).

use std::marker::PhantomData;

use burn::tensor::Shape;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::activation::{Activation, Function, Identity, with_function};
use crate::buffer::{contiguous, elements, map_chunks, matrix_shape, rows_per_block, tensor_of};
use crate::extension::Gradients3;
use crate::layer_norm::add_up;
use crate::matrix::Matrix;
use crate::matrix::tiles::{
    Cut, Factor, SMALL_PRODUCT, Tile, product, product_and_second, product_then,
};
use crate::narrow::NarrowFactor;
use crate::simd::{Isa, Kernel, dispatch};

/// Most partial sums that a bias gradient is gathered from.
const MAX_PARTIALS: usize = 64;

/// `[.., d]` as rows: a view, where the memory allows it.
fn rows_of(tensor: &FlexTensor) -> FlexTensor {
    let shape = tensor.layout().shape();
    let width = shape[shape.len() - 1];
    let rows = shape[..shape.len() - 1].iter().product();
    readable(tensor.reshape(Shape::from([rows, width])))
}

/// A matrix one of whose axes is contiguous and both of whose run forwards.
fn readable(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    let forwards = strides.iter().all(|&stride| stride >= 0);
    if forwards && strides.contains(&1) { tensor } else { tensor.to_contiguous() }
}

/// `tensor` must have passed [`readable`].
fn matrix(tensor: &FlexTensor) -> Matrix<'_> {
    let layout = tensor.layout();
    let strides = [layout.strides()[0].unsigned_abs(), layout.strides()[1].unsigned_abs()];
    let data = elements(tensor).get(layout.start_offset()..).unwrap_or_default();
    Matrix::new(data, matrix_shape(tensor), strides)
}

/// The shape with another last axis.
fn with_width(tensor: &FlexTensor, width: usize) -> Shape {
    let mut shape = tensor.layout().shape().clone();
    let last = shape.len() - 1;
    shape[last] = width;
    shape
}

/// Adds the bias and applies the activation.
struct Finish<'a, 'b, F> {
    tile: &'a mut Tile<'b>,
    /// Of the tile's columns, or empty.
    bias: &'a [f32],
    activation: PhantomData<F>,
}

impl<F: Function> Kernel for Finish<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for i in 0..self.tile.values.height() {
            // SAFETY: the product has written the tile.
            let row = unsafe { self.tile.values.row_mut(i) };
            if self.bias.is_empty() {
                for x in row {
                    *x = F::value::<I>(*x);
                }
            } else {
                for (x, &bias) in row.iter_mut().zip(self.bias) {
                    *x = F::value::<I>(*x + bias);
                }
            }
        }
    }
}

/// Adds the bias, and writes the activation of the sum to the second matrix.
struct FinishTwo<'a, 'b, F>(Finish<'a, 'b, F>);

impl<F: Function> Kernel for FinishTwo<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Finish { tile, bias, .. } = self.0;
        let Some(second) = &mut tile.second else { return };
        for i in 0..tile.values.height() {
            // SAFETY: the product has written the tile.
            let row = unsafe { tile.values.row_mut(i) };
            for (x, &bias) in row.iter_mut().zip(bias) {
                *x += bias;
            }
            for (y, &x) in second.row_to_write(i).iter_mut().zip(&*row) {
                y.write(F::value::<I>(x));
            }
        }
    }
}

/// The part of the bias that belongs to a tile.
fn bias_of<'a>(bias: &'a [f32], tile: &Tile) -> &'a [f32] {
    if bias.is_empty() { bias } else { &bias[tile.first_column..][..tile.values.width()] }
}

/// The rows of `x`, repeated until the product is large enough.
///
/// Products of one row, or with few elements, are summed in another order by the matrix kernels; a
/// row's result would then depend on how many rows travel with it.
fn filled(x: FlexTensor, d_out: usize) -> FlexTensor {
    let [rows, width] = matrix_shape(&x);
    let least = (SMALL_PRODUCT / d_out.max(1) + 1).max(2);
    if rows >= least || rows == 0 {
        return x;
    }
    let x = contiguous(x);
    let repetitions = least.div_ceil(rows);
    let values = x.storage::<f32>().repeat(repetitions);
    tensor_of(values, Shape::from([rows * repetitions, width]))
}

/// The first elements of `values`, as a tensor of this shape.
fn truncated(mut values: Vec<f32>, shape: &Shape) -> FlexTensor {
    values.truncate(shape.num_elements());
    tensor_of(values, shape.clone())
}

pub(super) fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    activation: Option<Activation>,
) -> FlexTensor {
    match activation {
        None => forward_with::<Identity>(&x, weight, bias),
        Some(activation) => with_function!(activation, F => forward_with::<F>(&x, weight, bias)),
    }
}

/// As [`forward`], with a weight in fewer bits.
pub(super) fn forward_narrow(
    x: &FlexTensor,
    weight: &NarrowFactor,
    bias: FlexTensor,
    activation: Option<Activation>,
) -> FlexTensor {
    match activation {
        None => forward_by::<Identity>(x, weight, bias),
        Some(activation) => with_function!(activation, F => forward_by::<F>(x, weight, bias)),
    }
}

fn forward_with<F: Function>(x: &FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
    let weight = readable(weight);
    forward_by::<F>(x, &matrix(&weight).transpose(), bias)
}

/// `weight` is `[in, out]`.
fn forward_by<F: Function>(x: &FlexTensor, weight: &impl Factor, bias: FlexTensor) -> FlexTensor {
    let bias = contiguous(bias);
    let (bias, width) = (elements(&bias), weight.shape()[1]);
    let shape = with_width(x, width);
    let rows = filled(rows_of(x), width);
    let values = product_then(matrix(&rows), weight, Cut::WEIGHT, |tile| {
        if !(bias.is_empty() && F::IDENTITY) {
            let bias = bias_of(bias, tile);
            dispatch(Finish::<F> { tile, bias, activation: PhantomData });
        }
    });
    truncated(values, &shape)
}

/// Output, and the argument of the activation.
pub(super) fn forward_with_argument(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    activation: Activation,
) -> (FlexTensor, FlexTensor) {
    let (weight, bias) = (readable(weight), contiguous(bias));
    let (weight, bias) = (matrix(&weight).transpose(), elements(&bias));
    let shape = with_width(&x, weight.width());
    let rows = filled(rows_of(&x), weight.width());
    let finish = |tile: &mut Tile| {
        let bias = bias_of(bias, tile);
        with_function!(activation, F => {
            dispatch(FinishTwo(Finish::<F> { tile, bias, activation: PhantomData }));
        });
    };
    // SAFETY: `FinishTwo` writes all rows of the second matrix.
    let [argument, output] =
        unsafe { product_and_second(matrix(&rows), weight, Cut::WEIGHT, finish) };
    (truncated(output, &shape), truncated(argument, &shape))
}

/// `dz = dy f'(z)` in place of `dy`, and its sum over the rows.
struct Slopes<'a, F> {
    argument: &'a [f32],
    grad: &'a mut [f32],
    bias_grad: &'a mut [f32],
    activation: PhantomData<F>,
}

impl<F: Function> Kernel for Slopes<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let width = self.bias_grad.len();
        let rows = self.grad.chunks_exact_mut(width).zip(self.argument.chunks_exact(width));
        for (grad, argument) in rows {
            for (grad, &z) in grad.iter_mut().zip(argument) {
                *grad *= F::derivative::<I>(z);
            }
            for (total, &grad) in self.bias_grad.iter_mut().zip(&*grad) {
                *total += grad;
            }
        }
    }
}

/// Adds rows to their sum.
struct SumRows<'a> {
    rows: &'a [f32],
    total: &'a mut [f32],
}

impl Kernel for SumRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for row in self.rows.chunks_exact(self.total.len()) {
            for (total, &x) in self.total.iter_mut().zip(row) {
                *total += x;
            }
        }
    }
}

/// Elements of one task that sums rows; depends on the shape alone.
fn summed_at_once(rows: usize, width: usize) -> usize {
    (rows_per_block(width).max(rows.div_ceil(MAX_PARTIALS)) * width).max(1)
}

/// Gradients of the input, the weight and the bias, of those that are tracked.
pub(super) fn backward(
    x: FlexTensor,
    weight: FlexTensor,
    argument: FlexTensor,
    grad: FlexTensor,
    activation: Option<Activation>,
    [of_x, of_weight, of_bias]: [bool; 3],
) -> Gradients3<Option<FlexTensor>> {
    let (grad, bias) = match activation {
        Some(activation) => {
            let (grad, bias) = backward_activation(argument, grad, activation);
            (grad, Some(bias))
        }
        None => {
            let grad = contiguous(grad);
            let bias = of_bias.then(|| backward_bias(&grad));
            (grad, bias)
        }
    };
    let input = of_x.then(|| backward_input(&grad, &weight));
    (input, of_weight.then(|| backward_weight(&grad, &x, &weight)), bias)
}

/// Gradients of the argument and of the bias, which is added up over blocks of rows in their
/// order.
fn backward_activation(
    argument: FlexTensor,
    grad: FlexTensor,
    activation: Activation,
) -> (FlexTensor, FlexTensor) {
    let argument = contiguous(argument);
    let argument: &[f32] = argument.storage();
    let [rows, width] = matrix_shape(&rows_of(&grad));
    let chunk_len = summed_at_once(rows, width);
    let (grad, partials) = map_chunks(grad, chunk_len, |i, grad| {
        let argument = &argument[i * chunk_len..][..grad.len()];
        let mut total = vec![0.0; width];
        let bias_grad = &mut total;
        with_function!(activation, F => {
            dispatch(Slopes::<F> { argument, grad, bias_grad, activation: PhantomData });
        });
        total
    });
    (grad, tensor_of(add_up(&partials, width), Shape::from([width])))
}

/// The sum over all rows, added up over blocks of rows in their order.
fn backward_bias(grad: &FlexTensor) -> FlexTensor {
    let [rows, width] = matrix_shape(&rows_of(grad));
    let sum = |rows: &[f32]| {
        let mut total = vec![0.0; width];
        dispatch(SumRows { rows, total: &mut total });
        total
    };
    let partials: Vec<_> =
        elements(grad).par_chunks(summed_at_once(rows, width)).map(sum).collect();
    tensor_of(add_up(&partials, width), Shape::from([width]))
}

/// `dx = dz W`.
fn backward_input(grad: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
    let (rows, weight) = (rows_of(grad), readable(weight.clone()));
    let shape = with_width(grad, weight.layout().shape()[1]);
    tensor_of(product(matrix(&rows), matrix(&weight), Cut::WEIGHT), shape)
}

/// `dW = dz^T x`.
fn backward_weight(grad: &FlexTensor, x: &FlexTensor, weight: &FlexTensor) -> FlexTensor {
    let (grad, x) = (rows_of(grad), rows_of(x));
    let (grad, x) = (matrix(&grad), matrix(&x));
    let [d_out, d_in] = matrix_shape(weight);
    if weight.layout().strides()[0] == 1 && weight.layout().strides()[1] != 1 {
        let transposed = product(x.transpose(), grad, Cut::GRADIENT);
        return tensor_of(transposed, Shape::from([d_in, d_out])).transpose(0, 1);
    }
    tensor_of(product(grad.transpose(), x, Cut::GRADIENT), Shape::from([d_out, d_in]))
}
