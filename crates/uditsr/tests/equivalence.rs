//! On random graphs: the two computations give the same numbers, gradients are derivatives, and
//! neither threads nor the lazy optimiser change a bit.

use proptest::prelude::*;
use uditsr::model::{
    Batch, Direct, EdgeQueries, Factored, FinalActivation, Generator, Gradients, Graph, Heads,
    HoldOut, Losses, ModelConfig, Padding, Parameters, Sizes, Step, Target, TranslationTerm,
    largest_difference,
};
use uditsr::train::{AdamW, AdamWConfig};
use uditsr::{Csr, Interactions};

const SIZES: Sizes = Sizes { users: 12, items: 10, words: 9 };

fn log() -> impl Strategy<Value = Interactions> {
    let words = prop_oneof![
        2 => Just(Vec::new()),
        3 => proptest::collection::vec(1..SIZES.words as u32, 1..5)
    ];
    // Users and items from a part of the range only, so that some stay alone.
    let row = (0..SIZES.users as u32 - 2, 0..SIZES.items as u32 - 1, words);
    proptest::collection::vec(row, 8..70).prop_map(|rows| Interactions {
        users: rows.iter().map(|row| row.0).collect(),
        items: rows.iter().map(|row| row.1).collect(),
        queries: rows.iter().map(|row| row.2.clone()).collect::<Csr>(),
        times: vec![-1; rows.len()],
    })
}

fn configs() -> impl Strategy<Value = ModelConfig> {
    let terms = [TranslationTerm::Absent, TranslationTerm::Dot, TranslationTerm::Distance];
    (
        (0_usize..4, 3_usize..7),
        (any::<bool>(), any::<bool>(), any::<bool>(), 0_usize..3),
        (0_u8..4, 0_u8..4, 0_u8..4, 0_u8..4),
    )
        .prop_map(
            move |((layers, dim), (masked, constant, raw, term), (absent, words, shared, bare))| {
                ModelConfig {
                    dim,
                    layers,
                    item_words: 4,
                    padding: if masked { Padding::Masked } else { Padding::Word },
                    target: if constant { Target::Constant } else { Target::Learned },
                    final_activation: if raw {
                        FinalActivation::Identity
                    } else {
                        FinalActivation::LeakyRelu
                    },
                    translation_term: terms[term],
                    edge_queries: if absent == 0 { EdgeQueries::Absent } else { EdgeQueries::Once },
                    generator: if words == 0 { Generator::UserWords } else { Generator::Network },
                    heads: match shared {
                        0 => Heads::Shared,
                        1 if term > 0 => Heads::Absent,
                        _ => Heads::Separate,
                    },
                    sg_lambda: if bare == 0 { 0.0 } else { 1.5 },
                    ..ModelConfig::default()
                }
            },
        )
}

/// A batch of distinct rows, with negatives that may be anything.
fn batch(graph: &Graph, seed: u32) -> Batch {
    let rows: Vec<u32> =
        (0..graph.edges() as u32).filter(|row| (row * 7 + seed).is_multiple_of(3)).collect();
    let negatives: Vec<u32> =
        rows.iter().map(|row| (row * 5 + seed) % SIZES.items as u32).collect();
    Batch::new(graph, &rows, &negatives)
}

fn run(
    step: &mut dyn Step<f64>,
    config: &ModelConfig,
    graph: &Graph,
    parameters: &Parameters<f64>,
    batch: &Batch,
) -> (Losses, Parameters<f64>) {
    let mut gradients = Gradients::zeros(config, SIZES);
    let losses = step.step(graph, parameters, batch, &mut gradients).unwrap();
    (losses, gradients.to_dense(config, SIZES))
}

/// Larger embeddings than the initial ones, so that nothing is nearly linear.
fn parameters(config: &ModelConfig) -> Parameters<f64> {
    let mut parameters = Parameters::init(config, SIZES, 5);
    parameters.values_mut().into_iter().flatten().for_each(|value| *value *= 1.5);
    parameters
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_computations_agree(
        log in log(),
        config in configs(),
        seed in 0_u32..3,
        hold_out in prop_oneof![
            Just(HoldOut::Nothing), Just(HoldOut::Edges), Just(HoldOut::EdgesAndWords)
        ],
    ) {
        let mut graph = Graph::from_log(&config, SIZES, &log).unwrap();
        let before = format!("{graph:?}");
        let parameters = parameters(&config);
        let batch = batch(&graph, seed);
        prop_assume!(!batch.is_empty());
        graph.hold_out(hold_out, &batch);
        let mut direct = Direct::new(&config).unwrap();
        let mut factored = Factored::new(&config, &graph_of(&log, &config)).unwrap();
        let (expected, slow) = run(&mut direct, &config, &graph, &parameters, &batch);
        let (found, fast) = run(&mut factored, &config, &graph, &parameters, &batch);
        prop_assert!((expected.total() - found.total()).abs() < 1e-12, "{expected:?} {found:?}");
        let (difference, name) = largest_difference(&slow.tensors(), &fast.tensors());
        prop_assert!(difference < 1e-9, "{name}: {difference:e}");
        // Buffers of the last batch must not be felt by the next.
        let (again, once_more) = run(&mut factored, &config, &graph, &parameters, &batch);
        prop_assert_eq!((again, once_more), (found, fast));
        graph.restore(hold_out, &batch);
        prop_assert_eq!(format!("{graph:?}"), before);
    }
}

fn graph_of(log: &Interactions, config: &ModelConfig) -> Graph {
    Graph::from_log(config, SIZES, log).unwrap()
}

