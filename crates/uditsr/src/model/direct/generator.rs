//! The demand intent of pairs of a user and an item, one row of every layer for each pair.

use super::{NodeGradients, word_sum};
use crate::matrix::row;
use crate::model::config::{Generator, ModelConfig};
use crate::model::gradients::Gradients;
use crate::model::graph::{Graph, NONE};
use crate::model::parameters::Parameters;
use crate::real::{Real, add, add_scaled, dot};

/// Users and items, pair by pair.
#[derive(Clone, Copy)]
pub(super) struct Pairs<'a> {
    pub(super) users: &'a [u32],
    pub(super) items: &'a [u32],
}

/// What the backward pass needs.
pub(super) struct GeneratorTape<T> {
    /// `[n, dim]`, the result.
    pub(super) demand: Vec<T>,
    /// `[user; its words]`, `[n, (1 + user_words) dim]`.
    key_input: Vec<T>,
    keys: Vec<T>,
    /// `W_A w + b_A` of each item word, `[n, item_words, dim]`.
    attended: Vec<T>,
    /// `[n, item_words]`.
    attention: Vec<T>,
    /// `[user; item; sum of user words; context]`, `[n, 4 dim]`.
    input: Vec<T>,
    hidden: [Vec<T>; 2],
}

fn words(places: &[u32]) -> impl Iterator<Item = (usize, usize)> {
    let known = places.iter().enumerate().filter(|(_, word)| **word != NONE);
    known.map(|(place, &word)| (place, word as usize))
}

/// `G(u, i)` from the given tables of users and items.
pub(super) fn generate<T: Real>(
    config: &ModelConfig,
    graph: &Graph,
    parameters: &Parameters<T>,
    (users, items): (&[T], &[T]),
    pairs: Pairs<'_>,
) -> GeneratorTape<T> {
    let (d, network) = (config.dim, &parameters.network);
    let (n, places) = (pairs.users.len(), config.item_words);
    let word = |index: usize| row(&parameters.words, d, index);
    let mut key_input = Vec::with_capacity(n * network.key.inputs);
    for &user in pairs.users {
        key_input.extend_from_slice(row(users, d, user as usize));
        for &place in graph.words_of_user(user as usize) {
            match place {
                NONE => key_input.resize(key_input.len() + d, T::ZERO),
                index => key_input.extend_from_slice(word(index as usize)),
            }
        }
    }
    let keys = network.key.forward(&key_input);
    let mut item_words = vec![T::ZERO; n * places * d];
    for (pair, &item) in pairs.items.iter().enumerate() {
        for (place, index) in words(graph.words_of_item(item as usize)) {
            let start = (pair * places + place) * d;
            item_words[start..start + d].copy_from_slice(word(index));
        }
    }
    let attended = network.attention.forward(&item_words);
    let mut attention = vec![T::ZERO; n * places];
    let mut input = Vec::with_capacity(n * 4 * d);
    for (pair, (&user, &item)) in pairs.users.iter().zip(pairs.items).enumerate() {
        let known: Vec<_> = words(graph.words_of_item(item as usize)).collect();
        let weights = &mut attention[pair * places..(pair + 1) * places];
        let mut context = vec![T::ZERO; d];
        let logit =
            |place: usize| dot(row(&keys, d, pair), row(&attended, d, pair * places + place));
        let logits: Vec<f64> = known.iter().map(|&(place, _)| logit(place).wide()).collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        for (&(place, index), logit) in known.iter().zip(&logits) {
            weights[place] = T::of((logit - largest).exp() / total);
            add_scaled(&mut context, weights[place], word(index));
        }
        let user_words = words(graph.words_of_user(user as usize)).map(|(_, index)| index);
        input.extend_from_slice(row(users, d, user as usize));
        input.extend_from_slice(row(items, d, item as usize));
        input.extend(word_sum(parameters, user_words));
        input.extend(context);
    }
    let tanh = |mut values: Vec<T>| {
        for value in &mut values {
            *value = value.hyperbolic_tangent();
        }
        values
    };
    let first = tanh(network.demand[0].forward(&input));
    let second = tanh(network.demand[1].forward(&first));
    let demand = match config.generator {
        Generator::Network => network.demand[2].forward(&second),
        Generator::UserWords => {
            input.chunks_exact(4 * d).flat_map(|x| &x[2 * d..3 * d]).copied().collect()
        }
    };
    GeneratorTape { demand, key_input, keys, attended, attention, input, hidden: [first, second] }
}

