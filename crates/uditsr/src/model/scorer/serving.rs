//! What serving asks of a scorer beyond scores: items that change, and where scores come from.

use faer::Accum;

use super::{BLOCK, Scorer, UserView, columns, product};
use crate::matrix::{multiply, row, view};
use crate::model::config::{FinalActivation, Generator, TranslationTerm};
use crate::model::graph::NONE;
use crate::model::head::{SLOPE, leaky};
use crate::real::{Real, add, add_scaled, dot};

/// First-order expansions of a score in the propagated item, around some items: near item `c` the
/// score of `i` is about `offsets[c] + targets[c] . e*_i + square_weight |e*_i|^2`.
///
/// The translation term is kept as it is. With it alone, `targets[c]` is the translated point
/// `e*_u + q`; the gradient of the head is added to it.
pub(crate) struct Expansion<T> {
    /// `[n, dim]`.
    pub(crate) targets: Vec<T>,
    /// `[n]`.
    pub(crate) offsets: Vec<T>,
    /// Weight of the squared length of an item.
    pub(crate) square_weight: T,
}

impl<T: Real> Scorer<T> {
    /// Number of items, those added since training included.
    pub(crate) fn items(&self) -> usize {
        self.items.len() / self.config.dim
    }

    /// Embeddings of all items below the first layer.
    pub(crate) fn item_embedding(&self, item: u32) -> &[T] {
        row(&self.parameters.items, self.config.dim, item as usize)
    }

    /// Frequent query words of an item by place, `u32::MAX` for no word.
    pub(crate) fn words_of_item(&self, item: u32) -> &[u32] {
        row(&self.item_words, self.config.item_words, item as usize)
    }

    /// Part of an item in the first layer of the generator if it attends to all words alike, `[2d]`.
    pub(crate) fn generator_part(&self, item: u32) -> Vec<T> {
        let d = self.config.dim;
        let mut part = row(&self.item_parts, 2 * d, item as usize).to_vec();
        let words: Vec<u32> =
            self.words_of_item(item).iter().copied().filter(|w| *w != NONE).collect();
        for &word in &words {
            let share = T::of(1.0 / words.len() as f64);
            add_scaled(&mut part, share, row(&self.word_parts, 2 * d, word as usize));
        }
        part
    }

    /// Replaces propagated items, `[n, dim]`, and what the heads have folded of them.
    pub(crate) fn set_items(&mut self, items: &[u32], stars: &[T]) {
        let d = self.config.dim;
        let network = &self.parameters.network;
        for (folded, head) in self.heads.iter_mut().zip([&network.search, &network.recommend]) {
            let layer = &head.layers[0];
            let parts = product(stars, &columns(&layer.weight, 3 * d, d, 2 * d), d);
            for (&item, part) in items.iter().zip(parts.chunks_exact(layer.outputs)) {
                let start = item as usize * layer.outputs;
                let out = &mut folded.items[start..start + layer.outputs];
                out.copy_from_slice(part);
                add(out, &layer.bias);
            }
        }
        for (&item, star) in items.iter().zip(stars.chunks_exact(d)) {
            self.items[item as usize * d..(item as usize + 1) * d].copy_from_slice(star);
        }
    }

    /// Adds items that training did not know: embeddings below the first layer, propagated ones, and
    /// places of words.
    pub(crate) fn push_items(&mut self, embeddings: &[T], stars: &[T], words: &[u32]) {
        let (d, first) = (self.config.dim, self.items() as u32);
        let weight = &self.parameters.network.demand[0].weight;
        self.item_parts.extend(product(embeddings, &columns(weight, 4 * d, d, 2 * d), d));
        self.parameters.items.extend_from_slice(embeddings);
        self.item_words.extend_from_slice(words);
        self.items.extend_from_slice(stars);
        let count = (stars.len() / d) as u32;
        for head in &mut self.heads {
            let outputs = head.user.len() / d;
            head.items.resize(head.items.len() + count as usize * outputs, T::ZERO);
        }
        self.parameters.sizes.items += count as usize;
        self.set_items(&(first..first + count).collect::<Vec<_>>(), stars);
    }

    /// Replaces the words of all items.
    pub(crate) fn set_item_words(&mut self, words: Vec<u32>) {
        self.item_words = words;
    }

    /// Weight of the translation in the score of a scenario, zero in models without it.
    pub(crate) fn translation_weight(&self, is_search: bool) -> f64 {
        self.head(is_search).1.translation.first().map_or(0.0, |weight| weight.wide())
    }