/// A fixed log with searches and recommendations, some of them twice.
fn fixed_log() -> Interactions {
    let rows: Vec<(u32, u32, Vec<u32>)> = (0..60_u32)
        .map(|k| {
            let words = (0..k % 4).map(|word| 1 + (k * 3 + word * 5) % 8).collect();
            ((k * 7) % 11, (k * k) % 9, words)
        })
        .collect();
    Interactions {
        users: rows.iter().map(|row| row.0).collect(),
        items: rows.iter().map(|row| row.1).collect(),
        queries: rows.iter().map(|row| row.2.clone()).collect::<Csr>(),
        times: vec![-1; rows.len()],
    }
}

/// Variants that the PyTorch fixtures do not have.
fn unpublished() -> Vec<ModelConfig> {
    let base = ModelConfig { dim: 5, item_words: 4, ..ModelConfig::default() };
    let alone = |term: TranslationTerm| ModelConfig {
        heads: Heads::Absent,
        translation_term: term,
        ..base.clone()
    };
    vec![
        alone(TranslationTerm::Dot),
        alone(TranslationTerm::Distance),
        ModelConfig { generator: Generator::UserWords, ..base.clone() },
        ModelConfig { edge_queries: EdgeQueries::Absent, ..base.clone() },
        ModelConfig { heads: Heads::Shared, ..base.clone() },
        ModelConfig { heads: Heads::Shared, translation_term: TranslationTerm::Dot, ..base },
    ]
}

#[test]
fn gradients_are_derivatives() {
    for config in unpublished() {
        let graph = graph_of(&fixed_log(), &config);
        let mut parameters = parameters(&config);
        let batch = batch(&graph, 1);
        let mut factored = Factored::new(&config, &graph).unwrap();
        let (_, gradients) = run(&mut factored, &config, &graph, &parameters, &batch);
        for (index, tensor) in gradients.tensors().iter().enumerate() {
            for place in [0, tensor.values.len() / 2, tensor.values.len() - 1] {
                let mut loss = |change: f64| {
                    parameters.values_mut()[index][place] += change;
                    let loss = run(&mut factored, &config, &graph, &parameters, &batch).0.total();
                    parameters.values_mut()[index][place] -= change;
                    loss
                };
                let slope = (loss(1e-5) - loss(-1e-5)) / 2e-5;
                let error = (slope - tensor.values[place]).abs();
                assert!(
                    error < 1e-8 + 1e-5 * slope.abs(),
                    "{}: {slope} {}",
                    tensor.name,
                    tensor.values[place]
                );
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let config = ModelConfig { dim: 8, ..ModelConfig::corrected() };
    let graph = graph_of(&fixed_log(), &config);
    let parameters = Parameters::<f32>::init(&config, SIZES, 2);
    let batch = batch(&graph, 0);
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut gradients = Gradients::zeros(&config, SIZES);
            let mut factored = Factored::new(&config, &graph).unwrap();
            let losses = factored.step(&graph, &parameters, &batch, &mut gradients).unwrap();
            (losses, gradients)
        })
    };
    assert_eq!(run(1), run(3));
}

/// The optimiser as its paper says it: every number in every step.
fn dense_adamw(
    config: AdamWConfig,
    values: &mut [f32],
    state: &mut [[f32; 2]],
    gradient: &[f32],
    step: i32,
) {
    let length = (config.learning_rate / (1.0 - config.beta1.powf(f64::from(step)))) as f32;
    let root = (1.0 / (1.0 - config.beta2.powf(f64::from(step))).sqrt()) as f32;
    let keep = (1.0 - config.learning_rate * config.weight_decay) as f32;
    let (beta1, beta2) = (config.beta1 as f32, config.beta2 as f32);
    for ((value, [first, second]), &g) in values.iter_mut().zip(state).zip(gradient) {
        *value *= keep;
        *first = beta1 * *first + (1.0 - beta1) * g;
        *second = beta2 * *second + (1.0 - beta2) * (g * g);
        *value -= length * (*first / (second.sqrt() * root + config.epsilon as f32));
    }
}

#[test]
fn rows_that_wait_end_where_rows_that_are_updated_in_each_step_do() {
    let config = ModelConfig { dim: 4, layers: 1, ..ModelConfig::default() };
    let graph = graph_of(&fixed_log(), &config);
    let mut lazy = Parameters::<f32>::init(&config, SIZES, 2);
    let mut dense = lazy.clone();
    let adamw = AdamWConfig { learning_rate: 0.02, weight_decay: 0.1, ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(adamw, &lazy);
    let mut states: Vec<Vec<[f32; 2]>> =
        dense.tensors().iter().map(|t| vec![[0.0; 2]; t.values.len()]).collect();
    let (mut factored, mut other) =
        (Factored::new(&config, &graph).unwrap(), Factored::new(&config, &graph).unwrap());
    let mut gradients = Gradients::zeros(&config, SIZES);
    let mut waited = false;
    for step in 0..12_u32 {
        let batch = Batch::new(&graph, &[step * 5 % 60], &[step % 9]);
        let slots = factored.reach(&graph, &batch);
        waited |= slots[0].contains(&u32::MAX) && slots[1].contains(&u32::MAX);
        optimizer.catch_up(&mut lazy, slots);
        factored.step(&graph, &lazy, &batch, &mut gradients).unwrap();
        optimizer.step(&mut lazy, &gradients);

        other.step(&graph, &dense, &batch, &mut gradients).unwrap();
        let gradients = gradients.to_dense(&config, SIZES);
        let tensors = gradients.tensors().into_iter().zip(dense.values_mut()).zip(&mut states);
        for ((gradient, values), state) in tensors {
            dense_adamw(adamw, values, state, gradient.values, step as i32 + 1);
        }
    }
    assert!(waited);
    assert_ne!(lazy, dense);
    optimizer.finish(&mut lazy);
    assert_eq!(lazy, dense);
}