/// Adds the gradients of words, networks, users and items for a gradient of the demand.
pub(super) fn generate_backward<T: Real>(
    config: &ModelConfig,
    (graph, parameters, _): (&Graph, &Parameters<T>, (&[T], &[T])),
    (pairs, tape): (Pairs<'_>, &GeneratorTape<T>),
    demand: &[T],
    (gradients, nodes): (&mut Gradients<T>, &mut NodeGradients<T>),
) {
    let (d, places) = (config.dim, config.item_words);
    let (network, grads) = (&parameters.network, &mut gradients.network);
    let through_tanh = |mut gradient: Vec<T>, output: &[T]| {
        for (gradient, &y) in gradient.iter_mut().zip(output) {
            *gradient *= T::ONE - y * y;
        }
        gradient
    };
    let mut input = vec![T::ZERO; tape.input.len()];
    if config.generator == Generator::UserWords {
        for (input, demand) in input.chunks_exact_mut(4 * d).zip(demand.chunks_exact(d)) {
            input[2 * d..3 * d].copy_from_slice(demand);
        }
    } else {
        let [first, second] = &tape.hidden;
        let back = network.demand[2].backward(second, demand, &mut grads.demand[2]);
        let back = through_tanh(back, second);
        let back = network.demand[1].backward(first, &back, &mut grads.demand[1]);
        let back = through_tanh(back, first);
        input = network.demand[0].backward(&tape.input, &back, &mut grads.demand[0]);
    }

    let mut keys = vec![T::ZERO; tape.keys.len()];
    let mut attended = vec![T::ZERO; tape.attended.len()];
    for (pair, &item) in pairs.items.iter().enumerate() {
        let context = &input[pair * 4 * d + 3 * d..(pair + 1) * 4 * d];
        let weights = &tape.attention[pair * places..(pair + 1) * places];
        let known: Vec<_> = words(graph.words_of_item(item as usize)).collect();
        let slopes: Vec<T> = known
            .iter()
            .map(|&(_, index)| dot(context, row(&parameters.words, d, index)))
            .collect();
        let mean: T =
            known.iter().zip(&slopes).map(|(&(place, _), &slope)| weights[place] * slope).sum();
        for (&(place, index), &slope) in known.iter().zip(&slopes) {
            add_scaled(&mut gradients.words[index * d..(index + 1) * d], weights[place], context);
            let logit = weights[place] * (slope - mean);
            let key = pair * d..(pair + 1) * d;
            let word = (pair * places + place) * d..(pair * places + place + 1) * d;
            add_scaled(&mut keys[key.clone()], logit, &tape.attended[word.clone()]);
            add_scaled(&mut attended[word], logit, &tape.keys[key]);
        }
    }
    attention_backward(config, (graph, parameters), pairs, &attended, gradients);
    let key_input = network.key.backward(&tape.key_input, &keys, &mut gradients.network.key);

    for (pair, (&user, &item)) in pairs.users.iter().zip(pairs.items).enumerate() {
        let input = row(&input, 4 * d, pair);
        let key_input = row(&key_input, network.key.inputs, pair);
        let user = user as usize;
        add(&mut nodes.users[user * d..(user + 1) * d], &input[..d]);
        add(&mut nodes.users[user * d..(user + 1) * d], &key_input[..d]);
        add(&mut nodes.items[item as usize * d..(item as usize + 1) * d], &input[d..2 * d]);
        for (place, index) in words(graph.words_of_user(user)) {
            let word = &mut gradients.words[index * d..(index + 1) * d];
            add(word, &input[2 * d..3 * d]);
            add(word, row(&key_input[d..], d, place));
        }
    }
}

/// Gradients of `W_A` and of the words in it; that of `b_A` is zero and left so.
fn attention_backward<T: Real>(
    config: &ModelConfig,
    (graph, parameters): (&Graph, &Parameters<T>),
    pairs: Pairs<'_>,
    attended: &[T],
    gradients: &mut Gradients<T>,
) {
    let (d, places) = (config.dim, config.item_words);
    let weight = &parameters.network.attention.weight;
    for (pair, &item) in pairs.items.iter().enumerate() {
        for (place, index) in words(graph.words_of_item(item as usize)) {
            let back = row(attended, d, pair * places + place);
            let word = row(&parameters.words, d, index);
            let into_word = &mut gradients.words[index * d..(index + 1) * d];
            for (k, &back) in back.iter().enumerate() {
                add_scaled(into_word, back, row(weight, d, k));
                add_scaled(&mut gradients.network.attention.weight[k * d..(k + 1) * d], back, word);
            }
        }
    }
}
