//! The part of the generator that belongs to pairs: attention, two hidden layers, and back.

use faer::Accum;
use rayon::prelude::*;

use super::pairs::{PairSet, Run, Tasks, user_row};
use crate::matrix::{multiply, row, split_at_ends, sum_parts, view};
use crate::model::graph::NONE;
use crate::model::network::Linear;
use crate::real::{Real, add, add_scaled, dot, vectorised};

/// Rows that go through a layer at once.
const BLOCK: usize = 256;

/// What the pairs read, by place of user, item and word.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a, T> {
    pub(super) d: usize,
    /// Places for words of an item.
    pub(super) places: usize,
    /// `[query of the attention; part of the first layer]` of each user, `[users, 3 d]`.
    pub(super) users: &'a [T],
    /// Part of the first layer of each item, `[items, 2 d]`.
    pub(super) items: &'a [T],
    /// Projections of each word; the last `3 d` columns are its part of the first layer and the
    /// word itself.
    pub(super) words: &'a [T],
    pub(super) word_width: usize,
    /// Words of each item by place, `[items, places]`.
    pub(super) item_words: &'a [u32],
    /// The second layer.
    pub(super) layer: &'a Linear<T>,
}

/// What the pairs of a set leave behind, by pair.
#[derive(Debug, Clone, Default)]
pub(super) struct PairTape<T> {
    /// Weights of the item's words, `[pairs, places]`; after the backward pass gradients of logits.
    attention: Vec<T>,
    /// `[pairs, 2 d]`; after the backward pass the gradient before the activation.
    pub(super) first: Vec<T>,
    /// `[pairs, 2 d]`; after the backward pass each row begins with the gradient of the user's
    /// query of the attention.
    pub(super) second: Vec<T>,
}

/// Gradients by place of the item.
pub(super) struct ItemGradients<'a, T> {
    /// `[items, 2 d]`.
    pub(super) items: &'a mut [T],
    /// Of the words of each item in the first layer and in themselves, `[items, places, 3 d]`.
    pub(super) words: &'a mut [T],
}

impl<T: Real> Inputs<'_, T> {
    /// First-layer parts `[places, 2 d]` and vectors `[places, d]` of an item's words.
    fn item(&self, item: usize) -> (&[u32], Vec<T>, Vec<T>) {
        let words = row(self.item_words, self.places, item);
        let (d, start) = (self.d, self.word_width - 3 * self.d);
        let mut parts = vec![T::ZERO; self.places * 2 * d];
        let mut vectors = vec![T::ZERO; self.places * d];
        for (place, &word) in words.iter().enumerate().filter(|(_, word)| **word != NONE) {
            let projections = &row(self.words, self.word_width, word as usize)[start..];
            parts[place * 2 * d..(place + 1) * 2 * d].copy_from_slice(&projections[..2 * d]);
            vectors[place * d..(place + 1) * d].copy_from_slice(&projections[2 * d..]);
        }
        (words, parts, vectors)
    }

    /// Queries of the attention of the users of some pairs.
    fn queries(&self, set: &PairSet, pairs: std::ops::Range<usize>, out: &mut Vec<T>) {
        out.clear();
        for pair in pairs {
            out.extend_from_slice(&user_row(self.users, 3 * self.d, set, pair)[..self.d]);
        }
    }
}

/// Cuts a run into blocks.
fn blocks(run: Run) -> impl Iterator<Item = std::ops::Range<usize>> {
    (run.start..run.end).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(run.end))
}

/// Runs of each task.
fn runs<'a>(set: &'a PairSet, tasks: &Tasks) -> Vec<&'a [Run]> {
    let mut start = 0;
    let cut = |&end: &usize| &set.runs[std::mem::replace(&mut start, end)..end];
    tasks.runs.iter().map(cut).collect()
}

impl<T: Real> PairTape<T> {
    /// Computes the second hidden layer of all pairs, and its weighted sum over the pairs of each
    /// item, which is written to `sums`, `[items, 2 d]`.
    pub(super) fn forward(&mut self, inputs: Inputs<'_, T>, set: &PairSet, sums: &mut [T]) {
        let (d, places) = (inputs.d, inputs.places);
        self.attention.resize(set.len() * places, T::ZERO);
        self.first.resize(set.len() * 2 * d, T::ZERO);
        self.second.resize(set.len() * 2 * d, T::ZERO);
        let tasks = Tasks::new(set);
        let cut =
            |ends: &[usize], width: usize| ends.iter().map(|end| end * width).collect::<Vec<_>>();
        let attention = split_at_ends(&mut self.attention, &cut(&tasks.pairs, places));
        let first = split_at_ends(&mut self.first, &cut(&tasks.pairs, 2 * d));
        let second = split_at_ends(&mut self.second, &cut(&tasks.pairs, 2 * d));
        let sums = split_at_ends(sums, &cut(&tasks.items, 2 * d));
        (runs(set, &tasks), attention, first, second, sums)
            .into_par_iter()
            .zip(firsts(&tasks))
            .for_each(|((runs, attention, first, second, sums), (_, item))| {
                forward_task(inputs, set, runs, [attention, first, second]);
                let start = runs[0].start;
                for run in runs {
                    let place = (run.item - item) * 2 * d;
                    let sum = &mut sums[place..place + 2 * d];
                    vectorised(
                        #[inline(always)]
                        || {
                            sum.fill(T::ZERO);
                            for pair in run.start..run.end {
                                let weight = T::of(f64::from(set.weights[pair]));
                                add_scaled(sum, weight, row(second, 2 * d, pair - start));
                            }
                        },
                    );
                }
            });
    }

