//! Products of few rows with a weight that is read where it lies.
//!
//! The matrix kernels first bring panels of a weight `[out, in]` into the order of their registers. With few rows that
//! takes as long as the product itself. Here the rows are what goes into the registers, the same element of several rows
//! side by side, and the weight is read number by number. Each output is summed in the order of the matrix kernels, so
//! that a row's result does not depend, bit for bit, on which of the two made it.

use std::ops::Range;

use rayon::prelude::*;

use super::tiles::{DEPTH, Factor, SEQUENTIAL, part};
use super::{Matrix, MatrixMut};
use crate::lanes::Lanes;
use crate::simd::{Isa, Kernel, dispatch};

/// Most rows. Measured on one core against the matrix kernels, for layers of 768 to 4,608: 0.35 to 0.6 of their time with
/// 16 rows, 0.63 to 0.9 with 50, 0.67 to 0.9 with 77, 0.78 to 0.93 with 144, 0.88 to 1.02 with 240, more from 385 on.
const MOST_ROWS: usize = 192;

/// The narrowest product and the shallowest whose order of additions is that of the matrix kernels' general path.
const LEAST: usize = 64;

/// Rows side by side, a multiple of every register's length.
const PANEL: usize = 16;

/// Most panels of a group, which go through the weight together.
const GROUP: usize = 3;

/// The left factor of a product: rows in the order of the registers, `[group][element][row of the group]`.
pub(super) struct FewRows {
    values: Vec<f32>,
    rows: usize,
    depth: usize,
}

/// Whether a product of these sizes is made here; a right factor whose columns are not contiguous is not.
pub(super) fn is_for_few(rows: usize, depth: usize, columns: usize) -> bool {
    (1..=MOST_ROWS).contains(&rows) && depth >= LEAST && columns >= LEAST
}

/// Panels of each group: as few groups as possible, and none of a single panel beside others.
fn groups(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let panels = rows.div_ceil(PANEL);
    let count = panels.div_ceil(GROUP);
    (0..count).map(move |index| panels * index / count..panels * (index + 1) / count)
}

impl FewRows {
    pub(super) fn new(lhs: Matrix) -> Self {
        let [rows, depth] = lhs.shape;
        let mut values = vec![0.0; rows.div_ceil(PANEL) * PANEL * depth];
        let mut rest = &mut values[..];
        for group in groups(rows) {
            let (first, width) = (group.start * PANEL, group.len() * PANEL);
            let (target, others) = std::mem::take(&mut rest).split_at_mut(width * depth);
            rest = others;
            let source = lhs.rows(first, width.min(rows - first));
            let fill = |(index, target): (usize, &mut [f32])| {
                fill_panels(source, index * PANEL, width, target);
            };
            // The same limit as for the product of which this is a small part.
            if rows * depth * LEAST < SEQUENTIAL {
                target.chunks_mut(PANEL * width).enumerate().for_each(fill);
            } else {
                target.par_chunks_mut(PANEL * width).with_min_len(8).enumerate().for_each(fill);
            }
        }
        Self { values, rows, depth }
    }

    /// `target = self weight`, for the columns of `weight` from `column` on; all rows are those of the target. Parts of
    /// the weight and sums are made in `scratch`.
    pub(super) fn product(
        &self,
        weight: &impl Factor,
        column: usize,
        target: &mut MatrixMut,
        [part_of_weight, sums]: [&mut Vec<f32>; 2],
    ) {
        let stride = self.rows.div_ceil(PANEL) * PANEL;
        let columns = target.shape[1];
        assert_eq!(target.shape[0], self.rows, "the rows of the product");
        if sums.len() < columns * stride {
            sums.resize(columns * stride, 0.0);
        }
        let sums = &mut sums[..columns * stride];
        let passes = self.depth.div_ceil(DEPTH).max(1);
        for pass in 0..passes {
            let (start, count) = part(self.depth, 1, passes, pass);
            let weight = weight.part([start, count], [column, columns], part_of_weight);
            assert!(
                weight.shape == [count, columns] && weight.strides[0] == 1,
                "contiguous columns of the weight, one for each column of the target"
            );
            dispatch(Pass { rows: self, start, weight, sums, stride, add: pass > 0 });
        }
        for row in 0..self.rows {
            let sums = sums[row..].iter().step_by(stride);
            for (out, &sum) in target.row_to_write(row).iter_mut().zip(sums) {
                out.write(sum);
            }
        }
    }
}

