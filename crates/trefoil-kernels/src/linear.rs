//! Linear layers with their bias and activation in the same pass.

// The macro of the backend extension reads tuples, not names of them.
#![allow(clippy::type_complexity)]

mod autodiff;
mod flex;

use burn::backend::Dispatch;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, backend_extension};
use burn::tensor::{Tensor, module};

use crate::activation::{Activation, activate};
use crate::extension::{Gradients3, has_kernel};

/// `activation(x W^T + b)` over the last axis.
///
/// Bias and activation are applied to each tile of the product while it is in the cache. For the
/// backward pass the activation's argument is kept, because computing it again would be another
/// product. A row's result does not depend on how many rows travel with it, bit for bit.
///
/// # Shapes
/// - `x`: `[.., in]`
/// - `weight`: `[out, in]`; may be the transposed view of `[in, out]`
/// - `bias`: `[out]`
/// - output: `[.., out]`
///
/// # Panics
/// If the shapes do not agree.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Option<Activation>,
) -> Tensor<D> {
    let ([d_out, d_in], width) = (weight.dims(), x.dims()[D - 1]);
    let biases = bias.as_ref().map_or(d_out, |bias| bias.dims()[0]);
    assert!(
        width == d_in && biases == d_out,
        "linear: the last axis has {width} elements, weight [{d_out}, {d_in}], bias {biases}"
    );
    let kernel = has_kernel(&x) && has_kernel(&weight) && bias.as_ref().is_none_or(has_kernel);
    if !kernel {
        let y = module::linear(x, weight.transpose(), bias);
        return match activation {
            Some(activation) => activate(y, activation),
            None => y,
        };
    }
    let bias = bias.unwrap_or_else(|| Tensor::zeros([0], &x.device()));
    Tensor::from_dispatch(<Dispatch as LinearKernels>::fused_linear(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        activation,
    ))
}

/// The products of [`linear`] in f32, which is the way to call them. An empty bias is none.
#[backend_extension(Flex, Autodiff)]
pub trait LinearKernels: Backend {
    /// `[.., out]` of `x`: `[.., in]` and `weight`: `[out, in]`.
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Option<Activation>,
    ) -> FloatTensor<Self>;
    /// Output, and the argument of the activation.
    fn fused_linear_with_argument(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Gradients of `x`, weight and bias, of those that are tracked. Without an activation, its
    /// argument is ignored. The weight's gradient lies in memory as the weight does.
    fn fused_linear_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        argument: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        activation: Option<Activation>,
        tracked: [bool; 3],
    ) -> (Option<FloatTensor<Self>>, Option<FloatTensor<Self>>, Option<FloatTensor<Self>>);
}

impl LinearKernels for Flex {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Option<Activation>,
    ) -> FloatTensor<Self> {
        flex::forward(x, weight, bias, activation)
    }

    fn fused_linear_with_argument(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        flex::forward_with_argument(x, weight, bias, activation)
    }

    fn fused_linear_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        argument: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        activation: Option<Activation>,
        tracked: [bool; 3],
    ) -> Gradients3<Option<FloatTensor<Self>>> {
        flex::backward(x, weight, argument, grad, activation, tracked)
    }
}
