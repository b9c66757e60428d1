//! Weights in the order in which the products read them.

use rayon::prelude::*;

use super::plan::{Phase, Plan};
use super::tile::OUTER_ROWS;

/// Below this number of weights, waking the threads costs more than the work itself.
const SEQUENTIAL: usize = 32 * 1024;

/// How the weight of `(target channel, source channel)` is found: `[target, source]` strides.
pub(super) type WeightStrides = [usize; 2];

/// The weights of each phase in blocks of [`OUTER_ROWS`] target channels:
/// `[phase, block, source channel, tap, target channel]`.
pub(super) fn pack_weights(
    plan: &Plan,
    weights: &[f32],
    strides: WeightStrides,
    packed: &mut Vec<f32>,
) {
    let [sources, targets] = [plan.source[0], plan.target[0]];
    let taps: usize = plan.phases.iter().map(|phase| phase.taps.len()).sum();
    packed.resize(sources * targets * taps, 0.0);
    let mut rest = &mut packed[..];
    for phase in &plan.phases {
        let depth = sources * phase.taps.len();
        if depth == 0 {
            continue;
        }
        let (packed, others) = rest.split_at_mut(depth * targets);
        rest = others;
        let pack = |(i, block): (usize, &mut [f32])| {
            let weights = &weights[i * OUTER_ROWS * strides[0]..];
            match block.len() / depth {
                OUTER_ROWS => pack_block::<OUTER_ROWS>(phase, weights, strides, block),
                rows => {
                    for row in 0..rows {
                        let weights = &weights[row * strides[0]..];
                        pack_row(phase, weights, strides[1], &mut block[row..], rows);
                    }
                }
            }
        };
        if packed.len() < SEQUENTIAL {
            packed.chunks_mut(depth * OUTER_ROWS).enumerate().for_each(pack);
        } else {
            packed.par_chunks_mut(depth * OUTER_ROWS).enumerate().for_each(pack);
        }
    }
}

/// A whole block.
fn pack_block<const ROWS: usize>(
    phase: &Phase,
    weights: &[f32],
    [target_stride, source_stride]: WeightStrides,
    block: &mut [f32],
) {
    let taps = phase.taps.len();
    let last = phase.taps.iter().map(|tap| tap.weight).max().unwrap_or(0);
    for (channel, block) in block.chunks_exact_mut(ROWS * taps).enumerate() {
        let rows: [&[f32]; ROWS] = std::array::from_fn(|row| {
            &weights[row * target_stride + channel * source_stride..][..=last]
        });
        for (place, tap) in block.chunks_exact_mut(ROWS).zip(&phase.taps) {
            for (place, row) in place.iter_mut().zip(&rows) {
                *place = row[tap.weight];
            }
        }
    }
}

/// One row of a block of `rows`.
fn pack_row(phase: &Phase, weights: &[f32], source_stride: usize, block: &mut [f32], rows: usize) {
    let taps = phase.taps.len();
    for (i, place) in block.iter_mut().step_by(rows).enumerate() {
        *place = weights[i / taps * source_stride + phase.taps[i % taps].weight];
    }
}