/// Elements from `first` on of all rows, side by side in lines of `width`.
fn fill_panels(source: Matrix, first: usize, width: usize, target: &mut [f32]) {
    let count = target.len() / width;
    for index in 0..source.shape[0] {
        // SAFETY: the row and its elements lie in the matrix, since the target has no more lines than it has columns.
        let row = unsafe { source.data.add(index * source.strides[0] + first * source.strides[1]) };
        for k in 0..count {
            // SAFETY: as above.
            target[k * width + index] = unsafe { *row.add(k * source.strides[1]) };
        }
    }
}

/// `sums[column, row] (+)= sum_k rows[row, start + k] weight[k, column]`.
struct Pass<'a> {
    rows: &'a FewRows,
    start: usize,
    weight: Matrix<'a>,
    /// `[columns, stride]`
    sums: &'a mut [f32],
    stride: usize,
    add: bool,
}

impl Kernel for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(mut self) {
        // SAFETY: this is a kernel. Registers times columns, of 32 or 16 registers.
        unsafe {
            match (I::Lanes::COUNT, I::Lanes::MANY) {
                (PANEL, _) => self.wide::<I::Lanes>(),
                (8, _) => self.panels::<I::Lanes, 2, 6>(),
                (_, true) => self.panels::<I::Lanes, 4, 6>(),
                _ => self.panels::<I::Lanes, 4, 2>(),
            }
        }
    }
}

impl Pass<'_> {
    /// Where a register holds a panel: groups of panels.
    #[inline(always)]
    unsafe fn wide<L: Lanes>(&mut self) {
        let columns = self.weight.shape[1];
        for first in (0..columns).step_by(24) {
            let columns = first..columns.min(first + 24);
            for group in groups(self.rows.rows) {
                // SAFETY: the group is one of the rows, the columns are among those of the weight.
                unsafe {
                    match group.len() {
                        1 => self.columns::<L, 1, 12>(&group, group.start, columns.clone()),
                        2 => self.columns::<L, 2, 12>(&group, group.start, columns.clone()),
                        _ => self.columns::<L, 3, 8>(&group, group.start, columns.clone()),
                    }
                }
            }
        }
    }

    /// Where a panel takes `N` registers: panel by panel.
    #[inline(always)]
    unsafe fn panels<L: Lanes, const N: usize, const M: usize>(&mut self) {
        let columns = self.weight.shape[1];
        for first in (0..columns).step_by(4 * M) {
            for group in groups(self.rows.rows) {
                for panel in group.clone() {
                    // SAFETY: the panel is one of the group, the columns are among those of the weight.
                    unsafe {
                        let columns = first..columns.min(first + 4 * M);
                        self.columns::<L, N, M>(&group, panel, columns);
                    }
                }
            }
        }
    }

    /// The columns in blocks of `M`, of 4 and of 1, for `N` registers of rows from `panel` on.
    #[inline(always)]
    unsafe fn columns<L: Lanes, const N: usize, const M: usize>(
        &mut self,
        group: &Range<usize>,
        panel: usize,
        columns: Range<usize>,
    ) {
        let width = group.len() * PANEL;
        let offset = group.start * PANEL * self.rows.depth
            + self.start * width
            + (panel - group.start) * PANEL;
        let mut column = columns.start;
        // SAFETY: all of this lies in its buffer: the group has `depth` lines of `width`, the weight these columns,
        // and the sums a line of `stride` for each of them.
        unsafe {
            let rows = self.rows.values.as_ptr().add(offset);
            let mut block = Block { rows, width, pass: self, first_row: panel * PANEL };
            while columns.end - column >= M {
                block.run::<L, N, M>(column);
                column += M;
            }
            while columns.end - column >= 4 {
                block.run::<L, N, 4>(column);
                column += 4;
            }
            while column < columns.end {
                block.run::<L, N, 1>(column);
                column += 1;
            }
        }
    }
}

/// Some rows of a group.
struct Block<'a, 'b> {
    rows: *const f32,
    /// Numbers from one element of the rows to the next.
    width: usize,
    pass: &'a mut Pass<'b>,
    first_row: usize,
}

