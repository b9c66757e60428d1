//! Scores of candidates for a user, with a query or without one.

mod serving;

pub(crate) use serving::Expansion;

use faer::Accum;

use super::config::{FinalActivation, Generator, Heads, ModelConfig, Padding};
use super::graph::{Graph, NONE};
use super::head::{leaky, translation};
use super::network::HeadNetwork;
use super::parameters::Parameters;
use crate::matrix::{multiply, multiply_rows, row, view};
use crate::real::{Real, add, add_scaled, dot, vectorised};

/// Candidates that go through the networks at once.
const BLOCK: usize = 256;

/// What of a head does not depend on the user or the query.
struct FoldedHead<T> {
    /// `W_a e*_i + b_a` of each item.
    items: Vec<T>,
    /// Parts of `W_a` for the user and for the query, `[3d/2, d]` each.
    user: Vec<T>,
    query: Vec<T>,
}

/// A trained model with everything computed that requests share.
pub struct Scorer<T> {
    config: ModelConfig,
    parameters: Parameters<T>,
    /// Propagated users and items.
    users: Vec<T>,
    items: Vec<T>,
    user_words: Vec<u32>,
    item_words: Vec<u32>,
    /// `[search, recommend]`.
    heads: [FoldedHead<T>; 2],
    /// Part of each item in the generator's first layer, `[items, 2d]`, and of each word, `[words, 2d]`.
    item_parts: Vec<T>,
    word_parts: Vec<T>,
}

/// A user as the scorer sees one: a row of the tables, or somebody whom training did not know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UserView<'a, T> {
    /// Embedding below the first layer, `[dim]`.
    pub(crate) embedding: &'a [T],
    /// Propagated, `[dim]`.
    pub(crate) star: &'a [T],
    /// Frequent query words by place, `u32::MAX` for no word.
    pub(crate) words: &'a [u32],
}

impl<T> UserView<'_, T> {
    fn known_words(&self) -> impl Iterator<Item = (usize, usize)> {
        let words = self.words.iter().enumerate().filter(|(_, word)| **word != NONE);
        words.map(|(place, &word)| (place, word as usize))
    }
}

/// A user's side of the generator.
struct UserSide<T> {
    /// Query of the attention on item words.
    attention: Vec<T>,
    /// Part of the first layer.
    first: Vec<T>,
}

fn columns<T: Real>(data: &[T], width: usize, from: usize, to: usize) -> Vec<T> {
    data.chunks_exact(width).flat_map(|row| &row[from..to]).copied().collect()
}

fn product<T: Real>(x: &[T], weight: &[T], d: usize) -> Vec<T> {
    let mut out = vec![T::ZERO; x.len() / d * (weight.len() / d)];
    multiply_rows(&mut out, Accum::Replace, x, d, view(weight, d).transpose());
    out
}

impl<T: Real> Scorer<T> {
    /// The model of these parameters after propagation on a graph: `nodes` are the propagated users
    /// and items.
    pub fn new(
        config: &ModelConfig,
        graph: &Graph,
        parameters: Parameters<T>,
        nodes: [Vec<T>; 2],
    ) -> Self {
        let words = [graph.user_words.clone(), graph.item_words.clone()];
        Self::from_parts(config, parameters, nodes, words)
    }

    /// As [`Self::new`], with the words of users and items instead of the graph.
    pub(crate) fn from_parts(
        config: &ModelConfig,
        parameters: Parameters<T>,
        [users, items]: [Vec<T>; 2],
        [user_words, item_words]: [Vec<u32>; 2],
    ) -> Self {
        let d = config.dim;
        let fold = |head: &HeadNetwork<T>| {
            let layer = &head.layers[0];
            let part = |index: usize| columns(&layer.weight, 3 * d, index * d, (index + 1) * d);
            let mut of_items = product(&items, &part(1), d);
            of_items.chunks_exact_mut(layer.outputs).for_each(|row| add(row, &layer.bias));
            FoldedHead { items: of_items, user: part(0), query: part(2) }
        };
        let network = &parameters.network;
        let heads = [fold(&network.search), fold(&network.recommend)];
        let first =
            |index: usize| columns(&network.demand[0].weight, 4 * d, index * d, (index + 1) * d);
        let item_parts = product(&parameters.items, &first(1), d);
        let word_parts = product(&parameters.words, &first(3), d);
        let config = config.clone();
        Self {
            config,
            parameters,
            users,
            items,
            user_words,
            item_words,
            heads,
            item_parts,
            word_parts,
        }
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters<T> {
        &self.parameters
    }

    /// The configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Propagated user, `[dim]`.
    pub fn user(&self, user: u32) -> &[T] {
        row(&self.users, self.config.dim, user as usize)
    }

    /// Propagated item, `[dim]`.
    pub fn item(&self, item: u32) -> &[T] {
        row(&self.items, self.config.dim, item as usize)
    }

    /// All propagated users and items, `[users, dim]` and `[items, dim]`.
    pub fn nodes(&self) -> [&[T]; 2] {
        [&self.users, &self.items]
    }

    /// Frequent query words of all users and items, by place, `u32::MAX` for no word.
    pub(crate) fn words(&self) -> [&[u32]; 2] {
        [&self.user_words, &self.item_words]
    }

    fn view_of(&self, user: u32) -> UserView<'_, T> {
        let (d, user) = (self.config.dim, user as usize);
        UserView {
            embedding: row(&self.parameters.users, d, user),
            star: row(&self.users, d, user),
            words: row(&self.user_words, self.config.user_words, user),
        }
    }

