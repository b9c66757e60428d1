//! Dropout whose masks follow from the sample's own random stream.

use burn::tensor::{Tensor, TensorData};
use trefoil_core::Stream;

/// Masks for one pass over a batch.
#[derive(Debug)]
pub struct Masks {
    streams: Vec<Stream>,
    rate: f64,
}

impl Masks {
    /// One stream per picture of the batch, so that a picture's masks do not depend on the others.
    pub fn new(streams: Vec<Stream>, rate: f64) -> Self {
        Self { streams, rate }
    }

    /// Sets each value to zero with the chance `rate` and divides the others by `1 - rate`.
    ///
    /// # Shapes
    /// - `x`: `[B, C, H, W]`
    /// - returns: the same
    pub(super) fn apply(&mut self, x: Tensor<4>) -> Tensor<4> {
        if self.rate == 0.0 {
            return x;
        }
        let shape = x.dims();
        let count = shape[1..].iter().product();
        let (rate, kept) = (self.rate as f32, (1.0 - self.rate).recip() as f32);
        let draw = |stream: &mut Stream| stream.uniforms(count);
        let values: Vec<f32> = self
            .streams
            .iter_mut()
            .flat_map(draw)
            .map(|u| if u < rate { 0.0 } else { kept })
            .collect();
        let mask = Tensor::from_data(TensorData::new(values, shape), &x.device());
        x * mask
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use trefoil_core::Seed;

    use super::*;

    #[test]
    fn masks_keep_the_mean_and_follow_the_picture() {
        let streams = |range: std::ops::Range<u64>| range.map(|i| Seed(1).stream("d", i)).collect();
        let ones = |b| Tensor::<4>::ones([b, 8, 16, 16], &Device::flex());
        let both = Masks::new(streams(0..2), 0.25).apply(ones(2));
        let second = Masks::new(streams(1..2), 0.25).apply(ones(1));
        assert_eq!(both.clone().narrow(0, 1, 1).into_data(), second.into_data());
        let values: Vec<f32> = both.into_data().iter::<f32>().collect();
        assert!(values.iter().all(|&v| v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-6));
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((mean - 1.0).abs() < 0.04, "{mean}");
    }
}
