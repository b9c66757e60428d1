//! Registration of the linear layer and its gradients in the graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;

use super::LinearKernels;
use crate::activation::Activation;
use crate::extension::Gradients3;
use crate::graph::{OpsKind, second_derivative};

#[derive(Debug)]
struct LinearStep(Option<Activation>);

impl<B: LinearKernels> Backward<B, 3> for LinearStep {
    /// Input, weight, and the argument of the activation.
    type State = (FloatTensor<B>, FloatTensor<B>, Option<FloatTensor<B>>);

    /// Computes the gradients of tracked parents only: each costs a product.
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, argument) = ops.state;
        let argument = argument.unwrap_or_else(|| x.clone());
        let tracked = ops.parents.each_ref().map(Option::is_some);
        let (x, weight, bias) =
            B::fused_linear_backward(x, weight, argument, grad, self.0, tracked);
        for (parent, gradient) in ops.parents.into_iter().zip([x, weight, bias]) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: LinearKernels, C: CheckpointStrategy> LinearKernels for Autodiff<B, C> {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Option<Activation>,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let nodes = [x_node, weight_node, bias_node];
        match LinearStep(activation).prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::UnTracked(prep) => prep.finish(B::fused_linear(x, weight, bias, activation)),
            OpsKind::Tracked(prep) => {
                let inputs = (x.clone(), weight.clone());
                let (output, argument) = match activation {
                    None => (B::fused_linear(x, weight, bias, None), None),
                    Some(activation) => {
                        let (output, argument) =
                            B::fused_linear_with_argument(x, weight, bias, activation);
                        (output, Some(argument))
                    }
                };
                prep.finish((inputs.0, inputs.1, argument), output)
            }
        }
    }

    fn fused_linear_with_argument(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        activation: Activation,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let output = Self::fused_linear(x.clone(), weight.clone(), bias.clone(), Some(activation));
        (output, Self::fused_linear(x, weight, bias, None))
    }

    fn fused_linear_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Option<Activation>,
        _: [bool; 3],
    ) -> Gradients3<Option<FloatTensor<Self>>> {
        second_derivative("linear")
    }
}
