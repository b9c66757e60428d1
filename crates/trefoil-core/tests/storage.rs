//! Weights in 16 and 8 bits against PyTorch's rounding, and layers with them against PyTorch's layers
//! (`reference/storage.py`).

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module, Param};
use burn::tensor::{DType, Device, Int, Tensor};
use trefoil_core::nn::{
    Activation, Bias, Conv2d, Conv2dOptions, Embedding, Init, Linear, WeightInit, linear,
    linear_transposed, widen,
};
use trefoil_core::weights::{Storage, WeightFile, load_strict_as};
use trefoil_core::{Seed, params};

const NARROW: [Storage; 3] = [Storage::F16, Storage::Bf16, Storage::Int8];

fn fixture() -> WeightFile {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    WeightFile::open(&folder.join("storage.safetensors")).unwrap()
}

fn get<const D: usize>(file: &WeightFile, name: &str) -> Tensor<D> {
    Tensor::from_data(file.get(name).unwrap(), &Device::flex())
}

/// The tensor as it is held.
fn held<const D: usize>(file: &WeightFile, name: &str, storage: Storage) -> Tensor<D> {
    file.get_as(name, storage).unwrap().into_tensor(&Device::flex())
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn assert_near(ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len());
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{i}: {a}, not {b}");
    }
}

#[test]
fn weights_are_rounded_as_pytorch_rounds_them() {
    let file = fixture();
    for storage in NARROW {
        let rounded = |name: &str| format!("{storage}.{name}");
        let weight = held::<2>(&file, "weight", storage);
        let expected = match storage {
            Storage::Bf16 => DType::BF16,
            Storage::F16 => DType::F16,
            _ => weight.dtype(),
        };
        assert_eq!(weight.dtype(), expected);
        assert_eq!(matches!(expected, DType::QFloat(_)), storage == Storage::Int8);
        let theirs = file.get(&rounded("weight")).unwrap();
        assert_eq!(values(widen(weight)), theirs.iter::<f32>().collect::<Vec<_>>(), "{storage}");
        let kernel = values(widen(held::<4>(&file, "kernel", storage)));
        let theirs = file.get(&rounded("kernel")).unwrap();
        assert_eq!(kernel, theirs.iter::<f32>().collect::<Vec<_>>(), "{storage}");
    }
}

#[test]
fn layers_compute_what_pytorch_computes_with_rounded_weights() {
    let file = fixture();
    let (x, bias) = (get::<2>(&file, "x"), get::<1>(&file, "bias"));
    for storage in NARROW {
        let assert_exact = |layer: &str, ours: Vec<f32>| {
            let get = |name: String| file.get(&name).unwrap().iter::<f32>().collect::<Vec<f32>>();
            let exact = get(format!("{storage}.{layer}"));
            let magnitudes = get(format!("{storage}.{layer}.magnitude"));
            assert_eq!(ours.len(), exact.len());
            for ((a, b), magnitude) in ours.iter().zip(exact).zip(magnitudes) {
                assert!((a - b).abs() <= 5e-7 * magnitude, "{layer}: {a}, not {b} of {magnitude}");
            }
        };
        let weight = || held::<2>(&file, "weight", storage);
        let ours = linear(x.clone(), weight(), Some(bias.clone()), None);
        assert_exact("linear", values(ours));
        let activation = Some(Activation::Gelu.into());
        let ours = linear(x.clone(), weight(), Some(bias.clone()), activation);
        assert_exact("linear_gelu", values(ours));
        let transposed = held::<2>(&file, "transposed", storage);
        let ours = linear_transposed(x.clone(), transposed, Some(bias.clone()), None);
        assert_exact("linear_transposed", values(ours));

        let init = &mut Init::zeros(&Device::flex());
        let mut conv = Conv2d::new(init, [16, 8], Conv2dOptions::same(3));
        conv.weight = Param::initialized(conv.weight.id, held(&file, "kernel", storage));
        conv.bias = Some(Param::from_tensor(get(&file, "conv_bias")));
        assert_exact("conv", values(conv.forward(get(&file, "picture"))));
    }
}

/// The product with converted parts is that of the converted weight, bit for bit, at sizes with one and many tiles, and
/// also where a gradient is asked for, which takes another path.
#[test]
fn conversion_on_the_way_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::flex();
    for [rows, d_in, d_out] in [[1, 64, 32], [3, 192, 576], [70, 768, 200], [5, 1536, 1600]] {
        let shape = [d_out, d_in];
        let mut stream = Seed(7).stream("weight", d_in as u64);
        let weight = stream.normal_tensor::<2>(shape, &device).into_data();
        let path = folder.path().join(format!("{d_in}.safetensors"));
        let precision = trefoil_core::weights::Precision::F32;
        let tensors = [("weight".to_string(), weight)];
        trefoil_core::weights::save(&path, &tensors, precision, BTreeMap::default()).unwrap();
        let file = WeightFile::open(&path).unwrap();
        let x = Seed(8).stream("x", 0).normal_tensor::<2>([rows, d_in], &device);
        for storage in NARROW {
            let weight = held::<2>(&file, "weight", storage);
            let narrow = linear(x.clone(), weight.clone(), None, None);
            let wide = linear(x.clone(), widen(weight.clone()), None, None);
            assert_eq!(narrow.clone().into_data(), wide.into_data(), "{storage} {rows} {shape:?}");
            let one = linear(x.clone().narrow(0, 0, 1), weight.clone(), None, None);
            assert_eq!(one.into_data(), narrow.clone().narrow(0, 0, 1).into_data());

            if storage == Storage::Bf16 {
                let tracked = Device::flex().autodiff();
                let x = Tensor::<2>::from_data(x.clone().into_data(), &tracked).require_grad();
                let frozen = Tensor::from_data(weight.into_data(), (&tracked, DType::BF16));
                let y = linear(x.clone(), frozen, None, None);
                assert_eq!(y.clone().into_data(), narrow.into_data());
                let grad = x.grad(&y.sum().backward()).unwrap();
                let sums = values(widen(held::<2>(&file, "weight", storage)).sum_dim(0));
                assert_near(&values(grad)[..d_in], &sums, 1e-4);
            }
        }
    }
}

