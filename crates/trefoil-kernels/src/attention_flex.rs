//! The computation behind [`attention`](crate::attention()): matrices and rows of one head.

use burn::tensor::Shape;
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

use crate::attention::{AttentionMask, PackedAttention};
use crate::buffer::tensor_of;
use crate::extension::Gradients3;
use crate::matrix::{Matrix, MatrixMut, SharedHeads};
use crate::simd::{Isa, Kernel, dispatch, exp, sum_of_pairs};
use crate::softmax::exponentiate;

/// Scores of one block of queries: 256 KiB, a part of the second-level cache.
const BLOCK_SCORES: usize = 64 * 1024;

/// Queries of one block; depends on the shape alone.
fn block_of(queries: usize, keys: usize) -> usize {
    let block = BLOCK_SCORES / keys.max(1) / 8 * 8;
    block.max(16).min(queries)
}

/// The matrices of all heads of a `[b, h, l, d]` tensor.
struct Heads<'a> {
    data: &'a [f32],
    shape: [usize; 4],
    strides: [usize; 4],
}

impl<'a> Heads<'a> {
    /// `tensor` must have passed [`readable`].
    fn new(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let shape = std::array::from_fn(|i| layout.shape()[i]);
        let strides = std::array::from_fn(|i| layout.strides()[i].unsigned_abs());
        Self { data: &tensor.storage()[layout.start_offset()..], shape, strides }
    }

    fn count(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// The head with this index, counted through all images.
    fn matrix(&self, index: usize) -> Matrix<'a> {
        let (image, head) = (index / self.shape[1], index % self.shape[1]);
        let data = &self.data[image * self.strides[0] + head * self.strides[1]..];
        Matrix::new(data, [self.shape[2], self.shape[3]], [self.strides[2], 1])
    }
}

/// A tensor whose last axis is contiguous and whose other axes run forwards: views into a packed
/// tensor pass, unusual ones are copied.
fn readable(tensor: FlexTensor) -> FlexTensor {
    let strides = tensor.layout().strides();
    let forwards = strides.iter().all(|&stride| stride >= 0);
    let last = strides.len() - 1;
    let rows = strides[last] == 1;
    if forwards && rows { tensor } else { tensor.to_contiguous() }
}

/// Output and logarithm of each row's sum of exponentials, `[b, h, l_q]`.
pub(crate) fn forward(
    query: FlexTensor,
    key: FlexTensor,
    value: FlexTensor,
    mask: AttentionMask,
) -> (FlexTensor, FlexTensor) {
    let (query, key, value) = (readable(query), readable(key), readable(value));
    let (query, key, value) = (Heads::new(&query), Heads::new(&key), Heads::new(&value));
    let [batch, heads, queries, width] = query.shape;
    let (keys, value_width) = (key.shape[2], value.shape[3]);
    let shape = [batch, heads, queries, value_width];
    let mut output = vec![0.0; shape.iter().product()];
    let mut log_sums = vec![0.0; query.count() * queries];
    let shared = SharedHeads::new(&mut output, shape, heads * value_width);
    let (block, scale) = (block_of(queries, keys), scale_of(width));

    log_sums.par_chunks_mut(queries.max(1)).enumerate().for_each(|(head, log_sums)| {
        let buffer = || vec![0.0; block * keys];
        log_sums.par_chunks_mut(block).enumerate().for_each_init(
            buffer,
            |scores, (i, log_sums)| {
                let (query, key, value) =
                    (query.matrix(head), key.matrix(head), value.matrix(head));
                let (first, count) = (i * block, log_sums.len());
                let keys = visible(mask, keys, first + count);
                let mut product = MatrixMut::row_major(scores, [count, keys]);
                product.set(query.rows(first, count), key.rows(0, keys).transpose(), scale);
                let scores = &mut scores[..count * keys];
                dispatch(Probabilities { scores, log_sums, keys, first, mask });
                let probabilities = Matrix::new(scores, [count, keys], [keys, 1]);
                // SAFETY: `output` is still there, and no other task has this block of this head.
                let mut output = unsafe { shared.rows(head, first, count) };
                output.set(probabilities, value.rows(0, keys), 1.0);
            },
        );
    });
    let output =
        with_heads_outside(tensor_of(output, Shape::from([batch, queries, heads, value_width])));
    (output, tensor_of(log_sums, Shape::from([batch, heads, queries])))
}

/// What [`forward`] leaves for the backward pass.
pub(crate) struct Saved {
    /// `[b, h, l_q, d]`
    pub(crate) query: FlexTensor,
    /// `[b, h, l_k, d]`
    pub(crate) key: FlexTensor,
    /// `[b, h, l_k, d_v]`
    pub(crate) value: FlexTensor,
    /// `[b, h, l_q, d_v]`
    pub(crate) output: FlexTensor,
    /// `[b, h, l_q]`
    pub(crate) log_sums: FlexTensor,
}

