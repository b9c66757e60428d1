//! The three losses of a batch, from the vectors of its rows, and their gradients.

use serde::{Deserialize, Serialize};

use super::config::{Heads, ModelConfig, Target};
use super::head::HeadTape;
use super::network::{HeadNetwork, Network};
use crate::matrix::row;
use crate::real::{Real, add, log_sigmoid, sigmoid};

/// Losses of a batch, each a mean over all of its rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Losses {
    /// Positive above negative.
    pub bpr: f64,
    /// Generated demand at the real query, for searches.
    pub sg: f64,
    /// Translated user nearer to the positive than to the negative.
    pub cst: f64,
}

impl Losses {
    /// What is minimised.
    pub fn total(&self) -> f64 {
        self.bpr + self.sg + self.cst
    }
}

/// Vectors of a batch of `n` rows, each `[n, dim]`; or their gradients.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowVectors<T> {
    /// Propagated users.
    pub(crate) users: Vec<T>,
    /// Propagated positive items.
    pub(crate) items: Vec<T>,
    /// Propagated negative items.
    pub(crate) negatives: Vec<T>,
    /// Sums of the words of the real queries, zero for recommendations.
    pub(crate) real: Vec<T>,
    /// Generated demand for the positive.
    pub(crate) generated: Vec<T>,
    /// Generated demand for the negative, of recommendations only.
    pub(crate) generated_negative: Vec<T>,
}

impl<T: Real> RowVectors<T> {
    fn zeros(length: usize) -> Self {
        let zeros = || vec![T::ZERO; length];
        Self {
            users: zeros(),
            items: zeros(),
            negatives: zeros(),
            real: zeros(),
            generated: zeros(),
            generated_negative: zeros(),
        }
    }
}

/// Positives or negatives of one scenario on their way through its head. They go apart, so that
/// gradients that cancel between them do so exactly.
struct Pass<T> {
    rows: Vec<usize>,
    is_search: bool,
    is_negative: bool,
    input: Vec<T>,
    tape: HeadTape<T>,
}

/// Losses, scores of positives and negatives, and gradients. Gradients of the heads are added to
/// `gradients`.
pub(crate) fn objective<T: Real>(
    config: &ModelConfig,
    network: &Network<T>,
    searches: &[bool],
    vectors: &RowVectors<T>,
    gradients: &mut Network<T>,
) -> (Losses, [Vec<T>; 2], RowVectors<T>) {
    let (d, n) = (config.dim, searches.len());
    let mut scores = [vec![T::ZERO; n], vec![T::ZERO; n]];
    let mut passes = Vec::new();
    for (is_search, is_negative) in [(true, false), (true, true), (false, false), (false, true)] {
        let rows: Vec<usize> = (0..n).filter(|&row| searches[row] == is_search).collect();
        if rows.is_empty() {
            continue;
        }
        let items = if is_negative { &vectors.negatives } else { &vectors.items };
        let queries = match (is_search, is_negative) {
            (true, _) => &vectors.real,
            (false, false) => &vectors.generated,
            (false, true) => &vectors.generated_negative,
        };
        let mut input = Vec::with_capacity(rows.len() * 3 * d);
        for &r in &rows {
            for part in [&vectors.users, items, queries] {
                input.extend_from_slice(row(part, d, r));
            }
        }
        let (found, tape) = pick(network, is_search, config.heads).forward(config, &input);
        for (&r, score) in rows.iter().zip(found) {
            scores[usize::from(is_negative)][r] = score;
        }
        passes.push(Pass { rows, is_search, is_negative, input, tape });
    }

    let mut losses = Losses::default();
    let mut back = RowVectors::zeros(n * d);
    let mut d_score = vec![0.0; n];
    let rows = n as f64;
    for r in 0..n {
        let margin = scores[0][r].wide() - scores[1][r].wide();
        losses.bpr -= log_sigmoid(margin) / rows;
        d_score[r] = -sigmoid(-margin) / rows;
        translation_loss(config, searches, vectors, &mut back, (r, &mut losses));
        if searches[r] {
            supervision(config, vectors, &mut back, (r, n, &mut losses));
        }
    }

    for Pass { rows, is_search, is_negative, input, tape } in &passes {
        let sign = if *is_negative { -1.0 } else { 1.0 };
        let dy: Vec<T> = rows.iter().map(|&r| T::of(sign * d_score[r])).collect();
        let head = pick(network, *is_search, config.heads);
        let grads = pick_mut(gradients, *is_search, config.heads);
        let dx = head.backward(config, (input, tape), &dy, grads);
        let items = if *is_negative { &mut back.negatives } else { &mut back.items };
        let queries = match (is_search, is_negative) {
            (true, _) => &mut back.real,
            (false, false) => &mut back.generated,
            (false, true) => &mut back.generated_negative,
        };
        for (&r, dx) in rows.iter().zip(dx.chunks_exact(3 * d)) {
            let place = r * d..(r + 1) * d;
            add(&mut back.users[place.clone()], &dx[..d]);
            add(&mut items[place.clone()], &dx[d..2 * d]);
            add(&mut queries[place], &dx[2 * d..]);
        }
    }
    (losses, scores, back)
}

