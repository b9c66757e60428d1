//! Two-dimensional convolution, alone and after doubling a picture.

mod extension;
mod flex;
mod gather;
mod pack;
mod plan;
mod runs;
mod tile;
mod upsampling;
mod weight;
mod window;

use burn::backend::Dispatch;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, module};

use crate::extension::has_kernel;
use crate::narrow::widen;
pub use extension::ConvolutionKernels;

/// Zeros around a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns on the left.
    pub left: usize,
    /// Columns on the right.
    pub right: usize,
}

impl Padding {
    /// The same on all sides.
    pub const fn all(padding: usize) -> Self {
        Self { top: padding, bottom: padding, left: padding, right: padding }
    }
}

/// What happens to a picture before it is convolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resampling {
    /// Nothing.
    None,
    /// Every pixel is repeated in both directions.
    Double,
}

/// How a convolution moves over its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvolutionOptions {
    /// Rows and columns between outputs, at least one.
    pub stride: [usize; 2],
    /// Zeros around the input.
    pub padding: Padding,
    resampling: Resampling,
}

impl ConvolutionOptions {
    /// The same in both directions.
    pub const fn new(stride: usize, padding: usize) -> Self {
        Self::with_padding(stride, Padding::all(padding))
    }

    /// Different sides.
    pub const fn with_padding(stride: usize, padding: Padding) -> Self {
        Self { stride: [stride; 2], padding, resampling: Resampling::None }
    }

    /// Height and width of the output.
    fn output(self, input: [usize; 2], kernel: [usize; 2]) -> [usize; 2] {
        let Padding { top, bottom, left, right } = self.padding;
        let zeros = [top + bottom, left + right];
        std::array::from_fn(|i| (input[i] + zeros[i] - kernel[i]) / self.stride[i] + 1)
    }
}

/// Cross-correlation, `y[o, r, c] = bias[o] + sum_i,k,l weight[o, i, k, l] x[i, s r + k - p, s c + l - p]`
/// with stride `s` and padding `p`.
///
/// # Shapes
/// - `x`: `[b, i, h, w]`
/// - `weight`: `[o, i, kh, kw]`
/// - `bias`: `[o]`
/// - output: `[b, o, (h + zeros - kh) / stride + 1, (w + zeros - kw) / stride + 1]`
///
/// # Panics
/// If channels do not agree, or the kernel is larger than the padded input.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvolutionOptions,
) -> Tensor<4> {
    let ([_, channels, height, width], [_, inputs, kh, kw]) = (x.dims(), weight.dims());
    let Padding { top, bottom, left, right } = options.padding;
    assert!(
        channels == inputs
            && (1..=height + top + bottom).contains(&kh)
            && (1..=width + left + right).contains(&kw)
            && options.stride.iter().all(|&stride| stride > 0),
        "conv2d: input {:?}, weight {:?}, {options:?}",
        x.dims(),
        weight.dims()
    );
    run(x, weight, bias, options, |x, weight, bias| {
        let x = x.pad((left, right, top, bottom), 0.0);
        module::conv2d(x, weight, bias, ConvOptions::new(options.stride, [0, 0], [1, 1], 1))
    })
}

/// [`conv2d`] with a 3x3 kernel and padding one of the picture that has every pixel of `x` twice
/// in both directions. That picture is never made.
///
/// # Shapes
/// - `x`: `[b, i, h, w]`
/// - `weight`: `[o, i, 3, 3]`
/// - `bias`: `[o]`
/// - output: `[b, o, 2 h, 2 w]`
///
/// # Panics
/// If channels do not agree, or the kernel has another size.
pub fn upsample_conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    let [_, channels, ..] = x.dims();
    let [outputs, ..] = weight.dims();
    assert!(
        weight.dims() == [outputs, channels, 3, 3],
        "upsample_conv2d: input {:?}, weight {:?}",
        x.dims(),
        weight.dims()
    );
    let mut options = ConvolutionOptions::new(1, 1);
    options.resampling = Resampling::Double;
    run(x, weight, bias, options, |x, weight, bias| {
        let [b, c, h, w] = x.dims();
        let x = x.reshape([b, c, h, 1, w, 1]).expand([b, c, h, 2, w, 2]);
        let x = x.reshape([b, c, 2 * h, 2 * w]);
        module::conv2d(x, weight, bias, ConvOptions::new([1, 1], [1, 1], [1, 1], 1))
    })
}

/// The kernel where there is one, otherwise the composition.
fn run(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvolutionOptions,
    compose: impl FnOnce(Tensor<4>, Tensor<4>, Option<Tensor<1>>) -> Tensor<4>,
) -> Tensor<4> {
    let [outputs, ..] = weight.dims();
    // Small beside the pictures: converted as a whole.
    let weight = if weight.dtype() == x.dtype() { weight } else { widen(weight).cast(x.dtype()) };
    if let Some(bias) = &bias {
        assert!(bias.dims() == [outputs], "a bias of {:?} for {outputs} channels", bias.dims());
    }
    if !(has_kernel(&x) && has_kernel(&weight) && bias.as_ref().is_none_or(has_kernel)) {
        return compose(x, weight, bias);
    }
    let bias = bias.unwrap_or_else(|| Tensor::zeros([outputs], &x.device()));
    Tensor::from_dispatch(<Dispatch as ConvolutionKernels>::fused_convolution(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        options,
    ))
}
