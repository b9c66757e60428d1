//! Group normalisation of images, alone and followed by SiLU.

mod adaptive;

use std::marker::PhantomData;

use burn::backend::Dispatch;
use burn::tensor::{Shape, Tensor, activation};
use burn_flex::FlexTensor;

use crate::activation::{Function, Identity, Silu};
use crate::buffer::{contiguous, map_chunks, tensor_of};
use crate::extension::{Gradients3, Kernels, has_kernel};
use crate::layer_norm::add_up;
use crate::simd::{Isa, Kernel, dispatch, moments, sum_of, sum_of_pairs};

pub use adaptive::{AdaptiveNormKernels, group_norm_scale_shift};

/// What follows a normalisation in the same pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormActivation {
    /// Nothing.
    Identity,
    /// `z sigmoid(z)`.
    Silu,
}

/// Everything about a group normalisation but its tensors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormOptions {
    /// Number of groups; divides the number of channels.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Applied to the result.
    pub activation: NormActivation,
}

/// `activation((x - mean) / sqrt(var + epsilon) * weight + bias)` with mean and biased variance of
/// each group of channels ([arXiv 1803.08494](https://arxiv.org/abs/1803.08494)).
///
/// # Shapes
/// - `x`: `[b, c, h, w]`
/// - `weight`, `bias`: `[c]`
/// - output: `[b, c, h, w]`
pub fn group_norm(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    options: GroupNormOptions,
) -> Tensor<4> {
    let (channels, groups) = (x.dims()[1], options.groups);
    let (weights, biases) = (weight.dims()[0], bias.dims()[0]);
    assert!(
        groups > 0 && channels % groups == 0 && channels == weights && channels == biases,
        "group_norm: {channels} channels, {groups} groups, weight {weights}, bias {biases}"
    );
    if !(has_kernel(&x) && has_kernel(&weight) && has_kernel(&bias)) {
        let as_image = |parameter: Tensor<1>| parameter.reshape([1, channels, 1, 1]);
        return compose(x, as_image(weight), as_image(bias), options);
    }
    Tensor::from_dispatch(<Dispatch as Kernels>::fused_group_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        options,
    ))
}

/// [`group_norm`] with its options spelt out.
///
/// # Shapes
/// - `x`: `[b, c, h, w]`
/// - `weight`, `bias`: `[c]`
/// - output: `[b, c, h, w]`
pub fn group_norm_silu(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    groups: usize,
    epsilon: f64,
) -> Tensor<4> {
    let activation = NormActivation::Silu;
    group_norm(x, weight, bias, GroupNormOptions { groups, epsilon, activation })
}

/// The same by the framework's operations, for other devices and precisions; the parameters are
/// `[1, c, 1, 1]` or `[b, c, 1, 1]`.
fn compose(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<4>,
    options: GroupNormOptions,
) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let x = x.reshape([b, options.groups, c / options.groups * h * w]); // [b, groups, n]
    let mean = x.clone().mean_dim(2);
    let centred = x - mean;
    let variance = (centred.clone() * centred.clone()).mean_dim(2);
    let normalised = centred / (variance + options.epsilon).sqrt();
    let normalised = normalised.reshape([b, c, h, w]);
    let output = normalised * weight + bias;
    match options.activation {
        NormActivation::Identity => output,
        NormActivation::Silu => activation::silu(output),
    }
}

/// One group of one image, its channels one after the other.
struct Forward<'a, F> {
    group: &'a mut [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
    activation: PhantomData<F>,
}

impl<F: Function> Kernel for Forward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let (mean, reciprocal) = moments(self.group, self.epsilon);
        let area = self.group.len() / self.weight.len();
        let parameters = self.weight.iter().zip(self.bias);
        for (channel, (&weight, &bias)) in self.group.chunks_exact_mut(area).zip(parameters) {
            for x in channel {
                *x = F::value::<I>(I::mul_add((*x - mean) * reciprocal, weight, bias));
            }
        }
    }
}

/// With `n = (x - mean) / std`, `z = n weight + bias` and `dz = dy f'(z)`: per channel
/// `dweight = sum dz n`, `dbias = sum dz`; and `dx = (g - mean(g) - n mean(g n)) / std` with
/// `g = dz weight`, whose means follow from the channels' sums.
struct Backward<'a, F> {
    x: &'a [f32],
    /// The gradient of the output, which becomes that of the input.
    grad: &'a mut [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    epsilon: f32,
    activation: PhantomData<F>,
}

