//! The convolutions and their gradients on tensors.

use burn::tensor::Shape;
use burn_flex::FlexTensor;

use super::gather::gather;
use super::plan::{Plan, Shapes};
use super::upsampling::{fold, unfold};
use super::weight::{bias_gradient, weight_gradient};
use super::{ConvolutionOptions, Resampling};
use crate::buffer::{contiguous, tensor_of};

/// `[b, o, h', w']`
pub(crate) fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    options: ConvolutionOptions,
) -> FlexTensor {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
    let ([batch, c, h, w], kernel) = (dims(&x), dims(&weight));
    let (x, bias): (&[f32], &[f32]) = (x.storage(), bias.storage());
    let weight: &[f32] = weight.storage();
    let (output, [height, width]) = match options.resampling {
        Resampling::None => {
            let shapes = Shapes::new([c, h, w], kernel, options);
            let plan = Plan::forward(shapes, options);
            let area = kernel[2] * kernel[3];
            (gather(&plan, x, weight, [c * area, area], bias), [shapes.output[1], shapes.output[2]])
        }
        Resampling::Double => {
            let plan = Plan::transpose(upsampled([c, h, w], kernel), UPSAMPLED);
            let unfolded = unfold(weight, kernel[0], c);
            (gather(&plan, x, &unfolded, [16, kernel[0] * 16], bias), [2 * h, 2 * w])
        }
    };
    tensor_of(output, Shape::from([batch, kernel[0], height, width]))
}

/// Gradient of the input, `[b, c, h, w]`.
pub(crate) fn input_gradient(
    weight: FlexTensor,
    grad: FlexTensor,
    options: ConvolutionOptions,
    [h, w]: [usize; 2],
) -> FlexTensor {
    let (weight, grad) = (contiguous(weight), contiguous(grad));
    let kernel @ [o, c, ..] = dims(&weight);
    let batch = dims(&grad)[0];
    let (weight, grad): (&[f32], &[f32]) = (weight.storage(), grad.storage());
    let zeros = vec![0.0; c];
    let gradient = match options.resampling {
        Resampling::None => {
            let plan = Plan::transpose(Shapes::new([c, h, w], kernel, options), options);
            let area = kernel[2] * kernel[3];
            gather(&plan, grad, weight, [area, c * area], &zeros)
        }
        Resampling::Double => {
            let plan = Plan::forward(upsampled([c, h, w], kernel), UPSAMPLED);
            gather(&plan, grad, &unfold(weight, o, c), [o * 16, 16], &zeros)
        }
    };
    tensor_of(gradient, Shape::from([batch, c, h, w]))
}

/// Gradients of the weight, `[o, c, kh, kw]`, and of the bias, `[o]`.
pub(crate) fn parameter_gradients(
    x: FlexTensor,
    grad: FlexTensor,
    options: ConvolutionOptions,
    [kh, kw]: [usize; 2],
) -> (FlexTensor, FlexTensor) {
    let (x, grad) = (contiguous(x), contiguous(grad));
    let ([_, c, h, w], [_, o, grad_h, grad_w]) = (dims(&x), dims(&grad));
    let kernel = [o, c, kh, kw];
    let (x, grad): (&[f32], &[f32]) = (x.storage(), grad.storage());
    let weight = match options.resampling {
        Resampling::None => {
            let plan = Plan::forward(Shapes::new([c, h, w], kernel, options), options);
            weight_gradient(&plan, x, grad)
        }
        Resampling::Double => {
            // The two sides have changed places, so this is `[c, o, 4, 4]`.
            let plan = Plan::forward(upsampled([c, h, w], kernel), UPSAMPLED);
            fold(&weight_gradient(&plan, grad, x), o, c)
        }
    };
    let bias = bias_gradient(grad, o, grad_h * grad_w);
    (tensor_of(weight, Shape::from(kernel)), tensor_of(bias, Shape::from([o])))
}

/// The convolution whose transpose is upsampling followed by a 3x3 convolution, see
/// [`upsampling`](super::upsampling).
const UPSAMPLED: ConvolutionOptions = ConvolutionOptions::new(2, 1);

/// Its shapes, from the shape before upsampling.
fn upsampled([c, h, w]: [usize; 3], [o, ..]: [usize; 4]) -> Shapes {
    Shapes { input: [o, 2 * h, 2 * w], output: [c, h, w], kernel: [4, 4] }
}

fn dims(tensor: &FlexTensor) -> [usize; 4] {
    std::array::from_fn(|i| tensor.layout().shape()[i])
}