impl Block<'_, '_> {
    /// `N` registers of rows and `M` columns.
    #[inline(always)]
    unsafe fn run<L: Lanes, const N: usize, const M: usize>(&mut self, column: usize) {
        let Pass { weight, sums, stride, add, .. } = &mut *self.pass;
        let weight_stride = weight.strides[1];
        // SAFETY: the caller promises that the rows, the weight and the sums reach this far.
        unsafe {
            let weights = weight.data.add(column * weight_stride);
            let mut rows = self.rows;
            let mut totals = [[L::splat(0.0); N]; M];
            for k in 0..weight.shape[0] {
                let values: [L; N] = std::array::from_fn(|j| L::load(rows.add(j * L::COUNT)));
                for (i, totals) in totals.iter_mut().enumerate() {
                    let weight = L::splat(*weights.add(i * weight_stride + k));
                    for (total, &value) in totals.iter_mut().zip(&values) {
                        *total = weight.mul_add(value, *total);
                    }
                }
                rows = rows.add(self.width);
            }
            let one = L::splat(1.0);
            for (i, totals) in totals.into_iter().enumerate() {
                let line = sums.as_mut_ptr().add((column + i) * *stride + self.first_row);
                for (j, total) in totals.into_iter().enumerate() {
                    let place = line.add(j * L::COUNT);
                    let total = if *add { total.mul_add(one, L::load(place)) } else { total };
                    total.store(place);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tiles::{Cut, product};
    use super::*;
    use crate::simd::{run_avx2, run_portable};

    /// Numbers of both signs and many magnitudes.
    fn numbers(count: usize, prime: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * i + i) % prime) as f32 / prime as f32 - 0.45).collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn many_rows_are_left_to_the_matrix_kernels() {
        assert!(is_for_few(MOST_ROWS, LEAST, LEAST) && !is_for_few(MOST_ROWS + 1, 768, 768));
        assert!(!is_for_few(0, 768, 768) && !is_for_few(5, 768, 16) && !is_for_few(5, 16, 768));
    }

    /// Few rows come out of [`product`] as they come out with many others below them.
    #[test]
    fn rows_are_those_of_the_matrix_kernels_bit_for_bit() {
        for (depth, columns) in [(64, 64), (100, 100), (512, 768), (768, 194), (1537, 130)] {
            let (many, weight) = (numbers(400 * depth, 997), numbers(columns * depth, 1013));
            let rhs = Matrix::new(&weight, [columns, depth], [depth, 1]).transpose();
            let lhs = Matrix::new(&many, [400, depth], [depth, 1]);
            let all = product(lhs, rhs, Cut::WEIGHT);
            for rows in [1, 2, 5, 16, 17, 33, 50, 64, 77, 96, 150, MOST_ROWS] {
                let few = product(lhs.rows(0, rows), rhs, Cut::WEIGHT);
                assert!(is_for_few(rows, depth, columns));
                assert_eq!(bits(&few), bits(&all[..rows * columns]), "{rows} {depth} {columns}");
            }
        }
    }

    struct Whole<'a>(&'a FewRows, Matrix<'a>);

    impl Kernel for Whole<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<I: Isa>(self) -> Vec<f32> {
            let Self(rows, weight) = self;
            let stride = rows.rows.div_ceil(PANEL) * PANEL;
            let mut sums = vec![f32::NAN; weight.shape[1] * stride];
            for (range, add) in [(0..40, false), (40..weight.shape[0], true)] {
                let start = range.start;
                let weight = weight.rows(start, range.len());
                Pass { rows, start, weight, sums: &mut sums, stride, add }.run::<I>();
            }
            sums
        }
    }

    #[test]
    fn every_instruction_set_gives_the_product() {
        let (depth, columns) = (70, 67);
        let weight = numbers(columns * depth, 1013);
        let weight = Matrix::new(&weight, [columns, depth], [depth, 1]).transpose();
        for rows in [1, 20, 40, 77] {
            let values = numbers(rows * depth, 997);
            let packed = FewRows::new(Matrix::new(&values, [rows, depth], [depth, 1]));
            let stride = rows.div_ceil(PANEL) * PANEL;
            let results = [
                Some(dispatch(Whole(&packed, weight))),
                run_avx2(Whole(&packed, weight)),
                Some(run_portable(Whole(&packed, weight))),
            ];
            for sums in results.into_iter().flatten() {
                for (column, sums) in sums.chunks(stride).enumerate() {
                    let weight = weight.transpose().row(column);
                    for (row, values) in values.chunks(depth).enumerate() {
                        let pairs = values.iter().zip(weight);
                        let exact: f64 = pairs.map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
                        assert!((f64::from(sums[row]) - exact).abs() < 1e-5, "{row} {column}");
                    }
                }
            }
        }
    }

    #[test]
    fn groups_cover_the_rows_and_only_a_single_panel_is_alone() {
        for rows in 1..=MOST_ROWS {
            let groups: Vec<_> = groups(rows).collect();
            assert_eq!(groups[0].start, 0);
            assert!(groups.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert_eq!(groups.last().unwrap().end, rows.div_ceil(PANEL));
            let smallest = groups.iter().map(ExactSizeIterator::len).min().unwrap();
            let largest = groups.iter().map(ExactSizeIterator::len).max().unwrap();
            assert!(largest <= GROUP && (smallest > 1 || groups.len() == 1), "{rows}");
        }
    }
}
