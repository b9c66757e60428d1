//! Pixels of a region in the order of the target, as runs of neighbours.

use std::ops::Range;

use super::plan::Plan;
use super::tile::CHUNK;
use super::window::{Window, copy_few};

/// Neighbouring pixels of one row of the grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// First pixel, in the panel.
    pub(super) at: usize,
    pub(super) len: usize,
    /// Place in the window.
    base: usize,
    /// Image in the region.
    pub(super) image: usize,
    /// Row and column in the grid.
    pub(super) position: [usize; 2],
}

/// The runs that make up some pixels of a region, counted through its rows and images.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: Vec<Run>,
    /// The place of each [`CHUNK`] of pixels in the window, if no run ends inside of one.
    chunks: Vec<usize>,
}

impl Runs {
    #[inline(always)]
    pub(super) fn set(
        &mut self,
        plan: &Plan,
        window: &Window,
        [rows, columns]: [usize; 2],
        first_row: usize,
        pixels: Range<usize>,
    ) {
        self.runs.clear();
        self.chunks.clear();
        let (line, mut column) = (pixels.start / columns, pixels.start % columns);
        let (mut image, mut row) = (line / rows, line % rows);
        let mut at = 0;
        while at < pixels.len() {
            let len = (columns - column).min(pixels.len() - at);
            let base = image * window.image + row * plan.step[0] * window.row + column;
            self.runs.push(Run { at, len, base, image, position: [first_row + row, column] });
            if columns.is_multiple_of(CHUNK) {
                self.chunks.extend((0..len).step_by(CHUNK).map(|i| base + i));
            }
            at += len;
            column = 0;
            row += 1;
            if row == rows {
                (image, row) = (image + 1, 0);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter()
    }

    /// The place of each [`CHUNK`] of pixels in the window, if no run ends inside of one.
    pub(super) fn chunks(&self) -> Option<&[usize]> {
        (!self.chunks.is_empty()).then_some(&self.chunks)
    }

    /// Writes the pixels at each offset as a row of a panel.
    ///
    /// # Safety
    /// Window and offsets belong to the plan that the runs were made with, the window is still
    /// there, `panel` has a row per offset at distance `stride`, and the runs fit into it.
    #[inline(always)]
    pub(super) unsafe fn pack(
        &self,
        window: &Window,
        offsets: &[usize],
        panel: *mut f32,
        stride: usize,
    ) {
        let all = |len: usize| self.runs.iter().all(|run| run.len == len);
        // SAFETY: the caller's promise is that of the callees.
        unsafe {
            if all(8) {
                self.pack_equal::<8>(window, offsets, panel, stride);
            } else if all(4) {
                self.pack_equal::<4>(window, offsets, panel, stride);
            } else {
                pack_runs(&self.runs, window, offsets, panel, stride);
            }
        }
    }

    /// [`pack`](Self::pack) for runs of `LEN` pixels, several at a time.
    #[inline(always)]
    unsafe fn pack_equal<const LEN: usize>(
        &self,
        window: &Window,
        offsets: &[usize],
        panel: *mut f32,
        stride: usize,
    ) {
        const GROUP: usize = 8;
        let mut groups = self.runs.chunks_exact(GROUP);
        for group in &mut groups {
            let places: [usize; GROUP] = std::array::from_fn(|i| group[i].base);
            for (row, &offset) in offsets.iter().enumerate() {
                // SAFETY: each run lies in the window, shifted by any tap, and in its row.
                unsafe {
                    let source = window.data.add(offset);
                    let row = panel.add(row * stride + group[0].at);
                    for (i, place) in places.into_iter().enumerate() {
                        row.add(i * LEN).copy_from_nonoverlapping(source.add(place), LEN);
                    }
                }
            }
        }
        // SAFETY: the caller's promise is that of the callee.
        unsafe { pack_runs(groups.remainder(), window, offsets, panel, stride) }
    }
}

/// [`Runs::pack`] for some runs of any length.
#[inline(always)]
unsafe fn pack_runs(
    runs: &[Run],
    window: &Window,
    offsets: &[usize],
    panel: *mut f32,
    stride: usize,
) {
    for (row, &offset) in offsets.iter().enumerate() {
        // SAFETY: each run lies in the window, shifted by any tap, and in its row.
        unsafe {
            let (source, row) = (window.data.add(offset), panel.add(row * stride));
            for run in runs {
                copy_few(source.add(run.base), row.add(run.at), run.len);
            }
        }
    }
}
