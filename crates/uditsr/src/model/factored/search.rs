//! Real queries on the search edges of the graph.

use super::field::Field;
use super::layers::Nodes;
use crate::matrix::{reduce_lists, row};
use crate::model::graph::{Adjacency, Graph, Incidence, NONE};
use crate::real::{Real, add};

/// Search edges of each word.
#[derive(Debug, Clone)]
pub(super) struct SearchWords {
    offsets: Vec<usize>,
    edges: Vec<u32>,
}

impl SearchWords {
    pub(super) fn new(graph: &Graph) -> Self {
        let uses = || {
            let edges = (0..graph.edges()).filter(|&edge| graph.searches[edge]);
            edges.flat_map(|edge| graph.edge_words(edge).iter().map(move |&word| (edge, word)))
        };
        let uses = || uses().filter(|(_, word)| *word != NONE);
        let mut offsets = vec![0; graph.sizes.words + 1];
        uses().for_each(|(_, word)| offsets[word as usize + 1] += 1);
        for word in 0..graph.sizes.words {
            offsets[word + 1] += offsets[word];
        }
        let mut next = offsets.clone();
        let mut edges = vec![0; offsets[graph.sizes.words]];
        for (edge, word) in uses() {
            edges[next[word as usize]] = edge as u32;
            next[word as usize] += 1;
        }
        Self { offsets, edges }
    }

    /// Adds the gradients of the words, from those of the sums by slot.
    pub(super) fn backward<T: Real>(
        &self,
        graph: &Graph,
        field: &Field,
        of_sums: &Nodes<T>,
        words: &mut [T],
        d: usize,
    ) {
        let (users, items) = (of_sums.users.len() / d, of_sums.items.len() / d);
        let list = |word: usize| &self.edges[self.offsets[word]..self.offsets[word + 1]];
        reduce_lists(
            words,
            d,
            list,
            #[inline(always)]
            |sum, &edge: &u32| {
                let edge = edge as usize;
                if graph.removed[edge] {
                    return;
                }
                let user = field.users.slot(graph.edge_users[edge]);
                let item = field.items.slot(graph.edge_items[edge]);
                if user < users {
                    add(sum, row(&of_sums.users, d, user));
                }
                if item < items {
                    add(sum, row(&of_sums.items, d, item));
                }
            },
        );
    }
}

/// Adds to each node that gets messages the words of its searches.
pub(super) fn add_query_words<T: Real>(
    graph: &Graph,
    field: &Field,
    words: &[T],
    sums: &mut Nodes<T>,
    d: usize,
) {
    let kinds: [(&mut Vec<T>, &Adjacency, &[u32]); 2] = [
        (&mut sums.users, &graph.by_user, &field.users.nodes),
        (&mut sums.items, &graph.by_item, &field.items.nodes),
    ];
    for (sums, edges, nodes) in kinds {
        let list = |slot: usize| edges.row(nodes[slot] as usize);
        reduce_lists(
            sums,
            d,
            list,
            #[inline(always)]
            |sum, entry: &Incidence| {
                let edge = entry.edge as usize;
                if graph.searches[edge] && !graph.removed[edge] {
                    for &word in graph.edge_words(edge).iter().filter(|word| **word != NONE) {
                        add(sum, row(words, d, word as usize));
                    }
                }
            },
        );
    }
}
