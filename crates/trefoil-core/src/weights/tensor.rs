//! A tensor in a file, read when it is asked for.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes, DType, TensorData};
use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use trefoil_kernels::MappedFile;

/// Bytes that are converted before they are given back to the system.
const BLOCK: usize = 1 << 23;

/// Bytes that are converted at a time: they and their floats stay in the cache.
const CHUNK: usize = 1 << 16;

/// Number format of a stored tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 64-bit floats.
    F64,
    /// 32-bit floats.
    F32,
    /// IEEE half precision.
    F16,
    /// Brain floats.
    Bf16,
    /// 64-bit integers.
    I64,
    /// 32-bit integers.
    I32,
    /// 16-bit integers.
    I16,
    /// Signed bytes.
    I8,
    /// Bytes.
    U8,
    /// Bytes that are 0 or 1.
    Bool,
}

impl Element {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether it is a float type.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::Bf16)
    }
}

/// A tensor whose numbers are still in their file: a shape, and one or more pieces that are stacked along the
/// first axis. Renaming, stacking and transposing cost nothing.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    shape: Vec<usize>,
    pieces: Vec<Piece>,
}

/// A part of a file seen as an array.
#[derive(Debug, Clone)]
struct Piece {
    file: Arc<MappedFile>,
    element: Element,
    /// First byte.
    start: usize,
    shape: Vec<usize>,
    /// In numbers, not bytes.
    strides: Vec<usize>,
}

/// Some bytes of a mapped file.
struct View {
    file: Arc<MappedFile>,
    range: Range<usize>,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        &self.file.bytes()[self.range.clone()]
    }
}

