//! Candidates: items in eight bits, each scored by the expansion of its cluster.
//!
//! Items are clustered by what their scores depend on. A request expands the score around the middle
//! item of each cluster (the translated point `e*_u + q` plus the gradient of the head, and for
//! recommendations the demand generated there), and each item is compared with the target of its own
//! cluster. So the demand intent, which differs from item to item, costs as many runs of the
//! generator as there are clusters.
//!
//! Up to [`EXHAUSTIVE`] items all are compared. Above it clusters are divided into cells, and a request
//! reads the cells in the order of what their moments promise, until no other promises more than what
//! was found. Inverted lists and not a graph of neighbours, because an event moves vectors: a moved
//! vector stays in its list, and because items of one request have different targets. Items may change
//! and be added at any time: there is no structure to be built again.

mod cells;
mod clusters;
mod pass;

use rayon::prelude::*;

use super::top::Found;
use crate::matrix::row;
use crate::model::{Expansion, Scorer};
use crate::real::dot;
use cells::Cells;
use clusters::Centroids;
use pass::{LANES, Piece, Target};

/// Up to so many items a pass compares all; measured in `docs/results/uditsr-serving.md`.
const EXHAUSTIVE: usize = 32_768;
/// Largest number of clusters, and items for each.
const CLUSTERS: usize = 256;
const PER_CLUSTER: usize = 64;
/// Items of a cell, about.
const PER_CELL: usize = 256;

/// All propagated items in eight bits, in the order of their clusters and cells.
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
    centroids: Centroids,
    /// Rows of later items are in none.
    cells: Cells,
    /// What makes the two parts of a feature comparable.
    part_scale: f32,
    exhaustive: usize,
}

/// What a score depends on.
fn feature(scorer: &Scorer<f32>, item: u32, part_scale: f32) -> Vec<f32> {
    let mut feature = scorer.item(item).to_vec();
    feature.extend(scorer.generator_part(item).into_iter().map(|value| part_scale * value));
    feature
}

impl Index {
    pub(super) fn new(scorer: &Scorer<f32>) -> Self {
        Self::with(scorer, EXHAUSTIVE)
    }

