//! The receptive field: the part of the graph on which a batch depends.

use crate::model::graph::{Adjacency, Graph, NONE};

/// Nodes of one kind that are reached, nearest first.
///
/// A node's place in `nodes` is its slot. Nodes that are needed at layer `l` are the first
/// `levels[l]` slots, so what a layer computes is a prefix of what the layer below computes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reached {
    pub(crate) nodes: Vec<u32>,
    /// Slot of each node, or [`NONE`].
    pub(crate) slots: Vec<u32>,
    /// Number of slots of each layer, from the embeddings to the last.
    pub(crate) levels: Vec<usize>,
}

impl Reached {
    fn start(&mut self, nodes: usize, layers: usize) {
        if self.slots.len() != nodes {
            self.slots = vec![NONE; nodes];
            self.nodes.clear();
        }
        for &node in &self.nodes {
            self.slots[node as usize] = NONE;
        }
        self.nodes.clear();
        self.levels = vec![0; layers + 1];
    }

    fn reach(&mut self, node: u32) {
        let slot = &mut self.slots[node as usize];
        if *slot == NONE {
            *slot = self.nodes.len() as u32;
            self.nodes.push(node);
        }
    }

    /// Number of nodes whose embeddings are needed.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Slots whose mean demand is needed: those of the first layer, if there is one.
    pub(crate) fn with_messages(&self) -> usize {
        self.levels.get(1).copied().unwrap_or(0)
    }

    #[inline(always)]
    pub(crate) fn slot(&self, node: u32) -> usize {
        self.slots[node as usize] as usize
    }
}

/// Users and items on which a batch depends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Field {
    pub(crate) users: Reached,
    pub(crate) items: Reached,
}

impl Field {
    /// The field of some users and items: with each layer downwards their neighbours join.
    pub(crate) fn of<'a>(
        &mut self,
        graph: &Graph,
        layers: usize,
        users: impl Iterator<Item = &'a u32>,
        items: impl Iterator<Item = &'a u32>,
    ) {
        self.users.start(graph.sizes.users, layers);
        self.items.start(graph.sizes.items, layers);
        users.for_each(|&user| self.users.reach(user));
        items.for_each(|&item| self.items.reach(item));
        let mut done = (0, 0);
        for layer in (0..layers).rev() {
            let found = (self.users.len(), self.items.len());
            (self.users.levels[layer + 1], self.items.levels[layer + 1]) = found;
            for slot in done.0..found.0 {
                join(graph, &graph.by_user, self.users.nodes[slot], &mut self.items);
            }
            for slot in done.1..found.1 {
                join(graph, &graph.by_item, self.items.nodes[slot], &mut self.users);
            }
            done = found;
        }
        (self.users.levels[0], self.items.levels[0]) = (self.users.len(), self.items.len());
    }

    /// All nodes at all layers.
    pub(crate) fn all(&mut self, graph: &Graph, layers: usize) {
        for (reached, nodes) in
            [(&mut self.users, graph.sizes.users), (&mut self.items, graph.sizes.items)]
        {
            reached.start(nodes, layers);
            (0..nodes as u32).for_each(|node| reached.reach(node));
            reached.levels.fill(nodes);
        }
    }
}

fn join(graph: &Graph, edges: &Adjacency, node: u32, others: &mut Reached) {
    for entry in edges.row(node as usize) {
        if !graph.removed[entry.edge as usize] {
            others.reach(entry.node);
        }
    }
}
