//! Where fresh weights come from: one stream, drawn in the order of construction.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

use crate::rng::{Seed, Stream};

/// Source of initial weights.
#[derive(Debug)]
pub struct Init {
    device: Device,
    stream: Option<Stream>,
}

impl Init {
    /// Random weights that follow from the seed and the order of construction.
    pub fn random(seed: Seed, device: &Device) -> Self {
        Self { device: device.clone(), stream: Some(seed.stream("init", 0)) }
    }

    /// Weights that a file replaces: they take memory only when they are used before that, as zeros and ones.
    pub fn zeros(device: &Device) -> Self {
        Self { device: device.clone(), stream: None }
    }

    /// The device that the weights live on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Normal with mean 0.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], std: f64) -> Param<Tensor<D>> {
        self.draw(shape, |stream, n| {
            let mut values = stream.normals(n);
            for value in &mut values {
                *value *= std as f32;
            }
            values
        })
    }

    /// Uniform in `[-bound, bound)`.
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        self.draw(shape, |stream, n| {
            let mut values = stream.uniforms(n);
            for value in &mut values {
                *value = (*value * 2.0 - 1.0) * bound as f32;
            }
            values
        })
    }

    /// One constant.
    pub fn full<const D: usize>(&mut self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        if self.stream.is_some() {
            return Param::from_tensor(Tensor::full(shape, value, &self.device));
        }
        let make = move |device: &Device, tracked: bool| {
            Tensor::full(shape, value, device).set_require_grad(tracked)
        };
        Param::uninitialized(ParamId::new(), make, self.device.clone(), true, shape.into())
    }

    fn draw<const D: usize>(
        &mut self,
        shape: [usize; D],
        draw: impl FnOnce(&mut Stream, usize) -> Vec<f32>,
    ) -> Param<Tensor<D>> {
        let Some(stream) = &mut self.stream else { return self.full(shape, 0.0) };
        let values = draw(stream, shape.iter().product());
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &self.device))
    }
}