fn pick<T: Real>(network: &Network<T>, is_search: bool, heads: Heads) -> &HeadNetwork<T> {
    if is_search || heads == Heads::Shared { &network.search } else { &network.recommend }
}

fn pick_mut<T>(network: &mut Network<T>, is_search: bool, heads: Heads) -> &mut HeadNetwork<T> {
    if is_search || heads == Heads::Shared { &mut network.search } else { &mut network.recommend }
}

/// `-lambda log sigmoid(|u + q - i'|^2 / d - |u + q - i|^2 / d)`; `q` is the positive's in both.
fn translation_loss<T: Real>(
    config: &ModelConfig,
    searches: &[bool],
    vectors: &RowVectors<T>,
    back: &mut RowVectors<T>,
    (r, losses): (usize, &mut Losses),
) {
    let (d, rows) = (config.dim, searches.len() as f64);
    let queries = if searches[r] { &vectors.real } else { &vectors.generated };
    let d_queries = if searches[r] { &mut back.real } else { &mut back.generated };
    let [u, i, n, q] =
        [&vectors.users, &vectors.items, &vectors.negatives, queries].map(|part| row(part, d, r));
    let (mut near, mut far) = (0.0, 0.0);
    for k in 0..d {
        let target = u[k] + q[k];
        near += (target - i[k]).wide().powi(2);
        far += (target - n[k]).wide().powi(2);
    }
    let margin = (far - near) / d as f64;
    losses.cst -= config.cst_lambda * log_sigmoid(margin) / rows;
    let weight = T::of(2.0 / d as f64 * config.cst_lambda / rows * sigmoid(-margin));
    for k in 0..d {
        let target = u[k] + q[k];
        let (near, far) = (weight * (target - i[k]), weight * (target - n[k]));
        back.users[r * d + k] += near - far;
        d_queries[r * d + k] += near - far;
        back.items[r * d + k] -= near;
        back.negatives[r * d + k] += far;
    }
}

/// `lambda |G(u, i) - q|^2 / d`, of a search.
fn supervision<T: Real>(
    config: &ModelConfig,
    vectors: &RowVectors<T>,
    back: &mut RowVectors<T>,
    (r, rows, losses): (usize, usize, &mut Losses),
) {
    let d = config.dim;
    let each = config.sg_lambda / (d * rows) as f64;
    for k in r * d..(r + 1) * d {
        let rest = vectors.generated[k] - vectors.real[k];
        losses.sg += each * rest.wide().powi(2);
        let gradient = T::of(2.0 * each) * rest;
        back.generated[k] += gradient;
        if config.target == Target::Learned {
            back.real[k] -= gradient;
        }
    }
}
