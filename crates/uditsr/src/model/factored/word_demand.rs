//! The ablation without a generator: a user's demand is the sum of the user's frequent words.

use super::demand::{Context, Demand};
use super::layers::Nodes;
use super::pairs::PairSet;
use crate::matrix::{row, zeros};
use crate::model::gradients::Gradients;
use crate::model::graph::NONE;
use crate::real::{Real, add, add_scaled};

/// Sums of words, kept from the forward to the backward pass by place of the user.
#[derive(Debug, Clone, Default)]
pub(super) struct WordDemand<T> {
    sums: Vec<T>,
}

/// Calls `each` with the pair, the place of its user and the place of its item.
fn for_pairs(set: &PairSet, mut each: impl FnMut(usize, usize, usize)) {
    for run in &set.runs {
        for pair in run.start..run.end {
            each(pair, set.users[pair] as usize, run.item);
        }
    }
}

/// Words of the user at each place.
fn words<T>(context: Context<'_, T>, place: usize) -> impl Iterator<Item = usize> {
    let user = context.field.users.nodes[context.pairs.nodes.users[place] as usize];
    let words = context.graph.words_of_user(user as usize).iter();
    words.filter(|word| **word != NONE).map(|&word| word as usize)
}

impl<T: Real> Demand<T> for WordDemand<T> {
    fn forward(&mut self, context: Context<'_, T>, sums: &mut Nodes<T>, batch: &mut Vec<T>) {
        let Context { parameters, field, pairs, .. } = context;
        let d = parameters.dim;
        zeros(&mut self.sums, pairs.nodes.users.len() * d);
        for (place, sum) in self.sums.chunks_exact_mut(d).enumerate() {
            words(context, place).for_each(|word| add(sum, row(&parameters.words, d, word)));
        }
        sums.clear(field.users.with_messages() * d, field.items.with_messages() * d);
        for_pairs(&pairs.graph, |pair, user, item| {
            let weight = T::of(f64::from(pairs.graph.weights[pair]));
            let (user_slot, item_slot) =
                (pairs.nodes.users[user] as usize, pairs.nodes.items[item] as usize);
            for (sums, slot) in [(&mut sums.users, user_slot), (&mut sums.items, item_slot)] {
                if let Some(out) = sums.get_mut(slot * d..(slot + 1) * d) {
                    add_scaled(out, weight, row(&self.sums, d, user));
                }
            }
        });
        zeros(batch, pairs.batch.len() * d);
        for_pairs(&pairs.batch, |pair, user, _| {
            batch[pair * d..(pair + 1) * d].copy_from_slice(row(&self.sums, d, user));
        });
    }

    fn backward(
        &mut self,
        context: Context<'_, T>,
        (of_sums, of_batch): (&Nodes<T>, &[T]),
        gradients: &mut Gradients<T>,
        _: &mut Nodes<T>,
    ) {
        let Context { parameters, pairs, .. } = context;
        let d = parameters.dim;
        zeros(&mut self.sums, pairs.nodes.users.len() * d);
        for_pairs(&pairs.graph, |pair, user, item| {
            let weight = T::of(f64::from(pairs.graph.weights[pair]));
            let (user_slot, item_slot) =
                (pairs.nodes.users[user] as usize, pairs.nodes.items[item] as usize);
            for (sums, slot) in [(&of_sums.users, user_slot), (&of_sums.items, item_slot)] {
                if let Some(gradient) = sums.get(slot * d..(slot + 1) * d) {
                    add_scaled(&mut self.sums[user * d..(user + 1) * d], weight, gradient);
                }
            }
        });
        for_pairs(&pairs.batch, |pair, user, _| {
            add(&mut self.sums[user * d..(user + 1) * d], row(of_batch, d, pair));
        });
        for (place, sum) in self.sums.chunks_exact(d).enumerate() {
            for word in words(context, place) {
                add(&mut gradients.words[word * d..(word + 1) * d], sum);
            }
        }
    }
}
