//! A pass over rows of bytes on all threads.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use rayon::prelude::*;

use super::super::top::{Found, Top};
use crate::real::vectorised;

/// Rows of a vector are padded to a multiple of this.
pub(super) const LANES: usize = 32;
/// Most rows of one piece.
pub(super) const BLOCK: usize = 2048;

/// Rows that are looked at together, and what few of their scores exceed.
pub(super) struct Piece {
    pub(super) bound: f32,
    pub(super) rows: [usize; 2],
}

impl Piece {
    /// Rows in pieces of at most [`BLOCK`].
    pub(super) fn cut(bound: f32, [first, end]: [usize; 2]) -> impl Iterator<Item = Self> {
        (first..end)
            .step_by(BLOCK)
            .map(move |start| Self { bound, rows: [start, (start + BLOCK).min(end)] })
    }
}

/// The best `count` allowed rows of all pieces, the most promising pieces first. Pieces whose bound is
/// below the scores that were found are left out. `score` fills the scores of rows, `item` names one.
pub(super) fn best_of(
    mut pieces: Vec<Piece>,
    score: impl Fn([usize; 2], &mut [f32]) + Sync,
    item: impl Fn(usize) -> u32 + Sync,
    count: usize,
    is_allowed: &(dyn Fn(u32) -> bool + Sync),
) -> Vec<Found> {
    pieces.sort_by(|a, b| b.bound.total_cmp(&a.bound));
    let next = AtomicUsize::new(0);
    // What the best `count` of some thread have: nothing below it is among the best of all.
    let threshold = AtomicI32::new(ordered(f32::NEG_INFINITY));
    let task = |_| {
        let mut top = Top::new(count);
        let mut scores = [0.0_f32; BLOCK];
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            if ordered(piece.bound) < threshold.load(Ordering::Relaxed) {
                break;
            }
            let [first, end] = piece.rows;
            let scores = &mut scores[..end - first];
            vectorised(
                #[inline(always)]
                || score(piece.rows, &mut *scores),
            );
            for (place, &score) in (first..).zip(scores.iter()) {
                if score >= top.threshold() {
                    let item = item(place);
                    if is_allowed(item) {
                        top.push(Found { score, item });
                    }
                }
            }
            threshold.fetch_max(ordered(top.threshold()), Ordering::Relaxed);
        }
        top
    };
    let tops = (0..rayon::current_num_threads()).into_par_iter().map(task);
    tops.reduce(|| Top::new(count), Top::merge).into_sorted()
}

/// An integer that is ordered as the number is.
fn ordered(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    if bits < 0 { bits ^ i32::MAX } else { bits }
}

/// A vector in sixteen bits, so that products with bytes are sums of integers: a fourth of the work of
/// floats, and 256 times finer than the bytes that it meets.
pub(super) struct Target {
    codes: Vec<i16>,
    scale: f32,
}

impl Target {
    /// Padded to `stride` numbers.
    pub(super) fn new(vector: &[f32], stride: usize) -> Self {
        let largest = vector.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let scale = largest / f32::from(i16::MAX);
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let mut codes: Vec<i16> =
            vector.iter().map(|value| (value * inverse).round() as i16).collect();
        codes.resize(stride, 0);
        Self { codes, scale }
    }

    /// The inner product with a row of bytes. Up to 516 numbers cannot overflow.
    #[inline(always)]
    pub(super) fn product(&self, codes: &[i8]) -> f32 {
        let mut sum = 0_i32;
        for (codes, target) in
            codes.as_chunks::<LANES>().0.iter().zip(self.codes.as_chunks::<LANES>().0)
        {
            for lane in 0..LANES {
                sum += i32::from(codes[lane]) * i32::from(target[lane]);
            }
        }
        self.scale * sum as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_in_integers_are_those_of_the_numbers() {
        let vector: Vec<f32> = (0..50).map(|i| (i as f32 * 0.7).sin()).collect();
        let mut codes: Vec<i8> = (0..50).map(|i| ((i * 37) % 255 - 127) as i8).collect();
        codes.resize(64, 0);
        let expected: f32 = vector.iter().zip(&codes).map(|(v, &c)| v * f32::from(c)).sum();
        let found = vectorised(|| Target::new(&vector, 64).product(&codes));
        assert!((found - expected).abs() < 1e-3 * 50.0, "{found} {expected}");
    }

    #[test]
    fn pieces_below_what_was_found_are_left_out() {
        let pieces = [[0, 3], [3, 5], [5, 9]];
        let bounds = [1.0, 9.0, 5.0];
        let pieces = pieces.into_iter().zip(bounds).flat_map(|(rows, b)| Piece::cut(b, rows));
        let score = |[first, end]: [usize; 2], scores: &mut [f32]| {
            assert!(first >= 3, "rows of the piece without prospects were read");
            (first..end).zip(scores).for_each(|(row, score)| *score = row as f32);
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one thread");
        let found =
            pool.install(|| best_of(pieces.collect(), score, |row| row as u32, 2, &|_| true));
        let items: Vec<u32> = found.iter().map(|found| found.item).collect();
        assert_eq!(items, [8, 7]);
    }
}