/// Gradients of query, key and value.
pub(crate) fn backward(
    saved: Saved,
    grad: FlexTensor,
    mask: AttentionMask,
) -> Gradients3<FlexTensor> {
    let shapes = [&saved.query, &saved.key, &saved.value].map(|tensor| Heads::new(tensor).shape);
    let mut buffers = shapes.map(|shape| vec![0.0; shape.iter().product()]);
    let [query, key, value] = &mut buffers;
    let targets = [(query, shapes[0]), (key, shapes[1]), (value, shapes[2])]
        .map(|(buffer, shape)| SharedHeads::new(buffer, shape, shape[1] * shape[3]));
    backward_into(&targets, saved, grad, mask);
    let [query, key, value] = buffers;
    let tensor = |buffer, [b, h, l, d]: [usize; 4]| {
        with_heads_outside(tensor_of(buffer, Shape::from([b, l, h, d])))
    };
    (tensor(query, shapes[0]), tensor(key, shapes[1]), tensor(value, shapes[2]))
}

/// Adds the gradients of query, key and value to `targets`, which must be heads of these shapes
/// in buffers of zeros.
fn backward_into(targets: &[SharedHeads; 3], saved: Saved, grad: FlexTensor, mask: AttentionMask) {
    let [query, key, value, output, grad] =
        [saved.query, saved.key, saved.value, saved.output, grad].map(readable);
    let [query, key, value, output, grad] = [&query, &key, &value, &output, &grad].map(Heads::new);
    let log_sums: &[f32] = saved.log_sums.storage();
    let [_, _, queries, width] = query.shape;
    let keys = key.shape[2];
    let (block, scale) = (block_of(queries, keys), scale_of(width));
    let buffers = || (vec![0.0; block * keys], vec![0.0; block * keys], vec![0.0; block]);

    (0..query.count()).into_par_iter().for_each_init(buffers, |(scores, slopes, dots), head| {
        let (query, key, value) = (query.matrix(head), key.matrix(head), value.matrix(head));
        let (output, grad) = (output.matrix(head), grad.matrix(head));
        for first in (0..queries).step_by(block) {
            let count = block.min(queries - first);
            let keys = visible(mask, keys, first + count);
            let (key, value) = (key.rows(0, keys), value.rows(0, keys));
            let query = query.rows(first, count);
            let (output, grad) = (output.rows(first, count), grad.rows(first, count));
            MatrixMut::row_major(scores, [count, keys]).set(query, key.transpose(), scale);
            MatrixMut::row_major(slopes, [count, keys]).set(grad, value.transpose(), 1.0);
            let log_sums = &log_sums[head * queries + first..][..count];
            let (scores, slopes) = (&mut scores[..count * keys], &mut slopes[..count * keys]);
            dispatch(RowDots { lhs: output, rhs: grad, dots: &mut dots[..count] });
            dispatch(Slopes { scores, slopes, log_sums, dots, keys, first, mask });
            let probabilities = Matrix::new(scores, [count, keys], [keys, 1]);
            let slopes = Matrix::new(slopes, [count, keys], [keys, 1]);
            // SAFETY: the buffers are still there, and no other task has this head.
            let [mut to_query, mut to_key, mut to_value] = unsafe {
                [
                    targets[0].rows(head, first, count),
                    targets[1].rows(head, 0, keys),
                    targets[2].rows(head, 0, keys),
                ]
            };
            to_query.set(slopes, key, scale);
            to_key.add(slopes.transpose(), query, scale);
            to_value.add(probabilities.transpose(), grad, 1.0);
        }
    });
}

/// [`forward`] of a packed tensor; the output is `[b, l, h d]`.
pub(crate) fn packed_forward(
    qkv: FlexTensor,
    options: PackedAttention,
) -> (FlexTensor, FlexTensor) {
    let [query, key, value] = unpack(&readable(qkv), options.heads);
    let (output, log_sums) = forward(query, key, value, options.mask);
    let shape = output.layout().shape();
    let merged = Shape::from([shape[0], shape[2], shape[1] * shape[3]]);
    (output.with_layout(Layout::contiguous(merged)), log_sums)
}