impl StoredTensor {
    /// A view of `file`, or what is wrong with it: `start` is its first byte, strides count numbers.
    ///
    /// Every number must lie within `bytes`, and views that repeat numbers are refused, so that reading never
    /// needs more memory than the file has.
    ///
    /// # Errors
    /// What was expected and found.
    pub fn new(
        file: Arc<MappedFile>,
        element: Element,
        bytes: Range<usize>,
        start: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Result<Self, String> {
        if shape.len() != strides.len() {
            return Err(format!("{} axes, {} strides", shape.len(), strides.len()));
        }
        if bytes.start > bytes.end || bytes.end > file.bytes().len() {
            return Err(format!("bytes {bytes:?} of a file of {}", file.bytes().len()));
        }
        let outside =
            || format!("shape {shape:?} with strides {strides:?} is outside of its storage");
        let count = shape.iter().try_fold(1usize, |n, &side| n.checked_mul(side));
        let count = count.ok_or_else(outside)?;
        if count > 0 {
            let last = shape.iter().zip(&strides).try_fold(0usize, |at, (&side, &stride)| {
                at.checked_add((side - 1).checked_mul(stride)?)
            });
            let room = bytes.end.checked_sub(start).filter(|_| start >= bytes.start);
            let room = room.ok_or_else(outside)? / element.size();
            if last.is_none_or(|last| last >= room) {
                return Err(outside());
            }
            if count > room {
                return Err(format!("shape {shape:?} repeats the numbers of its storage"));
            }
        }
        let piece = Piece { file, element, start, shape: shape.clone(), strides };
        Ok(Self { shape, pieces: vec![piece] })
    }

    /// As [`Self::new`], for numbers without gaps, the last axis fastest.
    ///
    /// # Errors
    /// What was expected and found.
    pub fn contiguous(
        file: Arc<MappedFile>,
        element: Element,
        bytes: Range<usize>,
        shape: Vec<usize>,
    ) -> Result<Self, String> {
        let strides = row_major(&shape);
        let start = bytes.start;
        Self::new(file, element, bytes, start, shape, strides)
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of its elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its number format; that of the first piece.
    pub fn element(&self) -> Element {
        self.pieces.first().map_or(Element::F32, |piece| piece.element)
    }

    /// Tensors one after another along the first axis; nothing when their other axes differ.
    pub fn stack(parts: &[Self]) -> Option<Self> {
        let (first, rest) = parts.split_first()?;
        let inner = first.shape.get(1..)?;
        if rest.iter().any(|part| part.shape.get(1..) != Some(inner)) {
            return None;
        }
        let mut shape = first.shape.clone();
        shape[0] = parts.iter().map(|part| part.shape[0]).sum();
        Some(Self { shape, pieces: parts.iter().flat_map(|part| part.pieces.clone()).collect() })
    }

    /// Some rows, counted along the first axis; nothing when there are not as many.
    pub fn rows(&self, rows: Range<usize>) -> Option<Self> {
        if rows.start > rows.end || rows.end > *self.shape.first()? {
            return None;
        }
        let mut shape = self.shape.clone();
        shape[0] = rows.len();
        let mut pieces = Vec::new();
        let mut first = 0;
        for piece in &self.pieces {
            let height = piece.shape[0];
            let (start, end) = (rows.start.max(first), rows.end.min(first + height));
            if start < end {
                let mut part = piece.clone();
                part.start += (start - first) * part.strides[0] * part.element.size();
                part.shape[0] = end - start;
                pieces.push(part);
            }
            first += height;
        }
        Some(Self { shape, pieces })
    }

    /// A matrix with its axes exchanged; nothing for other tensors.
    pub fn transposed(&self) -> Option<Self> {
        let [piece] = self.pieces.as_slice() else { return None };
        if self.shape.len() != 2 {
            return None;
        }
        let mut piece = piece.clone();
        piece.shape.reverse();
        piece.strides.reverse();
        Some(Self { shape: piece.shape.clone(), pieces: vec![piece] })
    }

    /// The same numbers with axes of length one left out at the end, or added there, to have `axes` of them.
    pub fn with_axes(&self, axes: usize) -> Option<Self> {
        let mut all = self.clone();
        let drop = self.shape.get(axes..).unwrap_or_default();
        if drop.iter().any(|&side| side != 1) || axes == 0 {
            return None;
        }
        all.shape.resize(axes, 1);
        for piece in &mut all.pieces {
            piece.shape.resize(axes, 1);
            piece.strides.resize(axes, 1);
        }
        Some(all)
    }

    /// All numbers of a float tensor as f32, the last axis fastest; nothing for integers.
    ///
    /// The pages of the file that were read are given back.
    pub fn read(&self) -> Option<TensorData> {
        let mut values: Vec<f32> = Vec::with_capacity(self.elements());
        self.for_each_f32(|part| values.extend_from_slice(part))?;
        Some(TensorData::new(values, self.shape.clone()))
    }

    /// All numbers of a float tensor as they stand in the file, of which the result keeps the mapping: nothing is read
    /// before it is used, and what is changed is copied first. Nothing when they have gaps or are not aligned.
    pub fn mapped(&self) -> Option<TensorData> {
        let [piece] = self.pieces.as_slice() else { return None };
        let dtype = match piece.element {
            Element::F32 => DType::F32,
            Element::F16 => DType::F16,
            Element::Bf16 => DType::BF16,
            _ => return None,
        };
        let size = piece.element.size();
        let end = piece.start + self.elements() * size;
        let bytes = piece.file.bytes().get(piece.start..end)?;
        let is_aligned = bytes.as_ptr().addr().is_multiple_of(size);
        let in_order = piece.strides == row_major(&self.shape);
        if !is_aligned || !in_order || bytes.is_empty() || cfg!(target_endian = "big") {
            return None;
        }
        let view = View { file: Arc::clone(&piece.file), range: piece.start..end };
        let bytes = Bytes::from_shared(bytes::Bytes::from_owner(view), AllocationProperty::File);
        Some(TensorData::from_bytes(bytes, self.shape.clone(), dtype))
    }

    /// Hands out all numbers of a float tensor as f32, part by part; nothing for integers.
    pub(super) fn for_each_f32(&self, mut take: impl FnMut(&[f32])) -> Option<()> {
        let mut part: Vec<f32> = Vec::new();
        let mut halves: Vec<f16> = Vec::new();
        for piece in &self.pieces {
            let mut convert = |write: &mut dyn FnMut(&[u8], &mut Vec<f32>)| {
                piece.for_each(|bytes| {
                    for bytes in bytes.chunks(CHUNK) {
                        part.clear();
                        write(bytes, &mut part);
                        take(&part);
                    }
                });
            };
            match piece.element {
                Element::F32 => convert(&mut |bytes, part| {
                    part.extend(words(bytes).map(f32::from_le_bytes));
                }),
                Element::F16 => convert(&mut |bytes, part| {
                    halves.clear();
                    halves.extend(words(bytes).map(f16::from_le_bytes));
                    part.resize(halves.len(), 0.0);
                    halves.convert_to_f32_slice(part);
                }),
                Element::Bf16 => convert(&mut |bytes, part| {
                    part.extend(words(bytes).map(|word| bf16::from_le_bytes(word).to_f32()));
                }),
                Element::F64 => convert(&mut |bytes, part| {
                    part.extend(words(bytes).map(|word| f64::from_le_bytes(word) as f32));
                }),
                _ => return None,
            }
        }
        Some(())
    }

    /// All numbers of a float tensor in double precision; nothing for integers.
    pub fn read_f64(&self) -> Option<Vec<f64>> {
        if self.pieces.iter().all(|piece| piece.element != Element::F64) {
            return Some(self.read()?.iter::<f64>().collect());
        }
        let mut values = Vec::with_capacity(self.elements());
        for piece in &self.pieces {
            if piece.element != Element::F64 {
                return None;
            }
            piece.for_each(|bytes| values.extend(words(bytes).map(f64::from_le_bytes)));
        }
        Some(values)
    }

    /// All numbers of an integer tensor; nothing for floats.
    pub fn read_integers(&self) -> Option<Vec<i64>> {
        let mut values: Vec<i64> = Vec::with_capacity(self.elements());
        for piece in &self.pieces {
            let out = &mut values;
            match piece.element {
                Element::I64 => piece.for_each(|b| out.extend(words(b).map(i64::from_le_bytes))),
                Element::I32 => piece.for_each(|b| {
                    out.extend(words(b).map(|word| i64::from(i32::from_le_bytes(word))));
                }),
                Element::I16 => piece.for_each(|b| {
                    out.extend(words(b).map(|word| i64::from(i16::from_le_bytes(word))));
                }),
                Element::I8 => piece.for_each(|b| {
                    out.extend(b.iter().map(|&byte| i64::from(byte.cast_signed())));
                }),
                Element::U8 | Element::Bool => {
                    piece.for_each(|b| out.extend(b.iter().map(|&byte| i64::from(byte))));
                }
                _ => return None,
            }
        }
        Some(values)
    }
}

impl Piece {
    /// Hands out the bytes of all numbers in the order of the shape, in runs that are as long as the strides
    /// allow, and gives back the pages.
    fn for_each(&self, mut take: impl FnMut(&[u8])) {
        if self.shape.contains(&0) {
            return;
        }
        // The innermost axes without gaps are one run.
        let mut run = 1;
        let mut outer = self.shape.len();
        while outer > 0 && (self.shape[outer - 1] == 1 || self.strides[outer - 1] == run) {
            outer -= 1;
            run *= self.shape[outer];
        }
        let size = self.element.size();
        let bytes = self.file.bytes();
        let mut index = vec![0; outer];
        let mut lowest_kept = self.start;
        loop {
            let at: usize = index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum();
            let start = self.start + at * size;
            let end = start + run * size;
            for from in (start..end).step_by(BLOCK) {
                let to = end.min(from + BLOCK);
                take(&bytes[from..to]);
                // Short runs share pages; they are given back together below.
                if to - from == BLOCK {
                    self.file.release(from..to);
                    lowest_kept = to;
                }
            }
            // Count up, last axis first.
            let Some(axis) = (0..outer).rev().find(|&axis| index[axis] + 1 < self.shape[axis])
            else {
                break;
            };
            index[axis] += 1;
            index[axis + 1..].fill(0);
        }
        let extent: usize = self.shape.iter().zip(&self.strides).map(|(s, t)| (s - 1) * t).sum();
        self.file.release(lowest_kept..self.start + (extent + 1) * size);
    }
}

/// Strides of numbers without gaps, the last axis fastest.
fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
    }
    strides
}

/// Fixed-size words.
fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

#[cfg(test)]
mod tests;
