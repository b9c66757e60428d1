//! Small helpers around tensors.

use burn::tensor::{Tensor, TensorData};

/// Numbers of the host as a column, with the precision and the device of `like`.
///
/// # Shapes
/// - returns: `[values.len(), 1]`
pub(crate) fn column(values: &[f64], like: &Tensor<2>) -> Tensor<2> {
    matrix(values, 1, like)
}

/// Rows of `columns` numbers, with the precision and the device of `like`.
pub(crate) fn matrix(values: &[f64], columns: usize, like: &Tensor<2>) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), [values.len() / columns.max(1), columns]);
    Tensor::from_data(data, (&like.device(), like.dtype()))
}

/// The numbers of a tensor.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// The first number of a tensor.
pub(crate) fn scalar<const D: usize>(tensor: Tensor<D>) -> f64 {
    values(tensor).first().copied().unwrap_or(f64::NAN)
}

/// Inner product of rows, `[B, 1]`.
pub(crate) fn dot(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    (a * b).sum_dim(1)
}
