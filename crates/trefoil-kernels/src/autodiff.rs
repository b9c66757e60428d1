//! Registration of the kernels and their gradients in the graph.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::tensor::FloatTensor;

use crate::activation::Activation;
use crate::attention::{AttentionMask, PackedAttention};
use crate::extension::{Gradients3, Kernels};
use crate::group_norm::GroupNormOptions;

/// Adds each gradient to its parent, if that is tracked.
macro_rules! register {
    ($ops:expr, $grads:expr, $backend:ty, [$($gradient:expr),+]) => {
        for (parent, gradient) in $ops.parents.into_iter().zip([$($gradient),+]) {
            if let Some(parent) = parent {
                $grads.register::<$backend>(parent.id, gradient);
            }
        }
    };
}

/// Puts an operation with one output into the graph: the state is built only if it is needed.
macro_rules! record {
    ($step:expr, $strategy:ty, [$($node:ident),+], $state:expr, $output:expr) => {
        match $step.prepare::<$strategy>([$($node),+]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = $state;
                prep.finish(state, $output)
            }
            OpsKind::UnTracked(prep) => prep.finish($output),
        }
    };
}
pub(crate) use record;

/// Puts an operation with a saved by-product into the graph; the by-product is a constant there.
macro_rules! record_attention {
    ($step:expr, $strategy:ty, [$($node:ident),+], $inputs:expr, $outputs:expr) => {
        match $step.prepare::<$strategy>([$($node),+]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let inputs = $inputs;
                let (output, log_sums) = $outputs;
                let state = (inputs, output.clone(), log_sums.clone());
                (prep.finish(state, output), FloatTensor::<Self>::new(log_sums))
            }
            OpsKind::UnTracked(prep) => {
                let (output, log_sums) = $outputs;
                (prep.finish(output), FloatTensor::<Self>::new(log_sums))
            }
        }
    };
}

#[derive(Debug)]
struct ActivationStep(Activation);

impl<B: Kernels> Backward<B, 1> for ActivationStep {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let x = ops.state;
        let step = |grad| B::fused_activation_backward(x, grad, self.0);
        unary::<B, _>(ops.parents, ops.node, grads, step);
    }
}

#[derive(Debug)]
struct LayerNormStep {
    epsilon: f64,
}

impl<B: Kernels> Backward<B, 3> for LayerNormStep {
    /// Input and weight.
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        let (x, weight, bias) = B::fused_layer_norm_backward(x, weight, grad, self.epsilon);
        register!(ops, grads, B, [x, weight, bias]);
    }
}

#[derive(Debug)]
struct AddLayerNormStep {
    epsilon: f64,
}

impl<B: Kernels> Backward<B, 4> for AddLayerNormStep {
    /// Both summands and the weight.
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, residual, weight) = ops.state;
        let (sum, weight, bias) =
            B::fused_add_layer_norm_backward(x, residual, weight, grad, self.epsilon);
        register!(ops, grads, B, [sum.clone(), sum, weight, bias]);
    }
}

#[derive(Debug)]
struct GroupNormStep(GroupNormOptions);

impl<B: Kernels> Backward<B, 3> for GroupNormStep {
    /// Input, weight and bias.
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, bias) = ops.state;
        let (x, weight, bias) = B::fused_group_norm_backward(x, weight, bias, grad, self.0);
        register!(ops, grads, B, [x, weight, bias]);
    }
}

#[derive(Debug)]
struct SoftmaxStep;

impl<B: Kernels> Backward<B, 1> for SoftmaxStep {
    /// The output.
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let output = ops.state;
        let step = |grad| B::fused_softmax_backward(output, grad);
        unary::<B, _>(ops.parents, ops.node, grads, step);
    }
}

#[derive(Debug)]
struct AttentionStep(AttentionMask);

