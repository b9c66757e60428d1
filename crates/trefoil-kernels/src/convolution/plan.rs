//! Which source pixels make which target pixels, for a convolution and for its transpose.

use super::{ConvolutionOptions, Padding};

/// One element of the kernel: where it looks, from `step` times the position in the grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tap {
    pub(super) row: isize,
    pub(super) column: isize,
    /// Index of its weight in the kernel.
    pub(super) weight: usize,
}

/// Target pixels that are made by the same taps: `start + spread * position`.
#[derive(Debug)]
pub(super) struct Phase {
    pub(super) taps: Vec<Tap>,
    /// Rows and columns of positions.
    pub(super) grid: [usize; 2],
    pub(super) start: [usize; 2],
}

/// `target[o, start + spread p] = bias[o] + sum over i and taps of
/// weight[o, i, tap] * source[i, step p + offset of the tap]`, with zeros outside of the source.
#[derive(Debug)]
pub(super) struct Plan {
    /// Channels, height and width.
    pub(super) source: [usize; 3],
    /// Channels, height and width.
    pub(super) target: [usize; 3],
    pub(super) step: [usize; 2],
    pub(super) spread: [usize; 2],
    pub(super) phases: Vec<Phase>,
    /// Smallest and largest offset of a row, then of a column.
    pub(super) reach: [[isize; 2]; 2],
}

/// Shapes of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shapes {
    /// Channels, height and width.
    pub(super) input: [usize; 3],
    /// Channels, height and width.
    pub(super) output: [usize; 3],
    /// Height and width.
    pub(super) kernel: [usize; 2],
}

impl Shapes {
    /// Those of a convolution of `[c, h, w]` with weights `[o, c, kh, kw]`.
    pub(super) fn new(
        input: [usize; 3],
        [out, _, kh, kw]: [usize; 4],
        options: ConvolutionOptions,
    ) -> Self {
        let [height, width] = options.output([input[1], input[2]], [kh, kw]);
        Self { input, output: [out, height, width], kernel: [kh, kw] }
    }
}

/// Row and column of each element of a kernel.
fn elements([height, width]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    (0..height).flat_map(move |y| (0..width).map(move |x| (y, x)))
}

impl Plan {
    /// The convolution.
    pub(super) fn forward(shapes: Shapes, options: ConvolutionOptions) -> Self {
        let Padding { top, left, .. } = options.padding;
        let taps = elements(shapes.kernel)
            .enumerate()
            .map(|(weight, (y, x))| Tap {
                row: y as isize - top as isize,
                column: x as isize - left as isize,
                weight,
            })
            .collect();
        let grid = [shapes.output[1], shapes.output[2]];
        let phases = vec![Phase { taps, grid, start: [0, 0] }];
        Self::new(shapes.input, shapes.output, options.stride, [1, 1], phases)
    }

    /// Its transpose, from the output's to the input's side. Input pixels with the same remainder
    /// by the stride get the same taps: those that some window puts on them.
    pub(super) fn transpose(shapes: Shapes, options: ConvolutionOptions) -> Self {
        let [vertical, horizontal] = options.stride;
        let Padding { top, left, .. } = options.padding;
        let [_, height, width] = shapes.input;
        // Offset of the window that has element `k` on pixel `start`, if there is one.
        let offset = |start: usize, padding: usize, k: usize, stride: usize| {
            let distance = (start + padding) as isize - k as isize;
            let stride = stride as isize;
            (distance.rem_euclid(stride) == 0).then(|| distance.div_euclid(stride))
        };
        let phase = |(y, x): (usize, usize)| {
            let taps = elements(shapes.kernel).enumerate().filter_map(|(weight, (ky, kx))| {
                let row = offset(y, top, ky, vertical)?;
                let column = offset(x, left, kx, horizontal)?;
                Some(Tap { row, column, weight })
            });
            let grid = [(height - y).div_ceil(vertical), (width - x).div_ceil(horizontal)];
            Phase { taps: taps.collect(), grid, start: [y, x] }
        };
        let phases = elements([vertical.min(height), horizontal.min(width)]).map(phase).collect();
        Self::new(shapes.output, shapes.input, [1, 1], options.stride, phases)
    }

    fn new(
        source: [usize; 3],
        target: [usize; 3],
        step: [usize; 2],
        spread: [usize; 2],
        phases: Vec<Phase>,
    ) -> Self {
        let taps = || phases.iter().flat_map(|phase| &phase.taps);
        let range = |offsets: &dyn Fn(&Tap) -> isize| {
            [taps().map(offsets).min().unwrap_or(0), taps().map(offsets).max().unwrap_or(0)]
        };
        let reach = [range(&|tap| tap.row), range(&|tap| tap.column)];
        Self { source, target, step, spread, phases, reach }
    }

    /// Rows of the largest phase.
    pub(super) fn rows(&self) -> usize {
        self.phases.iter().map(|phase| phase.grid[0]).max().unwrap_or(0)
    }

    /// Columns of the largest phase.
    pub(super) fn columns(&self) -> usize {
        self.phases.iter().map(|phase| phase.grid[1]).max().unwrap_or(0)
    }
}
