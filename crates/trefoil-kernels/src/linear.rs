//! Linear layers with their bias and activation in the same pass.

#![expect(
    clippy::type_complexity,
    reason = "the macro of the backend extension reads tuples, not names of them"
)]

mod autodiff;
mod flex;

use burn::backend::Dispatch;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, backend_extension};
use burn::tensor::{Tensor, module};

use crate::activation::{Activation, activate};
use crate::extension::{Gradients3, has_kernel, is_plain, primitive};
use crate::narrow::{Narrow, NarrowFactor, Order, widen};

/// `activation(x W^T + b)` over the last axis.
///
/// Bias and activation are applied to each tile of the product while it is in the cache. For the
/// backward pass the activation's argument is kept, because computing it again would be another
/// product. A row's result does not depend on how many rows travel with it, bit for bit. A weight
/// in bf16, f16 or eight bits is converted part by part on the way; it gets no gradient.
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
    run(x, weight, Order::OutIn, bias, activation)
}

/// [`linear()`] with a weight that lies in memory the other way round, as GPT-2's layers have it.
///
/// # Shapes
/// - `x`: `[.., in]`
/// - `weight`: `[in, out]`
/// - `bias`: `[out]`
/// - output: `[.., out]`
///
/// # Panics
/// If the shapes do not agree.
pub fn linear_transposed<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Option<Activation>,
) -> Tensor<D> {
    run(x, weight, Order::InOut, bias, activation)
}

fn run<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    order: Order,
    bias: Option<Tensor<1>>,
    activation: Option<Activation>,
) -> Tensor<D> {
    let [d_out, d_in] = match (order, weight.dims()) {
        (Order::OutIn, dims) => dims,
        (Order::InOut, [d_in, d_out]) => [d_out, d_in],
    };
    let width = x.dims()[D - 1];
    let biases = bias.as_ref().map_or(d_out, |bias| bias.dims()[0]);
    assert!(
        width == d_in && biases == d_out,
        "linear: the last axis has {width} elements, weight [{d_out}, {d_in}], bias {biases}"
    );
    let no_bias = |x: &Tensor<D>| Tensor::zeros([0], &x.device());
    if is_plain(&x)
        && bias.as_ref().is_none_or(is_plain)
        && let Some(weight) = Narrow::of(&weight)
    {
        let bias = primitive(bias.unwrap_or_else(|| no_bias(&x)));
        let weight = NarrowFactor::new(&weight, order);
        let output = flex::forward_narrow(&primitive(x), &weight, bias, activation);
        return Tensor::from_primitive::<Flex>(output);
    }
    let weight = if weight.dtype() == x.dtype() { weight } else { widen(weight).cast(x.dtype()) };
    let weight = if order == Order::InOut { weight.transpose() } else { weight };
    if !(has_kernel(&x) && has_kernel(&weight) && bias.as_ref().is_none_or(has_kernel)) {
        let y = module::linear(x, weight.transpose(), bias);
        return match activation {
            Some(activation) => activate(y, activation),
            None => y,
        };
    }
    let bias = bias.unwrap_or_else(|| no_bias(&x));
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
