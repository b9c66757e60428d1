//! Contiguous buffers: chunk-wise maps that write over their input when nobody else holds it.

use burn::tensor::Bytes;
use burn::tensor::{DType, Shape};
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

/// Below this number of elements, waking the threads costs more than the work itself.
const SEQUENTIAL: usize = 16 * 1024;

/// Elements of one task: small enough for the first-level cache, large enough to hide scheduling.
pub(crate) const BLOCK: usize = 8 * 1024;

/// Number of rows that make up about one [`BLOCK`].
pub(crate) fn rows_per_block(row_len: usize) -> usize {
    (BLOCK / row_len.max(1)).max(1)
}

/// The tensor with its elements in row-major order and nothing else in its storage.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if covers_storage(&tensor) { tensor } else { tensor.to_contiguous() }
}

/// The storage of a tensor that may be empty.
pub(crate) fn elements(tensor: &FlexTensor) -> &[f32] {
    if tensor.layout().num_elements() == 0 { &[] } else { tensor.storage() }
}

/// Rows and columns of a matrix.
pub(crate) fn matrix_shape(matrix: &FlexTensor) -> [usize; 2] {
    let shape = matrix.layout().shape();
    [shape[0], shape[1]]
}

fn covers_storage(tensor: &FlexTensor) -> bool {
    let layout = tensor.layout();
    layout.is_contiguous()
        && layout.start_offset() == 0
        && tensor.bytes().len() == layout.num_elements() * size_of::<f32>()
}

/// A tensor that takes over `values`.
pub(crate) fn tensor_of(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

/// Applies `f` to each chunk of `chunk_len` elements, given the chunk's index and its values, which
/// it changes in place. Returns the changed tensor and what the calls returned, by index.
///
/// Storage that is not shared is reused. Otherwise each task copies its chunk into the fresh
/// output first, so that `f` finds it in the cache. The chunks do not depend on the threads.
pub(crate) fn map_chunks<T: Send>(
    tensor: FlexTensor,
    chunk_len: usize,
    f: impl Fn(usize, &mut [f32]) -> T + Sync,
) -> (FlexTensor, Vec<T>) {
    let mut tensor = contiguous(tensor);
    let count = tensor.layout().num_elements();
    if count == 0 {
        return (tensor, Vec::new());
    }
    if let Some(values) = tensor.try_storage_mut::<f32>() {
        let results = if count <= SEQUENTIAL {
            values.chunks_mut(chunk_len).enumerate().map(|(i, values)| f(i, values)).collect()
        } else {
            values.par_chunks_mut(chunk_len).enumerate().map(|(i, values)| f(i, values)).collect()
        };
        return (tensor, results);
    }

    let input: &[f32] = tensor.storage();
    let mut output: Vec<f32> = Vec::with_capacity(count);
    let spare = &mut output.spare_capacity_mut()[..count];
    let results = if count <= SEQUENTIAL {
        let chunks = spare.chunks_mut(chunk_len).zip(input.chunks(chunk_len)).enumerate();
        chunks.map(|(i, (output, input))| f(i, output.write_copy_of_slice(input))).collect()
    } else {
        let chunks = spare.par_chunks_mut(chunk_len).zip(input.par_chunks(chunk_len)).enumerate();
        chunks.map(|(i, (output, input))| f(i, output.write_copy_of_slice(input))).collect()
    };
    // SAFETY: the chunks cover all `count` elements, and each was written by its task.
    unsafe { output.set_len(count) };
    (tensor_of(output, tensor.layout().shape().clone()), results)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize) -> FlexTensor {
        tensor_of((0..count).map(|i| i as f32).collect(), Shape::from([count]))
    }

    #[test]
    fn storage_is_reused_only_when_it_is_not_shared() {
        for count in [7, SEQUENTIAL + 5] {
            let tensor = numbers(count);
            let address = tensor.bytes().as_ptr();
            let (doubled, lengths) = map_chunks(tensor, 3, |_, values| {
                values.iter_mut().for_each(|x| *x *= 2.0);
                values.len()
            });
            assert_eq!(doubled.bytes().as_ptr(), address);
            assert_eq!(lengths.iter().sum::<usize>(), count);
            assert_eq!(doubled.storage::<f32>()[count - 1], 2.0 * (count - 1) as f32);

            let kept = doubled.clone();
            let (indices, _) = map_chunks(doubled, 3, |i, values| values.fill(i as f32));
            assert_eq!(kept.storage::<f32>()[1], 2.0);
            assert_eq!(indices.storage::<f32>()[6], 2.0);
        }
    }

    #[test]
    fn views_are_copied() {
        let (view, _) = map_chunks(numbers(12).narrow(0, 2, 5), 2, |_, values| values[0] = -1.0);
        assert_eq!(view.storage::<f32>(), [-1.0, 3.0, -1.0, 5.0, -1.0]);
    }
}