    /// From the gradient of the second layer, which `fill` writes for a pair, to the gradients of
    /// the items and of the layer, and to what the tape says about the rest.
    pub(super) fn backward(
        &mut self,
        inputs: Inputs<'_, T>,
        set: &PairSet,
        fill: impl Fn(usize, usize, &mut [T]) + Sync,
        items: ItemGradients<'_, T>,
        layer: &mut Linear<T>,
    ) {
        let (d, places) = (inputs.d, inputs.places);
        let tasks = Tasks::new(set);
        let cut =
            |ends: &[usize], width: usize| ends.iter().map(|end| end * width).collect::<Vec<_>>();
        let attention = split_at_ends(&mut self.attention, &cut(&tasks.pairs, places));
        let first = split_at_ends(&mut self.first, &cut(&tasks.pairs, 2 * d));
        let second = split_at_ends(&mut self.second, &cut(&tasks.pairs, 2 * d));
        let of_items = split_at_ends(items.items, &cut(&tasks.items, 2 * d));
        let of_words = split_at_ends(items.words, &cut(&tasks.items, places * 3 * d));
        let parts: Vec<(Vec<T>, Vec<T>)> =
            (runs(set, &tasks), attention, first, second, of_items, of_words)
                .into_par_iter()
                .zip(firsts(&tasks))
                .map(|((runs, attention, first, second, items, words), (_, item))| {
                    let part = hidden_task(inputs, runs, [first, second], &fill);
                    let items = ItemGradients { items, words };
                    attention_task(inputs, set, (runs, item), [attention, first, second], items);
                    part
                })
                .collect();
        let (weights, biases): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        sum_parts(&mut layer.weight, &weights);
        sum_parts(&mut layer.bias, &biases);
    }
}

/// First pair and first item place of each task.
fn firsts(tasks: &Tasks) -> Vec<(usize, usize)> {
    let starts =
        |ends: &[usize]| std::iter::once(0).chain(ends.iter().copied()).collect::<Vec<_>>();
    let (pairs, items) = (starts(&tasks.pairs), starts(&tasks.items));
    (0..tasks.runs.len()).map(|task| (pairs[task], items[task])).collect()
}

fn forward_task<T: Real>(
    inputs: Inputs<'_, T>,
    set: &PairSet,
    runs: &[Run],
    [attention, first, second]: [&mut [T]; 3],
) {
    let (d, places, start) = (inputs.d, inputs.places, runs[0].start);
    let mut queries = Vec::new();
    for &run in runs {
        let (words, parts, vectors) = inputs.item(run.item);
        let item = row(inputs.items, 2 * d, run.item);
        for block in blocks(run) {
            let local = block.start - start..block.end - start;
            inputs.queries(set, block.clone(), &mut queries);
            let logits = &mut attention[local.start * places..local.end * places];
            multiply(logits, Accum::Replace, view(&queries, d), view(&vectors, d).transpose());
            let hidden = &mut first[local.start * 2 * d..local.end * 2 * d];
            vectorised(
                #[inline(always)]
                || {
                    for logits in logits.chunks_exact_mut(places) {
                        softmax(logits, words);
                    }
                    for (hidden, pair) in hidden.chunks_exact_mut(2 * d).zip(block) {
                        let user = &user_row(inputs.users, 3 * d, set, pair)[d..];
                        for ((hidden, &user), &item) in hidden.iter_mut().zip(user).zip(item) {
                            *hidden = user + item;
                        }
                    }
                },
            );
            multiply(hidden, Accum::Add, view(logits, places), view(&parts, 2 * d));
        }
    }
    let layer = inputs.layer;
    for (first, second) in first.chunks_mut(BLOCK * 2 * d).zip(second.chunks_mut(BLOCK * 2 * d)) {
        vectorised(
            #[inline(always)]
            || {
                for value in first.iter_mut() {
                    *value = value.hyperbolic_tangent();
                }
            },
        );
        multiply(
            second,
            Accum::Replace,
            view(first, 2 * d),
            view(&layer.weight, 2 * d).transpose(),
        );
        vectorised(
            #[inline(always)]
            || {
                for row in second.chunks_exact_mut(2 * d) {
                    for (value, &bias) in row.iter_mut().zip(&layer.bias) {
                        *value = (*value + bias).hyperbolic_tangent();
                    }
                }
            },
        );
    }
}

