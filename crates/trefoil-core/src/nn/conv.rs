//! Two-dimensional convolution.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
pub use trefoil_kernels::Padding;
use trefoil_kernels::{ConvolutionOptions, conv2d, upsample_conv2d};

use super::init::Init;
use super::linear::Bias;

/// How a convolution moves over its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Side of the square kernel.
    pub kernel: usize,
    /// Step between outputs.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
    /// Whether it has a bias.
    pub bias: Bias,
}

impl Conv2dOptions {
    /// Stride one with the padding that keeps the size of an odd kernel.
    pub fn same(kernel: usize) -> Self {
        Self { kernel, stride: 1, padding: kernel / 2, bias: Bias::Yes }
    }

    /// Non-overlapping patches.
    pub fn patches(kernel: usize, bias: Bias) -> Self {
        Self { kernel, stride: kernel, padding: 0, bias }
    }
}

/// Cross-correlation with a bias, as PyTorch's `Conv2d`.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[out, in, k, k]`
    pub weight: Param<Tensor<4>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Step between outputs.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
}

impl Conv2d {
    /// A fresh layer, uniform within `1 / sqrt(fan_in)`.
    pub fn new(init: &mut Init, [c_in, c_out]: [usize; 2], options: Conv2dOptions) -> Self {
        let Conv2dOptions { kernel, stride, padding, bias } = options;
        let bound = ((c_in * kernel * kernel) as f64).sqrt().recip();
        Self {
            weight: init.uniform([c_out, c_in, kernel, kernel], bound),
            bias: (bias == Bias::Yes).then(|| init.uniform([c_out], bound)),
            stride,
            padding,
        }
    }

    /// # Shapes
    /// - `x`: `[B, in, H, W]`
    /// - returns: `[B, out, H', W']`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_padded(x, Padding::all(self.padding))
    }

    /// [`forward`](Self::forward) with other zeros around the input.
    pub fn forward_padded(&self, x: Tensor<4>, padding: Padding) -> Tensor<4> {
        let options = ConvolutionOptions::with_padding(self.stride, padding);
        conv2d(x, self.weight.val(), self.bias.as_ref().map(Param::val), options)
    }

    /// A 3x3 convolution of the picture that has every pixel twice in both directions.
    ///
    /// # Shapes
    /// - `x`: `[B, in, H, W]`
    /// - returns: `[B, out, 2H, 2W]`
    pub fn forward_upsampled(&self, x: Tensor<4>) -> Tensor<4> {
        upsample_conv2d(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }
}
