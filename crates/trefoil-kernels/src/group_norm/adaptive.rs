//! Group normalisation whose result each image scales and shifts in its own way.

#![expect(
    clippy::type_complexity,
    reason = "the macro of the backend extension reads tuples, not names of them"
)]

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Shape, Tensor};
use burn_flex::FlexTensor;

use super::{GroupNormOptions, compose, gradients, normalise};
use crate::buffer::{contiguous, tensor_of};
use crate::extension::has_kernel;
use crate::graph::{record, register, second_derivative};

/// Gradients of all five tensors.
type Gradients5<T> = (T, T, T, T, T);

/// `activation(GN(x) (1 + scale) + shift)` with [`group_norm`](crate::group_norm()) `GN`, and a
/// scale and a shift per image and channel: how the residual blocks of a diffusion network take
/// in the noise level ([arXiv 2105.05233](https://arxiv.org/abs/2105.05233), section 3.1).
///
/// Both affine maps are one, with weight `w (1 + scale)` and bias `b (1 + scale) + shift`.
///
/// # Shapes
/// - `x`: `[b, c, h, w]`
/// - `[weight, bias]`: `[c]` each
/// - `[scale, shift]`: `[b, c]` each
/// - output: `[b, c, h, w]`
///
/// # Panics
/// If the shapes do not agree.
pub fn group_norm_scale_shift(
    x: Tensor<4>,
    [weight, bias]: [Tensor<1>; 2],
    [scale, shift]: [Tensor<2>; 2],
    options: GroupNormOptions,
) -> Tensor<4> {
    let [b, c, _, _] = x.dims();
    let groups = options.groups;
    let (of_channels, of_images) =
        ([weight.dims(), bias.dims()].concat(), [scale.dims(), shift.dims()]);
    assert!(
        groups > 0 && c % groups == 0 && of_channels == [c, c] && of_images == [[b, c]; 2],
        "group_norm_scale_shift: {b} images of {c} channels, {groups} groups, weight and bias \
         {of_channels:?}, scale and shift {of_images:?}"
    );
    let one_dimensional = has_kernel(&weight) && has_kernel(&bias);
    if !(has_kernel(&x) && one_dimensional && has_kernel(&scale) && has_kernel(&shift)) {
        let scale = scale.reshape([b, c, 1, 1]) + 1.0;
        let weight = weight.reshape([1, c, 1, 1]) * scale.clone();
        let bias = bias.reshape([1, c, 1, 1]) * scale + shift.reshape([b, c, 1, 1]);
        return compose(x, weight, bias, options);
    }
    Tensor::from_dispatch(<Dispatch as AdaptiveNormKernels>::fused_adaptive_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        scale.into_dispatch(),
        shift.into_dispatch(),
        options,
    ))
}

/// [`group_norm_scale_shift`] in f32, which is the way to call it.
#[backend_extension(Flex, Autodiff)]
pub trait AdaptiveNormKernels: Backend {
    /// The operation.
    fn fused_adaptive_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> FloatTensor<Self>;
    /// Gradients of `x`, weight, bias, scale and shift.
    fn fused_adaptive_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
        FloatTensor<Self>,
    );
}

impl AdaptiveNormKernels for Flex {
    fn fused_adaptive_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> FloatTensor<Self> {
        let affine = Affine::new(weight, bias, scale, shift);
        normalise(x, [&affine.weight(), &affine.bias()], options)
    }

    fn fused_adaptive_norm_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> Gradients5<FloatTensor<Self>> {
        let affine = Affine::new(weight, bias, scale, shift);
        let (grad, weights, biases) =
            gradients(x, [&affine.weight(), &affine.bias()], grad, options);
        affine.split(grad, &weights.concat(), biases.concat())
    }
}

/// The parameters, contiguous.
struct Affine {
    weight: FlexTensor,
    bias: FlexTensor,
    scale: FlexTensor,
    shift: FlexTensor,
}

