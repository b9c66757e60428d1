//! The number formats in which weights are held in memory.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use trefoil_kernels::{Blocks, Pages};

use super::{Element, StoredTensor};
use crate::error::{Error, Result};

/// Most numbers along an axis that share a scale. Small, so that one large weight spoils few others.
const BLOCK: usize = 64;
/// Fewest numbers along an axis for which a scale of their own is worth it.
const SHORTEST: usize = 16;

/// The number format in which matrices, kernels of convolutions and tables are held. Biases, norms and everything
/// that is computed stay in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Storage {
    /// 32-bit floats.
    #[default]
    F32,
    /// Brain floats: the range of f32, eight bits of precision.
    Bf16,
    /// IEEE half precision: eleven bits of precision, up to 65,504.
    F16,
    /// Eight-bit integers, blocks of at most 64 along one axis with a scale each: `w = q s`, `s = max |w| / 127`.
    Int8,
}

impl Storage {
    /// All of them, the most precise first.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Int8];

    /// As users write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// What a weight of this shape is held in: short axes are not worth a scale.
    fn of(self, shape: &[usize]) -> Held {
        match self {
            Self::F32 => Held::F32,
            Self::Bf16 => Held::Bf16,
            Self::F16 => Held::F16,
            Self::Int8 => Block::of(shape).map_or(Held::F32, Held::Int8),
        }
    }

    /// Bytes of a weight of this shape in memory.
    pub fn bytes(self, shape: &[usize]) -> usize {
        let count: usize = shape.iter().product();
        match self.of(shape) {
            Held::F32 => 4 * count,
            Held::Bf16 | Held::F16 => 2 * count,
            Held::Int8(block) => count + 4 * (count / block.run),
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Storage {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|storage| storage.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::config("precision", format!("expected one of {names}, found `{text}`"))
        })
    }
}

/// What one weight is held in.
#[derive(Debug, Clone)]
enum Held {
    F32,
    Bf16,
    F16,
    Int8(Block),
}

/// A block of a weight: a run of its numbers.
#[derive(Debug, Clone)]
struct Block {
    /// Its sides.
    sides: Vec<u8>,
    /// Its numbers.
    run: usize,
}

impl Block {
    /// Along the last axis, together with the pixels of a kernel; nothing where that axis is too short.
    fn of(shape: &[usize]) -> Option<Self> {
        let (axis, pixels) = match shape {
            [_, length] => (*length, 1),
            [_, length, height, width] => (*length, height * width),
            _ => return None,
        };
        let mut side = BLOCK;
        while side >= SHORTEST && !axis.is_multiple_of(side) {
            side /= 2;
        }
        if side < SHORTEST || axis == 0 || pixels == 0 {
            return None;
        }
        let mut sides = vec![1, side];
        sides.extend(&shape[2..]);
        let sides: Option<Vec<u8>> = sides.into_iter().map(|side| side.try_into().ok()).collect();
        Some(Self { sides: sides?, run: side * pixels })
    }
}

impl StoredTensor {
    /// All numbers of a float tensor: mapped where the file has them in this format, else converted on the way so that
    /// no f32 copy of the whole ever exists; nothing for integers.
    pub fn read_as(&self, storage: Storage) -> Option<Weight> {
        let shape = self.shape().to_vec();
        let count = self.elements();
        let held = storage.of(&shape);
        let in_file = match held {
            Held::F32 => Some(Element::F32),
            Held::Bf16 => Some(Element::Bf16),
            Held::F16 => Some(Element::F16),
            Held::Int8(_) => None,
        };
        if in_file == Some(self.element())
            && let Some(data) = self.mapped()
        {
            return Some(data.into());
        }
        let data = match held {
            Held::F32 => self.read()?,
            Held::Bf16 => {
                let mut numbers = Pages::zeros(count);
                self.convert(numbers.as_mut_slice(), |numbers, out| {
                    for (out, &number) in out.iter_mut().zip(numbers) {
                        *out = bf16::from_f32(number);
                    }
                })?;
                TensorData::from_bytes(numbers.into_bytes(), shape, DType::BF16)
            }
            Held::F16 => {
                let mut numbers = Pages::<f16>::zeros(count);
                self.convert(numbers.as_mut_slice(), |numbers, out| {
                    out.convert_from_f32_slice(numbers);
                })?;
                TensorData::from_bytes(numbers.into_bytes(), shape, DType::F16)
            }
            Held::Int8(block) => return self.read_blocks(&block).map(Weight::Blocks),
        };
        Some(data.into())
    }

