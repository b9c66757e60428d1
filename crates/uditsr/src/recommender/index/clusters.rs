//! Clusters by k-means, with the loops over all rows as matrix products on all threads.

use faer::Accum;
use rayon::prelude::*;

use crate::matrix::{multiply, row, view};
use crate::real::dot;

/// Rows that clusters are learned from, and how often they move.
pub(super) const SAMPLE: usize = 20_000;
const ROUNDS: usize = 8;
/// Rows of one task.
const TASK: usize = 512;

/// Middles of clusters.
pub(super) struct Centroids {
    width: usize,
    values: Vec<f32>,
    /// `|c|^2`.
    lengths: Vec<f32>,
}

impl Centroids {
    /// At most `count` clusters of rows of `width` numbers. The result depends on nothing but the rows.
    pub(super) fn learn(rows: &[f32], width: usize, count: usize) -> Self {
        let total = rows.len() / width;
        let count = count.min(total);
        let first =
            (0..count).flat_map(|cluster| row(rows, width, cluster * total / count).to_vec());
        let mut found = Self::new(first.collect(), width);
        for _ in 0..ROUNDS {
            let mut sums = vec![0.0; found.values.len()];
            let mut counts = vec![0.0_f32; count];
            let assigned = found.assign(rows.par_chunks(TASK * width).map(<[f32]>::to_vec));
            for (row, (cluster, _)) in rows.chunks_exact(width).zip(assigned) {
                let start = usize::from(cluster) * width;
                crate::real::add(&mut sums[start..start + width], row);
                counts[usize::from(cluster)] += 1.0;
            }
            for ((old, sum), count) in
                found.values.chunks_exact_mut(width).zip(sums.chunks_exact(width)).zip(counts)
            {
                if count > 0.0 {
                    old.iter_mut().zip(sum).for_each(|(old, sum)| *old = sum / count);
                }
            }
            found = Self::new(found.values, width);
        }
        found
    }

    pub(super) fn new(values: Vec<f32>, width: usize) -> Self {
        let lengths = values.chunks_exact(width).map(|c| dot(c, c)).collect();
        Self { width, values, lengths }
    }

    pub(super) fn count(&self) -> usize {
        self.lengths.len()
    }

    pub(super) fn get(&self, cluster: usize) -> &[f32] {
        row(&self.values, self.width, cluster)
    }

    /// The nearest cluster of each row, and the squared distance to it. The rows come in parts, whose
    /// order is kept.
    pub(super) fn assign(
        &self,
        parts: impl IndexedParallelIterator<Item = Vec<f32>>,
    ) -> Vec<(u16, f32)> {
        parts.flat_map_iter(|rows| self.nearest(&rows)).collect()
    }

    fn nearest(&self, rows: &[f32]) -> Vec<(u16, f32)> {
        let mut products = vec![0.0; rows.len() / self.width * self.count()];
        let (rows_view, centroids) = (view(rows, self.width), view(&self.values, self.width));
        multiply(&mut products, Accum::Replace, rows_view, centroids.transpose());
        let closest = |(products, row): (&[f32], &[f32])| {
            let distances = products.iter().zip(&self.lengths).map(|(p, l)| l - 2.0 * p);
            let best = |best: (u16, f32), (c, distance): (u16, f32)| {
                if distance < best.1 { (c, distance) } else { best }
            };
            let (cluster, distance) = (0..).zip(distances).fold((0, f32::INFINITY), best);
            (cluster, distance + dot(row, row))
        };
        let rows = rows.chunks_exact(self.width);
        products.chunks_exact(self.count()).zip(rows).map(closest).collect()
    }

    /// The nearest cluster of one row.
    pub(super) fn nearest_to(&self, row: &[f32]) -> u16 {
        self.nearest(row)[0].0
    }
}