impl Affine {
    fn new(weight: FlexTensor, bias: FlexTensor, scale: FlexTensor, shift: FlexTensor) -> Self {
        let [weight, bias, scale, shift] = [weight, bias, scale, shift].map(contiguous);
        Self { weight, bias, scale, shift }
    }

    /// `[b c]` numbers, each made of a parameter of its channel and of a scale.
    fn per_image(&self, parameter: &FlexTensor, f: impl Fn(f32, f32) -> f32) -> Vec<f32> {
        let parameter: &[f32] = parameter.storage();
        let scales: &[f32] = self.scale.storage();
        scales.iter().zip(parameter.iter().cycle()).map(|(&s, &p)| f(s, p)).collect()
    }

    /// `w (1 + scale)`.
    fn weight(&self) -> Vec<f32> {
        self.per_image(&self.weight, |scale, weight| weight * (1.0 + scale))
    }

    /// `b (1 + scale) + shift`.
    fn bias(&self) -> Vec<f32> {
        let mut bias = self.per_image(&self.bias, |scale, bias| bias * (1.0 + scale));
        for (bias, shift) in bias.iter_mut().zip(self.shift.storage::<f32>()) {
            *bias += shift;
        }
        bias
    }

    /// From the gradients of the joint weight and bias, `[b c]`, to those of the parameters; sums
    /// over the images run in their order.
    fn split(&self, x: FlexTensor, weights: &[f32], biases: Vec<f32>) -> Gradients5<FlexTensor> {
        let (weight, bias): (&[f32], &[f32]) = (self.weight.storage(), self.bias.storage());
        let scales: &[f32] = self.scale.storage();
        let channels = weight.len();
        let (mut weight_grad, mut bias_grad) = (vec![0.0; channels], vec![0.0; channels]);
        let mut scale_grad = Vec::with_capacity(scales.len());
        for (i, &scale) in scales.iter().enumerate() {
            let c = i % channels;
            weight_grad[c] += weights[i] * (1.0 + scale);
            bias_grad[c] += biases[i] * (1.0 + scale);
            scale_grad.push(weights[i] * weight[c] + biases[i] * bias[c]);
        }
        let shape = self.scale.layout().shape();
        (
            x,
            tensor_of(weight_grad, Shape::from([channels])),
            tensor_of(bias_grad, Shape::from([channels])),
            tensor_of(scale_grad, shape.clone()),
            tensor_of(biases, shape.clone()),
        )
    }
}

#[derive(Debug)]
struct AdaptiveNormStep(GroupNormOptions);

impl<B: AdaptiveNormKernels> Backward<B, 5> for AdaptiveNormStep {
    /// All inputs.
    type State = Gradients5<FloatTensor<B>>;

    fn backward(self, ops: Ops<Self::State, 5>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, bias, scale, shift) = ops.state;
        let (x, weight, bias, scale, shift) =
            B::fused_adaptive_norm_backward(x, weight, bias, scale, shift, grad, self.0);
        register!(ops, grads, B, [x, weight, bias, scale, shift]);
    }
}

impl<B: AdaptiveNormKernels, C: CheckpointStrategy> AdaptiveNormKernels for Autodiff<B, C> {
    fn fused_adaptive_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let ((scale, scale_node), (shift, shift_node)) = (scale.into_parts(), shift.into_parts());
        let step = AdaptiveNormStep(options);
        record!(
            step,
            C,
            [x_node, weight_node, bias_node, scale_node, shift_node],
            (x.clone(), weight.clone(), bias.clone(), scale.clone(), shift.clone()),
            B::fused_adaptive_norm(x, weight, bias, scale, shift, options)
        )
    }

    fn fused_adaptive_norm_backward(
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: FloatTensor<Self>,
        _: GroupNormOptions,
    ) -> Gradients5<FloatTensor<Self>> {
        second_derivative("group_norm_scale_shift")
    }
}
