//! The generator with everything that belongs to one user, item or word taken out of the pairs.
//!
//! With `M = W_A^T W_K`, the logits of the attention are `w . (M [e_u; words] + W_A^T b_K)`, and the
//! first layer is a sum of a part of the user, of the item, of the user's words and of the context.
//! So there is one product for each user, item and word, and for a pair only the second layer.

use faer::Accum;

use super::demand::{Context, Demand};
use super::folded::{Folded, Products};
use super::kernel::{Inputs, ItemGradients, PairTape};
use super::layers::Nodes;
use super::pairs::PairSet;
use super::word_places::WordPlaces;
use crate::matrix::{gather_rows, multiply_rows, outer, reduce_lists, row, view, zeros};
use crate::model::config::ModelConfig;
use crate::model::gradients::Gradients;
use crate::model::network::Network;
use crate::real::{Real, add, add_scaled};

/// The generator of the paper; its buffers are kept from step to step.
#[derive(Debug, Clone)]
pub(super) struct NetworkDemand<T> {
    d: usize,
    user_places: usize,
    item_places: usize,
    folded: Folded<T>,
    words: WordPlaces,
    word_rows: Vec<T>,
    word_products: Vec<T>,
    user_rows: Vec<T>,
    user_products: Vec<T>,
    item_rows: Vec<T>,
    item_products: Vec<T>,
    /// Weighted sums of the second hidden layer by place.
    hidden: Nodes<T>,
    hidden_of_batch: Vec<T>,
    graph: PairTape<T>,
    batch: PairTape<T>,
    of_users: Vec<T>,
    of_items: Vec<T>,
    of_item_words: Vec<T>,
    of_words: Vec<T>,
}

impl<T: Real> NetworkDemand<T> {
    pub(super) fn new(config: &ModelConfig) -> Self {
        Self {
            d: config.dim,
            user_places: config.user_words,
            item_places: config.item_words,
            folded: Folded::default(),
            words: WordPlaces::default(),
            word_rows: Vec::new(),
            word_products: Vec::new(),
            user_rows: Vec::new(),
            user_products: Vec::new(),
            item_rows: Vec::new(),
            item_products: Vec::new(),
            hidden: Nodes::default(),
            hidden_of_batch: Vec::new(),
            graph: PairTape::default(),
            batch: PairTape::default(),
            of_users: Vec::new(),
            of_items: Vec::new(),
            of_item_words: Vec::new(),
            of_words: Vec::new(),
        }
    }

    fn word_width(&self) -> usize {
        (self.user_places + 5) * self.d
    }

    fn project(&mut self, context: Context<'_, T>) {
        let Context { parameters, field, pairs, .. } = context;
        let (d, width) = (self.d, self.word_width());
        let nodes =
            |slots: &[u32], all: &[u32]| slots.iter().map(|&s| all[s as usize]).collect::<Vec<_>>();
        let users = nodes(&pairs.nodes.users, &field.users.nodes);
        let items = nodes(&pairs.nodes.items, &field.items.nodes);
        self.words.collect(context.graph, &users, &items);
        gather_rows(&mut self.word_rows, &parameters.words, d, &self.words.words);
        gather_rows(&mut self.user_rows, &parameters.users, d, &users);
        gather_rows(&mut self.item_rows, &parameters.items, d, &items);
        self.word_products.resize(self.words.words.len() * width, T::ZERO);
        self.user_products.resize(users.len() * 3 * d, T::ZERO);
        self.item_products.resize(items.len() * 2 * d, T::ZERO);
        let folded = &self.folded;
        let replace = Accum::Replace;
        let transposed = |matrix| view(matrix, d).transpose();
        multiply_rows(
            &mut self.word_products,
            replace,
            &self.word_rows,
            d,
            transposed(&folded.words),
        );
        multiply_rows(
            &mut self.user_products,
            replace,
            &self.user_rows,
            d,
            transposed(&folded.users),
        );
        multiply_rows(
            &mut self.item_products,
            replace,
            &self.item_rows,
            d,
            transposed(&folded.items),
        );
        let (words, places) = (&self.word_products, self.user_places);
        self.words.for_users(&mut self.user_products, 3 * d, |user, known| {
            add(user, &folded.constant);
            for (place, word) in known {
                let word = row(words, width, word);
                add(&mut user[..d], &word[place * d..(place + 1) * d]);
                add(&mut user[d..], &word[places * d..(places + 2) * d]);
            }
        });
    }

    fn inputs<'a>(&'a self, network: &'a Network<T>) -> Inputs<'a, T> {
        Inputs {
            d: self.d,
            places: self.item_places,
            users: &self.user_products,
            items: &self.item_products,
            words: &self.word_products,
            word_width: self.word_width(),
            item_words: &self.words.item_words,
            layer: &network.demand[1],
        }
    }
}

