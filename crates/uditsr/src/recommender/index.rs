//! Candidates: one pass over all items in eight bits, each scored by the expansion of its cluster.
//!
//! Items are clustered by what their scores depend on. A request expands the score around the middle
//! item of each cluster (the translated point `e*_u + q` plus the gradient of the head, and for
//! recommendations the demand generated there), and each item is compared with the target of its own
//! cluster. So the demand intent, which differs from item to item, costs as many runs of the
//! generator as there are clusters, and the pass reads a byte for each number, and leaves out clusters
//! that cannot have anything better than what was found. Items may change and
//! be added at any time: there is no structure to be built again.

use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use faer::Accum;
use rayon::prelude::*;

use super::top::{Found, Top};
use crate::matrix::{multiply, row, view};
use crate::model::Expansion;
use crate::model::Scorer;
use crate::real::{dot, vectorised};

/// Numbers of a row are padded to a multiple of this.
const LANES: usize = 16;
/// Rows of one piece of a pass.
const BLOCK: usize = 2048;
/// Largest number of clusters, and items for each.
const CLUSTERS: usize = 256;
const PER_CLUSTER: usize = 64;
/// Rows that clusters are learned from, and how often they move.
const SAMPLE: usize = 20_000;
const ROUNDS: usize = 8;

/// All propagated items in eight bits, in the order of their clusters.
pub(super) struct Index {
    dim: usize,
    stride: usize,
    codes: Vec<i8>,
    /// `e*` is about `scale * codes`.
    scales: Vec<f32>,
    /// `|e*|^2`.
    squares: Vec<f32>,
    clusters: Vec<u16>,
    /// Item of each row, and row of each item.
    items: Vec<u32>,
    rows: Vec<u32>,
    /// The item in the middle of each cluster.
    centres: Vec<u32>,
    centroids: Vec<f32>,
    /// Where the items of each cluster lie.
    balls: Vec<Ball>,
    /// Rows that are in the order of clusters; later ones were added.
    ordered: usize,
    /// What makes the two parts of a feature comparable.
    part_scale: f32,
}

/// A ball around all propagated items of a cluster, as the index sees them.
#[derive(Debug, Clone)]
struct Ball {
    middle: Vec<f32>,
    radius: f32,
    /// Smallest and largest `|e*|^2`.
    squares: [f32; 2],
    /// First row, and one after the last.
    rows: [usize; 2],
}

/// Rows of one cluster, and what none of their scores exceeds.
struct Piece {
    bound: f32,
    rows: [usize; 2],
}

fn feature(scorer: &Scorer<f32>, item: u32, part_scale: f32) -> Vec<f32> {
    let mut feature = scorer.item(item).to_vec();
    feature.extend(scorer.generator_part(item).into_iter().map(|value| part_scale * value));
    feature
}

/// The nearest of some centroids for rows of features, with the squared distance less `|row|^2`.
fn nearest(features: &[f32], centroids: &[f32], width: usize) -> Vec<(u16, f32)> {
    let lengths: Vec<f32> = centroids.chunks_exact(width).map(|c| dot(c, c)).collect();
    let mut products = vec![0.0; features.len() / width * lengths.len()];
    multiply(
        &mut products,
        Accum::Replace,
        view(features, width),
        view(centroids, width).transpose(),
    );
    let closest = |products: &[f32]| {
        let distances = products.iter().zip(&lengths).map(|(p, l)| l - 2.0 * p);
        let best = |best: (u16, f32), (c, distance): (u16, f32)| {
            if distance < best.1 { (c, distance) } else { best }
        };
        (0..).zip(distances).fold((0, f32::INFINITY), best)
    };
    products.chunks_exact(lengths.len()).map(closest).collect()
}

