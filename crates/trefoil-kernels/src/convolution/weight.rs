//! The weight gradient: products of rows of pixels, with the sums over pixels in registers.
//!
//! Each task takes some input channels, and [`RUN`] output pixels at a time. Where rows are whole
//! chunks, the input pixels under the taps are read in place; otherwise they are copied into a
//! panel. The row of each channel and tap is multiplied with the gradient's row of each output
//! channel. Every sum runs over the pixels in their order, whatever the task.

use std::cell::Cell;

use rayon::prelude::*;

use super::plan::Plan;
use super::runs::Runs;
use super::tile::{CHUNK, INNER_COLUMNS, Inner};
use super::window::{Region, Window};
use crate::simd::{Isa, Kernel, dispatch, sum_of};

/// Pixels that are summed in registers; six rows of them fill half of a first-level cache.
const RUN: usize = 1024;

/// Multiplications that are worth waking another thread.
const TASK: usize = 512 * 1024;

/// Buffers that a thread keeps.
#[derive(Default)]
struct Scratch {
    window: Vec<f32>,
    panel: Vec<f32>,
    runs: Runs,
    offsets: Vec<usize>,
    /// Places of the chunks in a row of the panel.
    chunks: Vec<usize>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
    /// The gradient by regions, on the thread that starts the work.
    static PACKED: Cell<Vec<f32>> = Cell::default();
}

/// `[output channels, input channels, taps]` for the input and the output's gradient of a
/// convolution with this plan.
pub(super) fn weight_gradient(plan: &Plan, input: &[f32], grad: &[f32]) -> Vec<f32> {
    let (inputs, outputs) = (plan.source[0], plan.target[0]);
    let taps = plan.phases[0].taps.len();
    let mut result = vec![0.0; outputs * inputs * taps];
    let pixels = plan.rows() * plan.columns();
    if result.is_empty() || pixels == 0 || grad.is_empty() {
        return result;
    }
    let images = grad.len() / (outputs * pixels);
    // A unit of channels fills whole blocks of rows.
    let unit = (1..=INNER_COLUMNS)
        .find(|unit| (unit * taps).is_multiple_of(INNER_COLUMNS))
        .unwrap_or(INNER_COLUMNS);
    let units = inputs.div_ceil(unit);
    let products = images * pixels * outputs * inputs * taps;
    let tasks = (products / TASK).clamp(1, 2 * rayon::current_num_threads());
    let per_task = units.div_ceil(tasks);

    let mut packed = PACKED.take();
    let grad = Grad::new(plan, grad, images, &mut packed);
    let stride = outputs;
    let mut sums = vec![0.0; units * unit * taps * stride];
    let run = |(i, sums): (usize, &mut [f32])| {
        dispatch(Task { plan, input, grad: &grad, first: i * per_task * unit, unit, sums });
    };
    let len = per_task * unit * taps * stride;
    if tasks == 1 {
        sums.chunks_mut(len).enumerate().for_each(run);
    } else {
        sums.par_chunks_mut(len).enumerate().for_each(run);
    }
    drop(grad);
    PACKED.set(packed);
    let transpose = |(output, row): (usize, &mut [f32])| {
        for (place, sums) in row.iter_mut().zip(sums.chunks_exact(stride)) {
            *place = sums[output];
        }
    };
    if result.len() < TASK / 16 {
        result.chunks_exact_mut(inputs * taps).enumerate().for_each(transpose);
    } else {
        result.par_chunks_exact_mut(inputs * taps).enumerate().for_each(transpose);
    }
    result
}

/// The output's gradient, cut into regions of about [`RUN`] pixels by shape alone.
struct Grad<'a> {
    regions: Vec<Region>,
    values: &'a [f32],
    /// Start of each region's first row.
    starts: Vec<usize>,
    /// Numbers from one output channel to the next.
    stride: usize,
}

impl<'a> Grad<'a> {
    /// In place where each region is one whole piece of each plane, otherwise a copy whose rows
    /// end with zeros.
    fn new(plan: &Plan, grad: &'a [f32], images: usize, packed: &'a mut Vec<f32>) -> Self {
        let [rows, columns] = plan.phases[0].grid;
        let (outputs, plane) = (plan.target[0], rows * columns);
        let (at_once, height) = if plane <= RUN {
            ((RUN / plane).min(images), rows)
        } else {
            (1, (RUN / columns).max(1))
        };
        let regions: Vec<Region> = (0..images)
            .step_by(at_once)
            .flat_map(|image| {
                let images = image..images.min(image + at_once);
                (0..rows).step_by(height).map(move |row| Region {
                    images: images.clone(),
                    rows: row..rows.min(row + height),
                })
            })
            .collect();
        let whole =
            columns.is_multiple_of(CHUNK) || (height == rows && plane.is_multiple_of(CHUNK));
        let start =
            |region: &Region| region.images.start * outputs * plane + region.rows.start * columns;
        if at_once == 1 && whole {
            let starts = regions.iter().map(start).collect();
            return Self { regions, values: grad, starts, stride: plane };
        }

        let stride = (at_once * height * columns).next_multiple_of(CHUNK);
        packed.resize(regions.len() * outputs * stride, 0.0);
        let pack = |(region, packed): (&Region, &mut [f32])| {
            let part = region.rows.len() * columns;
            for (output, packed) in packed.chunks_exact_mut(stride).enumerate() {
                let mut places = packed.chunks_exact_mut(part);
                for (image, place) in (0..region.images.len()).zip(&mut places) {
                    let row = start(region) + (image * outputs + output) * plane;
                    place.copy_from_slice(&grad[row..row + part]);
                }
                packed[region.images.len() * part..].fill(0.0);
            }
        };
        let regions_of = packed.par_chunks_exact_mut(outputs * stride);
        regions.par_iter().zip(regions_of).for_each(pack);
        let starts = (0..regions.len()).map(|i| i * outputs * stride).collect();
        Self { regions, values: packed, starts, stride }
    }
}

