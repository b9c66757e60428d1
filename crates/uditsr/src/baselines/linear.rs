//! Embeddings, linear propagation, inner products: factorisation, LightGCN and HyperSaR.
//!
//! The score of an item is `(u + q) . i`, with `q` from the words of the query; a term `u . q` would be
//! the same for all items.

use super::FitConfig;
use super::operator::Operator;
use crate::evaluate::{Protocol, evaluate, items_of_users};
use crate::matrix::row;
use crate::random;
use crate::real::{add, add_scaled, dot, log_sigmoid, sigmoid};
use crate::train::{Dense, Epoch};
use crate::{Csr, Dataset, Error, Interactions, Ranker, Result, Split};

/// How a query enters the score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    /// Not at all.
    Ignored,
    /// As the mean of its words.
    Mean,
    /// As the sum of its words, which are also to be likely for user and item.
    Likelihood,
}

/// A model before it is fitted.
pub(super) struct Linear<'a> {
    config: &'a FitConfig,
    operator: Operator,
    layers: usize,
    query: Query,
}

/// A fitted model: users and items after propagation, words before.
pub(super) struct Fitted {
    dim: usize,
    users: usize,
    words_at: usize,
    query: Query,
    nodes: Vec<f32>,
    words: Vec<f32>,
}

impl Ranker for Fitted {
    fn score(&self, user: u32, query: &[u32], items: &[u32], scores: &mut [f32]) {
        let mut target = row(&self.nodes, self.dim, user as usize).to_vec();
        if self.query != Query::Ignored {
            let scale = weight(self.query, query.len());
            for &word in query {
                add_scaled(
                    &mut target,
                    scale,
                    row(&self.words, self.dim, self.words_at + word as usize),
                );
            }
        }
        for (score, &item) in scores.iter_mut().zip(items) {
            *score = dot(&target, row(&self.nodes, self.dim, self.users + item as usize));
        }
    }
}

/// Weight of each word of a query of this length.
fn weight(query: Query, words: usize) -> f32 {
    match query {
        Query::Ignored => 0.0,
        Query::Mean => 1.0 / words.max(1) as f32,
        Query::Likelihood => 1.0,
    }
}

/// One row of a batch as places of its nodes.
struct Example<'a> {
    user: usize,
    item: usize,
    negative: usize,
    words: &'a [u32],
}

impl<'a> Linear<'a> {
    pub(super) fn new(
        config: &'a FitConfig,
        operator: Operator,
        layers: usize,
        query: Query,
    ) -> Self {
        Self { config, operator, layers, query }
    }

    /// Fits to some training rows.
    pub(super) fn fit(&self, dataset: &Dataset, rows: &[usize]) -> Result<Fitted> {
        let FitConfig { dim, epochs, batch_size, seed, .. } = *self.config;
        let log = pick(&dataset.train, rows);
        let seen = items_of_users(dataset);
        let mut base = vec![0.0_f32; self.operator.nodes * dim];
        // Small enough that scores start near zero, as in the published programs.
        let bound = (3.0 / dim as f64).sqrt() * 0.1;
        crate::model::fill_uniform(random::stream(seed, "baseline", 0), &mut base, bound);
        let mut optimizer = Dense::new(self.config.optimizer, base.len());
        let mut best: Option<(f64, Fitted)> = None;
        let mut waited = 0;
        for epoch in 0..epochs {
            let order = Epoch::new(seed, epoch as u64, &log, &seen, dataset.items);
            let batches = order.rows.chunks(batch_size).zip(order.negatives.chunks(batch_size));
            for (rows, negatives) in batches {
                let examples: Vec<Example<'_>> = rows
                    .iter()
                    .zip(negatives)
                    .map(|(&row, &negative)| Example {
                        user: log.users[row as usize] as usize,
                        item: dataset.users + log.items[row as usize] as usize,
                        negative: dataset.users + negative as usize,
                        words: log.queries.row(row as usize),
                    })
                    .collect();
                let (loss, gradient) = self.step(dataset, &base, &examples);
                if !loss.is_finite() {
                    return Err(Error::NotFinite {
                        what: "the loss of a baseline",
                        step: optimizer.steps(),
                    });
                }
                optimizer.step(&mut base, &gradient);
            }
            if (epoch + 1) % self.config.validate_every != 0 && epoch + 1 != epochs {
                continue;
            }
            let fitted = self.fitted(dataset, &base);
            if dataset.valid.positives.is_empty() {
                best = Some((0.0, fitted));
                continue;
            }
            let valid = evaluate(&fitted, dataset, Split::Valid, Protocol::Sampled, None)?;
            let scenarios = [&valid.search, &valid.recommend].into_iter().flatten();
            let values: Vec<f64> = scenarios.filter_map(|report| report.ndcg(5)).collect();
            let value = values.iter().sum::<f64>() / values.len().max(1) as f64;
            if best.as_ref().is_none_or(|(best, _)| value > *best) {
                (best, waited) = (Some((value, fitted)), 0);
            } else {
                waited += 1;
                if waited >= self.config.patience {
                    break;
                }
            }
        }
        Ok(best.map_or_else(|| self.fitted(dataset, &base), |(_, fitted)| fitted))
    }

