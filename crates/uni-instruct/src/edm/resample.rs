//! Half and twice the size, with the filters of the networks.
//!
//! Both are depthwise: every channel is a picture of its own. The smooth filter `[1, 3, 3, 1]` after
//! doubling with zeros is the same as `[1, 2, 1]` after repeating every pixel.

use burn::tensor::{Tensor, TensorData};
use trefoil_kernels::{ConvolutionOptions, conv2d, upsample_conv2d};

use super::config::Filter;

/// # Shapes
/// - `x`: `[B, C, H, W]` with even sides
/// - returns: `[B, C, H/2, W/2]`
pub(super) fn halve(x: Tensor<4>, filter: Filter) -> Tensor<4> {
    let padding = filter.taps().len() / 2 - 1;
    strided(x, filter, padding)
}

/// The filter and every second value, after the caller has added what is needed around the picture.
pub(super) fn halve_padded(x: Tensor<4>, filter: Filter) -> Tensor<4> {
    strided(x, filter, 0)
}

fn strided(x: Tensor<4>, filter: Filter, padding: usize) -> Tensor<4> {
    let weight = kernel(filter.taps(), &x);
    depthwise(x, |x| conv2d(x, weight, None, ConvolutionOptions::new(2, padding)))
}

/// # Shapes
/// - `x`: `[B, C, H, W]`
/// - returns: `[B, C, 2H, 2W]`
pub(super) fn double(x: Tensor<4>, filter: Filter) -> Tensor<4> {
    match filter {
        Filter::Box => {
            let [b, c, h, w] = x.dims();
            x.reshape([b, c, h, 1, w, 1]).expand([b, c, h, 2, w, 2]).reshape([b, c, 2 * h, 2 * w])
        }
        Filter::Smooth => {
            let weight = kernel(&[0.25, 0.5, 0.25], &x);
            depthwise(x, |x| upsample_conv2d(x, weight, None))
        }
    }
}

/// The outer product of the taps with themselves, `[1, 1, k, k]`.
fn kernel(taps: &[f32], x: &Tensor<4>) -> Tensor<4> {
    let values: Vec<f32> = taps.iter().flat_map(|a| taps.iter().map(move |b| a * b)).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, taps.len(), taps.len()]), &x.device())
}

fn depthwise(x: Tensor<4>, f: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let y = f(x.reshape([b * c, 1, h, w]));
    let [_, _, h, w] = y.dims();
    y.reshape([b, c, h, w])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tolerance};

    fn row(values: &[f32], [h, w]: [usize; 2]) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, 1, h, w]), &Device::flex())
    }

    #[test]
    fn boxes_average_and_repeat() {
        let x = row(&[1.0, 3.0, 5.0, 7.0], [2, 2]);
        let small = halve(x.clone(), Filter::Box).into_data();
        small.assert_approx_eq::<f32>(&row(&[4.0], [1, 1]).into_data(), Tolerance::absolute(1e-6));
        let large = double(x, Filter::Box).into_data();
        let expected = [1., 1., 3., 3., 1., 1., 3., 3., 5., 5., 7., 7., 5., 5., 7., 7.];
        large.assert_approx_eq::<f32>(
            &row(&expected, [4, 4]).into_data(),
            Tolerance::absolute(1e-6),
        );
    }

    /// Along a constant direction the two-dimensional filter is the one-dimensional one; inside of the
    /// picture its taps sum to one.
    #[test]
    fn the_smooth_filter_is_that_of_the_transposed_convolution() {
        let line = [0.0, 4.0, 8.0, 0.0, 16.0, 4.0];
        let values: Vec<f32> = (0..6).flat_map(|_| line).collect();
        let large = double(row(&values, [6, 6]), Filter::Smooth);
        let middle: Vec<f32> = large.narrow(2, 5, 1).into_data().iter::<f32>().collect();
        // out[2i] = (x[i-1] + 3 x[i]) / 4, out[2i+1] = (3 x[i] + x[i+1]) / 4, zeros outside
        let expected = [0., 1., 3., 5., 7., 6., 2., 4., 12., 13., 7., 3.];
        for (a, b) in middle.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "{middle:?}");
        }
        let small = halve(row(&values, [6, 6]), Filter::Smooth);
        let middle: Vec<f32> = small.narrow(2, 1, 1).into_data().iter::<f32>().collect();
        // (x[2i-1] + 3 x[2i] + 3 x[2i+1] + x[2i+2]) / 8
        for (a, b) in middle.iter().zip([2.5, 5.5, 7.5]) {
            assert!((a - b).abs() < 1e-5, "{middle:?}");
        }
    }
}