/// Units of input channels from `first` on.
struct Task<'a> {
    plan: &'a Plan,
    input: &'a [f32],
    grad: &'a Grad<'a>,
    first: usize,
    unit: usize,
    /// `[input channel, tap, output channel]`
    sums: &'a mut [f32],
}

impl Kernel for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(mut self) {
        let mut scratch = SCRATCH.take();
        for (region, &start) in self.grad.regions.iter().zip(&self.grad.starts) {
            self.region::<I>(region, &self.grad.values[start..], &mut scratch);
        }
        SCRATCH.set(scratch);
    }
}

impl Task<'_> {
    #[inline(always)]
    fn region<I: Isa>(&mut self, region: &Region, grad: &[f32], scratch: &mut Scratch) {
        let plan = self.plan;
        let phase = &plan.phases[0];
        let taps = phase.taps.len();
        let columns = phase.grid[1];
        let outputs = plan.target[0];
        let pixels = region.images.len() * region.rows.len() * columns;
        let depth = pixels.next_multiple_of(CHUNK);
        let panel_stride = depth + CHUNK; // not a power of two
        let Scratch { window: buffer, panel, runs, offsets, chunks: panel_chunks } = scratch;
        panel_chunks.clear();
        panel_chunks.extend((0..depth).step_by(CHUNK));

        let block_rows = self.unit * taps;
        let unit_sums = self.sums.chunks_exact_mut(block_rows * outputs);
        for (i, sums) in unit_sums.enumerate() {
            let channels = self.first + i * self.unit;
            let channels = channels..plan.source[0].min(channels + self.unit);
            let used = channels.len() * taps;
            let window = Window::new(plan, self.input, region, channels.clone(), buffer);
            window.offsets(plan, phase, channels.len(), offsets);
            let shape = [region.rows.len(), columns];
            runs.set(plan, &window, shape, region.rows.start, 0..pixels);
            let (data, chunks) = if let Some(chunks) = runs.chunks() {
                (window.data, chunks)
            } else {
                panel.resize(used * panel_stride, 0.0);
                // SAFETY: the panel has this many rows of this length; the window is this plan's.
                unsafe { runs.pack(&window, offsets, panel.as_mut_ptr(), panel_stride) };
                for (row, (offset, line)) in
                    offsets.iter_mut().zip(panel.chunks_exact_mut(panel_stride)).enumerate()
                {
                    line[pixels..depth].fill(0.0);
                    *offset = row * panel_stride;
                }
                (panel.as_ptr(), &panel_chunks[..])
            };
            for row in (0..block_rows).step_by(INNER_COLUMNS) {
                // The rows that fill up the last unit are not used.
                let offset = |j: usize| offsets.get(row + j).copied().unwrap_or(0);
                // SAFETY: this is a kernel; each offset and chunk lie in the window or panel, the
                // gradient has `outputs` rows, and the sums have `block_rows`.
                unsafe {
                    let product = Inner {
                        lhs: grad.as_ptr(),
                        lhs_stride: self.grad.stride,
                        rows: std::array::from_fn(|j| data.add(offset(j))),
                        chunks,
                        target: sums.as_mut_ptr().add(row * outputs),
                        stride: outputs,
                    };
                    product.run::<I::Lanes>(outputs);
                }
            }
        }
    }
}

/// Sum of the gradient over images and pixels, per channel.
pub(super) fn bias_gradient(grad: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    struct Sum<'a>(&'a [f32]);

    impl Kernel for Sum<'_> {
        type Output = f32;

        #[inline(always)]
        fn run<I: Isa>(self) -> f32 {
            sum_of(self.0, |x| x)
        }
    }

    let sum = |channel: usize| {
        grad.chunks_exact((channels * pixels).max(1))
            .map(|image| dispatch(Sum(&image[channel * pixels..][..pixels])))
            .sum()
    };
    if grad.len() < TASK / 2 {
        (0..channels).map(sum).collect()
    } else {
        (0..channels).into_par_iter().map(sum).collect()
    }
}
