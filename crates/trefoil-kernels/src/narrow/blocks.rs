//! Eight-bit weights, made where they stay.

use burn::backend::{BackendTensor, DispatchTensorKind};
use burn::tensor::quantization::{QuantMode, QuantScheme, QuantStore, QuantValue, ScaleDtype};
use burn::tensor::{DType, Device, Tensor, TensorData};
use burn_flex::{FlexQTensor, FlexTensor};

use crate::pages::Pages;

/// A weight in integers from -127 to 127, in blocks with a scale each: `w = q s`.
#[derive(Debug)]
pub struct Blocks {
    shape: Vec<usize>,
    sides: Vec<u8>,
    /// All integers in the order of the shape.
    pub values: Pages<i8>,
    /// The scale of each block, in the same order.
    pub scales: Vec<f32>,
}

impl Blocks {
    /// Zeros in this shape, with blocks of these sides: ones, then a part of one axis, then whole axes.
    pub fn zeros(shape: &[usize], sides: &[u8]) -> Self {
        let count: usize = shape.iter().product();
        let run: usize = sides.iter().map(|&side| usize::from(side)).product();
        Self {
            shape: shape.to_vec(),
            sides: sides.to_vec(),
            values: Pages::zeros(count),
            scales: vec![0.0; count / run.max(1)],
        }
    }

    /// Its axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The weight on a device. On the CPU nothing is copied.
    ///
    /// # Shapes
    /// - output: [`Self::shape`], which must have `D` axes
    pub fn into_tensor<const D: usize>(self, device: &Device) -> Tensor<D> {
        if *device != Device::flex() {
            return Tensor::from_data(self.into_data(), device);
        }
        // The framework's own way splits the scales off one buffer, and keeps the room that they had.
        let scheme = self.scheme();
        let values = TensorData::from_bytes(self.values.into_bytes(), self.shape, DType::I8);
        let quantized = FlexQTensor::new(FlexTensor::from_data(values), scheme, self.scales, None);
        let mut tensor = Tensor::<1>::empty([0], device).into_dispatch();
        tensor.kind = DispatchTensorKind::Flex(BackendTensor::Quantized(quantized));
        Tensor::from_dispatch(tensor)
    }

    /// The framework's layout: the integers, and behind them the scales.
    pub fn into_data(mut self) -> TensorData {
        let scheme = self.scheme();
        let values = self.values.as_mut_slice().iter().map(|value| value.cast_unsigned());
        let scales = self.scales.iter().flat_map(|scale| scale.to_ne_bytes());
        let bytes = values.chain(scales).collect();
        TensorData::from_bytes_vec(bytes, self.shape, DType::QFloat(scheme))
    }

    fn scheme(&self) -> QuantScheme {
        QuantScheme::default()
            .with_mode(QuantMode::Symmetric)
            .with_value(QuantValue::Q8S)
            .with_store(QuantStore::Native)
            .per_block(&self.sides, ScaleDtype::F32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_has_the_numbers_of_its_blocks() {
        let device = Device::flex();
        let make = || {
            let mut blocks = Blocks::zeros(&[3, 64], &[1, 32]);
            for (i, value) in blocks.values.as_mut_slice().iter_mut().enumerate() {
                *value = (i % 255) as i8;
            }
            for (i, scale) in blocks.scales.iter_mut().enumerate() {
                *scale = 0.5 + i as f32;
            }
            blocks
        };
        assert_eq!(make().scales.len(), 6);
        let ours = make().into_tensor::<2>(&device);
        let theirs = Tensor::<2>::from_data(make().into_data(), &device);
        assert_eq!(ours.dtype(), theirs.dtype());
        assert_eq!(ours.clone().into_data(), theirs.clone().into_data());
        let exact: Vec<f32> =
            (0..192).map(|i| f32::from((i % 255) as i8) * (0.5 + (i / 32) as f32)).collect();
        assert_eq!(ours.dequantize().into_data().try_into_vec::<f32>().unwrap(), exact);
        assert_eq!(theirs.dequantize().into_data().try_into_vec::<f32>().unwrap(), exact);
    }
}
