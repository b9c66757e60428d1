//! The computation behind the operations on rows.
//!
//! A sum over indices first gets, for each row of the result, the list of its summands in their
//! order; rows are then independent of one another. The order of additions is that of the indices,
//! whatever the number of threads.

use std::mem::MaybeUninit;

use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use crate::buffer::{contiguous, elements, matrix_shape, rows_per_block, tensor_of};
use crate::simd::{Isa, Kernel, dispatch};

/// Most parts that the construction of the lists is cut into; each reads all indices.
const MAX_PARTS: usize = 8;

/// The integers as `u32`, each checked to be below `limit`.
fn integers(tensor: &FlexTensor, limit: usize, name: &str) -> Vec<u32> {
    fn convert<T: Copy + Sync + std::fmt::Display>(
        values: &[T],
        limit: usize,
        name: &str,
    ) -> Vec<u32>
    where
        usize: TryFrom<T>,
    {
        let checked = |&value: &T| match usize::try_from(value) {
            Ok(index) if index < limit => index as u32,
            _ => panic!("{name} {value} is not below {limit}"),
        };
        values.par_iter().with_min_len(1 << 14).map(checked).collect()
    }
    assert!(limit <= 1 << 32, "{name}: at most 2^32 rows");
    let tensor = tensor.to_contiguous();
    let (start, count) = (tensor.layout().start_offset(), tensor.layout().num_elements());
    match tensor.dtype() {
        _ if count == 0 => Vec::new(),
        DType::I32 => convert(&tensor.storage::<i32>()[start..][..count], limit, name),
        _ => convert(&tensor.storage::<i64>()[start..][..count], limit, name),
    }
}

/// A matrix whose rows `write` makes, given the index of the first one and their place.
///
/// # Safety
/// `write` writes every element of the place that it gets.
unsafe fn matrix_by_rows(
    [rows, width]: [usize; 2],
    write: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync,
) -> FlexTensor {
    let count = rows * width;
    let mut values: Vec<f32> = Vec::with_capacity(count);
    if count > 0 {
        let block = rows_per_block(width);
        let places = values.spare_capacity_mut()[..count].par_chunks_mut(block * width);
        places.enumerate().for_each(|(i, place)| write(i * block, place));
    }
    // SAFETY: the places cover all elements, and each was written, by the caller's promise.
    unsafe { values.set_len(count) };
    tensor_of(values, Shape::from([rows, width]))
}

pub(super) fn gather(table: FlexTensor, indices: &FlexTensor) -> FlexTensor {
    let table = contiguous(table);
    let [rows, width] = matrix_shape(&table);
    let indices = integers(indices, rows, "gather_rows: index");
    let table: &[f32] = if width == 0 { &[] } else { table.storage() };
    let write = |first: usize, place: &mut [MaybeUninit<f32>]| {
        for (row, &index) in place.chunks_exact_mut(width).zip(&indices[first..]) {
            row.write_copy_of_slice(&table[index as usize * width..][..width]);
        }
    };
    // SAFETY: the place is a whole number of rows, and there are as many indices.
    unsafe { matrix_by_rows([indices.len(), width], write) }
}

/// For each row, the positions of the summands that belong to it, ascending.
struct Lists {
    /// Where the list of each row starts, and the end of the last one.
    offsets: Vec<u32>,
    members: Vec<u32>,
}

impl Lists {
    fn of(&self, row: usize) -> &[u32] {
        &self.members[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }

    /// Sorts positions by the row that each belongs to. A part of the rows is the work of one
    /// task, so the result does not depend on the number of parts.
    fn of_owners(owners: &[u32], rows: usize) -> Self {
        assert!(u32::try_from(owners.len()).is_ok(), "at most 2^32 indices");
        let parts = rayon::current_num_threads().clamp(1, MAX_PARTS);
        let part = rows.div_ceil(parts).max(1);
        let mut offsets = vec![0_u32; rows + 1];
        offsets[1..].par_chunks_mut(part).enumerate().for_each(|(i, counts)| {
            for &owner in owners {
                if let Some(count) = counts.get_mut((owner as usize).wrapping_sub(i * part)) {
                    *count += 1;
                }
            }
        });
        let mut total = 0;
        for offset in &mut offsets {
            total += *offset;
            *offset = total;
        }

        let mut members = vec![0_u32; owners.len()];
        let mut rest = members.as_mut_slice();
        let mut tasks = Vec::with_capacity(parts);
        for first in (0..rows).step_by(part) {
            let starts = &offsets[first..=(first + part).min(rows)];
            let count = (starts[starts.len() - 1] - starts[0]) as usize;
            let (own, others) = rest.split_at_mut(count);
            tasks.push((first, starts, own));
            rest = others;
        }
        tasks.into_par_iter().for_each(|(first, starts, members)| {
            let base = starts[0];
            let mut cursors: Vec<u32> =
                starts[..starts.len() - 1].iter().map(|start| start - base).collect();
            for (position, &owner) in (0_u32..).zip(owners) {
                if let Some(cursor) = cursors.get_mut((owner as usize).wrapping_sub(first)) {
                    members[*cursor as usize] = position;
                    *cursor += 1;
                }
            }
        });
        Self { offsets, members }
    }
}

/// What each summand is multiplied with.
#[derive(Clone, Copy)]
enum Scales<'a> {
    One,
    /// One factor per row of the source.
    OfSource(&'a [f32]),
    /// One over the length of the list.
    Mean,
}

/// Sums of listed rows.
struct SumLists<'a> {
    source: &'a [f32],
    width: usize,
    lists: &'a Lists,
    scales: Scales<'a>,
    /// Index of the first row of `place`.
    first: usize,
    place: &'a mut [MaybeUninit<f32>],
}

