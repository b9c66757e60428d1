//! The innermost loops: products of small blocks that stay in registers.

use crate::lanes::Lanes;

/// Pixels of a block of [`Outer`].
pub(crate) const PANEL: usize = 64;

/// Neighbouring pixels that are read together, a multiple of every register's length.
pub(crate) const CHUNK: usize = 16;

/// Chunks of a panel.
pub(crate) const CHUNKS: usize = PANEL / CHUNK;

/// Output channels of one block of [`Outer`].
pub(crate) const OUTER_ROWS: usize = 6;

/// Rows of the panel in one block of [`Inner`].
pub(crate) const INNER_COLUMNS: usize = 6;

/// What [`Outer`] starts from.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// One number per row.
    Bias(*const f32),
    /// The numbers at the target.
    Target,
}

/// `target[i, p] = start + sum_k weights[k, i] pixel[k, p]` for up to [`OUTER_ROWS`] rows `i` and
/// [`PANEL`] pixels `p`, where `pixel[k, p]` stands at `offsets[k] + chunks[p / 16] + p % 16`.
#[derive(Clone, Copy)]
pub(crate) struct Outer {
    /// Number of terms.
    pub(crate) depth: usize,
    /// `[depth, rows]`
    pub(crate) weights: *const f32,
    pub(crate) pixels: *const f32,
    /// `[depth]`
    pub(crate) offsets: *const usize,
    pub(crate) chunks: [usize; CHUNKS],
    /// Rows of [`PANEL`] numbers.
    pub(crate) target: *mut f32,
    /// Numbers from one row of the target to the next.
    pub(crate) stride: usize,
    pub(crate) start: Start,
}

impl Outer {
    /// Computes at least the first `pixels` columns; the whole target is writable.
    ///
    /// # Safety
    /// This is inside a kernel, and all pointers reach the shapes above.
    #[inline(always)]
    pub(crate) unsafe fn run<L: Lanes>(self, rows: usize, pixels: usize) {
        // SAFETY: the caller's promise is that of the callee.
        unsafe {
            if L::MANY { self.rows::<L, 4>(rows, pixels) } else { self.rows::<L, 2>(rows, pixels) }
        }
    }

    #[inline(always)]
    unsafe fn rows<L: Lanes, const N: usize>(self, rows: usize, pixels: usize) {
        for first in (0..pixels).step_by(N * L::COUNT) {
            // SAFETY: the columns from `first` are among the `PANEL` columns, as the step divides
            // their number.
            unsafe {
                match rows {
                    1 => self.block::<L, 1, N>(first),
                    2 => self.block::<L, 2, N>(first),
                    3 => self.block::<L, 3, N>(first),
                    4 => self.block::<L, 4, N>(first),
                    5 => self.block::<L, 5, N>(first),
                    _ => self.block::<L, OUTER_ROWS, N>(first),
                }
            }
        }
    }

    /// `M` rows and `N` registers of columns.
    #[inline(always)]
    unsafe fn block<L: Lanes, const M: usize, const N: usize>(self, first: usize) {
        let places: [usize; N] = std::array::from_fn(|j| {
            let column = first + j * L::COUNT;
            self.chunks[column / CHUNK] + column % CHUNK
        });
        // SAFETY: all places lie in the shapes that the caller promised.
        unsafe {
            let target = self.target.add(first);
            let mut sums = [[L::splat(0.0); N]; M];
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = match self.start {
                        Start::Bias(bias) => L::splat(*bias.add(i)),
                        Start::Target => L::load(target.add(i * self.stride + j * L::COUNT)),
                    };
                }
            }
            let mut weights = self.weights;
            for k in 0..self.depth {
                let pixels = self.pixels.add(*self.offsets.add(k));
                let pixels = places.map(|place| L::load(pixels.add(place)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let weight = L::splat(*weights.add(i));
                    for (sum, &pixels) in sums.iter_mut().zip(&pixels) {
                        *sum = weight.mul_add(pixels, *sum);
                    }
                }
                weights = weights.add(M);
            }
            for (i, sums) in sums.into_iter().enumerate() {
                for (j, sum) in sums.into_iter().enumerate() {
                    sum.store(target.add(i * self.stride + j * L::COUNT));
                }
            }
        }
    }
}

/// `target[j, i] += sum_p lhs[i, p] pixel[j, p]` for [`INNER_COLUMNS`] columns `j`, where
/// `pixel[j, p]` stands at `rows[j] + chunks[p / 16] + p % 16`.
#[derive(Clone, Copy)]
pub(crate) struct Inner<'a> {
    pub(crate) lhs: *const f32,
    /// Numbers from one row of `lhs` to the next.
    pub(crate) lhs_stride: usize,
    pub(crate) rows: [*const f32; INNER_COLUMNS],
    pub(crate) chunks: &'a [usize],
    pub(crate) target: *mut f32,
    /// Numbers from one row of the target to the next.
    pub(crate) stride: usize,
}