    fn read_blocks(&self, block: &Block) -> Option<Blocks> {
        let mut blocks = Blocks::zeros(self.shape(), &block.sides);
        let out = (blocks.values.as_mut_slice(), blocks.scales.as_mut_slice());
        self.convert_runs(block.run, out, |numbers, values, scales| {
            let runs = numbers.chunks_exact(block.run).zip(values.chunks_exact_mut(block.run));
            for ((numbers, values), scale) in runs.zip(scales) {
                *scale = quantize(numbers, values);
            }
        })?;
        Some(blocks)
    }
}

/// A weight as it is to be held.
#[derive(Debug)]
pub enum Weight {
    /// Floats.
    Floats(TensorData),
    /// Eight-bit integers in blocks with a scale each.
    Blocks(Blocks),
}

impl Weight {
    /// Its axes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Floats(data) => data.shape(),
            Self::Blocks(blocks) => blocks.shape(),
        }
    }

    /// Whether numbers are held in fewer than 32 bits.
    pub(crate) fn is_narrow(&self) -> bool {
        match self {
            Self::Floats(data) => matches!(data.dtype(), DType::BF16 | DType::F16),
            Self::Blocks(_) => true,
        }
    }

    /// The weight on a device, in the number format that it is held in.
    ///
    /// # Shapes
    /// - output: [`Self::shape`], which must have `D` axes
    pub fn into_tensor<const D: usize>(self, device: &Device) -> Tensor<D> {
        match self {
            Self::Floats(data) => {
                let dtype = data.dtype();
                Tensor::from_data(data, (device, dtype))
            }
            Self::Blocks(blocks) => blocks.into_tensor(device),
        }
    }
}

impl From<TensorData> for Weight {
    fn from(data: TensorData) -> Self {
        Self::Floats(data)
    }
}

/// Writes the integers of a block and returns their scale.
fn quantize(block: &[f32], values: &mut [i8]) -> f32 {
    /// Its unit in the last place is one: added to a small number, it leaves that one, rounded, in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// Without their sign, floats are in the order of their bits, and what is not finite comes last.
    const POSITIVE: u32 = 0x7fff_ffff;
    let largest = block.iter().fold(0, |largest, v| largest.max(v.to_bits() & POSITIVE));
    let largest = f32::from_bits(largest);
    // What is not finite must not become a number.
    if !largest.is_finite() {
        values.fill(1);
        return f32::NAN;
    }
    // The scale of a block of zeros has no meaning, but must be a number.
    let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
    let inverse = scale.recip();
    for (value, number) in values.iter_mut().zip(block) {
        *value = (number * inverse + ROUND).to_bits() as i8;
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_runs_along_the_axis_before_the_pixels() {
        let of = |shape: &[usize]| Block::of(shape).map(|block| (block.sides, block.run));
        assert_eq!(of(&[10, 768]), Some((vec![1, 64], 64)));
        assert_eq!(of(&[10, 96]), Some((vec![1, 32], 32)));
        assert_eq!(of(&[10, 48]), Some((vec![1, 16], 16)));
        assert_eq!(of(&[512, 256, 3, 3]), Some((vec![1, 64, 3, 3], 576)));
        assert_eq!(of(&[8, 4, 3, 3]), None);
        assert_eq!(of(&[10, 40]), None);
        assert_eq!(of(&[10]), None);
        assert_eq!(Storage::Int8.bytes(&[10, 768]), 7680 + 4 * 120);
        assert_eq!(Storage::Int8.bytes(&[10, 40]), 1600);
        assert_eq!(Storage::Bf16.bytes(&[10, 40]), 800);
    }

    #[test]
    fn a_block_is_off_by_at_most_half_a_step() {
        let block: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let mut values = [0; 64];
        let scale = quantize(&block, &mut values);
        let largest = block.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        assert_eq!(scale, largest / 127.0);
        for (exact, &value) in block.iter().zip(&values) {
            assert!((f32::from(value) * scale - exact).abs() <= scale * 0.5001);
            let rounded = (exact * scale.recip()).round_ties_even();
            assert_eq!(f32::from(value), rounded);
        }
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN] {
            assert!(quantize(&[1.0, bad], &mut values).is_nan());
            assert_eq!(values[..2], [1, 1]);
        }
        assert_eq!(quantize(&[0.0; 4], &mut values), 1.0);
    }

    #[test]
    fn names_are_those_that_are_read() {
        for storage in Storage::ALL {
            assert_eq!(storage.name().parse::<Storage>().unwrap(), storage);
        }
        let error = "int4".parse::<Storage>().unwrap_err().to_string();
        assert!(error.contains("expected one of f32, f16, bf16, int8, found `int4`"), "{error}");
    }
}
