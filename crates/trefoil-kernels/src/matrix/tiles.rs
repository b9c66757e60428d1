//! Products of whole matrices, tile by tile on all threads.

use std::cell::RefCell;
use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::few::{FewRows, is_for_few};
use super::{Matrix, MatrixMut};

/// Below this number of multiplications, waking the threads costs more than it saves.
pub(super) const SEQUENTIAL: usize = 1 << 22;

/// Columns of `lhs` that one pass takes: panels of both factors then stay in the first-level
/// cache. The passes are made here because the library's own choice depends on the shape of the
/// tile, and a row's result must not depend on how many other rows there are.
pub(super) const DEPTH: usize = 512;

/// Tiles start at multiples of these numbers of rows and columns, which hold a whole number of the
/// blocks of registers that the matrix kernels work on.
const UNITS: [usize; 2] = [24, 64];

/// Number of tiles that are worth smaller ones.
const FEWEST: usize = 4;

/// Most elements of a product that the matrix kernels treat as small, and sum in another order.
pub(crate) const SMALL_PRODUCT: usize = 256;

/// The right factor of a product.
pub(crate) trait Factor: Sync {
    /// Rows and columns.
    fn shape(&self) -> [usize; 2];

    /// The part that begins at `row` and `column` and has `rows` and `columns`, perhaps made in `scratch`.
    fn part<'a>(
        &'a self,
        row_and_rows: [usize; 2],
        column_and_columns: [usize; 2],
        scratch: &'a mut Vec<f32>,
    ) -> Matrix<'a>;

    /// Whether parts are made in the scratch space, which should then stay in the cache.
    fn is_converted(&self) -> bool;

    /// Whether each column of a part lies in one piece.
    fn has_contiguous_columns(&self) -> bool;
}

impl Factor for Matrix<'_> {
    fn shape(&self) -> [usize; 2] {
        self.shape
    }

    fn part<'a>(
        &'a self,
        [row, rows]: [usize; 2],
        [column, columns]: [usize; 2],
        _: &'a mut Vec<f32>,
    ) -> Matrix<'a> {
        self.rows(row, rows).columns(column, columns)
    }

    fn is_converted(&self) -> bool {
        false
    }

    fn has_contiguous_columns(&self) -> bool {
        self.strides[0] == 1
    }
}

/// Memory that a thread keeps.
#[derive(Default)]
struct Scratch {
    /// Parts of a factor that is converted.
    part: Vec<f32>,
    /// Sums of few rows.
    sums: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// How a product is cut into tiles; a function of the shape alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// Most rows and columns of a tile.
    largest: [usize; 2],
}

impl Cut {
    /// For a product whose right factor is a weight. Each tile brings its part of the weight into
    /// the order of the registers, so tiles are as high as possible.
    pub(crate) const WEIGHT: Self = Self { largest: [2304, 192] };
    /// For a product of two activations, which is a weight's gradient: both factors are reordered.
    pub(crate) const GRADIENT: Self = Self { largest: [1536, 768] };

    /// Number of tiles along both axes.
    fn counts(self, shape: [usize; 2], depth: usize) -> [usize; 2] {
        let [rows, columns] = shape;
        let work = rows.saturating_mul(columns).saturating_mul(depth);
        if work < SEQUENTIAL {
            return [rows.min(1), columns.min(1)];
        }
        let mut counts = [rows.div_ceil(self.largest[0]), self.columns(shape)];
        while counts[0] * counts[1] < FEWEST {
            let columns = columns / UNITS[1];
            if rows / counts[0] >= 192 {
                counts[0] *= 2;
            } else if columns > 0
                && columns.is_multiple_of(2 * counts[1])
                && 2 * counts[1] <= most_columns(shape)
            {
                counts[1] *= 2;
            } else {
                break;
            }
        }
        counts
    }

    /// Number of tiles along the columns, by the size of a tile alone.
    fn columns(self, shape: [usize; 2]) -> usize {
        shape[1].div_ceil(self.largest[1]).min(most_columns(shape))
    }
}

/// Most tiles along the columns of which none is a small product where the whole is not.
fn most_columns([rows, columns]: [usize; 2]) -> usize {
    let units = SMALL_PRODUCT / rows.max(1) / UNITS[1] + 1;
    (columns / UNITS[1] / units).max(1)
}