impl<B: Kernels> Backward<B, 3> for AttentionStep {
    /// Query, key and value; output; logarithms of the rows' sums.
    type State = (Gradients3<FloatTensor<B>>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ((query, key, value), output, log_sums) = ops.state;
        let (query, key, value) =
            B::fused_attention_backward(query, key, value, output, log_sums, grad, self.0);
        register!(ops, grads, B, [query, key, value]);
    }
}

#[derive(Debug)]
struct PackedAttentionStep(PackedAttention);

impl<B: Kernels> Backward<B, 1> for PackedAttentionStep {
    /// Packed input; output; logarithms of the rows' sums.
    type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (qkv, output, log_sums) = ops.state;
        let step = |grad| B::fused_packed_attention_backward(qkv, output, log_sums, grad, self.0);
        unary::<B, _>(ops.parents, ops.node, grads, step);
    }
}

/// A gradient that is itself recorded would need second derivatives.
pub(crate) fn second_derivative(operation: &str) -> ! {
    panic!("trefoil-kernels: the gradient of {operation} cannot be differentiated again");
}

impl<B: Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn fused_activation(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let step = ActivationStep(activation);
        record!(step, C, [node], x.clone(), B::fused_activation(x, activation))
    }

    fn fused_activation_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: Activation,
    ) -> FloatTensor<Self> {
        second_derivative("an activation")
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let step = LayerNormStep { epsilon };
        record!(
            step,
            C,
            [x_node, weight_node, bias_node],
            (x.clone(), weight.clone()),
            B::fused_layer_norm(x, weight, bias, epsilon)
        )
    }

    fn fused_layer_norm_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f64,
    ) -> Gradients3<FloatTensor<Self>> {
        second_derivative("layer_norm")
    }

    fn fused_add_layer_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (residual, residual_node)) = (x.into_parts(), residual.into_parts());
        let ((weight, weight_node), (bias, bias_node)) = (weight.into_parts(), bias.into_parts());
        let step = AddLayerNormStep { epsilon };
        record!(
            step,
            C,
            [x_node, residual_node, weight_node, bias_node],
            (x.clone(), residual.clone(), weight.clone()),
            B::fused_add_layer_norm(x, residual, weight, bias, epsilon)
        )
    }

    fn fused_add_layer_norm_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: f64,
    ) -> Gradients3<FloatTensor<Self>> {
        second_derivative("add_layer_norm")
    }

    fn fused_group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let step = GroupNormStep(options);
        record!(
            step,
            C,
            [x_node, weight_node, bias_node],
            (x.clone(), weight.clone(), bias.clone()),
            B::fused_group_norm(x, weight, bias, options)
        )
    }

    fn fused_group_norm_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: GroupNormOptions,
    ) -> Gradients3<FloatTensor<Self>> {
        second_derivative("group_norm")
    }

    fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let output = B::fused_softmax(x);
        record!(SoftmaxStep, C, [node], output.clone(), output)
    }

    fn fused_softmax_backward(_: FloatTensor<Self>, _: FloatTensor<Self>) -> FloatTensor<Self> {
        second_derivative("softmax")
    }

    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        mask: AttentionMask,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let ((query, query_node), (key, key_node)) = (query.into_parts(), key.into_parts());
        let (value, value_node) = value.into_parts();
        let step = AttentionStep(mask);
        record_attention!(
            step,
            C,
            [query_node, key_node, value_node],
            (query.clone(), key.clone(), value.clone()),
            B::fused_attention(query, key, value, mask)
        )
    }

    fn fused_attention_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: AttentionMask,
    ) -> Gradients3<FloatTensor<Self>> {
        second_derivative("attention")
    }

    fn fused_packed_attention(
        qkv: FloatTensor<Self>,
        options: PackedAttention,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (qkv, node) = qkv.into_parts();
        let step = PackedAttentionStep(options);
        record_attention!(step, C, [node], qkv.clone(), B::fused_packed_attention(qkv, options))
    }

    fn fused_packed_attention_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: PackedAttention,
    ) -> FloatTensor<Self> {
        second_derivative("packed_attention")
    }
}