/// Rows by place of a table by slot; zeros for slots without messages.
fn by_place<T: Real>(table: &[T], d: usize, slots: &[u32]) -> Vec<T> {
    let mut out = vec![T::ZERO; slots.len() * d];
    for (out, &slot) in out.chunks_exact_mut(d).zip(slots) {
        if let Some(row) = table.get(slot as usize * d..(slot as usize + 1) * d) {
            out.copy_from_slice(row);
        }
    }
    out
}

/// Number of edges of the pairs of each user and item.
fn edge_counts(set: &PairSet, users: usize, items: usize) -> (Vec<f64>, Vec<f64>) {
    let mut counts = (vec![0.0; users], vec![0.0; items]);
    for run in &set.runs {
        for pair in run.start..run.end {
            let weight = f64::from(set.weights[pair]);
            counts.0[set.users[pair] as usize] += weight;
            counts.1[run.item] += weight;
        }
    }
    counts
}

impl<T: Real> Demand<T> for NetworkDemand<T> {
    fn forward(&mut self, context: Context<'_, T>, sums: &mut Nodes<T>, batch: &mut Vec<T>) {
        let Context { parameters, field, pairs, .. } = context;
        let (d, network) = (self.d, &parameters.network);
        self.folded.fold(network, d, self.user_places);
        self.project(context);
        let (users, items) = (pairs.nodes.users.len(), pairs.nodes.items.len());
        let (mut graph, mut of_batch) =
            (std::mem::take(&mut self.graph), std::mem::take(&mut self.batch));
        let mut hidden = std::mem::take(&mut self.hidden);
        hidden.clear(users * 2 * d, items * 2 * d);
        zeros(&mut self.hidden_of_batch, items * 2 * d);
        let mut ignored = std::mem::take(&mut self.hidden_of_batch);
        graph.forward(self.inputs(network), &pairs.graph, &mut hidden.items);
        of_batch.forward(self.inputs(network), &pairs.batch, &mut ignored);
        let with_messages = (field.users.with_messages(), field.items.with_messages());
        let list = |place: usize| {
            let gets_messages = (pairs.nodes.users[place] as usize) < with_messages.0;
            if gets_messages { pairs.graph.of_user(place) } else { &[] }
        };
        reduce_lists(
            &mut hidden.users,
            2 * d,
            list,
            #[inline(always)]
            |sum, &pair: &u32| {
                let weight = T::of(f64::from(pairs.graph.weights[pair as usize]));
                add_scaled(sum, weight, row(&graph.second, 2 * d, pair as usize));
            },
        );
        (self.graph, self.batch, self.hidden) = (graph, of_batch, hidden);
        self.hidden_of_batch = ignored;

        let last = &network.demand[2];
        let counts = edge_counts(&pairs.graph, users, items);
        let kinds = [
            (&mut sums.users, &self.hidden.users, &pairs.nodes.users, counts.0, with_messages.0),
            (&mut sums.items, &self.hidden.items, &pairs.nodes.items, counts.1, with_messages.1),
        ];
        for (sums, hidden, slots, counts, limit) in kinds {
            zeros(sums, limit * d);
            let mut totals = vec![T::ZERO; slots.len() * d];
            multiply_rows(
                &mut totals,
                Accum::Replace,
                hidden,
                2 * d,
                view(&last.weight, 2 * d).transpose(),
            );
            for ((total, &slot), count) in totals.chunks_exact_mut(d).zip(slots).zip(counts) {
                if (slot as usize) < limit {
                    add_scaled(total, T::of(count), &last.bias);
                    sums[slot as usize * d..(slot as usize + 1) * d].copy_from_slice(total);
                }
            }
        }
        *batch = last.forward(&self.batch.second);
    }