/// First element and length of part `index` of an axis; what is less than a unit belongs to the last part, because the
/// matrix kernels sum a narrow product in another order.
pub(super) fn part(length: usize, unit: usize, count: usize, index: usize) -> (usize, usize) {
    let at =
        |index: usize| if index == count { length } else { length / unit * index / count * unit };
    (at(index), at(index + 1) - at(index))
}

/// A matrix that is not written yet, whose tiles several threads fill at once.
pub(crate) struct Unwritten {
    values: Vec<f32>,
    shape: [usize; 2],
}

/// One tile of a product.
pub(crate) struct Tile<'a> {
    /// Index of its first column.
    pub(crate) first_column: usize,
    /// Its values: the product.
    pub(crate) values: MatrixMut<'a>,
    /// The same place in the second matrix, if there is one: not written yet.
    pub(crate) second: Option<MatrixMut<'a>>,
}

/// A pointer that goes to other threads.
#[derive(Clone, Copy)]
struct Start(*mut f32);

// SAFETY: `Unwritten::tile` is the only access, and its callers keep the tiles they take apart.
unsafe impl Sync for Start {}
// SAFETY: as above; the pointer is not tied to a thread.
unsafe impl Send for Start {}

// SAFETY: a view only reads the slice that it was made from, as a shared reference does.
unsafe impl Sync for Matrix<'_> {}

impl Start {
    /// The tile of a matrix with `row_stride` elements from row to row.
    ///
    /// # Safety
    /// The tile lies in the matrix, which is still there, and no other reference to any of its
    /// elements is alive.
    unsafe fn tile<'a>(
        self,
        [row, column]: [usize; 2],
        shape: [usize; 2],
        row_stride: usize,
    ) -> MatrixMut<'a> {
        // SAFETY: the first element of the tile lies in the matrix, by the caller's promise.
        let data = unsafe { self.0.add(row * row_stride + column) };
        MatrixMut { data, shape, strides: [row_stride, 1], lifetime: std::marker::PhantomData }
    }
}

impl Unwritten {
    fn new(shape: [usize; 2]) -> Self {
        Self { values: Vec::with_capacity(shape[0] * shape[1]), shape }
    }

    fn start(&mut self) -> Start {
        Start(self.values.as_mut_ptr())
    }

    /// # Safety
    /// Every element was written.
    unsafe fn written(mut self) -> Vec<f32> {
        // SAFETY: the capacity is at least this large, and the elements were written.
        unsafe { self.values.set_len(self.shape[0] * self.shape[1]) };
        self.values
    }
}

/// `lhs rhs`, row-major.
pub(crate) fn product(lhs: Matrix, rhs: Matrix, cut: Cut) -> Vec<f32> {
    product_then(lhs, &rhs, cut, |_| {})
}

/// `lhs rhs`, each tile changed by `finish` while it is in the cache.
pub(crate) fn product_then(
    lhs: Matrix,
    rhs: &impl Factor,
    cut: Cut,
    finish: impl Fn(&mut Tile) + Sync,
) -> Vec<f32> {
    fill(lhs, rhs, cut, None, finish)
}

/// `lhs rhs` changed by `finish`, and a second matrix that `finish` makes of it.
///
/// # Safety
/// `finish` writes every element of [`Tile::second`].
pub(crate) unsafe fn product_and_second(
    lhs: Matrix,
    rhs: Matrix,
    cut: Cut,
    finish: impl Fn(&mut Tile) + Sync,
) -> [Vec<f32>; 2] {
    let mut second = Unwritten::new([lhs.shape[0], rhs.shape[1]]);
    let first = fill(lhs, &rhs, cut, Some(second.start()), finish);
    // SAFETY: the tiles cover the matrix, and each was written by the caller's promise.
    [first, unsafe { second.written() }]
}