impl Kernel for SumLists<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let width = self.width;
        let row_of = |index: u32| &self.source[index as usize * width..][..width];
        for (i, place) in self.place.chunks_exact_mut(width).enumerate() {
            let list = self.lists.of(self.first + i);
            let Some((&head, tail)) = list.split_first() else {
                for y in place {
                    y.write(0.0);
                }
                continue;
            };
            if let Scales::OfSource(scales) = self.scales {
                let scale = scales[head as usize];
                for (y, &x) in place.iter_mut().zip(row_of(head)) {
                    y.write(scale * x);
                }
                // SAFETY: all elements were written just now.
                let sum = unsafe { place.assume_init_mut() };
                for &index in tail {
                    let scale = scales[index as usize];
                    for (y, &x) in sum.iter_mut().zip(row_of(index)) {
                        *y = I::mul_add(scale, x, *y);
                    }
                }
                continue;
            }
            let sum = place.write_copy_of_slice(row_of(head));
            for &index in tail {
                for (y, &x) in sum.iter_mut().zip(row_of(index)) {
                    *y += x;
                }
            }
            if let Scales::Mean = self.scales {
                let scale = 1.0 / list.len() as f32;
                for y in sum {
                    *y *= scale;
                }
            }
        }
    }
}

/// `rows` sums of listed rows of a source of this width.
fn sum_lists(
    source: &[f32],
    [rows, width]: [usize; 2],
    lists: &Lists,
    scales: Scales,
) -> FlexTensor {
    let write = |first: usize, place: &mut [MaybeUninit<f32>]| {
        dispatch(SumLists { source, width, lists, scales, first, place });
    };
    // SAFETY: the place is a whole number of rows, and each is written, with zeros if there is
    // nothing to be summed.
    unsafe { matrix_by_rows([rows, width], write) }
}

pub(super) fn scatter_add(values: FlexTensor, indices: &FlexTensor, rows: usize) -> FlexTensor {
    let values = contiguous(values);
    let [_, width] = matrix_shape(&values);
    let owners = integers(indices, rows, "scatter_add_rows: index");
    let lists = Lists::of_owners(&owners, rows);
    sum_lists(elements(&values), [rows, width], &lists, Scales::One)
}

/// The checked offsets of a graph with this many edges.
fn offsets_of(offsets: &FlexTensor, edges: usize) -> Vec<u32> {
    let offsets = integers(offsets, edges + 1, "segment_mean: offset");
    let ascending = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
    let complete = offsets.first() == Some(&0) && offsets.last() == Some(&(edges as u32));
    assert!(ascending && complete, "segment_mean: the offsets must ascend from 0 to {edges}");
    offsets
}

pub(super) fn segment_mean(
    rows: FlexTensor,
    offsets: &FlexTensor,
    indices: &FlexTensor,
) -> FlexTensor {
    let rows = contiguous(rows);
    let [count, width] = matrix_shape(&rows);
    let members = integers(indices, count, "segment_mean: index");
    let lists = Lists { offsets: offsets_of(offsets, members.len()), members };
    let nodes = lists.offsets.len() - 1;
    sum_lists(elements(&rows), [nodes, width], &lists, Scales::Mean)
}

/// `drows_j = sum over the edges from v to j of dy_v / degree_v`.
pub(super) fn segment_mean_backward(
    grad: FlexTensor,
    offsets: &FlexTensor,
    indices: &FlexTensor,
    count: usize,
) -> FlexTensor {
    let grad = contiguous(grad);
    let [_, width] = matrix_shape(&grad);
    let targets = integers(indices, count, "segment_mean: index");
    let offsets = offsets_of(offsets, targets.len());
    let degrees = || offsets.windows(2).map(|pair| pair[1] - pair[0]);
    let scales: Vec<f32> = degrees().map(|degree| 1.0 / degree.max(1) as f32).collect();
    let nodes: Vec<u32> = (0_u32..)
        .zip(degrees())
        .flat_map(|(node, degree)| std::iter::repeat_n(node, degree as usize))
        .collect();
    let mut lists = Lists::of_owners(&targets, count);
    lists
        .members
        .par_iter_mut()
        .with_min_len(1 << 14)
        .for_each(|edge| *edge = nodes[*edge as usize]);
    sum_lists(elements(&grad), [count, width], &lists, Scales::OfSource(&scales))
}