/// A network with every layer that has such weights.
#[derive(Module, Debug)]
struct Network {
    table: Embedding,
    inner: Linear,
    conv: Conv2d,
    short: Linear,
}

#[test]
fn matrices_kernels_and_tables_are_held_narrow_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (path, device) = (folder.path().join("w.safetensors"), Device::flex());
    let build = |init: &mut Init| Network {
        table: Embedding::new(init, [10, 32], 1.0),
        inner: Linear::new(init, [32, 48], Bias::Yes, WeightInit::FanIn),
        conv: Conv2d::new(init, [16, 4], Conv2dOptions::same(3)),
        short: Linear::new(init, [6, 32], Bias::No, WeightInit::FanIn),
    };
    let network = build(&mut Init::random(Seed(1), &device));
    let precision = trefoil_core::weights::Precision::F32;
    let tensors = params::export(&network);
    trefoil_core::weights::save(&path, &tensors, precision, BTreeMap::default()).unwrap();
    let file = WeightFile::open(&path).unwrap();
    let names: Vec<String> = params::weights(&network).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["table.weight", "inner.weight", "conv.weight", "short.weight"]);
    for (storage, bound) in [(Storage::F16, 5e-4), (Storage::Bf16, 4e-3), (Storage::Int8, 4e-3)] {
        let fresh = build(&mut Init::zeros(&device));
        let loaded = load_strict_as(fresh, &file, &[], storage).unwrap();
        let is_f32 = |dtype| dtype == DType::F32;
        assert!(!is_f32(loaded.table.weight.dtype()) && !is_f32(loaded.conv.weight.dtype()));
        assert!(is_f32(loaded.inner.bias.as_ref().unwrap().dtype()));
        // Six inputs are too few for a scale.
        assert_eq!(is_f32(loaded.short.weight.dtype()), storage == Storage::Int8);
        for ((name, ours), (_, exact)) in params::export(&loaded).iter().zip(&tensors) {
            let largest = exact.iter::<f32>().fold(0.0f32, |a, b| a.max(b.abs()));
            for (a, b) in ours.iter::<f32>().zip(exact.iter::<f32>()) {
                assert!((a - b).abs() <= bound * largest, "{storage} {name}: {a}, not {b}");
            }
        }
        let ids = Tensor::<2, Int>::from_data([[3, 0, 9]], &device);
        let rows = values(loaded.table.forward(ids));
        let table = values(widen(loaded.table.weight.val()));
        assert_eq!(rows[..32], table[96..128]);
        assert_eq!(rows[64..], table[288..]);
        assert_eq!(values(loaded.table.rows(3, 2)), table[96..160]);
        assert!(rows.iter().all(|v| v.is_finite()));
    }
}

#[test]
fn what_half_precision_cannot_hold_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.safetensors");
    let tensors = [("weight".to_string(), burn::tensor::TensorData::from([[1e5f32, 1.0]]))];
    let precision = trefoil_core::weights::Precision::F32;
    trefoil_core::weights::save(&path, &tensors, precision, BTreeMap::default()).unwrap();
    let error = WeightFile::open(&path).unwrap().get_as("weight", Storage::F16).unwrap_err();
    assert!(error.to_string().ends_with("tensor `weight` in f16 is not finite"), "{error}");
    assert!(error.to_string().contains("large.safetensors"), "{error}");
}

/// What the file has in the format that is asked for is not copied, unless it is changed.
#[test]
fn mapped_weights_are_those_of_the_file_and_changing_them_leaves_it_alone() {
    let file = fixture();
    let exact = file.get("weight").unwrap();
    assert!(file.tensor("weight").unwrap().mapped().is_some());
    let weight = held::<2>(&file, "weight", Storage::F32);
    assert_eq!(weight.clone().into_data(), exact);
    // Nobody else holds it: the framework may write over it.
    let doubled = values(weight * 2.0);
    assert!(doubled.iter().zip(exact.iter::<f32>()).all(|(a, b)| *a == 2.0 * b));
    assert_eq!(fixture().get("weight").unwrap(), exact);
    assert_eq!(file.get("weight").unwrap(), exact);
    let transposed = file.tensor("weight").unwrap().transposed().unwrap();
    assert!(transposed.mapped().is_none());
    // The data outlives the file it was opened from.
    let weight = held::<2>(&file, "weight", Storage::F32);
    drop(file);
    assert_eq!(weight.into_data(), exact);
}