    fn backward(
        &mut self,
        context: Context<'_, T>,
        (of_sums, of_batch): (&Nodes<T>, &[T]),
        gradients: &mut Gradients<T>,
        base: &mut Nodes<T>,
    ) {
        let Context { parameters, pairs, .. } = context;
        let (d, network) = (self.d, &parameters.network);
        let (users, items) = (pairs.nodes.users.len(), pairs.nodes.items.len());
        let last = &network.demand[2];
        let grads = &mut gradients.network;
        let of_users = by_place(&of_sums.users, d, &pairs.nodes.users);
        let of_items = by_place(&of_sums.items, d, &pairs.nodes.items);
        outer(&mut grads.demand[2].weight, (&of_users, d), (&self.hidden.users, 2 * d));
        outer(&mut grads.demand[2].weight, (&of_items, d), (&self.hidden.items, 2 * d));
        let counts = edge_counts(&pairs.graph, users, items);
        for (rows, counts) in [(&of_users, counts.0), (&of_items, counts.1)] {
            for (row, count) in rows.chunks_exact(d).zip(counts) {
                add_scaled(&mut grads.demand[2].bias, T::of(count), row);
            }
        }
        let into_hidden = |rows: &[T]| {
            let mut out = vec![T::ZERO; rows.len() * 2];
            multiply_rows(&mut out, Accum::Replace, rows, d, view(&last.weight, 2 * d));
            out
        };
        let (user_side, item_side) = (into_hidden(&of_users), into_hidden(&of_items));
        let batch_side = last.backward(&self.batch.second, of_batch, &mut grads.demand[2]);

        let (mut graph, mut batch) =
            (std::mem::take(&mut self.graph), std::mem::take(&mut self.batch));
        let mut item_grads = std::mem::take(&mut self.of_items);
        let mut item_word_grads = std::mem::take(&mut self.of_item_words);
        zeros(&mut item_grads, items * 2 * d);
        zeros(&mut item_word_grads, items * self.item_places * 3 * d);
        let fill = |pair: usize, item: usize, out: &mut [T]| {
            let weight = T::of(f64::from(pairs.graph.weights[pair]));
            let user = row(&user_side, 2 * d, pairs.graph.users[pair] as usize);
            let item = row(&item_side, 2 * d, item);
            for ((out, &user), &item) in out.iter_mut().zip(user).zip(item) {
                *out = weight * (user + item);
            }
        };
        let of_items = ItemGradients { items: &mut item_grads, words: &mut item_word_grads };
        graph.backward(self.inputs(network), &pairs.graph, fill, of_items, &mut grads.demand[1]);
        let fill = |pair: usize, _: usize, out: &mut [T]| {
            out.copy_from_slice(row(&batch_side, 2 * d, pair));
        };
        let of_items = ItemGradients { items: &mut item_grads, words: &mut item_word_grads };
        batch.backward(self.inputs(network), &pairs.batch, fill, of_items, &mut grads.demand[1]);

        zeros(&mut self.of_users, users * 3 * d);
        for (tape, set) in [(&graph, &pairs.graph), (&batch, &pairs.batch)] {
            reduce_lists(
                &mut self.of_users,
                3 * d,
                |place| set.of_user(place),
                #[inline(always)]
                |sum, &pair: &u32| {
                    add(&mut sum[..d], &row(&tape.second, 2 * d, pair as usize)[..d]);
                    add(&mut sum[d..], row(&tape.first, 2 * d, pair as usize));
                },
            );
        }
        (self.graph, self.batch) = (graph, batch);
        (self.of_items, self.of_item_words) = (item_grads, item_word_grads);
        self.unproject(context, gradients, base);
    }
}

impl<T: Real> NetworkDemand<T> {
    /// From the gradients of the products by place to those of embeddings and weights.
    fn unproject(
        &mut self,
        context: Context<'_, T>,
        gradients: &mut Gradients<T>,
        base: &mut Nodes<T>,
    ) {
        let pairs = context.pairs;
        let (d, width, places) = (self.d, self.word_width(), self.user_places);
        let (of_users, of_item_words) = (&self.of_users, &self.of_item_words);
        zeros(&mut self.of_words, self.words.words.len() * width);
        self.words.reduce(
            &mut self.of_words,
            width,
            #[inline(always)]
            |word, user, place| {
                let user = row(of_users, 3 * d, user);
                add(&mut word[place * d..(place + 1) * d], &user[..d]);
                add(&mut word[places * d..(places + 2) * d], &user[d..]);
            },
            #[inline(always)]
            |word, entry| add(&mut word[(places + 2) * d..], row(of_item_words, 3 * d, entry)),
        );

        let into_rows = |rows: &[T], columns: usize, matrix: &[T]| {
            let mut out = vec![T::ZERO; rows.len() / columns * d];
            multiply_rows(&mut out, Accum::Replace, rows, columns, view(matrix, d));
            out
        };
        let users = into_rows(of_users, 3 * d, &self.folded.users);
        let items = into_rows(&self.of_items, 2 * d, &self.folded.items);
        for (base, slots, rows) in [
            (&mut base.users, &pairs.nodes.users, users),
            (&mut base.items, &pairs.nodes.items, items),
        ] {
            for (&slot, row) in slots.iter().zip(rows.chunks_exact(d)) {
                add(&mut base[slot as usize * d..(slot as usize + 1) * d], row);
            }
        }
        let words = into_rows(&self.of_words, width, &self.folded.words);
        self.words.scatter(&words, &mut gradients.words, d);
        let products = Products {
            users: (&self.of_users, &self.user_rows),
            items: (&self.of_items, &self.item_rows),
            words: (&self.of_words, &self.word_rows),
        };
        let network = &context.parameters.network;
        Folded::unfold(network, (d, places), &products, &mut gradients.network);
    }
}