    fn fitted(&self, dataset: &Dataset, base: &[f32]) -> Fitted {
        Fitted {
            dim: self.config.dim,
            users: dataset.users,
            words_at: dataset.users + dataset.items,
            query: self.query,
            nodes: self.operator.mean_of_powers(base, self.config.dim, self.layers),
            words: base.to_vec(),
        }
    }

    /// Loss of a batch and the gradient of the embeddings.
    fn step(&self, dataset: &Dataset, base: &[f32], batch: &[Example<'_>]) -> (f64, Vec<f32>) {
        let d = self.config.dim;
        let words_at = dataset.users + dataset.items;
        let nodes = self.operator.mean_of_powers(base, d, self.layers);
        let mut of_nodes = vec![0.0; base.len()];
        let mut of_base = vec![0.0; base.len()];
        let share = 1.0 / batch.len() as f64;
        let mut loss = 0.0;
        for &Example { user, item, negative, words } in batch {
            let (u, i, n) = (row(&nodes, d, user), row(&nodes, d, item), row(&nodes, d, negative));
            let mut target = u.to_vec();
            let scale = weight(self.query, words.len());
            for &word in words.iter().filter(|_| self.query != Query::Ignored) {
                add_scaled(&mut target, scale, row(base, d, words_at + word as usize));
            }
            let margin = f64::from(dot(&target, i) - dot(&target, n));
            loss -= share * log_sigmoid(margin);
            let slope = (-share * sigmoid(-margin)) as f32;
            let between: Vec<f32> = i.iter().zip(n).map(|(i, n)| slope * (i - n)).collect();
            add(&mut of_nodes[user * d..(user + 1) * d], &between);
            add_scaled(&mut of_nodes[item * d..(item + 1) * d], slope, &target);
            add_scaled(&mut of_nodes[negative * d..(negative + 1) * d], -slope, &target);
            for &word in words.iter().filter(|_| self.query != Query::Ignored) {
                let place = (words_at + word as usize) * d;
                add_scaled(&mut of_base[place..place + d], scale, &between);
            }
            // Of the embeddings of the batch only, as in the published programs.
            let decay = self.config.regularization * share;
            for node in [user, item, negative] {
                let values = row(base, d, node);
                loss += decay * f64::from(dot(values, values));
                add_scaled(&mut of_base[node * d..(node + 1) * d], (2.0 * decay) as f32, values);
            }
        }
        if self.query == Query::Likelihood && self.config.query_weight > 0.0 {
            loss += self.likelihood(words_at, (base, &nodes), batch, (&mut of_base, &mut of_nodes));
        }
        add(&mut of_base, &self.operator.mean_of_powers(&of_nodes, d, self.layers));
        (loss, of_base)
    }

    /// `-mean_k log(softmax(u . w)_k softmax(i . w)_k + 1e-7)` of the words of each search, times its
    /// weight over the size of the batch.
    fn likelihood(
        &self,
        words_at: usize,
        (base, nodes): (&[f32], &[f32]),
        batch: &[Example<'_>],
        (of_base, of_nodes): (&mut [f32], &mut [f32]),
    ) -> f64 {
        let d = self.config.dim;
        let table = &base[words_at * d..];
        let weight = self.config.query_weight / batch.len() as f64;
        let mut loss = 0.0;
        for example in batch.iter().filter(|example| !example.words.is_empty()) {
            let sides = [example.user, example.item];
            let chances = sides.map(|node| {
                let logits: Vec<f64> = table
                    .chunks_exact(d)
                    .map(|word| f64::from(dot(row(nodes, d, node), word)))
                    .collect();
                let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let total: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
                logits.into_iter().map(|logit| (logit - largest).exp() / total).collect::<Vec<_>>()
            });
            let share = weight / example.words.len() as f64;
            // Slope of the loss in the logarithm of each side's chance of each word.
            let mut slopes = vec![0.0; table.len() / d];
            for &word in example.words {
                let chance = chances[0][word as usize] * chances[1][word as usize];
                loss -= share * (chance + 1e-7).ln();
                slopes[word as usize] -= share * chance / (chance + 1e-7);
            }
            let total: f64 = slopes.iter().sum();
            for (node, chances) in sides.into_iter().zip(&chances) {
                let mut of_node = vec![0.0; d];
                for (word, (&slope, &chance)) in slopes.iter().zip(chances).enumerate() {
                    let of_logit = (slope - total * chance) as f32;
                    add_scaled(&mut of_node, of_logit, row(table, d, word));
                    let place = (words_at + word) * d;
                    add_scaled(&mut of_base[place..place + d], of_logit, row(nodes, d, node));
                }
                add(&mut of_nodes[node * d..(node + 1) * d], &of_node);
            }
        }
        loss
    }
}

/// Some rows of a log.
fn pick(log: &Interactions, rows: &[usize]) -> Interactions {
    Interactions {
        users: rows.iter().map(|&row| log.users[row]).collect(),
        items: rows.iter().map(|&row| log.items[row]).collect(),
        queries: rows.iter().map(|&row| log.queries.row(row)).collect::<Csr>(),
        times: vec![-1; rows.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset() -> Dataset {
        let queries: Vec<Vec<u32>> =
            (0..30_u32).map(|k| (0..k % 3).map(|word| 1 + (k + 2 * word) % 5).collect()).collect();
        let train = Interactions {
            users: (0..30).map(|k| (k * 7) % 6).collect(),
            items: (0..30).map(|k| (k * k) % 5).collect(),
            queries: queries.iter().collect(),
            times: vec![-1; 30],
        };
        Dataset { users: 6, items: 5, words: 6, train, ..Dataset::default() }
    }

    #[test]
    fn gradients_are_derivatives() {
        let dataset = dataset();
        let config =
            FitConfig { dim: 3, query_weight: 0.3, regularization: 0.1, ..FitConfig::default() };
        let all: Vec<usize> = (0..30).collect();
        let cases = [
            (Operator::none(&dataset), 0, Query::Ignored),
            (Operator::none(&dataset), 0, Query::Mean),
            (Operator::bipartite(&dataset, &all), 2, Query::Ignored),
            (Operator::hypergraph(&dataset), 2, Query::Likelihood),
        ];
        for (operator, layers, query) in cases {
            let linear = Linear::new(&config, operator, layers, query);
            let mut base = vec![0.0_f32; linear.operator.nodes * 3];
            crate::model::fill_uniform(random::stream(1, "test", 0), &mut base, 1.0);
            let example = |k: usize| Example {
                user: dataset.train.users[k] as usize,
                item: 6 + dataset.train.items[k] as usize,
                negative: 6 + k % 5,
                words: dataset.train.queries.row(k),
            };
            let batch: Vec<Example<'_>> = (0..12).map(example).collect();
            let (_, gradient) = linear.step(&dataset, &base, &batch);
            for place in 0..base.len() {
                let mut loss = |change: f32| {
                    let kept = base[place];
                    base[place] += change;
                    let loss = linear.step(&dataset, &base, &batch).0;
                    base[place] = kept;
                    loss
                };
                let slope = (loss(1e-2) - loss(-1e-2)) / 2e-2;
                let error = (slope - f64::from(gradient[place])).abs();
                assert!(error < 2e-4, "{query:?}, {place}: {slope} {}", gradient[place]);
            }
        }
    }

    #[test]
    fn propagation_is_that_of_the_papers() {
        let mut dataset = dataset();
        dataset.train = pick(&dataset.train, &[0, 1]);
        // Users 0 and 1 with items 0 and 1: two lonely pairs, so each becomes the mean of both.
        let operator = Operator::bipartite(&dataset, &[0, 1]);
        let mut x = vec![0.0; operator.nodes];
        (x[0], x[6]) = (1.0, 3.0);
        let mean = operator.mean_of_powers(&x, 1, 1);
        assert_eq!((mean[0], mean[6], mean[1]), (2.0, 2.0, 0.0));
        // A hyperedge of two nodes, each in no other: the mean of both as well, with itself.
        let operator = Operator::hypergraph(&dataset);
        let mean = operator.mean_of_powers(&x, 1, 1);
        assert_eq!((mean[0], mean[6]), (1.5, 2.5));
    }
}
