//! Dual-intent translation propagation, message by message.

use super::generator::{GeneratorTape, Pairs, generate, generate_backward};
use super::{NodeGradients, word_sum};
use crate::matrix::row;
use crate::model::config::{EdgeQueries, ModelConfig};
use crate::model::gradients::Gradients;
use crate::model::graph::{Graph, NONE};
use crate::model::parameters::Parameters;
use crate::real::{Real, add, add_scaled};

/// What the backward pass needs, and the result.
pub(super) struct PropagationTape<T> {
    /// `e*` of all users.
    pub(super) users: Vec<T>,
    /// `e*` of all items.
    pub(super) items: Vec<T>,
    /// Nodes of each layer below the last, users and items.
    layers: Vec<(Vec<T>, Vec<T>)>,
    /// The generator on all edges, once or for each layer.
    tapes: Vec<GeneratorTape<T>>,
}

fn edges(graph: &Graph) -> Pairs<'_> {
    Pairs { users: &graph.edge_users, items: &graph.edge_items }
}

/// Demand intent of each edge.
fn edge_queries<T: Real>(
    graph: &Graph,
    parameters: &Parameters<T>,
    tape: &GeneratorTape<T>,
) -> Vec<T> {
    let mut queries = tape.demand.clone();
    for (edge, query) in queries.chunks_exact_mut(parameters.dim).enumerate() {
        if graph.searches[edge] {
            let words = graph.edge_words(edge).iter().filter(|word| **word != NONE);
            query.copy_from_slice(&word_sum(parameters, words.map(|&word| word as usize)));
        }
    }
    queries
}

fn means<T: Real>(degrees: &[u32]) -> Vec<T> {
    degrees.iter().map(|&degree| T::of(1.0 / f64::from(degree.max(1)))).collect()
}

/// `e*` of all nodes.
pub(super) fn propagate<T: Real>(
    config: &ModelConfig,
    graph: &Graph,
    parameters: &Parameters<T>,
) -> PropagationTape<T> {
    let d = config.dim;
    let (per_user, per_item) = (means::<T>(&graph.user_degrees), means::<T>(&graph.item_degrees));
    let mut now = (parameters.users.clone(), parameters.items.clone());
    let (mut users, mut items) = now.clone();
    let (mut layers, mut tapes, mut queries) = (Vec::new(), Vec::new(), Vec::new());
    for layer in 1..=config.layers {
        if layer == 1 || config.edge_queries == EdgeQueries::EachLayer {
            let tape = generate(config, graph, parameters, (&now.0, &now.1), edges(graph));
            queries = edge_queries(graph, parameters, &tape);
            if config.edge_queries == EdgeQueries::Absent {
                queries.fill(T::ZERO);
            }
            tapes.push(tape);
        }
        let mut next = (vec![T::ZERO; now.0.len()], vec![T::ZERO; now.1.len()]);
        for edge in (0..graph.edges()).filter(|&edge| !graph.removed[edge]) {
            let (u, i) = (graph.edge_users[edge] as usize, graph.edge_items[edge] as usize);
            let query = row(&queries, d, edge);
            let to_user = &mut next.0[u * d..(u + 1) * d];
            add_scaled(to_user, per_user[u], row(&now.1, d, i));
            add_scaled(to_user, -per_user[u], query);
            let to_item = &mut next.1[i * d..(i + 1) * d];
            add_scaled(to_item, per_item[i], row(&now.0, d, u));
            add_scaled(to_item, per_item[i], query);
        }
        let weight = T::of(1.0 / (layer + 1) as f64);
        add_scaled(&mut users, weight, &next.0);
        add_scaled(&mut items, weight, &next.1);
        layers.push(std::mem::replace(&mut now, next));
    }
    PropagationTape { users, items, layers, tapes }
}

/// Gradients of the embeddings of users and items; those of words and networks are added.
pub(super) fn propagate_backward<T: Real>(
    config: &ModelConfig,
    graph: &Graph,
    (parameters, tape): (&Parameters<T>, &PropagationTape<T>),
    stars: &NodeGradients<T>,
    gradients: &mut Gradients<T>,
) -> NodeGradients<T> {
    let d = config.dim;
    let (per_user, per_item) = (means::<T>(&graph.user_degrees), means::<T>(&graph.item_degrees));
    let zeros = || NodeGradients {
        users: vec![T::ZERO; stars.users.len()],
        items: vec![T::ZERO; stars.items.len()],
    };
    let mut now = zeros();
    let mut queries = vec![T::ZERO; graph.edges() * d];
    for layer in (1..=config.layers).rev() {
        let weight = T::of(1.0 / (layer + 1) as f64);
        add_scaled(&mut now.users, weight, &stars.users);
        add_scaled(&mut now.items, weight, &stars.items);
        let mut below = zeros();
        for edge in (0..graph.edges()).filter(|&edge| !graph.removed[edge]) {
            let (u, i) = (graph.edge_users[edge] as usize, graph.edge_items[edge] as usize);
            let (from_user, from_item) = (row(&now.users, d, u), row(&now.items, d, i));
            add_scaled(&mut below.items[i * d..(i + 1) * d], per_user[u], from_user);
            add_scaled(&mut below.users[u * d..(u + 1) * d], per_item[i], from_item);
            let query = &mut queries[edge * d..(edge + 1) * d];
            add_scaled(query, -per_user[u], from_user);
            add_scaled(query, per_item[i], from_item);
        }
        now = below;
        let is_made_here = layer == 1 || config.edge_queries == EdgeQueries::EachLayer;
        if is_made_here && config.edge_queries != EdgeQueries::Absent {
            let (users, items) = &tape.layers[layer - 1];
            let input = (graph, parameters, (&users[..], &items[..]));
            split_queries(graph, &mut queries, d, gradients);
            let tape = (edges(graph), &tape.tapes[layer - 1]);
            generate_backward(config, input, tape, &queries, (gradients, &mut now));
            queries.fill(T::ZERO);
        }
    }
    add(&mut now.users, &stars.users);
    add(&mut now.items, &stars.items);
    now
}

/// Moves the gradients of real queries to their words and leaves those of generated ones.
fn split_queries<T: Real>(
    graph: &Graph,
    queries: &mut [T],
    d: usize,
    gradients: &mut Gradients<T>,
) {
    for (edge, query) in queries.chunks_exact_mut(d).enumerate() {
        if graph.searches[edge] {
            for &word in graph.edge_words(edge).iter().filter(|word| **word != NONE) {
                add(&mut gradients.words[word as usize * d..(word as usize + 1) * d], query);
            }
            query.fill(T::ZERO);
        }
    }
}
