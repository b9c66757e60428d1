//! What attention does to the rows of a block of scores.

use crate::attention::AttentionMask;
use crate::matrix::{Matrix, MatrixMut};
use crate::simd::{Isa, Kernel, exp, maximum, sum_of, sum_of_pairs};

/// Number of keys that any of the queries before `end` sees.
pub(crate) fn visible(mask: AttentionMask, keys: usize, end: usize) -> usize {
    match mask {
        AttentionMask::Full => keys,
        AttentionMask::Causal => keys.min(end),
    }
}

/// Number of keys that the query at `position` sees.
fn visible_to(mask: AttentionMask, keys: usize, position: usize) -> usize {
    visible(mask, keys, position + 1)
}

/// Where a block of scores lies.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    /// Number of keys.
    pub(crate) keys: usize,
    /// Position of the first query.
    pub(crate) first: usize,
    /// Position of the first key.
    pub(crate) start: usize,
    pub(crate) mask: AttentionMask,
}

impl Block {
    /// Number of keys of the block that its query `row` sees.
    #[inline(always)]
    fn seen(&self, row: usize) -> usize {
        let end = visible_to(self.mask, self.start + self.keys, self.first + row);
        end.saturating_sub(self.start)
    }
}

/// What is known of each query's softmax after some of the keys.
pub(crate) struct Running<'a> {
    /// Largest score so far.
    pub(crate) maxima: &'a mut [f32],
    /// Sum of the exponentials so far, over that of the largest score.
    pub(crate) sums: &'a mut [f32],
    /// What earlier results have to be multiplied by, because the largest score has changed.
    pub(crate) factors: &'a mut [f32],
}

/// Turns scores into exponentials over that of the largest score so far.
pub(crate) struct Exponentials<'a> {
    pub(crate) scores: &'a mut [f32],
    pub(crate) running: Running<'a>,
    pub(crate) block: Block,
}

impl Kernel for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Running { maxima, sums, factors } = self.running;
        let rows = self.scores.chunks_exact_mut(self.block.keys).enumerate();
        for ((i, row), ((largest, sum), factor)) in
            rows.zip(maxima.iter_mut().zip(sums).zip(factors))
        {
            let (row, hidden) = row.split_at_mut(self.block.seen(i));
            hidden.fill(0.0);
            if row.is_empty() {
                *factor = 1.0;
                continue;
            }
            let before = *largest;
            *largest = maximum(row).max(before);
            for x in row.iter_mut() {
                *x = exp::<I>(*x - *largest);
            }
            *factor = exp::<I>(before - *largest);
            *sum = *sum * *factor + sum_of(row, |x| x);
        }
    }
}

/// Multiplies each row by its factor.
pub(crate) struct Scale<'a, 'b> {
    pub(crate) rows: &'a mut MatrixMut<'b>,
    pub(crate) factors: &'a [f32],
}

impl Kernel for Scale<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for (i, &factor) in self.factors.iter().enumerate() {
            for x in self.rows.row(i) {
                *x *= factor;
            }
        }
    }
}

/// `p = exp(s - log_sum)` in place of the scores and `p (dp - dot)` in place of the gradients `dp`
/// of the probabilities, where `dot` is the product of a row's output and its gradient.
pub(crate) struct Slopes<'a> {
    pub(crate) scores: &'a mut [f32],
    pub(crate) slopes: &'a mut [f32],
    pub(crate) log_sums: &'a [f32],
    pub(crate) dots: &'a [f32],
    pub(crate) block: Block,
}

impl Kernel for Slopes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let rows = self.scores.chunks_exact_mut(self.block.keys);
        let rows = rows.zip(self.slopes.chunks_exact_mut(self.block.keys));
        let statistics = self.log_sums.iter().zip(self.dots);
        for (i, ((scores, slopes), (&log_sum, &dot))) in rows.zip(statistics).enumerate() {
            let seen = self.block.seen(i);
            let (scores, hidden) = scores.split_at_mut(seen);
            hidden.fill(0.0);
            let (slopes, hidden) = slopes.split_at_mut(seen);
            hidden.fill(0.0);
            for score in scores.iter_mut() {
                *score = exp::<I>(*score - log_sum);
            }
            for (slope, &probability) in slopes.iter_mut().zip(&*scores) {
                *slope = probability * (*slope - dot);
            }
        }
    }
}

/// Products of corresponding rows.
pub(crate) struct RowDots<'a> {
    pub(crate) lhs: Matrix<'a>,
    pub(crate) rhs: Matrix<'a>,
    pub(crate) dots: &'a mut [f32],
}

impl Kernel for RowDots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for (i, dot) in self.dots.iter_mut().enumerate() {
            *dot = sum_of_pairs(self.lhs.row(i), self.rhs.row(i), |a, b| a * b);
        }
    }
}
