//! Parts of clusters that are near each other, and what a request can expect of each.

use crate::matrix::row;
use crate::real::dot;

/// A cell is left out if its mean and this many standard deviations are not among the best. Measured:
/// more read most of the cells, fewer begin to cost recall (`docs/results/uditsr-serving.md`).
const DEVIATIONS: f32 = 4.0;

/// Consecutive rows of one cluster, with the first two moments of their vectors.
pub(super) struct Cells {
    dim: usize,
    /// First row of each cell, and the end of the last.
    starts: Vec<usize>,
    clusters: Vec<u16>,
    /// Sums and sums of squares over the rows, `[n, dim]`.
    sums: Vec<f32>,
    squares: Vec<f32>,
    /// Smallest and largest squared length that a row has had.
    lengths: Vec<[f32; 2]>,
}

impl Cells {
    /// Cells that begin at `starts`, without rows yet; `starts` has one number more, the end.
    pub(super) fn new(dim: usize, starts: Vec<usize>, clusters: Vec<u16>) -> Self {
        let count = clusters.len();
        Self {
            dim,
            starts,
            clusters,
            sums: vec![0.0; count * dim],
            squares: vec![0.0; count * dim],
            lengths: vec![[f32::INFINITY, 0.0]; count],
        }
    }

    pub(super) fn count(&self) -> usize {
        self.clusters.len()
    }

    pub(super) fn cluster(&self, cell: usize) -> usize {
        usize::from(self.clusters[cell])
    }

    /// First row of a cell, and one after its last.
    pub(super) fn rows(&self, cell: usize) -> [usize; 2] {
        [self.starts[cell], self.starts[cell + 1]]
    }

    /// Rows that are in cells.
    pub(super) fn end(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The cell of a row, if it has one.
    pub(super) fn of(&self, place: usize) -> Option<usize> {
        (place < self.end()).then(|| self.starts.partition_point(|&start| start <= place) - 1)
    }

    /// Adds the vector of a row to its cell.
    pub(super) fn add(&mut self, cell: usize, vector: &[f32]) {
        self.change(cell, 1.0, vector);
        let length = dot(vector, vector);
        let [smallest, largest] = &mut self.lengths[cell];
        (*smallest, *largest) = (smallest.min(length), largest.max(length));
    }

    /// Takes the vector of a row out.
    pub(super) fn remove(&mut self, cell: usize, vector: &[f32]) {
        self.change(cell, -1.0, vector);
    }

    fn change(&mut self, cell: usize, sign: f32, vector: &[f32]) {
        let range = cell * self.dim..(cell + 1) * self.dim;
        crate::real::add_scaled(&mut self.sums[range.clone()], sign, vector);
        for (sum, value) in self.squares[range].iter_mut().zip(vector) {
            *sum += sign * value * value;
        }
    }

    /// Smallest and largest squared length of a row.
    pub(super) fn lengths(&self, cell: usize) -> [f32; 2] {
        self.lengths[cell]
    }

    /// What few inner products of rows of a cell with a target exceed. Numbers of a vector count as
    /// independent.
    #[inline(always)]
    pub(super) fn reach(&self, cell: usize, target: &[f32]) -> f32 {
        let [first, end] = self.rows(cell);
        let count = (end - first) as f32;
        let (mut mean, mut variance) = (0.0, 0.0);
        let sums = row(&self.sums, self.dim, cell);
        let squares = row(&self.squares, self.dim, cell);
        for ((&sum, &square), &target) in sums.iter().zip(squares).zip(target) {
            let middle = sum / count;
            mean += target * middle;
            variance += target * target * (square / count - middle * middle);
        }
        mean + DEVIATIONS * variance.max(0.0).sqrt()
    }
}