impl Inner<'_> {
    /// Goes through the first `rows` rows of `lhs`.
    ///
    /// # Safety
    /// This is inside a kernel, and all pointers reach the shapes above.
    #[inline(always)]
    pub(crate) unsafe fn run<L: Lanes>(self, rows: usize) {
        let block = if L::MANY { 4 } else { 2 };
        for first in (0..rows).step_by(block) {
            // SAFETY: the rows from `first` are rows of `lhs`, columns of the target.
            unsafe {
                let part = Self {
                    lhs: self.lhs.add(first * self.lhs_stride),
                    target: self.target.add(first),
                    ..self
                };
                match block.min(rows - first) {
                    1 => part.block::<L, 1>(),
                    2 => part.block::<L, 2>(),
                    3 => part.block::<L, 3>(),
                    _ => part.block::<L, 4>(),
                }
            }
        }
    }

    /// `M` rows of `lhs`.
    #[inline(always)]
    unsafe fn block<L: Lanes, const M: usize>(self) {
        // SAFETY: all places lie in the shapes that the caller promised.
        unsafe {
            let mut sums = [[L::splat(0.0); M]; INNER_COLUMNS];
            let mut lhs = self.lhs;
            for &chunk in self.chunks {
                for part in (0..CHUNK).step_by(L::COUNT) {
                    let values: [L; M] =
                        std::array::from_fn(|i| L::load(lhs.add(i * self.lhs_stride)));
                    for (sums, row) in sums.iter_mut().zip(self.rows) {
                        let pixels = L::load(row.add(chunk + part));
                        for (sum, &value) in sums.iter_mut().zip(&values) {
                            *sum = value.mul_add(pixels, *sum);
                        }
                    }
                    lhs = lhs.add(L::COUNT);
                }
            }
            for (j, sums) in sums.into_iter().enumerate() {
                let mut four = [L::splat(0.0); 4];
                four[..M].copy_from_slice(&sums);
                let four = L::sums(four);
                for (i, sum) in four.into_iter().take(M).enumerate() {
                    *self.target.add(j * self.stride + i) += sum;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Kernel, dispatch, run_avx2, run_portable};

    const DEPTH: usize = 7;

    /// The numbers `0, 1, 2, ..` modulo a prime, as small fractions.
    fn numbers(count: usize, prime: usize) -> Vec<f32> {
        (0..count).map(|i| (i * i % prime) as f32 / prime as f32 - 0.4).collect()
    }

    /// Each row of pixels starts two numbers later than the one before; chunks are apart.
    const CHUNK_PLACES: [usize; CHUNKS] = [3, 40, 60, 90];

    /// `rows` rows of the result, then [`PANEL`] numbers of [`Inner`] per column.
    struct Both {
        rows: usize,
    }

    impl Kernel for Both {
        type Output = (Vec<f32>, Vec<f32>);

        #[inline(always)]
        fn run<I: Isa>(self) -> Self::Output {
            let rows = self.rows;
            let (pixels, weights) = (numbers(130, 61), numbers(rows * DEPTH, 17));
            let (bias, lhs) = (numbers(rows, 5), numbers(rows * PANEL, 37));
            let offsets: Vec<usize> = (0..DEPTH).map(|k| 2 * k).collect();
            let mut outer = vec![0.0; rows * PANEL];
            let mut inner = vec![1.0; rows * INNER_COLUMNS];
            for (start, parts) in [(Start::Bias(bias.as_ptr()), 0..3), (Start::Target, 3..DEPTH)] {
                let product = Outer {
                    depth: parts.len(),
                    weights: weights[parts.start * rows..].as_ptr(),
                    pixels: pixels.as_ptr(),
                    offsets: offsets[parts.start..].as_ptr(),
                    chunks: CHUNK_PLACES,
                    target: outer.as_mut_ptr(),
                    stride: PANEL,
                    start,
                };
                // SAFETY: this is a kernel; the largest place is 2 * 6 + 90 + 15.
                unsafe { product.run::<I::Lanes>(rows, PANEL) };
            }
            let product = Inner {
                lhs: lhs.as_ptr(),
                lhs_stride: PANEL,
                rows: std::array::from_fn(|j| pixels[2 * j..].as_ptr()),
                chunks: &CHUNK_PLACES,
                target: inner.as_mut_ptr(),
                stride: rows,
            };
            // SAFETY: as above; `lhs` has `rows` rows of `PANEL` numbers.
            unsafe { product.run::<I::Lanes>(rows) };
            (outer, inner)
        }
    }

    /// The same by definition.
    fn expected(rows: usize) -> (Vec<f32>, Vec<f32>) {
        let (pixels, weights) = (numbers(130, 61), numbers(rows * DEPTH, 17));
        let (bias, lhs) = (numbers(rows, 5), numbers(rows * PANEL, 37));
        let pixel = |k: usize, p: usize| pixels[2 * k + CHUNK_PLACES[p / CHUNK] + p % CHUNK];
        let outer = |i: usize, p: usize| {
            bias[i] + (0..DEPTH).map(|k| weights[k * rows + i] * pixel(k, p)).sum::<f32>()
        };
        let inner = |j: usize, i: usize| {
            1.0 + (0..PANEL).map(|p| lhs[i * PANEL + p] * pixel(j, p)).sum::<f32>()
        };
        (
            (0..rows * PANEL).map(|n| outer(n / PANEL, n % PANEL)).collect(),
            (0..INNER_COLUMNS * rows).map(|n| inner(n / rows, n % rows)).collect(),
        )
    }

    #[test]
    fn blocks_of_every_height_on_every_path() {
        for rows in 1..=OUTER_ROWS {
            let (outer, inner) = expected(rows);
            let results = [
                Some(dispatch(Both { rows })),
                run_avx2(Both { rows }),
                Some(run_portable(Both { rows })),
            ];
            for (actual_outer, actual_inner) in results.into_iter().flatten() {
                let pairs = actual_outer.iter().zip(&outer).chain(actual_inner.iter().zip(&inner));
                for (actual, expected) in pairs {
                    assert!((actual - expected).abs() < 1e-5, "{rows} rows: {actual}, {expected}");
                }
                assert_eq!((actual_outer.len(), actual_inner.len()), (outer.len(), inner.len()));
            }
        }
    }
}
