//! Both computations against PyTorch: nodes, scores, losses, gradients, and five steps of AdamW.

use std::collections::HashMap;
use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use uditsr::model::{
    Batch, Direct, EdgeQueries, Factored, FinalActivation, Gradients, Graph, ModelConfig, Padding,
    Parameters, Scorer, Sizes, Step, Target, TranslationTerm, propagate,
};
use uditsr::train::{AdamW, AdamWConfig};
use uditsr::{Csr, Interactions, Real};

/// Its gradient is zero up to rounding, and Adam divides rounding errors by themselves.
const SHIFT: &str = "item_query_attn.linear.bias";

struct Fixture {
    json: Value,
    tensors: HashMap<String, Vec<f64>>,
}

fn load(precision: &str) -> Fixture {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let bytes = std::fs::read(folder.join(format!("tiny_{precision}.safetensors"))).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |name: &str| -> Vec<f64> {
        let tensor = file.tensor(name).unwrap();
        match tensor.dtype() {
            Dtype::F64 => tensor.data().chunks_exact(8).map(<f64 as Real>::read).collect(),
            _ => tensor.data().chunks_exact(4).map(|b| <f32 as Real>::read(b).into()).collect(),
        }
    };
    let tensors = file.names().into_iter().map(|name| (name.to_owned(), numbers(name))).collect();
    let json = std::fs::read_to_string(folder.join("tiny.json")).unwrap();
    Fixture { json: serde_json::from_str(&json).unwrap(), tensors }
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

fn config(variant: &str) -> ModelConfig {
    let mut config = ModelConfig { dim: 8, ..ModelConfig::default() };
    match variant {
        "published" => {}
        "mask_padding" => config.padding = Padding::Masked,
        "detach_target" => config.target = Target::Constant,
        "requery_each_layer" => config.edge_queries = EdgeQueries::EachLayer,
        "raw_logit" => config.final_activation = FinalActivation::Identity,
        "translation_dot" => {
            config.translation_term = TranslationTerm::Dot;
            config.padding = Padding::Masked;
        }
        "translation_distance" => config.translation_term = TranslationTerm::Distance,
        "one_layer" => config.layers = 1,
        "no_layer" => config.layers = 0,
        "three_layers" => config.layers = 3,
        other => panic!("{other} is not known"),
    }
    config
}

fn graph(fixture: &Fixture, config: &ModelConfig) -> (Sizes, Graph) {
    let sizes = numbers(&fixture.json["sizes"]);
    let sizes =
        Sizes { users: sizes[0] as usize, items: sizes[1] as usize, words: sizes[2] as usize };
    let rows = fixture.json["log"].as_array().unwrap();
    let log = Interactions {
        users: rows.iter().map(|row| row[0].as_u64().unwrap() as u32).collect(),
        items: rows.iter().map(|row| row[2].as_u64().unwrap() as u32).collect(),
        queries: rows.iter().map(|row| numbers(&row[1])).collect::<Csr>(),
        times: vec![-1; rows.len()],
    };
    (sizes, Graph::from_log(config, sizes, &log).unwrap())
}

fn initial<T: Real>(fixture: &Fixture, config: &ModelConfig, sizes: Sizes) -> Parameters<T> {
    let mut parameters = Parameters::<T>::init(config, sizes, 0);
    let names: Vec<String> = parameters.tensors().into_iter().map(|t| t.name).collect();
    for (name, values) in names.iter().zip(parameters.values_mut()) {
        // The translation's weight is one from the start.
        if let Some(source) = fixture.tensors.get(&format!("initial/{name}")) {
            assert_eq!(source.len(), values.len());
            values.iter_mut().zip(source).for_each(|(value, &source)| *value = T::of(source));
        }
    }
    parameters
}

fn assert_close<T: Real>(found: &[T], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    // Some gradients are sums of terms that cancel: what is left is rounding, hence the floor.
    let size = expected.iter().fold(1e-5, |size: f64, v| size.max(v.abs()));
    for (place, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (found.wide() - expected).abs() / size;
        assert!(error <= tolerance, "{what}[{place}]: {} for {expected}", found.wide());
    }
}

fn check<T: Real>(precision: &str, variant: &str, direct: bool) {
    let (tolerance, after) = if precision == "f64" { (1e-11, 1e-9) } else { (2e-5, 1e-4) };
    let fixture = load(precision);
    let config = config(variant);
    let (sizes, graph) = graph(&fixture, &config);
    let mut parameters = initial::<T>(&fixture, &config, sizes);
    let batch =
        Batch::new(&graph, &numbers(&fixture.json["batch"]), &numbers(&fixture.json["negatives"]));
    let what = |part: &str| format!("{variant}/{part}");

    let nodes = propagate(&config, &graph, &parameters).unwrap();
    for (nodes, name) in nodes.iter().zip(["users", "items"]) {
        assert_close(nodes, &fixture.tensors[&what(name)], tolerance, &what(name));
    }
    let scorer = Scorer::new(&config, &graph, parameters.clone(), nodes);
    let mut scores = Vec::new();
    for row in fixture.json["evaluation"].as_array().unwrap() {
        let items = numbers(&row[2]);
        let mut found = vec![T::ZERO; items.len()];
        scorer.score(row[0].as_u64().unwrap() as u32, &numbers(&row[1]), &items, &mut found);
        scores.extend(found);
    }
    assert_close(&scores, &fixture.tensors[&what("scores")], tolerance, &what("scores"));

    let mut step: Box<dyn Step<T>> = if direct {
        Box::new(Direct::new(&config).unwrap())
    } else {
        Box::new(Factored::new(&config, &graph).unwrap())
    };
    let mut gradients = Gradients::zeros(&config, sizes);
    let adamw = AdamWConfig { learning_rate: 1e-2, weight_decay: 1e-2, ..AdamWConfig::default() };
    let mut optimizer = AdamW::new(adamw, &parameters);
    for at in 0..5 {
        optimizer.catch_up(&mut parameters, step.reach(&graph, &batch));
        let losses = step.step(&graph, &parameters, &batch, &mut gradients).unwrap();
        let expected = &fixture.json["losses"][precision][variant][at];
        for (found, expected) in
            [losses.bpr, losses.sg, losses.cst].iter().zip(expected.as_array().unwrap())
        {
            let error = (found - expected.as_f64().unwrap()).abs();
            assert!(error <= tolerance, "{variant}, step {at}: {losses:?} for {expected}");
        }
        if at == 0 {
            for tensor in gradients.to_dense(&config, sizes).tensors() {
                let name = what(&format!("gradient/{}", tensor.name));
                if tensor.name != SHIFT {
                    assert_close(tensor.values, &fixture.tensors[&name], tolerance, &name);
                }
            }
        }
        optimizer.step(&mut parameters, &gradients);
    }
    optimizer.finish(&mut parameters);
    // Adam divides small gradients by their own size, and so enlarges their rounding errors.
    for tensor in parameters.tensors() {
        let name = what(&format!("after/{}", tensor.name));
        if let Some(expected) = fixture.tensors.get(&name).filter(|_| tensor.name != SHIFT) {
            assert_close(tensor.values, expected, after, &name);
        }
    }
}

const FACTORED: [&str; 9] = [
    "published",
    "mask_padding",
    "detach_target",
    "raw_logit",
    "translation_dot",
    "translation_distance",
    "one_layer",
    "no_layer",
    "three_layers",
];

#[test]
fn the_direct_computation_agrees_in_double_precision() {
    for variant in FACTORED {
        check::<f64>("f64", variant, true);
    }
    check::<f64>("f64", "requery_each_layer", true);
}

#[test]
fn the_factored_computation_agrees_in_double_precision() {
    for variant in FACTORED {
        check::<f64>("f64", variant, false);
    }
}

#[test]
fn both_agree_in_single_precision() {
    for variant in ["published", "translation_dot"] {
        check::<f32>("f32", variant, true);
        check::<f32>("f32", variant, false);
    }
}
