//! The convolutions as operations of a backend, and their gradients in the graph.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};

use super::{ConvolutionOptions, flex};
use crate::graph::{record, second_derivative};

/// ConvolutionKernels in f32. The functions of this crate are the way to call them: they choose the
/// framework's own operations for devices and precisions that have no kernel here.
#[backend_extension(Flex, Autodiff)]
pub trait ConvolutionKernels: Backend {
    /// [`conv2d`](crate::conv2d) with a bias.
    fn fused_convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvolutionOptions,
    ) -> FloatTensor<Self>;
    /// Gradient of `x`, whose height and width are `size`.
    fn fused_convolution_input_gradient(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: ConvolutionOptions,
        size: [usize; 2],
    ) -> FloatTensor<Self>;
    /// Gradients of the weight, whose height and width are `kernel`, and of the bias.
    fn fused_convolution_parameter_gradients(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: ConvolutionOptions,
        kernel: [usize; 2],
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

impl ConvolutionKernels for Flex {
    fn fused_convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvolutionOptions,
    ) -> FloatTensor<Self> {
        flex::forward(x, weight, bias, options)
    }

    fn fused_convolution_input_gradient(
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: ConvolutionOptions,
        size: [usize; 2],
    ) -> FloatTensor<Self> {
        flex::input_gradient(weight, grad, options, size)
    }

    fn fused_convolution_parameter_gradients(
        x: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: ConvolutionOptions,
        kernel: [usize; 2],
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        flex::parameter_gradients(x, grad, options, kernel)
    }
}

#[derive(Debug)]
struct ConvolutionStep(ConvolutionOptions);

impl<B: ConvolutionKernels> Backward<B, 3> for ConvolutionStep {
    /// Input and weight.
    type State = (FloatTensor<B>, FloatTensor<B>);

    /// Only what somebody asks for: data has no gradient, and frozen layers have no other.
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        let size = |tensor: &FloatTensor<B>| [tensor.shape()[2], tensor.shape()[3]];
        let ([x_size, kernel], options) = ([size(&x), size(&weight)], self.0);
        let [x_node, weight_node, bias_node] = ops.parents;
        if let Some(node) = x_node {
            let step = B::fused_convolution_input_gradient;
            grads.register::<B>(node.id, step(weight, grad.clone(), options, x_size));
        }
        if weight_node.is_some() || bias_node.is_some() {
            let step = B::fused_convolution_parameter_gradients;
            let (weight, bias) = step(x, grad, options, kernel);
            for (node, gradient) in [(weight_node, weight), (bias_node, bias)] {
                if let Some(node) = node {
                    grads.register::<B>(node.id, gradient);
                }
            }
        }
    }
}

impl<B: ConvolutionKernels, C: CheckpointStrategy> ConvolutionKernels for Autodiff<B, C> {
    fn fused_convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvolutionOptions,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        record!(
            ConvolutionStep(options),
            C,
            [x_node, weight_node, bias_node],
            (x.clone(), weight.clone()),
            B::fused_convolution(x, weight, bias, options)
        )
    }

    fn fused_convolution_input_gradient(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: ConvolutionOptions,
        _: [usize; 2],
    ) -> FloatTensor<Self> {
        second_derivative("a convolution")
    }

    fn fused_convolution_parameter_gradients(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: ConvolutionOptions,
        _: [usize; 2],
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        second_derivative("a convolution")
    }
}
