//! The part of the source that one task reads, with the zeros around it, and rows of pixels of it.

use std::ops::Range;

use super::plan::{Phase, Plan};
use super::tile::CHUNK;

/// Some images and grid rows of a plan.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
}

/// Where a pixel of the source is found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    data: *const f32,
    /// Numbers from one image to the next.
    image: usize,
    /// Numbers from one channel to the next.
    plane: usize,
    /// Numbers from one row to the next.
    row: usize,
    /// Numbers from columns with one remainder by the step to those with the next one: they lie
    /// apart, so that neighbours in the grid are neighbours here too.
    remainder: usize,
}

impl Window {
    /// The window for some channels of a region: the source itself where no zeros are needed and
    /// columns follow each other, otherwise a copy in `buffer`.
    #[inline(always)]
    pub(super) fn new(
        plan: &Plan,
        source: &[f32],
        region: &Region,
        channels: Range<usize>,
        buffer: &mut Vec<f32>,
    ) -> Self {
        let [all_channels, height, width] = plan.source;
        let [step_y, step_x] = plan.step;
        let [[first_row, last_row], [first_column, last_column]] = plan.reach;
        let top = (region.rows.start * step_y) as isize + first_row;
        let rows = (region.rows.len() - 1) * step_y + (last_row - first_row) as usize + 1;
        let columns = (plan.columns() - 1) * step_x + (last_column - first_column) as usize + 1;
        let inside = top >= 0
            && top as usize + rows <= height
            && first_column >= 0
            && first_column as usize + columns <= width;
        let plane = height * width;
        if inside && step_x == 1 {
            let start = (region.images.start * all_channels + channels.start) * plane;
            let data = source[start + top as usize * width + first_column as usize..].as_ptr();
            return Self { data, image: all_channels * plane, plane, row: width, remainder: 0 };
        }

        let remainder = columns.div_ceil(step_x);
        let row = remainder * step_x;
        let count = region.images.len() * channels.len() * rows * row;
        if buffer.len() < count {
            buffer.resize(count, 0.0);
        }
        let buffer = &mut buffer[..count];
        buffer.fill(0.0);
        // The rows of the source that are in the window.
        let used = top.max(0)..(top + rows as isize).min(height as isize);
        for (i, target) in buffer.chunks_exact_mut(rows * row).enumerate() {
            let image = region.images.start + i / channels.len();
            let channel = channels.start + i % channels.len();
            let source = &source[(image * all_channels + channel) * plane..][..plane];
            for y in used.clone() {
                let line = &mut target[(y - top) as usize * row..][..row];
                let source = &source[y as usize * width..][..width];
                for (i, line) in line.chunks_exact_mut(remainder).enumerate() {
                    copy_line(line, source, first_column + i as isize, step_x);
                }
            }
        }
        let plane = rows * row;
        Self { data: buffer.as_ptr(), image: channels.len() * plane, plane, row, remainder }
    }

    /// The first number.
    #[inline(always)]
    pub(super) fn data(&self) -> *const f32 {
        self.data
    }

    /// Distance of each tap of each channel from the place of its position.
    #[inline(always)]
    pub(super) fn offsets(
        &self,
        plan: &Plan,
        phase: &Phase,
        channels: usize,
        offsets: &mut Vec<usize>,
    ) {
        let [[first_row, _], [first_column, _]] = plan.reach;
        let step = plan.step[1];
        offsets.clear();
        for channel in 0..channels {
            offsets.extend(phase.taps.iter().map(|tap| {
                let row = (tap.row - first_row) as usize;
                let column = (tap.column - first_column) as usize;
                let column = column % step * self.remainder + column / step;
                channel * self.plane + row * self.row + column
            }));
        }
    }
}

/// `line[i] = source[first + i * step]`, as far as that is inside.
#[inline(always)]
fn copy_line(line: &mut [f32], source: &[f32], first: isize, step: usize) {
    // Elements of the line that are in the source: from `start` to `end`.
    let before = (-first).max(0) as usize;
    let start = before.div_ceil(step).min(line.len());
    let behind = (source.len() as isize - first).max(0) as usize;
    let end = behind.div_ceil(step).clamp(start, line.len());
    if start == end {
        return;
    }
    let source = &source[(first + (start * step) as isize) as usize..];
    let line = &mut line[start..end];
    match step {
        1 => {
            let source = &source[..line.len()];
            // SAFETY: both slices have this length.
            unsafe { copy_few(source.as_ptr(), line.as_mut_ptr(), line.len()) }
        }
        2 => copy_every::<2>(line, source),
        4 => copy_every::<4>(line, source),
        _ => {
            for (x, &y) in line.iter_mut().zip(source.iter().step_by(step)) {
                *x = y;
            }
        }
    }
}

/// Every `STEP`th number.
#[inline(always)]
fn copy_every<const STEP: usize>(line: &mut [f32], source: &[f32]) {
    let last = line.len() - 1;
    for (x, values) in line[..last].iter_mut().zip(source.chunks_exact(STEP)) {
        *x = values[0];
    }
    line[last] = source[last * STEP];
}

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

/// A copy without the call that a copy of unknown length would be; the last step overlaps.
///
/// # Safety
/// `len` numbers are readable and writable, apart from each other.
#[inline(always)]
unsafe fn copy_few(from: *const f32, to: *mut f32, len: usize) {
    /// Steps of `N` numbers.
    #[inline(always)]
    unsafe fn by<const N: usize>(from: *const f32, to: *mut f32, len: usize) {
        // SAFETY: all steps end at or before `len`, which is at least `N`.
        unsafe {
            for i in (0..len - N).step_by(N) {
                to.add(i).copy_from_nonoverlapping(from.add(i), N);
            }
            to.add(len - N).copy_from_nonoverlapping(from.add(len - N), N);
        }
    }
    // SAFETY: the caller's promise; no step is longer than `len`.
    unsafe {
        match len {
            0 => {}
            1 => by::<1>(from, to, len),
            2..4 => by::<2>(from, to, len),
            4..8 => by::<4>(from, to, len),
            8..16 => by::<8>(from, to, len),
            _ => by::<16>(from, to, len),
        }
    }
}
