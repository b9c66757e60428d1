//! Inception-v3 against PyTorch with drawn weights (`reference/inception.py`).

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{fixture, uniform};
use burn::tensor::{Device, TensorData};
use serde_json::Value;
use trefoil_core::Error;
use trefoil_eval::{FeatureNetwork as _, Pictures};
use uni_instruct::inception::Inception;

fn expected() -> Value {
    let bytes = std::fs::read(fixture("inception.json.gz")).unwrap();
    serde_json::from_reader(flate2::read::GzDecoder::new(&bytes[..])).unwrap()
}

/// Every key of the file with its drawn values.
fn tensors(list: &Value) -> BTreeMap<String, TensorData> {
    let entry = |entry: &Value| {
        let name = entry[0].as_str().unwrap().to_string();
        let shape: Vec<usize> =
            entry[1].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let fan_in = shape[1..].iter().product::<usize>() as f64;
        let (scale, offset) = match name.rsplit_once('.').unwrap() {
            (_, "running_var") => (0.25, 1.0),
            (layer, "weight") if layer.ends_with("bn") => (0.25, 1.0),
            ("fc", "weight") => ((3.0 / fan_in).sqrt(), 0.0),
            (_, "weight") => ((6.0 / fan_in).sqrt(), 0.0),
            _ => (0.25, 0.0),
        };
        let values = uniform(&name, shape.iter().product()).into_iter();
        let values: Vec<f32> = values.map(|v| (f64::from(v) * scale + offset) as f32).collect();
        (name, TensorData::new(values, shape))
    };
    list.as_array().unwrap().iter().map(entry).collect()
}

#[track_caller]
fn assert_close(what: &str, found: impl Iterator<Item = f64>, expected: &Value, tolerance: f64) {
    let expected: Vec<f64> = expected
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|v| v.as_f64().unwrap())
        .collect();
    let found: Vec<f64> = found.step_by(16).collect();
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!((a - b).abs() <= tolerance * scale, "{what} {i}: {a} against {b}");
    }
}

#[test]
fn features_and_probabilities_equal_pytorch() {
    let expected = expected();
    let path = Path::new("weights/drawn.safetensors");
    let device = Device::flex();
    let network = Inception::from_tensors(path, tensors(&expected["keys"]), &device).unwrap();
    assert!(network.name().ends_with("weights drawn.safetensors"), "{}", network.name());
    let pixels = uniform("inception.pictures", 2 * 24 * 20 * 3);
    let pixels: Vec<u8> = pixels.into_iter().map(|v| ((v + 1.0) * 128.0) as u8).collect();
    let found = network.embed(Pictures::new(&pixels, 24, 20).unwrap()).unwrap();
    assert_eq!((found.features.len(), found.probabilities.len()), (2 * 2048, 2 * 1008));
    let features = found.features.iter().map(|&v| f64::from(v));
    assert_close("features", features, &expected["features"], 1e-4);
    let probabilities = found.probabilities.iter().copied();
    assert_close("probabilities", probabilities, &expected["probabilities"], 1e-4);
}

#[test]
fn other_files_are_refused_by_name() {
    let expected = expected();
    let load = |tensors| {
        Inception::from_tensors(Path::new("inception.safetensors"), tensors, &Device::flex())
    };
    let all = || {
        let list = expected["keys"].as_array().unwrap().iter();
        let small = |entry: &Value| {
            let shape: Vec<usize> =
                entry[1].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
            (entry[0].as_str().unwrap().to_string(), TensorData::zeros::<f32, _>(shape))
        };
        list.map(small).collect::<BTreeMap<_, _>>()
    };
    let mut tensors = all();
    tensors.remove("Mixed_6b.branch_pool.bn.bias");
    let error = load(tensors).unwrap_err().to_string();
    assert!(error.contains("`Mixed_6b.branch_pool.bn.bias`"), "{error}");
    let mut tensors = all();
    tensors.insert("AuxLogits.fc.weight".into(), TensorData::zeros::<f32, _>([1]));
    assert!(matches!(load(tensors).unwrap_err(), Error::UnexpectedTensors { .. }));
    // The network of torchvision has 1000 classes.
    let mut tensors = all();
    tensors.insert("fc.bias".into(), TensorData::zeros::<f32, _>([1000]));
    let error = load(tensors).unwrap_err();
    assert!(
        matches!(&error, Error::TensorShape { expected, .. } if expected == &[1008]),
        "{error}"
    );
}
