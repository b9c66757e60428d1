//! Products of the generator's weights that are made once for all pairs, and their backward pass.

use faer::Accum;

use crate::matrix::{multiply, outer, sum_rows, view, zeros};
use crate::model::network::Network;
use crate::real::{Real, add};

/// Products of weights that do not depend on the pairs.
#[derive(Debug, Clone, Default)]
pub(super) struct Folded<T> {
    /// `M`, `[d, (1 + user_words) d]`.
    key: Vec<T>,
    /// For users: `[its part of M; its part of the first layer]`, `[3 d, d]`.
    pub(super) users: Vec<T>,
    /// `[W_A^T b_K; b_1]`, `[3 d]`.
    pub(super) constant: Vec<T>,
    /// For items, `[2 d, d]`.
    pub(super) items: Vec<T>,
    /// For words, `[(user_words + 5) d, d]`: as the k-th word of a user in the attention, as a word of
    /// a user in the first layer, as a word of an item in the first layer, and itself.
    pub(super) words: Vec<T>,
}

/// Rows by place with the gradients of their products: `(gradients, rows)`.
pub(super) struct Products<'a, T> {
    pub(super) users: (&'a [T], &'a [T]),
    pub(super) items: (&'a [T], &'a [T]),
    pub(super) words: (&'a [T], &'a [T]),
}

/// Columns `from..to` of a row-major matrix.
fn columns<T: Real>(data: &[T], width: usize, from: usize, to: usize) -> Vec<T> {
    data.chunks_exact(width).flat_map(|row| &row[from..to]).copied().collect()
}

/// Adds to columns from `from` of a row-major matrix.
fn add_columns<T: Real>(out: &mut [T], width: usize, from: usize, part: &[T], part_width: usize) {
    for (out, part) in out.chunks_exact_mut(width).zip(part.chunks_exact(part_width)) {
        add(&mut out[from..from + part_width], part);
    }
}

impl<T: Real> Folded<T> {
    /// Multiplies the weights.
    pub(super) fn fold(&mut self, network: &Network<T>, d: usize, user_words: usize) {
        let width = network.key.inputs;
        zeros(&mut self.key, d * width);
        let attention = view(&network.attention.weight, d);
        let key = view(&network.key.weight, width);
        multiply(&mut self.key, Accum::Replace, attention.transpose(), key);
        let first =
            |block: usize| columns(&network.demand[0].weight, 4 * d, block * d, (block + 1) * d);
        self.users = columns(&self.key, width, 0, d);
        self.users.extend(first(0));
        self.items = first(1);
        zeros(&mut self.constant, d);
        multiply(&mut self.constant, Accum::Replace, view(&network.key.bias, d), attention);
        self.constant.extend_from_slice(&network.demand[0].bias);
        self.words.clear();
        for place in 1..=user_words {
            self.words.extend(columns(&self.key, width, place * d, (place + 1) * d));
        }
        self.words.extend(first(2));
        self.words.extend(first(3));
        let itself = self.words.len();
        self.words.resize(itself + d * d, T::ZERO);
        for k in 0..d {
            self.words[itself + k * d + k] = T::ONE;
        }
    }

    /// From the gradients of the products to those of the weights.
    pub(super) fn unfold(
        network: &Network<T>,
        (d, user_words): (usize, usize),
        products: &Products<'_, T>,
        grads: &mut Network<T>,
    ) {
        let (width, key_width) = ((user_words + 5) * d, network.key.inputs);
        let mut of_users = vec![T::ZERO; 3 * d * d];
        let mut of_items = vec![T::ZERO; 2 * d * d];
        let mut of_words = vec![T::ZERO; width * d];
        let mut constant = vec![T::ZERO; 3 * d];
        outer(&mut of_users, (products.users.0, 3 * d), (products.users.1, d));
        outer(&mut of_items, (products.items.0, 2 * d), (products.items.1, d));
        outer(&mut of_words, (products.words.0, width), (products.words.1, d));
        sum_rows(&mut constant, products.users.0);
        let first = &mut grads.demand[0];
        let block = |from: usize, rows: usize| &of_words[from * d * d..(from + rows) * d * d];
        let parts = [&of_users[d * d..], &of_items, block(user_words, 2), block(user_words + 2, 2)];
        for (index, part) in parts.into_iter().enumerate() {
            add_columns(&mut first.weight, 4 * d, index * d, part, d);
        }
        add(&mut first.bias, &constant[d..]);

        let mut of_key = vec![T::ZERO; d * key_width];
        add_columns(&mut of_key, key_width, 0, &of_users[..d * d], d);
        for place in 0..user_words {
            add_columns(&mut of_key, key_width, (place + 1) * d, block(place, 1), d);
        }
        let (of_key, of_constant) = (view(&of_key, key_width), view(&constant[..d], d));
        let attention = view(&network.attention.weight, d);
        let key = view(&network.key.weight, key_width);
        let bias = view(&network.key.bias, d);
        multiply(&mut grads.key.weight, Accum::Add, attention, of_key);
        multiply(&mut grads.attention.weight, Accum::Add, key, of_key.transpose());
        multiply(&mut grads.key.bias, Accum::Add, of_constant, attention.transpose());
        multiply(&mut grads.attention.weight, Accum::Add, bias.transpose(), of_constant);
    }
}
