//! The weight gradient: products of rows of pixels, with the sums over pixels in registers.
//!
//! Each task takes some input channels. For every [`RUN`] output pixels it copies the input pixels
//! under the taps of a few channels into a panel in the cache, and multiplies each row of it with
//! the gradient's row of each output channel. Every sum runs over the pixels in their order,
//! whatever the task.

use std::cell::Cell;

use rayon::prelude::*;

use super::plan::Plan;
use super::tile::{INNER_COLUMNS, Inner};
use super::window::{Region, Runs, Window};
use crate::simd::{Isa, Kernel, dispatch, sum_of};

/// Pixels that are summed in registers; six rows of them fill half of a first-level cache.
const RUN: usize = 1024;

/// Numbers in the largest register; sums run over whole ones.
const LANES: usize = 16;

/// Multiplications that are worth waking another thread.
const TASK: usize = 512 * 1024;

/// Buffers that a thread keeps.
#[derive(Default)]
struct Scratch {
    window: Vec<f32>,
    panel: Vec<f32>,
    grad: Vec<f32>,
    runs: Runs,
    offsets: Vec<usize>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
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

    let stride = outputs;
    let mut sums = vec![0.0; units * unit * taps * stride];
    let run = |(i, sums): (usize, &mut [f32])| {
        dispatch(Task { plan, input, grad, images, first: i * per_task * unit, unit, sums });
    };
    let len = per_task * unit * taps * stride;
    if tasks == 1 {
        sums.chunks_mut(len).enumerate().for_each(run);
    } else {
        sums.par_chunks_mut(len).enumerate().for_each(run);
    }
    for (column, sums) in sums.chunks_exact(stride).take(inputs * taps).enumerate() {
        for (result, &sum) in result[column..].iter_mut().step_by(inputs * taps).zip(sums) {
            *result = sum;
        }
    }
    result
}

/// Units of input channels from `first` on.
struct Task<'a> {
    plan: &'a Plan,
    input: &'a [f32],
    grad: &'a [f32],
    images: usize,
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
        let [rows, columns] = self.plan.phases[0].grid;
        let (at_once, height) = if rows * columns <= RUN {
            ((RUN / (rows * columns)).min(self.images), rows)
        } else {
            (1, (RUN / columns).max(1))
        };
        for image in (0..self.images).step_by(at_once) {
            for row in (0..rows).step_by(height) {
                let region = Region {
                    images: image..self.images.min(image + at_once),
                    rows: row..rows.min(row + height),
                };
                self.region::<I>(&region, &mut scratch);
            }
        }
        SCRATCH.set(scratch);
    }
}

impl Task<'_> {
    #[inline(always)]
    fn region<I: Isa>(&mut self, region: &Region, scratch: &mut Scratch) {
        let plan = self.plan;
        let phase = &plan.phases[0];
        let taps = phase.taps.len();
        let [rows, columns] = phase.grid;
        let outputs = plan.target[0];
        let (plane, part) = (rows * columns, region.rows.len() * columns);
        let pixels = region.images.len() * part;
        let depth = pixels.next_multiple_of(LANES);
        let panel_stride = depth + LANES; // not a power of two
        let Scratch { window: buffer, panel, grad: packed, runs, offsets } = scratch;

        // The gradient's rows, in place if they are whole.
        let start = region.images.start * outputs * plane + region.rows.start * columns;
        let (grad, grad_stride) = if region.images.len() == 1 && part == depth {
            (self.grad[start..].as_ptr(), plane)
        } else {
            packed.clear();
            for output in 0..outputs {
                for image in 0..region.images.len() {
                    let row = start + (image * outputs + output) * plane;
                    packed.extend_from_slice(&self.grad[row..row + part]);
                }
                packed.resize((output + 1) * depth, 0.0);
            }
            (packed.as_ptr(), depth)
        };

        let block_rows = self.unit * taps;
        panel.resize(block_rows * panel_stride, 0.0);
        let unit_sums = self.sums.chunks_exact_mut(block_rows * outputs);
        for (i, sums) in unit_sums.enumerate() {
            let channels = self.first + i * self.unit;
            let channels = channels..plan.source[0].min(channels + self.unit);
            let used = channels.len() * taps;
            let window = Window::new(plan, self.input, region, channels, buffer);
            window.offsets(plan, phase, offsets);
            let shape = [region.rows.len(), columns];
            runs.set(plan, &window, shape, region.rows.start, 0..pixels);
            // SAFETY: the panel has this many rows of this length; the window is this plan's.
            unsafe { runs.pack(&window, offsets, [0, used], panel.as_mut_ptr(), panel_stride) };
            for row in panel.chunks_exact_mut(panel_stride).take(used) {
                row[pixels..depth].fill(0.0);
            }
            panel[used * panel_stride..block_rows * panel_stride].fill(0.0);
            for row in (0..block_rows).step_by(INNER_COLUMNS) {
                // SAFETY: this is a kernel; the gradient has `outputs` rows, the panel and the
                // sums have `block_rows`, a multiple of the block.
                unsafe {
                    let product = Inner {
                        depth,
                        lhs: grad,
                        lhs_stride: grad_stride,
                        panel: panel.as_ptr().add(row * panel_stride),
                        panel_stride,
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
    if grad.len() < TASK / 8 {
        (0..channels).map(sum).collect()
    } else {
        (0..channels).into_par_iter().map(sum).collect()
    }
}
