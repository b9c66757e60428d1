//! The innermost loops: products of small blocks that stay in registers.

use crate::lanes::Lanes;

/// Pixels of a panel.
pub(crate) const PANEL: usize = 64;

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

/// `target[i, p] = start + sum_k weights[k, i] panel[k, p]` for up to [`OUTER_ROWS`] rows `i`.
#[derive(Clone, Copy)]
pub(crate) struct Outer {
    /// Number of terms.
    pub(crate) depth: usize,
    /// `[depth, rows]`
    pub(crate) weights: *const f32,
    /// `[depth, PANEL]`
    pub(crate) panel: *const f32,
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
            // SAFETY: the columns from `first` lie in the panel and the target, since both have
            // `PANEL` columns and the step divides that.
            unsafe {
                let part =
                    Self { panel: self.panel.add(first), target: self.target.add(first), ..self };
                match rows {
                    1 => part.block::<L, 1, N>(),
                    2 => part.block::<L, 2, N>(),
                    3 => part.block::<L, 3, N>(),
                    4 => part.block::<L, 4, N>(),
                    5 => part.block::<L, 5, N>(),
                    _ => part.block::<L, OUTER_ROWS, N>(),
                }
            }
        }
    }

    /// `M` rows and `N` registers of columns.
    #[inline(always)]
    unsafe fn block<L: Lanes, const M: usize, const N: usize>(self) {
        // SAFETY: all places lie in the shapes that the caller promised.
        unsafe {
            let mut sums = [[L::splat(0.0); N]; M];
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = match self.start {
                        Start::Bias(bias) => L::splat(*bias.add(i)),
                        Start::Target => L::load(self.target.add(i * self.stride + j * L::COUNT)),
                    };
                }
            }
            let (mut weights, mut panel) = (self.weights, self.panel);
            for _ in 0..self.depth {
                let pixels: [L; N] = std::array::from_fn(|j| L::load(panel.add(j * L::COUNT)));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let weight = L::splat(*weights.add(i));
                    for (sum, &pixels) in sums.iter_mut().zip(&pixels) {
                        *sum = weight.mul_add(pixels, *sum);
                    }
                }
                weights = weights.add(M);
                panel = panel.add(PANEL);
            }
            for (i, sums) in sums.into_iter().enumerate() {
                for (j, sum) in sums.into_iter().enumerate() {
                    sum.store(self.target.add(i * self.stride + j * L::COUNT));
                }
            }
        }
    }
}

/// `target[j, i] += sum_p lhs[i, p] panel[j, p]` for [`INNER_COLUMNS`] rows `j` of the panel.
#[derive(Clone, Copy)]
pub(crate) struct Inner {
    /// Number of terms, a multiple of 16.
    pub(crate) depth: usize,
    pub(crate) lhs: *const f32,
    /// Numbers from one row of `lhs` to the next.
    pub(crate) lhs_stride: usize,
    pub(crate) panel: *const f32,
    /// Numbers from one row of the panel to the next.
    pub(crate) panel_stride: usize,
    pub(crate) target: *mut f32,
    /// Numbers from one row of the target to the next.
    pub(crate) stride: usize,
}

impl Inner {
    /// Goes through all rows of `lhs`.
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
            for p in (0..self.depth).step_by(L::COUNT) {
                let lhs: [L; M] =
                    std::array::from_fn(|i| L::load(self.lhs.add(i * self.lhs_stride + p)));
                for (j, sums) in sums.iter_mut().enumerate() {
                    let pixels = L::load(self.panel.add(j * self.panel_stride + p));
                    for (sum, &lhs) in sums.iter_mut().zip(&lhs) {
                        *sum = lhs.mul_add(pixels, *sum);
                    }
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