impl<F: Function> Kernel for Backward<'_, F> {
    /// Gradients of the weights and the biases of the group's channels.
    type Output = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn run<I: Isa>(self) -> Self::Output {
        let (mean, reciprocal) = moments(self.x, self.epsilon);
        let (count, channels) = (self.x.len() as f32, self.weight.len());
        let area = self.x.len() / channels;
        let (mut weight_grads, mut bias_grads) = (vec![0.0; channels], vec![0.0; channels]);
        let (mut first, mut second) = (0.0, 0.0);
        for c in 0..channels {
            let (weight, bias) = (self.weight[c], self.bias[c]);
            let x = &self.x[c * area..][..area];
            let grad = &mut self.grad[c * area..][..area];
            for (grad, &x) in grad.iter_mut().zip(x) {
                *grad *= F::derivative::<I>(I::mul_add((x - mean) * reciprocal, weight, bias));
            }
            weight_grads[c] = sum_of_pairs(grad, x, |grad, x| grad * ((x - mean) * reciprocal));
            bias_grads[c] = sum_of(grad, |grad| grad);
            first += weight * bias_grads[c];
            second += weight * weight_grads[c];
        }
        let (first, second) = (first / count, second / count);
        for c in 0..channels {
            let weight = self.weight[c];
            let x = &self.x[c * area..][..area];
            for (grad, &x) in self.grad[c * area..][..area].iter_mut().zip(x) {
                let normalised = (x - mean) * reciprocal;
                let direct = I::mul_add(*grad, weight, -first);
                *grad = reciprocal * I::mul_add(-normalised, second, direct);
            }
        }
        (weight_grads, bias_grads)
    }
}

pub(crate) fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    options: GroupNormOptions,
) -> FlexTensor {
    let (weight, bias) = (contiguous(weight), contiguous(bias));
    normalise(x, [weight.storage(), bias.storage()], options)
}

/// The parameters are those of all channels, `[c]`, or of all channels of all images, `[b c]`.
fn normalise(x: FlexTensor, [weight, bias]: [&[f32]; 2], options: GroupNormOptions) -> FlexTensor {
    let size = GroupSize::new(&x, options.groups);
    let epsilon = options.epsilon as f32;
    let step = |i: usize, group: &mut [f32]| {
        let (weight, bias) = (size.of_group(weight, i), size.of_group(bias, i));
        match options.activation {
            NormActivation::Identity => {
                dispatch(Forward::<Identity> {
                    group,
                    weight,
                    bias,
                    epsilon,
                    activation: PhantomData,
                });
            }
            NormActivation::Silu => {
                dispatch(Forward::<Silu> { group, weight, bias, epsilon, activation: PhantomData });
            }
        }
    };
    map_chunks(x, size.elements, step).0
}

/// Gradients of the input, the weight and the bias; the last two are added up over the images in
/// their order.
pub(crate) fn backward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    grad: FlexTensor,
    options: GroupNormOptions,
) -> Gradients3<FlexTensor> {
    let (weight, bias) = (contiguous(weight), contiguous(bias));
    let parameters = [weight.storage(), bias.storage()];
    let (grad, weight_grads, bias_grads) = gradients(x, parameters, grad, options);
    let channels = parameters[0].len();
    let sum = |images: &[Vec<f32>]| tensor_of(add_up(images, channels), Shape::from([channels]));
    (grad, sum(&weight_grads), sum(&bias_grads))
}

/// Gradients of the input, and of the parameters that each image was treated with; parameters as
/// in [`normalise`].
fn gradients(
    x: FlexTensor,
    [weight, bias]: [&[f32]; 2],
    grad: FlexTensor,
    options: GroupNormOptions,
) -> (FlexTensor, Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let x = contiguous(x);
    let size = GroupSize::new(&x, options.groups);
    let x: &[f32] = x.storage();
    let epsilon = options.epsilon as f32;
    let (grad, partials) = map_chunks(grad, size.elements, |i, grad| {
        let x = &x[i * size.elements..][..grad.len()];
        let (weight, bias) = (size.of_group(weight, i), size.of_group(bias, i));
        match options.activation {
            NormActivation::Identity => dispatch(Backward::<Identity> {
                x,
                grad,
                weight,
                bias,
                epsilon,
                activation: PhantomData,
            }),
            NormActivation::Silu => dispatch(Backward::<Silu> {
                x,
                grad,
                weight,
                bias,
                epsilon,
                activation: PhantomData,
            }),
        }
    });
    let per_image = |part: fn(&Partial) -> &Vec<f32>| -> Vec<Vec<f32>> {
        let images = partials.chunks(options.groups);
        images.map(|groups| groups.iter().flat_map(part).copied().collect()).collect()
    };
    (grad, per_image(|partial| &partial.0), per_image(|partial| &partial.1))
}

/// Of one group: the gradients of its channels' weights and of their biases.
type Partial = (Vec<f32>, Vec<f32>);

/// How groups lie in a row-major image batch.
struct GroupSize {
    channels: usize,
    elements: usize,
}

impl GroupSize {
    fn new(x: &FlexTensor, groups: usize) -> Self {
        let shape = x.layout().shape();
        let channels = shape[1] / groups;
        Self { channels, elements: channels * shape[2] * shape[3] }
    }

    /// The parameters of the channels of group number `index`, counted through all images.
    fn of_group<'a>(&self, parameters: &'a [f32], index: usize) -> &'a [f32] {
        let groups = parameters.len() / self.channels;
        &parameters[index % groups * self.channels..][..self.channels]
    }
}
