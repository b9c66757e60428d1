//! A convolution or its transpose: panels of source pixels times the weights.
//!
//! Each task takes some rows of some images, and [`PANEL`] target pixels at a time. Where rows
//! are whole chunks, the source pixels are read in place, with the taps' shifts; otherwise those of
//! a few channels are copied into a panel that stays in the first-level cache. They are multiplied
//! with all weights. Every sum runs over channels and taps in their order, whatever the task.

use std::cell::Cell;

use rayon::prelude::*;

use super::pack::{WeightStrides, pack_weights};
use super::plan::{Phase, Plan};
use super::runs::{Run, Runs};
use super::tile::{CHUNK, CHUNKS, OUTER_ROWS, Outer, PANEL, Start};
use super::window::{Region, Window};
use crate::simd::{Isa, Kernel, dispatch};

/// Rows of a panel: with [`PANEL`] pixels two thirds of a first-level cache of 48 KiB.
const DEPTH: usize = 128;

/// Largest copy of source pixels of a task: 1 MiB, half of a usual second-level cache.
const WINDOW: usize = 256 * 1024;

/// Multiplications that are worth waking another thread.
const TASK: usize = 512 * 1024;

/// Buffers that a thread keeps.
#[derive(Default)]
struct Scratch {
    window: Vec<f32>,
    panel: Vec<f32>,
    tile: Vec<f32>,
    runs: Runs,
    /// Places of the channels and taps in the window.
    offsets: Vec<usize>,
    /// Places of the rows in the panel.
    lines: Vec<usize>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
    /// Weights in the order of [`pack_weights`], on the thread that starts the work.
    static WEIGHTS: Cell<Vec<f32>> = Cell::default();
}

/// The target of a plan, `[images, channels, height, width]`.
pub(super) fn gather(
    plan: &Plan,
    source: &[f32],
    weights: &[f32],
    strides: WeightStrides,
    bias: &[f32],
) -> Vec<f32> {
    let [channels, height, width] = plan.target;
    let images = source.len() / plan.source.iter().product::<usize>().max(1);
    let count = images * channels * height * width;
    let mut output: Vec<f32> = Vec::with_capacity(count);
    if count == 0 {
        return output;
    }
    let mut packed = WEIGHTS.take();
    pack_weights(plan, weights, strides, &mut packed);
    let target = Target(output.as_mut_ptr());
    let run = |region| {
        let task = Task { plan, source, weights: &packed, bias, target: &target, region };
        dispatch(task);
    };
    let regions = regions(plan, images);
    if regions.len() == 1 {
        regions.into_iter().for_each(run);
    } else {
        regions.into_par_iter().for_each(run);
    }
    WEIGHTS.set(packed);
    // SAFETY: the regions cover all positions of all images, the phases all target pixels.
    unsafe { output.set_len(count) };
    output
}

/// Cuts the work: whole images as long as there are enough of them, otherwise rows. Results do not
/// depend on the cut, so that it may depend on the number of threads.
fn regions(plan: &Plan, images: usize) -> Vec<Region> {
    let (rows, columns) = (plan.rows(), plan.columns());
    let (pixels, phases) = (rows * columns, plan.phases.len());
    let taps: usize = plan.phases.iter().map(|phase| phase.taps.len()).sum();
    let products = pixels * plan.source[0] * plan.target[0] * taps;
    let wanted = (images * products / TASK).clamp(1, 4 * rayon::current_num_threads());
    let line = plan.source[0] * (columns * plan.step[1] + 2) * plan.step[0];
    let most_rows = (WINDOW / line.max(1)).max(1);

    let fitting = (most_rows / (rows + 2)).max(1);
    // Small images share panels.
    let at_once = (images / wanted).clamp(1, fitting).max(PANEL.div_ceil(pixels)).min(images);
    let tasks = images.div_ceil(at_once);
    let mut pieces = if tasks < wanted { wanted.div_ceil(tasks) } else { 1 };
    pieces = pieces.min((pixels * phases).div_ceil(2 * PANEL)).max(rows.div_ceil(most_rows));
    let height = rows.div_ceil(pieces.clamp(1, rows));
    (0..images)
        .step_by(at_once)
        .flat_map(|image| {
            let images = image..images.min(image + at_once);
            (0..rows).step_by(height).map(move |row| Region {
                images: images.clone(),
                rows: row..rows.min(row + height),
            })
        })
        .collect()
}

/// The output, which several threads fill at once.
struct Target(*mut f32);

// SAFETY: each task writes the pixels of its own region.
unsafe impl Sync for Target {}

