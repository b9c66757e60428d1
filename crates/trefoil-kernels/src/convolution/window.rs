//! The part of the source that one task reads, with the zeros around it.

use std::ops::Range;

use super::plan::{Phase, Plan};

/// Some images and grid rows of a plan.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
}

/// Where a pixel of the source is found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    /// The first number.
    pub(super) data: *const f32,
    /// Numbers from one image to the next.
    pub(super) image: usize,
    /// Numbers from one channel to the next.
    plane: usize,
    /// Numbers from one row to the next.
    pub(super) row: usize,
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

/// A copy without the call that a copy of unknown length would be; the last step overlaps.
///
/// # Safety
/// `len` numbers are readable and writable, apart from each other.
#[inline(always)]
pub(super) unsafe fn copy_few(from: *const f32, to: *mut f32, len: usize) {
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
