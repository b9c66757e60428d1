//! A tensor in a file, read when it is asked for.

mod read;

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes, DType, TensorData};
use trefoil_kernels::MappedFile;

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
    /// Its name in the file; empty before the file has given it one.
    name: Arc<str>,
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
        let name = Arc::from("");
        let piece = Piece { name, file, element, start, shape: shape.clone(), strides };
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

    /// The same tensor, which is called so in its file.
    pub(super) fn named(mut self, name: &str) -> Self {
        let name: Arc<str> = name.into();
        for piece in &mut self.pieces {
            piece.name = Arc::clone(&name);
        }
        self
    }

    /// Names in the file of what it is made of, for messages: however it was renamed, stacked or cut.
    pub fn origins(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.pieces.iter().map(|piece| &*piece.name).collect();
        names.dedup();
        names
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
}

/// Strides of numbers without gaps, the last axis fastest.
fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis].max(1));
    }
    strides
}

#[cfg(test)]
mod tests;