    /// The demand intent of a query: the sum of its first words, `[dim]`.
    pub fn query(&self, words: &[u32]) -> Vec<T> {
        let mut sum = vec![T::ZERO; self.config.dim];
        let mut places: Vec<u32> = words.iter().copied().take(self.config.query_words).collect();
        match self.config.padding {
            Padding::Word => places.resize(self.config.query_words, 0),
            Padding::Masked => places.retain(|&word| word != 0),
        }
        for word in places {
            add(&mut sum, row(&self.parameters.words, self.config.dim, word as usize));
        }
        sum
    }

    /// The generated demand intents of a user for some items, `[items, dim]`.
    pub fn demand(&self, user: u32, items: &[u32]) -> Vec<T> {
        self.demand_of(self.view_of(user), items)
    }

    /// As [`Self::demand`], for any user.
    pub(crate) fn demand_of(&self, user: UserView<'_, T>, items: &[u32]) -> Vec<T> {
        let d = self.config.dim;
        if self.config.generator == Generator::UserWords {
            let mut sum = vec![T::ZERO; d];
            for (_, word) in user.known_words() {
                add(&mut sum, row(&self.parameters.words, d, word));
            }
            return sum.repeat(items.len());
        }
        let side = self.user_side(user);
        let [_, second, third] = &self.parameters.network.demand;
        let mut all = Vec::with_capacity(items.len() * d);
        for items in items.chunks(BLOCK) {
            let mut first = vec![T::ZERO; items.len() * 2 * d];
            vectorised(
                #[inline(always)]
                || {
                    for (out, &item) in first.chunks_exact_mut(2 * d).zip(items) {
                        self.first_layer(&side, item as usize, out);
                        for value in out {
                            *value = value.hyperbolic_tangent();
                        }
                    }
                },
            );
            let mut hidden = second.bias.repeat(items.len());
            multiply(
                &mut hidden,
                Accum::Add,
                view(&first, 2 * d),
                view(&second.weight, 2 * d).transpose(),
            );
            vectorised(
                #[inline(always)]
                || {
                    for value in &mut hidden {
                        *value = value.hyperbolic_tangent();
                    }
                },
            );
            let mut demand = third.bias.repeat(items.len());
            multiply(
                &mut demand,
                Accum::Add,
                view(&hidden, 2 * d),
                view(&third.weight, 2 * d).transpose(),
            );
            all.extend(demand);
        }
        all
    }

    fn user_side(&self, user: UserView<'_, T>) -> UserSide<T> {
        let (d, network) = (self.config.dim, &self.parameters.network);
        let embedding = user.embedding;
        let mut key_input = vec![T::ZERO; network.key.inputs];
        let mut sum = vec![T::ZERO; d];
        key_input[..d].copy_from_slice(embedding);
        for (place, word) in user.known_words() {
            let word = row(&self.parameters.words, d, word);
            key_input[(place + 1) * d..(place + 2) * d].copy_from_slice(word);
            add(&mut sum, word);
        }
        let key = network.key.forward(&key_input);
        let mut attention = vec![T::ZERO; d];
        for (k, &key) in key.iter().enumerate() {
            add_scaled(&mut attention, key, row(&network.attention.weight, d, k));
        }
        let layer = &network.demand[0];
        let mut first = layer.bias.clone();
        for (out, weight) in first.iter_mut().zip(layer.weight.chunks_exact(4 * d)) {
            *out += dot(&weight[..d], embedding) + dot(&weight[2 * d..3 * d], &sum);
        }
        UserSide { attention, first }
    }

    /// The head of a scenario, folded and not.
    fn head(&self, is_search: bool) -> (&FoldedHead<T>, &HeadNetwork<T>) {
        let second = usize::from(!is_search && self.config.heads != Heads::Shared);
        let network = &self.parameters.network;
        (&self.heads[second], [&network.search, &network.recommend][second])
    }

