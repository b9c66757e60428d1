//! Strided matrix views and their product.

use std::marker::PhantomData;

mod few;
pub(crate) mod tiles;

/// A matrix somewhere in a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: *const f32,
    shape: [usize; 2],
    strides: [usize; 2],
    lifetime: PhantomData<&'a [f32]>,
}

/// A matrix somewhere in a slice, to be written.
pub(crate) struct MatrixMut<'a> {
    data: *mut f32,
    shape: [usize; 2],
    strides: [usize; 2],
    lifetime: PhantomData<&'a mut [f32]>,
}

/// Number of elements from the first to the last one, both included.
fn extent(shape: [usize; 2], strides: [usize; 2]) -> usize {
    if shape.contains(&0) {
        return 0;
    }
    (shape[0] - 1) * strides[0] + (shape[1] - 1) * strides[1] + 1
}

impl<'a> Matrix<'a> {
    /// The matrix whose first element is the first of `data`.
    pub(crate) fn new(data: &'a [f32], shape: [usize; 2], strides: [usize; 2]) -> Self {
        assert!(extent(shape, strides) <= data.len(), "the matrix must lie in its slice");
        Self { data: data.as_ptr(), shape, strides, lifetime: PhantomData }
    }

    /// Rows and columns exchanged.
    pub(crate) fn transpose(self) -> Self {
        let ([rows, columns], [row, column]) = (self.shape, self.strides);
        Self { shape: [columns, rows], strides: [column, row], ..self }
    }

    /// Number of columns.
    pub(crate) fn width(self) -> usize {
        self.shape[1]
    }

    /// Some of the rows.
    pub(crate) fn rows(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.shape[0], "the rows must lie in the matrix");
        // SAFETY: the first of these rows lies in the matrix, as was just checked.
        let data = unsafe { self.data.add(start * self.strides[0]) };
        Self { data, shape: [count, self.shape[1]], ..self }
    }

    /// A row of a matrix whose rows are contiguous.
    pub(crate) fn row(self, index: usize) -> &'a [f32] {
        assert!(index < self.shape[0] && self.strides[1] == 1, "a contiguous row of the matrix");
        // SAFETY: the row lies in the slice that the view was made from, which outlives it.
        unsafe { std::slice::from_raw_parts(self.data.add(index * self.strides[0]), self.shape[1]) }
    }
}

impl<'a> MatrixMut<'a> {
    /// The row-major matrix that fills `data`.
    pub(crate) fn row_major(data: &'a mut [f32], shape: [usize; 2]) -> Self {
        assert!(shape[0] * shape[1] <= data.len(), "the matrix must lie in its slice");
        Self { data: data.as_mut_ptr(), shape, strides: [shape[1], 1], lifetime: PhantomData }
    }

    /// A row of a matrix whose rows are contiguous.
    pub(crate) fn row(&mut self, index: usize) -> &mut [f32] {
        assert!(index < self.shape[0] && self.strides[1] == 1, "a contiguous row of the matrix");
        // SAFETY: the row lies in the slice that the view was made from, which is borrowed mutably.
        unsafe {
            std::slice::from_raw_parts_mut(self.data.add(index * self.strides[0]), self.shape[1])
        }
    }

    /// `self = scale * lhs * rhs`.
    pub(crate) fn set(&mut self, lhs: Matrix, rhs: Matrix, scale: f32) {
        self.product(lhs, rhs, scale, false);
    }

    /// `self += scale * lhs * rhs`.
    pub(crate) fn add(&mut self, lhs: Matrix, rhs: Matrix, scale: f32) {
        self.product(lhs, rhs, scale, true);
    }

    fn product(&mut self, lhs: Matrix, rhs: Matrix, scale: f32, accumulate: bool) {
        let ([m, n], k) = (self.shape, lhs.shape[1]);
        assert!(lhs.shape == [m, k] && rhs.shape == [k, n], "the shapes of a product");
        let strides = |[row, column]: [usize; 2]| (column as isize, row as isize);
        let (dst_column, dst_row) = strides(self.strides);
        let (lhs_column, lhs_row) = strides(lhs.strides);
        let (rhs_column, rhs_row) = strides(rhs.strides);
        // SAFETY: the three views lie in their slices and the shapes agree, as the constructors
        // and the line above check; the destination is borrowed mutably, so nothing else reads it.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                self.data,
                dst_column,
                dst_row,
                accumulate,
                lhs.data,
                lhs_column,
                lhs_row,
                rhs.data,
                rhs_column,
                rhs_row,
                1.0,
                scale,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// The matrices of all heads, interleaved in one buffer, which several threads fill at once.
pub(crate) struct SharedHeads {
    data: *mut f32,
    heads: usize,
    /// Rows and columns of one head.
    shape: [usize; 2],
    /// Distances between images, heads and rows.
    strides: [usize; 3],
    /// Elements of the buffer that come after the last one of these heads.
    spare: usize,
}

// SAFETY: `rows` is the only access, and its callers keep the rows they take apart.
unsafe impl Sync for SharedHeads {}
// SAFETY: as above; the pointer is not tied to a thread.
unsafe impl Send for SharedHeads {}

impl SharedHeads {
    /// Heads whose first element is the first of `data`, as `[batch, row, .., head, column]`, with
    /// `row_stride` elements from row to row.
    ///
    /// The result must not outlive `data`, and `data` not be used before the result is gone.
    pub(crate) fn new(
        data: &mut [f32],
        [batch, heads, rows, columns]: [usize; 4],
        row_stride: usize,
    ) -> Self {
        let strides = [rows * row_stride, columns, row_stride];
        let last = extent([batch, heads], [strides[0], strides[1]]);
        let needed =
            if last == 0 { 0 } else { last - 1 + extent([rows, columns], [row_stride, 1]) };
        assert!(heads * columns <= row_stride && needed <= data.len(), "the heads must fit");
        let spare = data.len() - needed;
        Self { data: data.as_mut_ptr(), heads, shape: [rows, columns], strides, spare }
    }

    /// Equally shaped heads that start `offset` elements later in the same buffer.
    pub(crate) fn shifted(&self, offset: usize) -> Self {
        assert!(offset <= self.spare, "the heads must fit");
        // SAFETY: the new start is not behind the end of the buffer, as was just checked.
        let data = unsafe { self.data.add(offset) };
        Self { data, spare: self.spare - offset, ..*self }
    }

    /// Some rows of the head with this index, counted through all images.
    ///
    /// # Safety
    /// The buffer is still there, the head exists in it, and no other reference to any of these
    /// rows is alive.
    pub(crate) unsafe fn rows<'a>(&self, head: usize, start: usize, count: usize) -> MatrixMut<'a> {
        assert!(start + count <= self.shape[0], "the rows must lie in the head");
        let offset = head / self.heads * self.strides[0]
            + head % self.heads * self.strides[1]
            + start * self.strides[2];
        // SAFETY: the offset is that of an element of the head, by the caller's promise.
        let data = unsafe { self.data.add(offset) };
        let strides = [self.strides[2], 1];
        MatrixMut { data, shape: [count, self.shape[1]], strides, lifetime: PhantomData }
    }
}
