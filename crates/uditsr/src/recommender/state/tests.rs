use proptest::prelude::*;

use super::*;
use crate::model::{Direct, Factored, Generator, Graph, Padding, Parameters, Sizes};
use crate::{Csr, Interactions};

const SIZES: Sizes = Sizes { users: 6, items: 7, words: 9 };

fn config(variant: usize) -> ModelConfig {
    let base = ModelConfig {
        dim: 6,
        query_words: 2,
        user_words: 2,
        item_words: 3,
        ..ModelConfig::default()
    };
    match variant {
        0 => ModelConfig { padding: Padding::Masked, ..base },
        1 => base,
        2 => ModelConfig { layers: 1, padding: Padding::Masked, ..base },
        3 => ModelConfig { edge_queries: EdgeQueries::Absent, ..base },
        _ => ModelConfig { generator: Generator::UserWords, padding: Padding::Masked, ..base },
    }
}

type Row = (u32, u32, Vec<u32>);

fn row_of() -> impl Strategy<Value = Row> {
    let query = prop_oneof![Just(Vec::new()), prop::collection::vec(1..9u32, 1..4)];
    (0..6u32, 0..7u32, query)
}

fn log(rows: &[Row]) -> Interactions {
    Interactions {
        users: rows.iter().map(|row| row.0).collect(),
        items: rows.iter().map(|row| row.1).collect(),
        queries: rows.iter().map(|row| &row.2).collect::<Csr>(),
        times: vec![-1; rows.len()],
    }
}

fn parameters(config: &ModelConfig) -> Parameters<f32> {
    Parameters::init(config, SIZES, 7)
}

/// The propagated nodes of a graph by the model's own computation, users and items.
fn propagated(config: &ModelConfig, graph: &Graph) -> [Vec<f32>; 2] {
    let nodes = Factored::new(config, graph).unwrap().nodes(graph, &parameters(config));
    let direct = Direct::new(config).unwrap().nodes(graph, &parameters(config));
    for (a, b) in nodes.iter().flatten().zip(direct.iter().flatten()) {
        assert!((a - b).abs() < 1e-5);
    }
    nodes
}

fn edge(id: usize, row: &Row) -> Edge {
    Edge { id: id as u64, item: row.1, time: -1, query: row.2.clone().into() }
}

fn state(config: &ModelConfig, rows: &[Row]) -> State {
    let graph = Graph::from_log(config, SIZES, &log(rows)).unwrap();
    let nodes = propagated(config, &graph);
    let scorer = Scorer::new(config, &graph, parameters(config), nodes);
    let mut edges = vec![Vec::new(); SIZES.users];
    for (id, row) in rows.iter().enumerate() {
        edges[row.0 as usize].push(edge(id, row));
    }
    State::new(scorer, edges)
}

fn expect_equal(state: &State, [users, items]: &[Vec<f32>; 2]) {
    let own = (0..SIZES.users as u32).flat_map(|user| state.user(user).star);
    let own = own.chain((0..SIZES.items as u32).flat_map(|item| state.scorer.item(item).to_vec()));
    for (index, (own, expected)) in own.zip(users.iter().chain(items)).enumerate() {
        assert!((own - expected).abs() < 1e-5, "number {index}: {own} for {expected}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any sequence of new and erased events gives the nodes of a graph that was built with what
    /// remains, by the plain and by the factored computation of the model.
    #[test]
    fn events_one_by_one_equal_a_graph_of_all(
        variant in 0..5usize,
        start in prop::collection::vec(row_of(), 1..12),
        steps in prop::collection::vec((row_of(), any::<bool>(), any::<prop::sample::Index>()), 0..14),
    ) {
        let config = config(variant);
        let mut state = state(&config, &start);
        let mut rows: Vec<(usize, Row)> = start.iter().cloned().enumerate().collect();
        for (step, (row, is_erased, which)) in steps.into_iter().enumerate() {
            if is_erased && !rows.is_empty() {
                let (id, row) = rows.remove(which.index(rows.len()));
                state.change(row.0, |edge| edge.id == id as u64, Vec::new());
            } else {
                let id = start.len() + step;
                state.change(row.0, |_| false, vec![edge(id, &row)]);
                rows.push((id, row));
            }
        }
        let rows: Vec<Row> = rows.into_iter().map(|(_, row)| row).collect();
        let mut graph = Graph::from_log(&config, SIZES, &log(&rows)).unwrap();
        // Words of items wait for the refresh.
        let fresh = std::mem::replace(
            &mut graph.item_words,
            (0..SIZES.items as u32).flat_map(|item| state.scorer.words_of_item(item).to_vec()).collect(),
        );
        expect_equal(&state, &propagated(&config, &graph));
        state.refresh();
        graph.item_words = fresh;
        expect_equal(&state, &propagated(&config, &graph));
    }

    /// History in a request is the same to the user as events that were recorded.
    #[test]
    fn a_session_equals_recorded_events(
        variant in 0..5usize,
        start in prop::collection::vec(row_of(), 1..12),
        more in prop::collection::vec(row_of(), 1..5),
        user in 0..6u32,
    ) {
        let config = config(variant);
        let mut state = state(&config, &start);
        let more: Vec<Edge> = more.iter().enumerate().map(|(id, row)| edge(100 + id, row)).collect();
        for user in [Some(user), None] {
            let session = state.session(user, &more);
            let recorded = user.unwrap_or(SIZES.users as u32);
            state.change(recorded, |_| false, more.clone());
            let recorded = state.user(recorded);
            prop_assert_eq!(&session.words, &recorded.words);
            prop_assert_eq!(&session.seen, &recorded.seen);
            for (a, b) in session.star.iter().zip(&recorded.star) {
                prop_assert!((a - b).abs() < 1e-5, "{} for {}", a, b);
            }
            let taken = user.unwrap_or(SIZES.users as u32);
            state.change(taken, |edge| edge.id >= 100, Vec::new());
        }
    }
}

#[test]
fn a_new_user_moves_to_what_was_searched() {
    let config = config(0);
    let mut state = state(&config, &[(0, 1, vec![2]), (1, 3, vec![])]);
    let stranger = state.stranger.clone();
    // To others the user is the mean of all, to itself what the item tells.
    let known = state.user_map.apply(state.scorer.item_embedding(5));
    // One layer of one search: h1_u = e_i - q, h2_u = h1_i - q with h1_i = e_u + q, so e_u again.
    let search = edge(9, &(6, 5, vec![4]));
    let query = state.scorer.query(&[4]);
    let item = state.scorer.item_embedding(5).to_vec();
    state.change(6, |_| false, vec![search]);
    let found = state.user(6).star;
    for k in 0..6 {
        let expected = known[k] + (item[k] - query[k]) / 2.0 + stranger[k] / 3.0;
        assert!((found[k] - expected).abs() < 1e-6);
    }
    assert_eq!(state.degree(5), 1);
    state.change(6, |_| true, Vec::new());
    assert_eq!(state.degree(5), 0);
    assert_eq!(state.scorer.item(5), state.scorer.item_embedding(5));
}