impl Index {
    pub(super) fn new(scorer: &Scorer<f32>) -> Self {
        let (dim, count) = (scorer.config().dim, scorer.items());
        let step = count.div_ceil(SAMPLE).max(1);
        let sample: Vec<u32> = (0..count as u32).step_by(step).collect();
        let energy = |part: &dyn Fn(u32) -> Vec<f32>| {
            let all =
                sample.iter().take(1000).map(|&item| part(item).iter().map(|v| v * v).sum::<f32>());
            all.sum::<f32>()
        };
        let (stars, parts) = (
            energy(&|item| scorer.item(item).to_vec()),
            energy(&|item| scorer.generator_part(item)),
        );
        let part_scale = if parts > 0.0 { (stars / parts).sqrt() } else { 0.0 };
        let width = 3 * dim;
        let features_of = |items: &[u32]| -> Vec<f32> {
            items.par_iter().flat_map_iter(|&item| feature(scorer, item, part_scale)).collect()
        };
        let features = features_of(&sample);
        let clusters = (count / PER_CLUSTER).clamp(1, CLUSTERS);
        let mut centroids: Vec<f32> = (0..clusters)
            .flat_map(|cluster| row(&features, width, cluster * sample.len() / clusters).to_vec())
            .collect();
        for _ in 0..ROUNDS {
            let assigned: Vec<(u16, f32)> = features
                .par_chunks(512 * width)
                .flat_map_iter(|f| nearest(f, &centroids, width))
                .collect();
            let mut sums = vec![0.0; centroids.len()];
            let mut counts = vec![0.0_f32; clusters];
            for (feature, (cluster, _)) in features.chunks_exact(width).zip(assigned) {
                let start = usize::from(cluster) * width;
                crate::real::add(&mut sums[start..start + width], feature);
                counts[usize::from(cluster)] += 1.0;
            }
            for ((old, sum), count) in
                centroids.chunks_exact_mut(width).zip(sums.chunks_exact(width)).zip(counts)
            {
                if count > 0.0 {
                    old.iter_mut().zip(sum).for_each(|(old, sum)| *old = sum / count);
                }
            }
        }
        let everything: Vec<u32> = (0..count as u32).collect();
        let assigned: Vec<(u16, f32)> = everything
            .par_chunks(512)
            .flat_map_iter(|items| {
                let features: Vec<f32> =
                    items.iter().flat_map(|&item| feature(scorer, item, part_scale)).collect();
                let lengths: Vec<f32> = features.chunks_exact(width).map(|f| dot(f, f)).collect();
                let assigned = nearest(&features, &centroids, width).into_iter().zip(lengths);
                assigned
                    .map(|((cluster, distance), length)| (cluster, distance + length))
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut centres: Vec<Option<u32>> = vec![None; clusters];
        for (&item, &(cluster, distance)) in everything.iter().zip(&assigned) {
            let centre = &mut centres[usize::from(cluster)];
            if centre.is_none_or(|other| distance < assigned[other as usize].1) {
                *centre = Some(item);
            }
        }
        // Clusters without items go.
        let mut numbers = vec![0_u16; clusters];
        let mut kept = (Vec::new(), Vec::new());
        for (cluster, centre) in centres.into_iter().enumerate() {
            if let Some(centre) = centre {
                numbers[cluster] = kept.0.len() as u16;
                kept.0.push(centre);
                kept.1.extend_from_slice(row(&centroids, width, cluster));
            }
        }
        let mut items = everything;
        items.sort_by_key(|&item| assigned[item as usize].0);
        let stride = dim.next_multiple_of(LANES);
        let ball = |&item: &u32| Ball {
            middle: scorer.item(item).to_vec(),
            radius: 0.0,
            squares: [f32::INFINITY, 0.0],
            rows: [usize::MAX, 0],
        };
        let mut index = Self {
            balls: kept.0.iter().map(ball).collect(),
            ordered: count,
            dim,
            stride,
            codes: vec![0; count * stride],
            scales: vec![0.0; count],
            squares: vec![0.0; count],
            clusters: items
                .iter()
                .map(|&item| numbers[usize::from(assigned[item as usize].0)])
                .collect(),
            rows: vec![0; count],
            items,
            centres: kept.0,
            centroids: kept.1,
            part_scale,
        };
        for place in 0..count {
            let item = index.items[place];
            index.rows[item as usize] = place as u32;
            let [first, end] = &mut index.balls[usize::from(index.clusters[place])].rows;
            (*first, *end) = ((*first).min(place), place + 1);
            index.set(item, scorer.item(item));
        }
        index
    }

    /// Items around which a request is expanded.
    pub(super) fn centres(&self) -> &[u32] {
        &self.centres
    }

    /// Takes over a propagated item that changed.
    pub(super) fn set(&mut self, item: u32, star: &[f32]) {
        let place = self.rows[item as usize] as usize;
        let largest = star.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let scale = largest / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let codes = &mut self.codes[place * self.stride..][..self.dim];
        codes
            .iter_mut()
            .zip(star)
            .for_each(|(code, value)| *code = (value * inverse).round() as i8);
        self.scales[place] = scale;
        self.squares[place] = dot(star, star);
        let ball = &mut self.balls[usize::from(self.clusters[place])];
        let distances = ball.middle.iter().zip(&self.codes[place * self.stride..]);
        let squared: f32 = distances.map(|(m, &code)| (m - scale * f32::from(code)).powi(2)).sum();
        ball.radius = ball.radius.max(squared.sqrt());
        let [smallest, largest] = ball.squares;
        ball.squares = [smallest.min(self.squares[place]), largest.max(self.squares[place])];
    }

    /// The largest inner product that an item of a cluster may have with a target, with room for the
    /// rounding of the sums.
    fn reach(ball: &Ball, target: &[f32]) -> f32 {
        let length = dot(target, target).sqrt();
        let middle = dot(&ball.middle, &ball.middle).sqrt();
        dot(&ball.middle, target) + length * (ball.radius + 1e-4 * (ball.radius + middle))
    }

    /// An item as the index sees it.
    pub(super) fn stored(&self, item: u32) -> Vec<f32> {
        let place = self.rows[item as usize] as usize;
        let codes = &self.codes[place * self.stride..][..self.dim];
        codes.iter().map(|&code| self.scales[place] * f32::from(code)).collect()
    }

    /// Adds the next item of the scorer.
    pub(super) fn push(&mut self, scorer: &Scorer<f32>, item: u32) {
        let feature = feature(scorer, item, self.part_scale);
        let cluster = nearest(&feature, &self.centroids, 3 * self.dim)[0].0;
        self.rows.push(self.items.len() as u32);
        self.items.push(item);
        self.clusters.push(cluster);
        self.codes.resize(self.items.len() * self.stride, 0);
        self.scales.push(0.0);
        self.squares.push(0.0);
        self.set(item, scorer.item(item));
    }

    /// The allowed items with the best expanded scores, best first.
    pub(super) fn candidates(
        &self,
        expansion: &Expansion<f32>,
        count: usize,
        is_allowed: &(dyn Fn(u32) -> bool + Sync),
    ) -> Vec<Found> {
        let mut targets = vec![0.0; self.centres.len() * self.stride];
        for (padded, target) in
            targets.chunks_exact_mut(self.stride).zip(expansion.targets.chunks_exact(self.dim))
        {
            padded[..self.dim].copy_from_slice(target);
        }
        let bound = |(cluster, ball): (usize, &Ball)| {
            let extreme = ball.squares[usize::from(expansion.square_weight > 0.0)];
            let target = row(&expansion.targets, self.dim, cluster);
            let rest = expansion.offsets[cluster] + expansion.square_weight * extreme;
            Self::reach(ball, target) + rest + 1e-4 * rest.abs()
        };
        let bounds = self.balls.iter().enumerate().map(bound).collect();
        self.pass(
            bounds,
            #[inline(always)]
            |place: usize, codes: &[i8]| {
                let cluster = usize::from(self.clusters[place]);
                let target = &targets[cluster * self.stride..(cluster + 1) * self.stride];
                self.scales[place] * product(codes, target)
                    + expansion.offsets[cluster]
                    + expansion.square_weight * self.squares[place]
            },
            count,
            is_allowed,
        )
    }

    /// The allowed items whose vectors have the largest cosine with `target`.
    pub(super) fn similar(
        &self,
        target: &[f32],
        count: usize,
        is_allowed: &(dyn Fn(u32) -> bool + Sync),
    ) -> Vec<Found> {
        let mut padded = target.to_vec();
        padded.resize(self.stride, 0.0);
        let bound = |ball: &Ball| {
            let reach = Self::reach(ball, target);
            let length = ball.squares[usize::from(reach < 0.0)].sqrt().max(f32::MIN_POSITIVE);
            reach / length + 1e-4 * (reach / length).abs()
        };
        let bounds = self.balls.iter().map(bound).collect();
        self.pass(
            bounds,
            #[inline(always)]
            |place: usize, codes: &[i8]| {
                let length = self.squares[place].sqrt().max(f32::MIN_POSITIVE);
                self.scales[place] * product(codes, &padded) / length
            },
            count,
            is_allowed,
        )
    }

    /// Scores rows, the most promising clusters first, and leaves out those clusters none of whose
    /// items can be among the best `count` any more. `bounds` are the largest scores of each cluster.
    fn pass(
        &self,
        bounds: Vec<f32>,
        score: impl Fn(usize, &[i8]) -> f32 + Sync,
        count: usize,
        is_allowed: &(dyn Fn(u32) -> bool + Sync),
    ) -> Vec<Found> {
        let cut = |bound: f32, [first, end]: [usize; 2]| {
            let pieces = (first..end).step_by(BLOCK);
            pieces.map(move |start| Piece { bound, rows: [start, (start + BLOCK).min(end)] })
        };
        let added = cut(f32::INFINITY, [self.ordered, self.items.len()]);
        let clusters =
            bounds.iter().zip(&self.balls).flat_map(|(&bound, ball)| cut(bound, ball.rows));
        let mut pieces: Vec<Piece> = added.chain(clusters).collect();
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
                vectorised(
                    #[inline(always)]
                    || {
                        let codes = &self.codes[first * self.stride..end * self.stride];
                        for (index, codes) in codes.chunks_exact(self.stride).enumerate() {
                            scores[index] = score(first + index, codes);
                        }
                    },
                );
                for (&score, &item) in scores.iter().zip(&self.items[first..end]) {
                    if score >= top.threshold() && is_allowed(item) {
                        top.push(Found { score, item });
                    }
                }
                threshold.fetch_max(ordered(top.threshold()), Ordering::Relaxed);
            }
            top
        };
        let tops = (0..rayon::current_num_threads()).into_par_iter().map(task);
        tops.reduce(|| Top::new(count), Top::merge).into_sorted()
    }
}

/// An integer that is ordered as the number is.
fn ordered(value: f32) -> i32 {
    let bits = value.to_bits() as i32;
    if bits < 0 { bits ^ i32::MAX } else { bits }
}

#[inline(always)]
fn product(codes: &[i8], target: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for (codes, target) in codes.as_chunks::<LANES>().0.iter().zip(target.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            lanes[lane] += f32::from(codes[lane]) * target[lane];
        }
    }
    // In halves: one after the other would take longer than the products.
    halve::<2, 1>(halve::<4, 2>(halve::<8, 4>(halve::<LANES, 8>(lanes))))[0]
}

/// Adds the second half to the first.
#[inline(always)]
fn halve<const N: usize, const HALF: usize>(lanes: [f32; N]) -> [f32; HALF] {
    std::array::from_fn(
        #[inline(always)]
        |lane| lanes[lane] + lanes[lane + HALF],
    )
}
