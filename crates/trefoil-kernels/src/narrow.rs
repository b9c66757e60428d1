//! Weights that are held in 16 or 8 bits, and read as 32-bit floats where they are used.
//!
//! A weight in `bf16`, `f16` or blocks of eight-bit integers with a scale each stays so in memory. Matrix products
//! convert the part that a tile needs into a buffer that stays in the cache; sums, activations and everything
//! between the layers are f32.

mod blocks;
mod factor;
mod numbers;

use burn::backend::{BackendTensor, DispatchTensorKind, Flex, TensorMetadata};
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_flex::{FlexQTensor, FlexTensor};
use half::{bf16, f16};
use rayon::prelude::*;

pub use self::blocks::Blocks;
pub(crate) use self::factor::{NarrowFactor, Order};
use self::numbers::Numbers;
use crate::buffer::{BLOCK, tensor_of};

/// A tensor on the Flex device whose numbers are narrower than f32, without gaps.
pub(crate) struct Narrow(Held);

enum Held {
    Half(FlexTensor),
    /// Every run of this many numbers has one scale.
    Quantized(FlexQTensor, usize),
}

impl Narrow {
    /// Nothing for other devices and other number formats.
    pub(crate) fn of<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        let DispatchTensorKind::Flex(tensor) = tensor.clone().into_dispatch().kind else {
            return None;
        };
        match tensor {
            BackendTensor::Float(half) if matches!(half.dtype(), DType::BF16 | DType::F16) => {
                let layout = half.layout();
                let in_order = layout.is_contiguous() && layout.start_offset() == 0;
                Some(Self(Held::Half(if in_order { half } else { half.to_contiguous() })))
            }
            BackendTensor::Quantized(quantized) => {
                let layout = quantized.tensor().layout();
                let in_order = layout.is_contiguous() && layout.start_offset() == 0;
                let run = run(&quantized).filter(|_| in_order)?;
                Some(Self(Held::Quantized(quantized, run)))
            }
            _ => None,
        }
    }

    fn numbers(&self) -> Numbers<'_> {
        match &self.0 {
            Held::Half(tensor) if tensor.dtype() == DType::BF16 => {
                Numbers::Bf16(tensor.storage::<bf16>())
            }
            Held::Half(tensor) => Numbers::F16(tensor.storage::<f16>()),
            Held::Quantized(tensor, run) => Numbers::Int8 {
                values: tensor.tensor().storage::<i8>(),
                scales: tensor.scales(),
                run: *run,
            },
        }
    }

    fn shape(&self) -> Shape {
        match &self.0 {
            Held::Half(tensor) => tensor.shape(),
            Held::Quantized(tensor, _) => tensor.shape(),
        }
    }

    /// All numbers as f32.
    fn widen(&self) -> FlexTensor {
        let shape = self.shape();
        let mut values = vec![0.0; shape.num_elements()];
        let numbers = self.numbers();
        let blocks = values.par_chunks_mut(BLOCK).enumerate();
        blocks.for_each(|(i, out)| numbers.widen(i * BLOCK, out));
        tensor_of(values, shape)
    }

    /// Rows of a matrix as f32.
    ///
    /// # Panics
    /// If an index is out of range.
    pub(crate) fn rows(&self, indices: &[i64]) -> FlexTensor {
        let shape = self.shape();
        let (height, width) = (shape[0], shape[1]);
        let mut values = vec![0.0; indices.len() * width];
        let numbers = self.numbers();
        if width > 0 {
            let rows = values.par_chunks_mut(width).zip(indices);
            rows.for_each(|(out, &index)| match usize::try_from(index) {
                Ok(row) if row < height => numbers.widen(row * width, out),
                _ => panic!("gather_rows: index {index} is not below {height}"),
            });
        }
        tensor_of(values, Shape::from([indices.len(), width]))
    }
}

/// How many neighbours share a scale, when the blocks of a tensor are runs of its numbers.
fn run(tensor: &FlexQTensor) -> Option<usize> {
    let DType::QFloat(scheme) = tensor.dtype() else { return None };
    let shape = tensor.shape();
    let Some(block) = scheme.block_size() else { return Some(shape.num_elements().max(1)) };
    if scheme.num_levels() != 1 {
        return None;
    }
    let block = block.to_dim_vec(shape.num_dims());
    let sides = || shape.iter().zip(&block);
    // Ones, then a part of one axis, then whole axes.
    let cut = sides().position(|(_, &side)| side != 1).unwrap_or(block.len());
    let whole = sides().skip(cut + 1).all(|(&length, &side)| length == usize::from(side));
    whole.then(|| block.iter().map(|&side| usize::from(side)).product())
}

/// The same numbers as f32, which is what is computed with.
///
/// # Shapes
/// - output: that of `tensor`
pub fn widen<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    match (Narrow::of(&tensor), tensor.dtype()) {
        (Some(narrow), _) => Tensor::from_primitive::<Flex>(narrow.widen()),
        (None, DType::QFloat(_)) => tensor.dequantize(),
        (None, DType::F32) => tensor,
        (None, _) => tensor.cast(DType::F32),
    }
}

/// The look-up in a table that is not f32.
pub(crate) fn gather(table: Tensor<2>, indices: Tensor<1, Int>) -> Tensor<2> {
    match Narrow::of(&table) {
        Some(narrow) => {
            let indices: Vec<i64> = indices.into_data().iter::<i64>().collect();
            Tensor::from_primitive::<Flex>(narrow.rows(&indices))
        }
        None if matches!(table.dtype(), DType::QFloat(_)) => table.dequantize().select(0, indices),
        None => table.select(0, indices).cast(DType::F32),
    }
}
