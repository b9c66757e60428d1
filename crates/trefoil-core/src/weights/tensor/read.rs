//! The numbers of a tensor, converted part by part: on all threads where they lie in the file in their order.

use std::ops::Range;

use burn::tensor::TensorData;
use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use rayon::prelude::*;
use trefoil_kernels::MappedFile;

use super::{Element, Piece, StoredTensor};

/// Bytes of a file that are converted before they are given back to the system. Each thread holds so many.
pub(super) const PART: usize = 1 << 20;

/// Bytes that are converted at a time: they and their floats stay in the cache.
const CHUNK: usize = 1 << 16;

/// Numbers that lie in a row in a file.
struct Part<'a> {
    file: &'a MappedFile,
    element: Element,
    bytes: Range<usize>,
}

impl StoredTensor {
    /// All numbers of a float tensor as f32, the last axis fastest; nothing for integers.
    ///
    /// The pages of the file that were read are given back.
    pub fn read(&self) -> Option<TensorData> {
        let mut values = vec![0.0f32; self.elements()];
        self.convert(&mut values, |numbers, out| out.copy_from_slice(numbers))?;
        Some(TensorData::new(values, self.shape.clone()))
    }

    /// Hands out all numbers of a float tensor with the places of `out` that they belong to; nothing for integers.
    pub(in crate::weights) fn convert<T: Send>(
        &self,
        out: &mut [T],
        write: impl Fn(&[f32], &mut [T]) + Sync,
    ) -> Option<()> {
        let mut nothing = vec![(); out.len()];
        self.convert_runs(1, (out, &mut nothing), |numbers, out, _| write(numbers, out))
    }

    /// As [`Self::convert`], in whole runs of so many numbers, each of which has a place in a second slice.
    pub(in crate::weights) fn convert_runs<T: Send, R: Send>(
        &self,
        run: usize,
        (mut values, mut runs): (&mut [T], &mut [R]),
        write: impl Fn(&[f32], &mut [T], &mut [R]) + Sync,
    ) -> Option<()> {
        if !self.pieces.iter().all(|piece| piece.element.is_float()) {
            return None;
        }
        if let Some(parts) = self.parts(run) {
            let mut tasks = Vec::with_capacity(parts.len());
            for part in parts {
                let count = part.bytes.len() / part.element.size();
                let out = values.split_off_mut(..count)?;
                tasks.push((part, out, runs.split_off_mut(..count / run)?));
            }
            tasks.into_par_iter().for_each(|(part, mut values, mut runs)| {
                part.for_each(run, &mut |numbers| {
                    let out = values.split_off_mut(..numbers.len()).unwrap_or_default();
                    let of = runs.split_off_mut(..numbers.len() / run).unwrap_or_default();
                    write(numbers, out, of);
                });
            });
            return Some(());
        }
        // A part may end within a run.
        let mut begun: Vec<f32> = Vec::new();
        self.for_each_f32(|part| {
            begun.extend(part);
            let whole = begun.len() / run * run;
            let out = values.split_off_mut(..whole).unwrap_or_default();
            let of = runs.split_off_mut(..whole / run).unwrap_or_default();
            write(&begun[..whole], out, of);
            begun.drain(..whole);
        })
    }

    /// Parts of whole runs in their order; nothing when the numbers lie in another order, or a run in two pieces.
    fn parts(&self, run: usize) -> Option<Vec<Part<'_>>> {
        let mut parts = Vec::new();
        for piece in &self.pieces {
            let count: usize = piece.shape.iter().product();
            if piece.run().1 > 0 || !count.is_multiple_of(run) {
                return None;
            }
            let size = piece.element.size();
            let end = piece.start + count * size;
            let step = (PART / size / run).max(1) * run * size;
            for start in (piece.start..end).step_by(step) {
                let (file, element) = (&*piece.file, piece.element);
                parts.push(Part { file, element, bytes: start..end.min(start + step) });
            }
        }
        Some(parts)
    }

    /// Hands out all numbers of a float tensor as f32, part by part; nothing for integers.
    fn for_each_f32(&self, mut take: impl FnMut(&[f32])) -> Option<()> {
        let mut floats = Floats::default();
        for piece in &self.pieces {
            if !piece.element.is_float() {
                return None;
            }
            piece.for_each(|bytes| {
                for bytes in bytes.chunks(CHUNK) {
                    take(floats.of(piece.element, bytes));
                }
            });
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

impl Part<'_> {
    /// Hands out its numbers, so many runs at a time as stay in the cache, and gives back the pages.
    fn for_each(&self, run: usize, take: &mut dyn FnMut(&[f32])) {
        self.file.fetch(self.bytes.clone());
        let size = self.element.size();
        let step = (CHUNK / size / run).max(1) * run * size;
        let mut floats = Floats::default();
        for bytes in self.file.bytes()[self.bytes.clone()].chunks(step) {
            take(floats.of(self.element, bytes));
        }
        // The system may have brought some of the neighbours along.
        let Range { start, end } = self.bytes;
        self.file.release(start.saturating_sub(PART)..self.file.bytes().len().min(end + PART));
    }
}

/// A buffer in which numbers become f32.
#[derive(Default)]
struct Floats {
    values: Vec<f32>,
    halves: Vec<f16>,
}

impl Floats {
    /// The numbers of some bytes; none for integers.
    fn of(&mut self, element: Element, bytes: &[u8]) -> &[f32] {
        let Self { values, halves } = self;
        values.clear();
        match element {
            Element::F32 => values.extend(words(bytes).map(f32::from_le_bytes)),
            Element::F16 => {
                halves.clear();
                halves.extend(words(bytes).map(f16::from_le_bytes));
                values.resize(halves.len(), 0.0);
                halves.convert_to_f32_slice(values);
            }
            Element::Bf16 => {
                values.extend(words(bytes).map(|word| bf16::from_le_bytes(word).to_f32()));
            }
            Element::F64 => values.extend(words(bytes).map(|word| f64::from_le_bytes(word) as f32)),
            _ => {}
        }
        values
    }
}

impl Piece {
    /// How many numbers lie in a row, and how many axes are outside of it: the innermost axes without gaps are one run.
    fn run(&self) -> (usize, usize) {
        let mut run = 1;
        let mut outer = self.shape.len();
        while outer > 0 && (self.shape[outer - 1] == 1 || self.strides[outer - 1] == run) {
            outer -= 1;
            run *= self.shape[outer];
        }
        (run, outer)
    }

    /// Hands out the bytes of all numbers in the order of the shape, in runs that are as long as the strides
    /// allow, and gives back the pages.
    fn for_each(&self, mut take: impl FnMut(&[u8])) {
        if self.shape.contains(&0) {
            return;
        }
        let (run, outer) = self.run();
        let size = self.element.size();
        let bytes = self.file.bytes();
        let mut index = vec![0; outer];
        let mut lowest_kept = self.start;
        loop {
            let at: usize = index.iter().zip(&self.strides).map(|(i, stride)| i * stride).sum();
            let start = self.start + at * size;
            let end = start + run * size;
            for from in (start..end).step_by(PART) {
                let to = end.min(from + PART);
                take(&bytes[from..to]);
                // Short runs share pages; they are given back together below.
                if to - from == PART {
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

/// Fixed-size words.
fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}
