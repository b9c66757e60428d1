//! Rows of a table by their index, sums of rows by their index, and means over the neighbours that
//! a graph in compressed-sparse-row form names.

mod autodiff;
mod flex;

use burn::backend::backend_extension;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, DispatchTensorKind, Flex, TensorMetadata};
use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor, TensorData};

use crate::extension::has_kernel;
use crate::narrow;

/// `y_i = table_(indices_i)`: the look-up of an embedding. A table in fewer than 32 bits gives rows
/// in f32.
///
/// # Shapes
/// - `table`: `[n, d]`
/// - `indices`: `[m]`, each below `n`
/// - output: `[m, d]`
///
/// # Panics
/// If an index is out of range.
pub fn gather_rows(table: Tensor<2>, indices: Tensor<1, Int>) -> Tensor<2> {
    if matches!(table.dtype(), DType::BF16 | DType::F16 | DType::QFloat(_)) {
        return narrow::gather(table, indices);
    }
    if !(has_kernel(&table) && are_indices(&indices)) {
        return table.select(0, indices);
    }
    Tensor::from_dispatch(<Dispatch as IndexKernels>::fused_gather_rows(
        table.into_dispatch(),
        indices.into_dispatch(),
    ))
}

/// `y_r = sum of values_i over all i with indices_i = r`: the transpose of [`gather_rows`]. Each
/// sum runs in the order of `i`.
///
/// # Shapes
/// - `values`: `[m, d]`
/// - `indices`: `[m]`, each below `rows`
/// - output: `[rows, d]`
///
/// # Panics
/// If an index is out of range or their number differs from that of the values.
pub fn scatter_add_rows(values: Tensor<2>, indices: Tensor<1, Int>, rows: usize) -> Tensor<2> {
    let ([m, d], [count]) = (values.dims(), indices.dims());
    assert!(m == count, "scatter_add_rows: {m} rows of values, {count} indices");
    if !(has_kernel(&values) && are_indices(&indices)) {
        let zeros = Tensor::zeros([rows, d], (&values.device(), values.dtype()));
        return zeros.select_assign(0, indices, values, IndexingUpdateOp::Add);
    }
    Tensor::from_dispatch(<Dispatch as IndexKernels>::fused_scatter_add_rows(
        values.into_dispatch(),
        indices.into_dispatch(),
        rows,
    ))
}

/// `y_v = mean of rows_j over j in indices[offsets_v .. offsets_(v + 1)]`, zero where there are
/// none: the aggregation of a graph network, with the neighbours of node `v` in
/// compressed-sparse-row form. Each sum runs in the order of the indices.
///
/// # Shapes
/// - `rows`: `[n, d]`
/// - `offsets`: `[nodes + 1]`, ascending from 0 to `edges`
/// - `indices`: `[edges]`, each below `n`
/// - output: `[nodes, d]`
///
/// # Panics
/// If an index is out of range or the offsets are not as described.
pub fn segment_mean(
    rows: Tensor<2>,
    offsets: Tensor<1, Int>,
    indices: Tensor<1, Int>,
) -> Tensor<2> {
    if !(has_kernel(&rows) && are_indices(&offsets) && are_indices(&indices)) {
        return compose_segment_mean(rows, offsets, indices);
    }
    Tensor::from_dispatch(<Dispatch as IndexKernels>::fused_segment_mean(
        rows.into_dispatch(),
        offsets.into_dispatch(),
        indices.into_dispatch(),
    ))
}

/// The same by the framework's operations, for other devices and precisions.
fn compose_segment_mean(
    rows: Tensor<2>,
    offsets: Tensor<1, Int>,
    indices: Tensor<1, Int>,
) -> Tensor<2> {
    let device = rows.device();
    let offsets: Vec<i64> = offsets.into_data().iter::<i64>().collect();
    let degrees: Vec<i64> = offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let nodes = degrees.len();
    let owners: Vec<i64> = (0_i64..)
        .zip(&degrees)
        .flat_map(|(node, &degree)| std::iter::repeat_n(node, usize::try_from(degree).unwrap_or(0)))
        .collect();
    let scales: Vec<f32> = degrees.iter().map(|&degree| 1.0 / degree.max(1) as f32).collect();
    let edges = owners.len();
    let owners = Tensor::from_data(TensorData::new(owners, [edges]), &device);
    let scales = Tensor::<1>::from_data(TensorData::new(scales, [nodes]), &device);
    let scales = scales.cast(rows.dtype()).reshape([nodes, 1]);
    scatter_add_rows(gather_rows(rows, indices), owners, nodes) * scales
}

/// Whether a tensor of integers is where the kernels are, in a width that they read.
fn are_indices(indices: &Tensor<1, Int>) -> bool {
    let tensor = indices.clone().into_dispatch();
    matches!(tensor.kind, DispatchTensorKind::Flex(_))
        && matches!(tensor.kind.dtype(), DType::I64 | DType::I32)
}

/// Operations on rows in f32. The functions of this crate are the way to call them.
#[backend_extension(Flex, Autodiff)]
pub trait IndexKernels: Backend {
    /// [`gather_rows`], whose gradient is [`fused_scatter_add_rows`](Self::fused_scatter_add_rows).
    fn fused_gather_rows(table: FloatTensor<Self>, indices: IntTensor<Self>) -> FloatTensor<Self>;
    /// [`scatter_add_rows`], whose gradient is [`fused_gather_rows`](Self::fused_gather_rows).
    fn fused_scatter_add_rows(
        values: FloatTensor<Self>,
        indices: IntTensor<Self>,
        rows: usize,
    ) -> FloatTensor<Self>;

    /// [`segment_mean`].
    fn fused_segment_mean(
        rows: FloatTensor<Self>,
        offsets: IntTensor<Self>,
        indices: IntTensor<Self>,
    ) -> FloatTensor<Self>;
    /// Gradient of the rows, of which there are `count`.
    fn fused_segment_mean_backward(
        grad: FloatTensor<Self>,
        offsets: IntTensor<Self>,
        indices: IntTensor<Self>,
        count: usize,
    ) -> FloatTensor<Self>;
}

impl IndexKernels for Flex {
    fn fused_gather_rows(table: FloatTensor<Self>, indices: IntTensor<Self>) -> FloatTensor<Self> {
        flex::gather(table, &indices)
    }

    fn fused_scatter_add_rows(
        values: FloatTensor<Self>,
        indices: IntTensor<Self>,
        rows: usize,
    ) -> FloatTensor<Self> {
        flex::scatter_add(values, &indices, rows)
    }

    fn fused_segment_mean(
        rows: FloatTensor<Self>,
        offsets: IntTensor<Self>,
        indices: IntTensor<Self>,
    ) -> FloatTensor<Self> {
        flex::segment_mean(rows, &offsets, &indices)
    }

    fn fused_segment_mean_backward(
        grad: FloatTensor<Self>,
        offsets: IntTensor<Self>,
        indices: IntTensor<Self>,
        count: usize,
    ) -> FloatTensor<Self> {
        flex::segment_mean_backward(grad, &offsets, &indices, count)
    }
}
