//! The computation behind [`attention`](crate::attention()): matrices and rows of one head.

use burn::tensor::Shape;
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

use crate::attention::{AttentionMask, PackedAttention};
use crate::attention_rows::{Block, Exponentials, RowDots, Running, Scale, Slopes, visible};
use crate::buffer::tensor_of;
use crate::extension::Gradients3;
use crate::matrix::{Matrix, MatrixMut, SharedHeads};
use crate::simd::dispatch;

/// Scores of one block of queries: 256 KiB, a part of the second-level cache.
const BLOCK_SCORES: usize = 64 * 1024;

/// Keys of one block, at most: with so many queries to each, packing them for the product costs little.
const BLOCK_KEYS: usize = 512;

/// Queries and keys of one block; they depend on the shape alone.
fn blocks_of(queries: usize, keys: usize) -> [usize; 2] {
    let parts = keys.div_ceil(BLOCK_KEYS).max(1);
    let part = keys.div_ceil(parts).next_multiple_of(16).min(keys);
    let block = BLOCK_SCORES / part.max(1) / 8 * 8;
    [block.max(16).min(queries), part]
}

/// The blocks of keys, as first one and number.
fn parts_of(keys: usize, part: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..keys).step_by(part.max(1)).map(move |start| [start, part.min(keys - start)])
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
    let ([block, part], scale) = (blocks_of(queries, keys), scale_of(width));

    log_sums.par_chunks_mut(queries.max(1)).enumerate().for_each(|(head, log_sums)| {
        let buffers = || (vec![0.0; block * part], vec![0.0; block], vec![0.0; block]);
        log_sums.par_chunks_mut(block).enumerate().for_each_init(
            buffers,
            |(scores, sums, factors), (i, log_sums)| {
                let (query, key, value) =
                    (query.matrix(head), key.matrix(head), value.matrix(head));
                let (first, count) = (i * block, log_sums.len());
                let keys = visible(mask, keys, first + count);
                let query = query.rows(first, count);
                // SAFETY: `output` is still there, and no other task has this block of this head.
                let mut output = unsafe { shared.rows(head, first, count) };
                let (sums, factors) = (&mut sums[..count], &mut factors[..count]);
                log_sums.fill(f32::NEG_INFINITY);
                sums.fill(0.0);
                // Of all keys at once, the probabilities themselves are multiplied with the values;
                // otherwise the sum is known only at the end.
                let at_once = keys <= part;
                for [start, part] in parts_of(keys, part) {
                    let (key, value) = (key.rows(start, part), value.rows(start, part));
                    let scores = &mut scores[..count * part];
                    let mut product = MatrixMut::row_major(scores, [count, part]);
                    product.set(query, key.transpose(), scale);
                    let block = Block { keys: part, first, start, mask };
                    let running = Running { maxima: log_sums, sums, factors };
                    dispatch(Exponentials { scores, running, block });
                    if at_once {
                        let rows = &mut MatrixMut::row_major(scores, [count, part]);
                        dispatch(Scale { rows, factors: reciprocals(sums, factors) });
                    }
                    let exponentials = Matrix::new(scores, [count, part], [part, 1]);
                    if start == 0 {
                        output.set(exponentials, value, 1.0);
                    } else {
                        dispatch(Scale { rows: &mut output, factors });
                        output.add(exponentials, value, 1.0);
                    }
                }
                for (log_sum, &sum) in log_sums.iter_mut().zip(&*sums) {
                    *log_sum += sum.ln();
                }
                if !at_once {
                    dispatch(Scale { rows: &mut output, factors: reciprocals(sums, factors) });
                }
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
    let ([block, part], scale) = (blocks_of(queries, keys), scale_of(width));
    let buffers = || (vec![0.0; block * part], vec![0.0; block * part], vec![0.0; block]);

    (0..query.count()).into_par_iter().for_each_init(buffers, |(scores, slopes, dots), head| {
        let (query, key, value) = (query.matrix(head), key.matrix(head), value.matrix(head));
        let (output, grad) = (output.matrix(head), grad.matrix(head));
        for first in (0..queries).step_by(block) {
            let count = block.min(queries - first);
            let keys = visible(mask, keys, first + count);
            let query = query.rows(first, count);
            let (output, grad) = (output.rows(first, count), grad.rows(first, count));
            let (dots, log_sums) =
                (&mut dots[..count], &log_sums[head * queries + first..][..count]);
            dispatch(RowDots { lhs: output, rhs: grad, dots: &mut *dots });
            for [start, part] in parts_of(keys, part) {
                let (key, value) = (key.rows(start, part), value.rows(start, part));
                let (scores, slopes) = (&mut scores[..count * part], &mut slopes[..count * part]);
                MatrixMut::row_major(scores, [count, part]).set(query, key.transpose(), scale);
                MatrixMut::row_major(slopes, [count, part]).set(grad, value.transpose(), 1.0);
                let block = Block { keys: part, first, start, mask };
                dispatch(Slopes { scores, slopes, log_sums, dots, block });
                let probabilities = Matrix::new(scores, [count, part], [part, 1]);
                let slopes = Matrix::new(slopes, [count, part], [part, 1]);
                // SAFETY: the buffers are still there, and no other task has this head.
                let [mut to_query, mut to_key, mut to_value] = unsafe {
                    [
                        targets[0].rows(head, first, count),
                        targets[1].rows(head, start, part),
                        targets[2].rows(head, start, part),
                    ]
                };
                to_query.add(slopes, key, scale);
                to_key.add(slopes.transpose(), query, scale);
                to_value.add(probabilities.transpose(), grad, 1.0);
            }
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

/// One over each sum.
fn reciprocals<'a>(sums: &[f32], target: &'a mut [f32]) -> &'a [f32] {
    for (reciprocal, &sum) in target.iter_mut().zip(sums) {
        *reciprocal = 1.0 / sum;
    }
    target
}

fn scale_of(width: usize) -> f32 {
    (1.0 / (width as f64).sqrt()) as f32
}
