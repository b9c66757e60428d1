//! Normalised adjacency of users, items and words, as a symmetric sparse matrix.

use rayon::prelude::*;

use crate::Dataset;
use crate::matrix::row;
use crate::real::{add_scaled, vectorised};

/// A symmetric matrix over users, then items, then words.
pub(super) struct Operator {
    pub(super) nodes: usize,
    offsets: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

impl Operator {
    /// No edges.
    pub(super) fn none(dataset: &Dataset) -> Self {
        Self::from_entries(nodes(dataset), Vec::new())
    }

    /// `1 / sqrt(deg u deg i)` for each distinct pair of the rows, as in LightGCN.
    pub(super) fn bipartite(dataset: &Dataset, rows: &[usize]) -> Self {
        let log = &dataset.train;
        let mut pairs: Vec<(u32, u32)> = rows
            .iter()
            .map(|&row| (log.users[row], dataset.users as u32 + log.items[row]))
            .collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut degrees = vec![0_u32; nodes(dataset)];
        for &(user, item) in &pairs {
            degrees[user as usize] += 1;
            degrees[item as usize] += 1;
        }
        let weight = |a: u32, b: u32| {
            let product = f64::from(degrees[a as usize]) * f64::from(degrees[b as usize]);
            (1.0 / product.sqrt()) as f32
        };
        let both = pairs.iter().flat_map(|&(u, i)| [(u, i, weight(u, i)), (i, u, weight(u, i))]);
        Self::from_entries(nodes(dataset), both.collect())
    }

    /// `D_V^-1/2 H D_E^-1 H^T D_V^-1/2` with a hyperedge of user, item and words for each row, as in
    /// HyperSaR.
    pub(super) fn hypergraph(dataset: &Dataset) -> Self {
        let log = &dataset.train;
        let first_word = (dataset.users + dataset.items) as u32;
        let members = |row: usize| {
            let mut members = vec![log.users[row], dataset.users as u32 + log.items[row]];
            members.extend(log.queries.row(row).iter().map(|&word| first_word + word));
            members.sort_unstable();
            members.dedup();
            members
        };
        let mut degrees = vec![0.0_f64; nodes(dataset)];
        for row in 0..log.len() {
            for node in members(row) {
                degrees[node as usize] += 1.0;
            }
        }
        let mut entries = Vec::new();
        for row in 0..log.len() {
            let members = members(row);
            for &a in &members {
                for &b in &members {
                    let norm =
                        (degrees[a as usize] * degrees[b as usize]).sqrt() * members.len() as f64;
                    entries.push((a, b, (1.0 / norm) as f32));
                }
            }
        }
        Self::from_entries(nodes(dataset), entries)
    }

    fn from_entries(nodes: usize, mut all: Vec<(u32, u32, f32)>) -> Self {
        all.par_sort_by_key(|&(a, b, _)| (a, b));
        let mut entries: Vec<(u32, f32)> = Vec::with_capacity(all.len());
        let mut offsets = vec![0; nodes + 1];
        let mut last = None;
        for (a, b, weight) in all {
            match entries.last_mut() {
                Some(entry) if last == Some((a, b)) => entry.1 += weight,
                _ => {
                    entries.push((b, weight));
                    offsets[a as usize + 1] += 1;
                }
            }
            last = Some((a, b));
        }
        for node in 0..nodes {
            offsets[node + 1] += offsets[node];
        }
        Self { nodes, offsets, entries }
    }

    /// `out = A x` for `x` of `width` columns.
    fn apply(&self, x: &[f32], width: usize, out: &mut [f32]) {
        out.par_chunks_mut(width).with_min_len(64).enumerate().for_each(|(node, out)| {
            vectorised(
                #[inline(always)]
                || {
                    out.fill(0.0);
                    for &(other, weight) in
                        &self.entries[self.offsets[node]..self.offsets[node + 1]]
                    {
                        add_scaled(out, weight, row(x, width, other as usize));
                    }
                },
            );
        });
    }

    /// The mean of `x, A x, ..., A^layers x`. The matrix is symmetric, so this is also its backward
    /// pass.
    pub(super) fn mean_of_powers(&self, x: &[f32], width: usize, layers: usize) -> Vec<f32> {
        let mut mean = x.to_vec();
        let (mut now, mut next) = (x.to_vec(), vec![0.0; x.len()]);
        for _ in 0..layers {
            self.apply(&now, width, &mut next);
            add_scaled(&mut mean, 1.0, &next);
            std::mem::swap(&mut now, &mut next);
        }
        crate::real::scale(&mut mean, 1.0 / (layers + 1) as f32);
        mean
    }
}

fn nodes(dataset: &Dataset) -> usize {
    dataset.users + dataset.items + dataset.words
}