/// Gradient of a packed tensor, written in place by all heads.
pub(crate) fn packed_backward(
    qkv: FlexTensor,
    output: FlexTensor,
    log_sums: FlexTensor,
    grad: FlexTensor,
    options: PackedAttention,
) -> FlexTensor {
    let qkv = readable(qkv);
    let full = qkv.layout().shape().clone();
    let (batch, length, width) = (full[0], full[1], full[2] / 3);
    let shape = [batch, options.heads, length, width / options.heads];
    let mut buffer = vec![0.0; full.num_elements()];
    if buffer.is_empty() {
        return tensor_of(buffer, full);
    }
    let heads = SharedHeads::new(&mut buffer, shape, 3 * width);
    let targets = [0, 1, 2].map(|part| heads.shifted(part * width));
    let [query, key, value] = unpack(&qkv, options.heads);
    let output = split_heads(&readable(output), [0, width], options.heads);
    let grad = split_heads(&readable(grad), [0, width], options.heads);
    let saved = Saved { query, key, value, output, log_sums };
    backward_into(&targets, saved, grad, options.mask);
    tensor_of(buffer, full)
}

/// Views of queries, keys and values.
fn unpack(qkv: &FlexTensor, heads: usize) -> [FlexTensor; 3] {
    let width = qkv.layout().shape()[2] / 3;
    [0, 1, 2].map(|part| split_heads(qkv, [part * width, width], heads))
}

/// The view `[b, h, l, d]` of `width` columns of a `[b, l, ..]` tensor, from column `start`.
fn split_heads(tensor: &FlexTensor, [start, width]: [usize; 2], heads: usize) -> FlexTensor {
    let layout = tensor.layout();
    let (shape, strides) = (layout.shape(), layout.strides());
    let d = width / heads;
    let split = Layout::new(
        Shape::from([shape[0], heads, shape[1], d]),
        vec![strides[0], d as isize, strides[1], 1],
        layout.start_offset() + start,
    );
    tensor.clone().with_layout(split)
}

/// `[b, l, h, d]` to the view `[b, h, l, d]`.
fn with_heads_outside(tensor: FlexTensor) -> FlexTensor {
    tensor.transpose(1, 2)
}

fn scale_of(width: usize) -> f32 {
    (1.0 / (width as f64).sqrt()) as f32
}

/// Number of keys that any of the queries before `end` sees.
fn visible(mask: AttentionMask, keys: usize, end: usize) -> usize {
    match mask {
        AttentionMask::Full => keys,
        AttentionMask::Causal => keys.min(end),
    }
}

/// Number of keys that the query at `position` sees.
fn visible_to(mask: AttentionMask, keys: usize, position: usize) -> usize {
    visible(mask, keys, position + 1)
}

/// Turns scores into probabilities.
struct Probabilities<'a> {
    scores: &'a mut [f32],
    log_sums: &'a mut [f32],
    keys: usize,
    /// Position of the first query.
    first: usize,
    mask: AttentionMask,
}

impl Kernel for Probabilities<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let rows = self.scores.chunks_exact_mut(self.keys).zip(self.log_sums);
        for (i, (row, log_sum)) in rows.enumerate() {
            let (row, hidden) = row.split_at_mut(visible_to(self.mask, self.keys, self.first + i));
            hidden.fill(0.0);
            let (largest, sum) = exponentiate::<I>(row);
            *log_sum = largest + sum.ln();
            let scale = 1.0 / sum;
            for x in row {
                *x *= scale;
            }
        }
    }
}

/// `p = exp(s - log_sum)` in place of the scores and `p (dp - dot)` in place of the gradients `dp`
/// of the probabilities, where `dot` is the product of a row's output and its gradient.
struct Slopes<'a> {
    scores: &'a mut [f32],
    slopes: &'a mut [f32],
    log_sums: &'a [f32],
    dots: &'a [f32],
    keys: usize,
    /// Position of the first query.
    first: usize,
    mask: AttentionMask,
}

impl Kernel for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let rows = self.scores.chunks_exact_mut(self.keys);
        let rows = rows.zip(self.slopes.chunks_exact_mut(self.keys));
        let statistics = self.log_sums.iter().zip(self.dots);
        for (i, ((scores, slopes), (&log_sum, &dot))) in rows.zip(statistics).enumerate() {
            let seen = visible_to(self.mask, self.keys, self.first + i);
            let (scores, hidden) = scores.split_at_mut(seen);
            hidden.fill(0.0);
            let (slopes, hidden) = slopes.split_at_mut(seen);
            hidden.fill(0.0);
            for score in scores.iter_mut() {
                *score = exp::<I>(*score - log_sum);
            }
            for (slope, &probability) in slopes.iter_mut().zip(&*scores) {
                *slope = probability * (*slope - dot);
            }
        }
    }
}

/// Products of corresponding rows.
struct RowDots<'a> {
    lhs: Matrix<'a>,
    rhs: Matrix<'a>,
    dots: &'a mut [f32],
}

impl Kernel for RowDots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for (i, dot) in self.dots.iter_mut().enumerate() {
            *dot = sum_of_pairs(self.lhs.row(i), self.rhs.row(i), |a, b| a * b);
        }
    }
}