    /// Expands the score of a user around `centres`.
    pub(crate) fn expand(
        &self,
        user: UserView<'_, T>,
        query: Option<&[T]>,
        centres: &[u32],
    ) -> Expansion<T> {
        let d = self.config.dim;
        let (folded, head) = self.head(query.is_some());
        let [first, middle, last] = &head.layers;
        let of_item = columns(&first.weight, 3 * d, d, 2 * d);
        let mut shared = product(user.star, &folded.user, d);
        let demand = match query {
            Some(query) => query.to_vec(),
            None if self.config.generator == Generator::UserWords => self.demand_of(user, &[0]),
            None => self.demand_of(user, centres),
        };
        let own = product(&demand, &folded.query, d);
        let is_shared = own.len() == shared.len();
        if is_shared {
            add(&mut shared, &own);
        }
        let weight = head.translation.first().copied().unwrap_or(T::ZERO);
        let term = if head.translation.is_empty() {
            TranslationTerm::Absent
        } else {
            self.config.translation_term
        };
        let square_weight = if term == TranslationTerm::Distance { -weight } else { T::ZERO };
        let slope = T::of(SLOPE);
        let gate = |value: T| if value >= T::ZERO { T::ONE } else { slope };
        let (mut targets, mut offsets) = (Vec::new(), Vec::new());
        for (block, centres) in centres.chunks(BLOCK).enumerate() {
            let mut a = Vec::with_capacity(centres.len() * first.outputs);
            for (index, &item) in centres.iter().enumerate() {
                let start = a.len();
                a.extend_from_slice(&shared);
                add(&mut a[start..], row(&folded.items, first.outputs, item as usize));
                if !is_shared {
                    add(&mut a[start..], row(&own, first.outputs, block * BLOCK + index));
                }
            }
            let a_gates: Vec<T> = a.iter().map(|&value| gate(value)).collect();
            leaky(&mut a);
            let mut b = middle.bias.repeat(centres.len());
            let weights = view(&middle.weight, middle.inputs);
            multiply(&mut b, Accum::Add, view(&a, first.outputs), weights.transpose());
            let mut scores = Vec::new();
            let mut db = Vec::with_capacity(b.len());
            for b in b.chunks_exact(middle.outputs) {
                let activated = b.iter().map(|&value| gate(value) * value);
                let score: T =
                    activated.zip(&last.weight).map(|(b, &w)| b * w).sum::<T>() + last.bias[0];
                // Without a translation term the final rectifier does not change the order.
                let is_bent = self.config.final_activation == FinalActivation::LeakyRelu
                    && term != TranslationTerm::Absent;
                let bend = if is_bent { gate(score) } else { T::ONE };
                scores.push(bend * score);
                db.extend(b.iter().zip(&last.weight).map(|(&b, &w)| bend * gate(b) * w));
            }
            let mut da = vec![T::ZERO; a.len()];
            multiply(&mut da, Accum::Replace, view(&db, middle.outputs), weights);
            da.iter_mut().zip(&a_gates).for_each(|(da, &gate)| *da *= gate);
            let mut gradients = vec![T::ZERO; centres.len() * d];
            multiply(&mut gradients, Accum::Replace, view(&da, first.outputs), view(&of_item, d));
            for (index, gradient) in gradients.chunks_exact_mut(d).enumerate() {
                let mut offset = scores[index] - dot(gradient, self.item(centres[index]));
                let demand =
                    if is_shared { &demand[..d] } else { row(&demand, d, block * BLOCK + index) };
                let translated: Vec<T> =
                    user.star.iter().zip(demand).map(|(&u, &q)| u + q).collect();
                match term {
                    TranslationTerm::Absent => {}
                    TranslationTerm::Dot => add_scaled(gradient, weight, &translated),
                    TranslationTerm::Distance => {
                        add_scaled(gradient, T::of(2.0) * weight, &translated);
                        offset += -weight * dot(&translated, &translated);
                    }
                }
                offsets.push(offset);
            }
            targets.extend(gradients);
        }
        Expansion { targets, offsets, square_weight }
    }

    /// Attention of a user on the words of an item, in the generator.
    pub(crate) fn attention(&self, user: UserView<'_, T>, item: u32) -> Vec<(u32, f64)> {
        let side = self.user_side(user);
        let words = self.words_of_item(item).iter().copied().filter(|word| *word != NONE);
        let logit = |word: u32| {
            dot(&side.attention, row(&self.parameters.words, self.config.dim, word as usize)).wide()
        };
        let logits: Vec<(u32, f64)> = words.map(|word| (word, logit(word))).collect();
        let largest = logits.iter().fold(f64::NEG_INFINITY, |m, (_, z)| m.max(*z));
        let total: f64 = logits.iter().map(|(_, z)| (z - largest).exp()).sum();
        logits.into_iter().map(|(word, z)| (word, (z - largest).exp() / total)).collect()
    }
}