fn fill(
    lhs: Matrix,
    rhs: &impl Factor,
    cut: Cut,
    second: Option<Start>,
    finish: impl Fn(&mut Tile) + Sync,
) -> Vec<f32> {
    let (shape, depth) = ([lhs.shape[0], rhs.shape()[1]], lhs.shape[1]);
    let mut output = Unwritten::new(shape);
    let first = output.start();
    let mut counts = cut.counts(shape, depth);
    if rhs.is_converted() {
        counts[1] = counts[1].max(cut.columns(shape));
    }
    let few = (rhs.has_contiguous_columns() && is_for_few(shape[0], depth, shape[1]))
        .then(|| FewRows::new(lhs));
    if few.is_some() {
        counts[0] = 1;
    }
    let step = |index: usize| {
        // Neighbours share their part of the right factor.
        let (row, rows) = part(shape[0], UNITS[0], counts[0], index % counts[0]);
        let (column, columns) = part(shape[1], UNITS[1], counts[1], index / counts[0]);
        let (at, size) = ([row, column], [rows, columns]);
        // SAFETY: tiles lie in their matrix, do not overlap and are gone before it is used; the
        // second matrix has the shape of the first.
        let tile_of = |start: Start| unsafe { start.tile(at, size, shape[1]) };
        let mut values = tile_of(first);
        SCRATCH.with_borrow_mut(|Scratch { part, sums }| match &few {
            Some(few) => few.product(rhs, column, &mut values, [part, sums]),
            None => values.set_in_passes(lhs.rows(row, rows), rhs, column, part),
        });
        finish(&mut Tile { first_column: column, values, second: second.map(tile_of) });
    };
    let count = counts[0] * counts[1];
    if count == 1 {
        step(0);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(step);
    }
    // SAFETY: the tiles cover the matrix, and a product writes its whole tile.
    unsafe { output.written() }
}

impl Matrix<'_> {
    /// Some of the columns.
    fn columns(self, start: usize, count: usize) -> Self {
        self.transpose().rows(start, count).transpose()
    }
}

impl MatrixMut<'_> {
    /// `self = lhs * rhs`, for the columns of `rhs` from `column` on, in passes over at most [`DEPTH`] columns of
    /// `lhs`.
    fn set_in_passes(
        &mut self,
        lhs: Matrix,
        rhs: &impl Factor,
        column: usize,
        scratch: &mut Vec<f32>,
    ) {
        let depth = lhs.shape[1];
        let passes = depth.div_ceil(DEPTH).max(1);
        for pass in 0..passes {
            let (start, count) = part(depth, 1, passes, pass);
            let lhs = lhs.columns(start, count);
            let rhs = rhs.part([start, count], [column, self.shape[1]], scratch);
            if pass == 0 {
                self.set(lhs, rhs, 1.0);
            } else {
                self.add(lhs, rhs, 1.0);
            }
        }
    }

    /// Number of rows.
    pub(crate) fn height(&self) -> usize {
        self.shape[0]
    }

    /// Number of columns.
    pub(crate) fn width(&self) -> usize {
        self.shape[1]
    }

    /// A row that may not be written yet.
    pub(crate) fn row_to_write(&mut self, index: usize) -> &mut [MaybeUninit<f32>] {
        assert!(index < self.shape[0] && self.strides[1] == 1, "a contiguous row of the matrix");
        // SAFETY: the row lies in memory that the view borrows mutably, and it need not be
        // initialised.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.data.add(index * self.strides[0]).cast(),
                self.shape[1],
            )
        }
    }

    /// A row that was written.
    ///
    /// # Safety
    /// Every element of the row was written.
    pub(crate) unsafe fn row_mut(&mut self, index: usize) -> &mut [f32] {
        // SAFETY: the elements are initialised, by the caller's promise.
        unsafe { self.row_to_write(index).assume_init_mut() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_matrix_and_are_never_slivers() {
        for shape in [[1, 1], [70, 192], [1120, 768], [1105, 1537], [2305, 6145], [5, 49_408]] {
            for cut in [Cut::WEIGHT, Cut::GRADIENT] {
                let counts = cut.counts(shape, 300);
                for axis in [0, 1] {
                    let mut next = 0;
                    for index in 0..counts[axis] {
                        let (start, length) = part(shape[axis], UNITS[axis], counts[axis], index);
                        assert_eq!(start, next);
                        assert!(length >= 32 || length == shape[axis], "{shape:?} {length}");
                        next = start + length;
                    }
                    assert_eq!(next, shape[axis]);
                }
            }
        }
    }

    #[test]
    fn no_tile_is_small_where_the_product_is_not() {
        for rows in 1..9 {
            for columns in [129, 194, 200, 256, 512, 1600, 3072] {
                for cut in [Cut::WEIGHT, Cut::GRADIENT] {
                    let count = cut.counts([rows, columns], 1 << 14)[1];
                    let tiles = (0..count).map(|index| part(columns, UNITS[1], count, index).1);
                    let smallest = rows * tiles.min().unwrap();
                    assert!(smallest > SMALL_PRODUCT.min(rows * columns - 1), "{rows} {columns}");
                }
            }
        }
    }
}
