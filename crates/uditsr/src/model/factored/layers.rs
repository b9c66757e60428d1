//! Propagation with the demand intents already averaged: `h_i = mean(h_u) + Q_i`,
//! `h_u = mean(h_i) - Q_u`, with the same `Q` in every layer.

use super::field::{Field, Reached};
use crate::matrix::{reduce_lists, row, zeros};
use crate::model::graph::{Adjacency, Graph, Incidence};
use crate::real::{Real, add, add_scaled};

/// Numbers of users and of items.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nodes<T> {
    pub(crate) users: Vec<T>,
    pub(crate) items: Vec<T>,
}

impl<T: Real> Nodes<T> {
    pub(crate) fn clear(&mut self, users: usize, items: usize) {
        zeros(&mut self.users, users);
        zeros(&mut self.items, items);
    }
}

/// Buffers of the layers, kept from step to step.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layers<T> {
    /// Nodes of each layer, in the slots of the field.
    nodes: Vec<Nodes<T>>,
    /// Gradients of a layer divided by the degrees.
    shares: Nodes<T>,
}

/// One kind of nodes with its edges and degrees.
#[derive(Clone, Copy)]
struct Kind<'a> {
    edges: &'a Adjacency,
    degrees: &'a [u32],
    reached: &'a Reached,
}

fn kinds<'a>(graph: &'a Graph, field: &'a Field) -> (Kind<'a>, Kind<'a>) {
    (
        Kind { edges: &graph.by_user, degrees: &graph.user_degrees, reached: &field.users },
        Kind { edges: &graph.by_item, degrees: &graph.item_degrees, reached: &field.items },
    )
}

impl Kind<'_> {
    fn list(&self, slot: usize) -> &[Incidence] {
        self.edges.row(self.reached.nodes[slot] as usize)
    }

    /// One over the degree, or over one.
    fn share<T: Real>(&self, slot: usize) -> T {
        T::of(1.0 / f64::from(self.degrees[self.reached.nodes[slot] as usize].max(1)))
    }

    /// `out[s] += sum of values of the neighbours` among the first `limit` slots of `others`.
    fn sum<T: Real>(
        &self,
        graph: &Graph,
        others: &Reached,
        limit: usize,
        values: &[T],
        out: &mut [T],
        d: usize,
    ) {
        let list = |slot| self.list(slot);
        if graph.any_removed {
            reduce_lists(
                out,
                d,
                list,
                #[inline(always)]
                |sum, entry: &Incidence| {
                    let slot = others.slot(entry.node);
                    if slot < limit && !graph.removed[entry.edge as usize] {
                        add(sum, row(values, d, slot));
                    }
                },
            );
        } else {
            reduce_lists(
                out,
                d,
                list,
                #[inline(always)]
                |sum, entry: &Incidence| {
                    let slot = others.slot(entry.node);
                    if slot < limit {
                        add(sum, row(values, d, slot));
                    }
                },
            );
        }
    }
}

impl<T: Real> Layers<T> {
    /// `e*` of the last layer's slots, from the embeddings `base` and the mean demands.
    pub(crate) fn forward(
        &mut self,
        (graph, field): (&Graph, &Field),
        d: usize,
        base: &Nodes<T>,
        demand: &Nodes<T>,
        stars: &mut Nodes<T>,
    ) {
        let last = field.users.levels.len() - 1;
        let (users, items) = kinds(graph, field);
        let counts = |layer: usize| (field.users.levels[layer], field.items.levels[layer]);
        self.nodes.resize_with(last, Nodes::default);
        let (n_users, n_items) = counts(last);
        stars.users.clear();
        stars.users.extend_from_slice(&base.users[..n_users * d]);
        stars.items.clear();
        stars.items.extend_from_slice(&base.items[..n_items * d]);
        for layer in 1..=last {
            let (below, here) = self.nodes.split_at_mut(layer - 1);
            let (below, here) = (below.last().unwrap_or(base), &mut here[0]);
            let (n_users, n_items) = counts(layer);
            here.clear(n_users * d, n_items * d);
            let (below_users, below_items) = counts(layer - 1);
            users.sum(graph, items.reached, below_items, &below.items, &mut here.users, d);
            items.sum(graph, users.reached, below_users, &below.users, &mut here.items, d);
            finish(&mut here.users, d, |slot| users.share(slot), -T::ONE, &demand.users);
            finish(&mut here.items, d, |slot| items.share(slot), T::ONE, &demand.items);
            let weight = T::of(1.0 / (layer + 1) as f64);
            add_scaled(&mut stars.users, weight, &here.users);
            add_scaled(&mut stars.items, weight, &here.items);
        }
    }

    /// From the gradients of `e*` to those of the embeddings (`base`) and of the mean demands.
    pub(crate) fn backward(
        &mut self,
        (graph, field): (&Graph, &Field),
        d: usize,
        stars: &Nodes<T>,
        base: &mut Nodes<T>,
        demand: &mut Nodes<T>,
    ) {
        let last = field.users.levels.len() - 1;
        let (users, items) = kinds(graph, field);
        let counts = |layer: usize| (field.users.levels[layer], field.items.levels[layer]);
        demand.clear(field.users.with_messages() * d, field.items.with_messages() * d);
        for layer in (0..=last).rev() {
            let (n_users, n_items) = counts(layer);
            let (above, here) = match self.nodes.get_mut(layer.wrapping_sub(1)) {
                Some(here) => (&self.shares, here),
                None => (&self.shares, &mut *base),
            };
            here.clear(n_users * d, n_items * d);
            if layer < last {
                let (above_users, above_items) = counts(layer + 1);
                users.sum(graph, items.reached, above_items, &above.items, &mut here.users, d);
                items.sum(graph, users.reached, above_users, &above.users, &mut here.items, d);
            }
            let weight = T::of(1.0 / (layer + 1) as f64);
            add_scaled(&mut here.users, weight, &stars.users);
            add_scaled(&mut here.items, weight, &stars.items);
            if layer > 0 {
                add_scaled(&mut demand.users, -T::ONE, &here.users);
                add(&mut demand.items, &here.items);
                self.shares.users.clone_from(&here.users);
                self.shares.items.clone_from(&here.items);
                divide(&mut self.shares.users, d, |slot| users.share(slot));
                divide(&mut self.shares.items, d, |slot| items.share(slot));
            }
        }
    }
}

/// `out = out * share + sign * demand`.
fn finish<T: Real>(out: &mut [T], d: usize, share: impl Fn(usize) -> T, sign: T, demand: &[T]) {
    divide(out, d, share);
    add_scaled(out, sign, demand);
}

/// Multiplies each row by its share.
pub(crate) fn divide<T: Real>(out: &mut [T], d: usize, share: impl Fn(usize) -> T) {
    for (slot, out) in out.chunks_exact_mut(d).enumerate() {
        crate::real::scale(out, share(slot));
    }
}