/// One region.
struct Task<'a> {
    plan: &'a Plan,
    source: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    target: &'a Target,
    region: Region,
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let mut scratch = SCRATCH.take();
        let channels = 0..self.plan.source[0];
        let window =
            Window::new(self.plan, self.source, &self.region, channels, &mut scratch.window);
        let mut weights = self.weights;
        for phase in &self.plan.phases {
            let depth = self.plan.source[0] * phase.taps.len();
            let (of_phase, others) = weights.split_at(depth * self.plan.target[0]);
            weights = others;
            let sources = self.plan.source[0];
            window.offsets(self.plan, phase, sources, &mut scratch.offsets);
            self.phase::<I>(phase, of_phase, &window, &mut scratch);
        }
        SCRATCH.set(scratch);
    }
}

impl Task<'_> {
    #[inline(always)]
    fn phase<I: Isa>(
        &self,
        phase: &Phase,
        weights: &[f32],
        window: &Window,
        scratch: &mut Scratch,
    ) {
        let plan = self.plan;
        let [channels, height, width] = plan.target;
        let depth = plan.source[0] * phase.taps.len();
        let rows = self.region.rows.end.min(phase.grid[0]).saturating_sub(self.region.rows.start);
        let shape = [rows, phase.grid[1]];
        let pixels = self.region.images.len() * rows * phase.grid[1];
        let Scratch { panel, tile, runs, offsets, lines, .. } = scratch;
        panel.resize(DEPTH * PANEL, 0.0);
        if lines.is_empty() {
            lines.extend((0..DEPTH).map(|i| i * PANEL));
        }
        tile.resize(channels * PANEL, 0.0);
        let dense = plan.spread == [1, 1];

        for first in (0..pixels).step_by(PANEL) {
            let count = PANEL.min(pixels - first);
            runs.set(plan, window, shape, self.region.rows.start, first..first + count);
            // A whole panel of one image can be written in place.
            let ends = runs.iter().next().zip(runs.iter().last());
            let in_place = ends
                .filter(|(start, end)| dense && count == PANEL && start.image == end.image)
                .map(|(start, _)| self.place(phase, start));
            let (target, stride) = match in_place {
                // SAFETY: the place is inside of the output.
                Some(place) => (unsafe { self.target.0.add(place) }, height * width),
                None => (tile.as_mut_ptr(), PANEL),
            };
            let mut done = 0;
            loop {
                let part = DEPTH.min(depth - done);
                let offsets = &offsets[done..done + part];
                let (pixels, offsets, chunks): (_, _, [usize; CHUNKS]) =
                    if let Some(chunks) = runs.chunks() {
                        // What lies behind the last chunk is not used.
                        let place = |i: usize| chunks.get(i).copied().unwrap_or(0);
                        (window.data, offsets, std::array::from_fn(place))
                    } else {
                        // SAFETY: the panel has `DEPTH` rows, and the window is that of this plan.
                        unsafe { runs.pack(window, offsets, panel.as_mut_ptr(), PANEL) };
                        (panel.as_ptr(), &lines[..part], std::array::from_fn(|i| i * CHUNK))
                    };
                for row in (0..channels).step_by(OUTER_ROWS) {
                    let rows = OUTER_ROWS.min(channels - row);
                    let start = if done == 0 {
                        Start::Bias(self.bias[row..].as_ptr())
                    } else {
                        Start::Target
                    };
                    // SAFETY: this is a kernel; weights of a block follow each other by depth, and
                    // the target has a row per channel.
                    unsafe {
                        let product = Outer {
                            depth: part,
                            weights: weights.as_ptr().add(row * depth + done * rows),
                            pixels,
                            offsets: offsets.as_ptr(),
                            chunks,
                            target: target.add(row * stride),
                            stride,
                            start,
                        };
                        product.run::<I::Lanes>(rows, count);
                    }
                }
                done += part;
                if done == depth {
                    break;
                }
            }
            if in_place.is_none() {
                for run in runs.iter() {
                    let place = self.place(phase, run);
                    for (channel, tile) in tile.chunks_exact(PANEL).enumerate() {
                        let values = &tile[run.at..run.at + run.len];
                        // SAFETY: the run's pixels lie in the channel's plane of its image, which
                        // no other task writes at these positions.
                        unsafe {
                            let to = self.target.0.add(place + channel * height * width);
                            scatter(values, to, plan.spread[1]);
                        }
                    }
                }
            }
        }
    }

    /// Where the first pixel of a run is in the first channel of its image.
    #[inline(always)]
    fn place(&self, phase: &Phase, run: &Run) -> usize {
        let [channels, height, width] = self.plan.target;
        let image = self.region.images.start + run.image;
        let [row, column] = [0, 1].map(|i| phase.start[i] + run.position[i] * self.plan.spread[i]);
        image * channels * height * width + row * width + column
    }
}

/// Writes values at a distance of `spread`.
///
/// # Safety
/// All these places are writable.
#[inline(always)]
unsafe fn scatter(values: &[f32], to: *mut f32, spread: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match spread {
            1 => to.copy_from_nonoverlapping(values.as_ptr(), values.len()),
            _ => {
                for (i, &value) in values.iter().enumerate() {
                    *to.add(i * spread) = value;
                }
            }
        }
    }
}