    /// An index that compares all items only up to `exhaustive` of them.
    pub(super) fn with(scorer: &Scorer<f32>, exhaustive: usize) -> Self {
        let (dim, count) = (scorer.config().dim, scorer.items());
        let step = count.div_ceil(clusters::SAMPLE).max(1);
        let sample: Vec<u32> = (0..count as u32).step_by(step).collect();
        let part_scale = part_scale(scorer, &sample);
        let features = |items: &[u32]| -> Vec<f32> {
            items.iter().flat_map(|&item| feature(scorer, item, part_scale)).collect()
        };
        let learned =
            Centroids::learn(&features(&sample), 3 * dim, (count / PER_CLUSTER).clamp(1, CLUSTERS));
        let everything: Vec<u32> = (0..count as u32).collect();
        let assigned = learned.assign(everything.par_chunks(512).map(features));
        let mut centres: Vec<Option<u32>> = vec![None; learned.count()];
        for (&item, &(cluster, distance)) in everything.iter().zip(&assigned) {
            let centre = &mut centres[usize::from(cluster)];
            if centre.is_none_or(|other| distance < assigned[other as usize].1) {
                *centre = Some(item);
            }
        }
        // Clusters without items go.
        let kept: Vec<usize> = (0..centres.len()).filter(|&c| centres[c].is_some()).collect();
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); centres.len()];
        for (&item, &(cluster, _)) in everything.iter().zip(&assigned) {
            members[usize::from(cluster)].push(item);
        }
        let cells: Vec<Vec<Vec<u32>>> =
            kept.par_iter().map(|&cluster| divide(scorer, &members[cluster])).collect();
        let (mut starts, mut clusters_of) = (vec![0], Vec::new());
        for (cluster, cells) in cells.iter().enumerate() {
            for cell in cells {
                starts.push(starts[starts.len() - 1] + cell.len());
                clusters_of.push(cluster as u16);
            }
        }
        let items: Vec<u32> = cells.into_iter().flatten().flatten().collect();
        let stride = dim.next_multiple_of(LANES);
        let mut index = Self {
            dim,
            stride,
            codes: vec![0; count * stride],
            scales: vec![0.0; count],
            squares: vec![0.0; count],
            clusters: vec![0; count],
            rows: vec![0; count],
            items,
            centres: centres.into_iter().flatten().collect(),
            centroids: Centroids::new(
                kept.iter().flat_map(|&cluster| learned.get(cluster).to_vec()).collect(),
                3 * dim,
            ),
            cells: Cells::new(dim, starts, clusters_of),
            part_scale,
            exhaustive,
        };
        for cell in 0..index.cells.count() {
            let [first, end] = index.cells.rows(cell);
            for place in first..end {
                let item = index.items[place];
                index.rows[item as usize] = place as u32;
                index.clusters[place] = index.cells.cluster(cell) as u16;
                index.write(place, scorer.item(item));
                index.cells.add(cell, &index.vector(place));
            }
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
        let cell = self.cells.of(place);
        if let Some(cell) = cell {
            self.cells.remove(cell, &self.vector(place));
        }
        self.write(place, star);
        if let Some(cell) = cell {
            self.cells.add(cell, &self.vector(place));
        }
    }

    fn write(&mut self, place: usize, star: &[f32]) {
        let largest = star.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let scale = largest / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let codes = &mut self.codes[place * self.stride..][..self.dim];
        for (code, value) in codes.iter_mut().zip(star) {
            *code = (value * inverse).round() as i8;
        }
        self.scales[place] = scale;
        self.squares[place] = dot(star, star);
    }

    /// A row as the index sees it.
    fn vector(&self, place: usize) -> Vec<f32> {
        let codes = &self.codes[place * self.stride..][..self.dim];
        codes.iter().map(|&code| self.scales[place] * f32::from(code)).collect()
    }

    /// An item as the index sees it.
    pub(super) fn stored(&self, item: u32) -> Vec<f32> {
        self.vector(self.rows[item as usize] as usize)
    }

    /// Adds the next item of the scorer.
    pub(super) fn push(&mut self, scorer: &Scorer<f32>, item: u32) {
        let place = self.items.len();
        let feature = feature(scorer, item, self.part_scale);
        self.rows.push(place as u32);
        self.items.push(item);
        self.clusters.push(self.centroids.nearest_to(&feature));
        self.codes.resize(self.items.len() * self.stride, 0);
        self.scales.push(0.0);
        self.squares.push(0.0);
        self.write(place, scorer.item(item));
    }

    /// The allowed items with the best expanded scores, best first.
    pub(super) fn candidates(
        &self,
        expansion: &Expansion<f32>,
        count: usize,
        is_allowed: &(dyn Fn(u32) -> bool + Sync),
    ) -> Vec<Found> {
        let weight = expansion.square_weight;
        let targets: Vec<Target> = expansion
            .targets
            .chunks_exact(self.dim)
            .map(|target| Target::new(target, self.stride))
            .collect();
        let bound = |cell: usize| {
            let cluster = self.cells.cluster(cell);
            let extreme = self.cells.lengths(cell)[usize::from(weight > 0.0)];
            let target = row(&expansion.targets, self.dim, cluster);
            self.cells.reach(cell, target) + expansion.offsets[cluster] + weight * extreme
        };
        let score = |place: usize| {
            let cluster = usize::from(self.clusters[place]);
            let product = targets[cluster].product(self.codes_of(place));
            self.scales[place] * product + expansion.offsets[cluster] + weight * self.squares[place]
        };
        self.pass(bound, score, count, is_allowed)
    }

    /// The allowed items whose vectors have the largest cosine with `target`.
    pub(super) fn similar(
        &self,
        target: &[f32],
        count: usize,
        is_allowed: &(dyn Fn(u32) -> bool + Sync),
    ) -> Vec<Found> {
        let codes = Target::new(target, self.stride);
        let bound = |cell: usize| {
            let reach = self.cells.reach(cell, target);
            let length = self.cells.lengths(cell)[usize::from(reach < 0.0)].sqrt();
            reach / length.max(f32::MIN_POSITIVE)
        };
        let score = |place: usize| {
            let length = self.squares[place].sqrt().max(f32::MIN_POSITIVE);
            self.scales[place] * codes.product(self.codes_of(place)) / length
        };
        self.pass(bound, score, count, is_allowed)
    }

    #[inline(always)]
    fn codes_of(&self, place: usize) -> &[i8] {
        &self.codes[place * self.stride..][..self.stride]
    }

    /// Scores rows: all of them, or those of the cells that `bound` promises much of.
    fn pass(
        &self,
        bound: impl Fn(usize) -> f32,
        score: impl Fn(usize) -> f32 + Sync,
        count: usize,
        is_allowed: &(dyn Fn(u32) -> bool + Sync),
    ) -> Vec<Found> {
        let mut pieces: Vec<Piece> = Vec::new();
        if self.items.len() <= self.exhaustive {
            pieces.extend(Piece::cut(f32::INFINITY, [0, self.items.len()]));
        } else {
            pieces.extend(Piece::cut(f32::INFINITY, [self.cells.end(), self.items.len()]));
            crate::real::vectorised(|| {
                for cell in 0..self.cells.count() {
                    pieces.extend(Piece::cut(bound(cell), self.cells.rows(cell)));
                }
            });
        }
        let scores = |[first, _]: [usize; 2], scores: &mut [f32]| {
            for (place, out) in (first..).zip(scores) {
                *out = score(place);
            }
        };
        pass::best_of(pieces, scores, |place| self.items[place], count, is_allowed)
    }
}

/// Weight of the generator's part of a feature that gives both parts the same energy.
fn part_scale(scorer: &Scorer<f32>, sample: &[u32]) -> f32 {
    let energy = |part: &dyn Fn(u32) -> Vec<f32>| -> f32 {
        sample.iter().take(1000).flat_map(|&item| part(item)).map(|v| v * v).sum()
    };
    let stars = energy(&|item| scorer.item(item).to_vec());
    let parts = energy(&|item| scorer.generator_part(item));
    if parts > 0.0 { (stars / parts).sqrt() } else { 0.0 }
}

/// The items of a cluster in cells of items that are near each other.
fn divide(scorer: &Scorer<f32>, items: &[u32]) -> Vec<Vec<u32>> {
    let count = items.len() / PER_CELL;
    if count < 2 {
        return vec![items.to_vec()];
    }
    let vectors = |items: &[u32]| -> Vec<f32> {
        items.iter().flat_map(|&item| scorer.item(item).to_vec()).collect()
    };
    let step = items.len().div_ceil(64 * count).max(1);
    let sample: Vec<u32> = items.iter().copied().step_by(step).collect();
    let centroids = Centroids::learn(&vectors(&sample), scorer.config().dim, count);
    let mut cells = vec![Vec::new(); centroids.count()];
    for (&item, (cell, _)) in items.iter().zip(centroids.assign(items.par_chunks(512).map(vectors)))
    {
        cells[usize::from(cell)].push(item);
    }
    cells.retain(|cell: &Vec<u32>| !cell.is_empty());
    cells
}
