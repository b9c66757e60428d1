//! What the graph keeps of users and items, and sums of vectors in double precision.

/// An interaction of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edge {
    /// Place in the order of all events.
    pub(crate) id: u64,
    pub(crate) item: u32,
    pub(crate) time: i64,
    /// Query words, none for a recommendation.
    pub(crate) query: Box<[u32]>,
}

/// A user's edges and sums.
#[derive(Debug, Clone, Default)]
pub(crate) struct UserNode {
    pub(crate) edges: Vec<Edge>,
    /// Frequent query words by place.
    pub(crate) words: Vec<u32>,
    pub(super) sum: Vec<f64>,
    pub(super) queries: Vec<f64>,
}

/// An item's sums; empty as long as it has no edge.
#[derive(Debug, Clone, Default)]
pub(super) struct ItemNode {
    pub(super) degree: u32,
    pub(super) sum: Vec<f64>,
    pub(super) queries: Vec<f64>,
    pub(super) seconds: Vec<f64>,
}

pub(super) fn plus(out: &mut [f64], scale: f64, x: &[f64]) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out += scale * x);
}

pub(super) fn plus_single(out: &mut [f64], scale: f64, x: &[f32]) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out += scale * f64::from(*x));
}

pub(super) fn mean_row(table: &[f32], d: usize) -> Vec<f32> {
    let mut sum = vec![0.0; d];
    table.chunks_exact(d).for_each(|row| plus_single(&mut sum, 1.0, row));
    let rows = (table.len() / d).max(1) as f64;
    sum.into_iter().map(|value| (value / rows) as f32).collect()
}

/// `e + h1 / 2 + h2 / 3`, with as many layers as there are.
pub(super) fn star(embedding: &[f32], hidden: &[Vec<f64>]) -> Vec<f32> {
    let mut star: Vec<f64> = embedding.iter().map(|&value| f64::from(value)).collect();
    for (layer, hidden) in hidden.iter().enumerate() {
        plus(&mut star, 1.0 / (layer + 2) as f64, hidden);
    }
    star.into_iter().map(|value| value as f32).collect()
}