/// Weights of the words that there are; the others get none.
#[inline(always)]
fn softmax<T: Real>(logits: &mut [T], words: &[u32]) {
    let mut largest = None;
    for (&logit, _) in logits.iter().zip(words).filter(|(_, word)| **word != NONE) {
        largest =
            Some(largest.map_or(logit, |largest| if logit > largest { logit } else { largest }));
    }
    let largest = largest.unwrap_or(T::ZERO);
    let mut total = T::ZERO;
    for (logit, &word) in logits.iter_mut().zip(words) {
        *logit = if word == NONE { T::ZERO } else { (*logit - largest).exponential() };
        total += *logit;
    }
    if total > T::ZERO {
        crate::real::scale(logits, T::ONE / total);
    }
}

/// Back through the hidden layers: `first` becomes the gradient before its activation. Returns the
/// gradients of the layer between.
fn hidden_task<T: Real>(
    inputs: Inputs<'_, T>,
    runs: &[Run],
    [first, second]: [&mut [T]; 2],
    fill: impl Fn(usize, usize, &mut [T]),
) -> (Vec<T>, Vec<T>) {
    let width = 2 * inputs.d;
    let start = runs[0].start;
    let mut weight = vec![T::ZERO; width * width];
    let mut bias = vec![T::ZERO; width];
    let mut gradient = vec![T::ZERO; BLOCK * width];
    let mut below = vec![T::ZERO; BLOCK * width];
    let mut run = runs.iter().peekable();
    let mut pair = start;
    for (first, second) in first.chunks_mut(BLOCK * width).zip(second.chunks_mut(BLOCK * width)) {
        let (gradient, below) = (&mut gradient[..first.len()], &mut below[..first.len()]);
        vectorised(
            #[inline(always)]
            || {
                for row in gradient.chunks_exact_mut(width) {
                    while run.next_if(|run| run.end <= pair).is_some() {}
                    let item = run.peek().map_or(0, |run| run.item);
                    fill(pair, item, row);
                    pair += 1;
                }
                for (gradient, &y) in gradient.iter_mut().zip(second.iter()) {
                    *gradient *= T::ONE - y * y;
                }
                for row in gradient.chunks_exact(width) {
                    add(&mut bias, row);
                }
            },
        );
        multiply(&mut weight, Accum::Add, view(gradient, width).transpose(), view(first, width));
        multiply(below, Accum::Replace, view(gradient, width), view(&inputs.layer.weight, width));
        vectorised(
            #[inline(always)]
            || {
                for (first, &below) in first.iter_mut().zip(below.iter()) {
                    *first = below * (T::ONE - *first * *first);
                }
            },
        );
    }
    (weight, bias)
}

/// Back through the attention and into items, their words, and the users' queries.
fn attention_task<T: Real>(
    inputs: Inputs<'_, T>,
    set: &PairSet,
    (runs, first_item): (&[Run], usize),
    [attention, first, second]: [&mut [T]; 3],
    gradients: ItemGradients<'_, T>,
) {
    let (d, places, start) = (inputs.d, inputs.places, runs[0].start);
    let (mut queries, mut slopes, mut back) = (Vec::new(), Vec::new(), Vec::new());
    let mut of_parts = vec![T::ZERO; places * 2 * d];
    let mut of_vectors = vec![T::ZERO; places * d];
    for &run in runs {
        let (_, parts, vectors) = inputs.item(run.item);
        let item = run.item - first_item;
        let of_item = &mut gradients.items[item * 2 * d..(item + 1) * 2 * d];
        of_parts.fill(T::ZERO);
        of_vectors.fill(T::ZERO);
        for block in blocks(run) {
            let local = block.start - start..block.end - start;
            let weights = &mut attention[local.start * places..local.end * places];
            let hidden = &first[local.start * 2 * d..local.end * 2 * d];
            multiply(
                &mut of_parts,
                Accum::Add,
                view(weights, places).transpose(),
                view(hidden, 2 * d),
            );
            slopes.resize(weights.len(), T::ZERO);
            multiply(
                &mut slopes,
                Accum::Replace,
                view(hidden, 2 * d),
                view(&parts, 2 * d).transpose(),
            );
            vectorised(
                #[inline(always)]
                || {
                    for row in hidden.chunks_exact(2 * d) {
                        add(of_item, row);
                    }
                    let rows = weights.chunks_exact_mut(places).zip(slopes.chunks_exact(places));
                    for (weights, slopes) in rows {
                        let mean = dot(weights, slopes);
                        for (weight, &slope) in weights.iter_mut().zip(slopes) {
                            *weight *= slope - mean;
                        }
                    }
                },
            );
            inputs.queries(set, block, &mut queries);
            let weights = view(weights, places);
            multiply(&mut of_vectors, Accum::Add, weights.transpose(), view(&queries, d));
            back.resize(queries.len(), T::ZERO);
            multiply(&mut back, Accum::Replace, weights, view(&vectors, d));
            for (index, back) in local.zip(back.chunks_exact(d)) {
                second[index * 2 * d..index * 2 * d + d].copy_from_slice(back);
            }
        }
        let of_words = &mut gradients.words[item * places * 3 * d..(item + 1) * places * 3 * d];
        for (place, of_word) in of_words.chunks_exact_mut(3 * d).enumerate() {
            add(&mut of_word[..2 * d], row(&of_parts, 2 * d, place));
            add(&mut of_word[2 * d..], row(&of_vectors, d, place));
        }
    }
}
