//! The kernels as operations of a backend.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DispatchTensorKind, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_flex::FlexTensor;

use crate::activation::{self, Activation};
use crate::attention::{AttentionMask, PackedAttention};
use crate::attention_flex::{self, Saved};
use crate::group_norm::{self, GroupNormOptions};
use crate::{layer_norm, softmax};

/// Gradients of three tensors.
pub type Gradients3<T> = (T, T, T);

/// Fused operations in f32. The functions of this crate are the way to call them: they choose the
/// framework's own operations for devices and precisions that have no kernel here.
///
/// Each operation is followed by its gradient, whose last tensor is that of the output.
#[backend_extension(Flex, Autodiff)]
pub trait Kernels: Backend {
    /// An [`Activation`].
    fn fused_activation(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
    /// Gradient of `x`.
    fn fused_activation_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self>;

    /// [`layer_norm`](crate::layer_norm()).
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
    /// Gradients of `x`, weight and bias.
    fn fused_layer_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// [`add_layer_norm`](crate::add_layer_norm).
    fn fused_add_layer_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;
    /// Gradients of the sum (that of either summand), weight and bias.
    fn fused_add_layer_norm_backward(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// [`group_norm`](crate::group_norm()).
    fn fused_group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> FloatTensor<Self>;
    /// Gradients of `x`, weight and bias.
    fn fused_group_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// [`softmax`](crate::softmax()).
    fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradient of the input, from the output.
    fn fused_softmax_backward(
        output: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// [`attention`](crate::attention()), and the logarithm of each row's sum of exponentials.
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        mask: AttentionMask,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Gradients of query, key and value.
    fn fused_attention_backward(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        output: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        mask: AttentionMask,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// [`packed_attention`](crate::packed_attention), and the logarithm of each row's sum.
    fn fused_packed_attention(
        qkv: FloatTensor<Self>,
        options: PackedAttention,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Gradient of the packed tensor.
    fn fused_packed_attention_backward(
        qkv: FloatTensor<Self>,
        output: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: PackedAttention,
    ) -> FloatTensor<Self>;
}

/// Whether a tensor is where the kernels are, and in their precision.
pub(crate) fn has_kernel<const D: usize>(tensor: &Tensor<D>) -> bool {
    let tensor = tensor.clone().into_dispatch();
    let on_flex = match &tensor.kind {
        DispatchTensorKind::Autodiff(inner) => matches!(**inner, DispatchTensorKind::Flex(_)),
        kind => matches!(kind, DispatchTensorKind::Flex(_)),
    };
    on_flex && tensor.kind.dtype() == DType::F32
}

/// Whether a tensor is in f32 on the Flex device itself, where no gradient is asked for.
pub(crate) fn is_plain<const D: usize>(tensor: &Tensor<D>) -> bool {
    let tensor = tensor.clone().into_dispatch();
    matches!(tensor.kind, DispatchTensorKind::Flex(_)) && tensor.kind.dtype() == DType::F32
}

/// The Flex tensor behind a tensor.
///
/// # Panics
/// If it is elsewhere: [`is_plain`] tells.
pub(crate) fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    tensor.try_into_primitive::<Flex>().expect("a tensor of the Flex device")
}

impl Kernels for Flex {
    fn fused_activation(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        activation::forward(x, activation)
    }

    fn fused_activation_backward(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        activation::backward(x, grad, activation)
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        layer_norm::forward(x, weight, bias, epsilon)
    }

    fn fused_layer_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> Gradients3<FloatTensor<Self>> {
        layer_norm::backward(x, weight, grad, epsilon)
    }

    fn fused_add_layer_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        layer_norm::add_forward(x, residual, weight, bias, epsilon)
    }

    fn fused_add_layer_norm_backward(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> Gradients3<FloatTensor<Self>> {
        layer_norm::add_backward(x, residual, weight, grad, epsilon)
    }

    fn fused_group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> FloatTensor<Self> {
        group_norm::forward(x, weight, bias, options)
    }

    fn fused_group_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> Gradients3<FloatTensor<Self>> {
        group_norm::backward(x, weight, bias, grad, options)
    }

    fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        softmax::forward(x)
    }

    fn fused_softmax_backward(
        output: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        softmax::backward(output, grad)
    }

    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        mask: AttentionMask,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention_flex::forward(query, key, value, mask)
    }

    fn fused_attention_backward(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        output: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        mask: AttentionMask,
    ) -> Gradients3<FloatTensor<Self>> {
        attention_flex::backward(Saved { query, key, value, output, log_sums }, grad, mask)
    }

    fn fused_packed_attention(
        qkv: FloatTensor<Self>,
        options: PackedAttention,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        attention_flex::packed_forward(qkv, options)
    }

    fn fused_packed_attention_backward(
        qkv: FloatTensor<Self>,
        output: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: PackedAttention,
    ) -> FloatTensor<Self> {
        attention_flex::packed_backward(qkv, output, log_sums, grad, options)
    }
}