    /// The first layer of the generator before its activation.
    #[inline(always)]
    fn first_layer(&self, side: &UserSide<T>, item: usize, out: &mut [T]) {
        let d = self.config.dim;
        out.copy_from_slice(&side.first);
        add(out, row(&self.item_parts, 2 * d, item));
        let words = row(&self.item_words, self.config.item_words, item);
        let logit = |word: u32| dot(&side.attention, row(&self.parameters.words, d, word as usize));
        let mut largest = f64::NEG_INFINITY;
        for &word in words.iter().filter(|word| **word != NONE) {
            largest = largest.max(logit(word).wide());
        }
        let mut total = T::ZERO;
        for &word in words.iter().filter(|word| **word != NONE) {
            total += (logit(word) - T::of(largest)).exponential();
        }
        for &word in words.iter().filter(|word| **word != NONE) {
            let weight = (logit(word) - T::of(largest)).exponential() / total;
            add_scaled(out, weight, row(&self.word_parts, 2 * d, word as usize));
        }
    }

    /// Scores of `items` for a user with a query, or without one if it has no words.
    pub fn score(&self, user: u32, query: &[u32], items: &[u32], scores: &mut [T]) {
        let query = (!query.is_empty()).then(|| self.query(query));
        self.score_of(self.view_of(user), query.as_deref(), items, scores);
    }

    /// As [`Self::score`], for any user and the demand intent of a query.
    pub(crate) fn score_of(
        &self,
        user: UserView<'_, T>,
        query: Option<&[T]>,
        items: &[u32],
        scores: &mut [T],
    ) {
        if let Some(query) = query {
            self.score_with(user, true, query, items, scores);
        } else if self.config.generator == Generator::UserWords {
            self.score_with(user, false, &self.demand_of(user, &[0]), items, scores);
        } else {
            for (items, scores) in items.chunks(BLOCK).zip(scores.chunks_mut(BLOCK)) {
                self.score_with(user, false, &self.demand_of(user, items), items, scores);
            }
        }
    }

    /// Scores with given demand intents, one for all items or one each.
    fn score_with(
        &self,
        user: UserView<'_, T>,
        is_search: bool,
        demand: &[T],
        items: &[u32],
        scores: &mut [T],
    ) {
        let d = self.config.dim;
        let (folded, head) = self.head(is_search);
        let [first, middle, last] = &head.layers;
        let user = user.star;
        let is_shared = demand.len() == d;
        let demand_of = |index: usize| if is_shared { demand } else { row(demand, d, index) };
        if self.config.heads == Heads::Absent {
            let weight = head.translation.first().copied().unwrap_or(T::ZERO);
            for (index, (score, &item)) in scores.iter_mut().zip(items).enumerate() {
                let (item, query) = (self.item(item), demand_of(index));
                *score = weight * translation(self.config.translation_term, user, item, query);
            }
            return;
        }
        let mut shared = product(user, &folded.user, d);
        let mut own = Vec::new();
        if is_shared {
            add(&mut shared, &product(demand, &folded.query, d));
        } else {
            own.resize(items.len() * first.outputs, T::ZERO);
            multiply(&mut own, Accum::Replace, view(demand, d), view(&folded.query, d).transpose());
        }
        let mut a = vec![T::ZERO; BLOCK.min(items.len()) * first.outputs];
        for (block, (items, scores)) in
            items.chunks(BLOCK).zip(scores.chunks_mut(BLOCK)).enumerate()
        {
            let a = &mut a[..items.len() * first.outputs];
            vectorised(
                #[inline(always)]
                || {
                    for (index, (a, &item)) in
                        a.chunks_exact_mut(first.outputs).zip(items).enumerate()
                    {
                        a.copy_from_slice(&shared);
                        add(a, row(&folded.items, first.outputs, item as usize));
                        if !is_shared {
                            add(a, row(&own, first.outputs, block * BLOCK + index));
                        }
                        leaky(a);
                    }
                },
            );
            let mut b = middle.bias.repeat(items.len());
            let weight = view(&middle.weight, middle.inputs).transpose();
            multiply(&mut b, Accum::Add, view(a, first.outputs), weight);
            leaky(&mut b);
            for (index, (score, b)) in
                scores.iter_mut().zip(b.chunks_exact(middle.outputs)).enumerate()
            {
                let mut value = [dot(b, &last.weight) + last.bias[0]];
                if self.config.final_activation == FinalActivation::LeakyRelu {
                    leaky(&mut value);
                }
                if let Some(&weight) = head.translation.first() {
                    let item = self.item(items[index]);
                    let query = demand_of(block * BLOCK + index);
                    value[0] +=
                        weight * translation(self.config.translation_term, user, item, query);
                }
                *score = value[0];
            }
        }
    }
}
