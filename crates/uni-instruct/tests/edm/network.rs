//! The networks of EDM against PyTorch (`reference/edm_torch.py`) and the published lists of tensors.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use crate::support::{fixture, uniform};
use burn::module::Module as _;
use burn::tensor::{Device, Tensor, TensorData};
use trefoil_core::nn::Init;
use trefoil_core::weights::WeightFile;
use trefoil_core::{Error, Seed, params};
use uni_instruct::edm::{Condition, EdmLoss, Family, Masks, NoisyBatch, UNet, UNetConfig, keys};

/// The weights of the script.
fn weight(name: &str, shape: &[usize]) -> TensorData {
    let fan_in = shape[1..].iter().product::<usize>() as f64;
    let (scale, offset) = match name {
        name if name.ends_with("resample_filter") => unreachable!("filters are not drawn"),
        name if name.ends_with("freqs") => (2.0, 0.0),
        name if name.contains("norm") && name.ends_with("weight") => (0.25, 1.0),
        name if name.ends_with("bias") => (0.25, 0.0),
        _ => (1.5 / fan_in.sqrt(), 0.0),
    };
    let values = uniform(name, shape.iter().product());
    let values = values.into_iter().map(|v| (f64::from(v) * scale + offset) as f32);
    TensorData::new(values.collect::<Vec<f32>>(), shape.to_vec())
}

fn small(family: Family) -> UNetConfig {
    UNetConfig {
        family,
        resolution: 8,
        label_dim: if family == Family::NcsnPlusPlus { 0 } else { 3 },
        augment_dim: if family == Family::Adm { 0 } else { 9 },
        model_channels: 8,
        channel_mult: vec![1, 2],
        num_blocks: 1,
        attn_resolutions: vec![if family == Family::NcsnPlusPlus { 8 } else { 4 }],
        head_channels: (family == Family::Adm).then_some(8),
        dropout: 0.0,
        ..UNetConfig::default()
    }
}

fn network(family: Family) -> UNet {
    let fresh = small(family).init(&mut Init::zeros(&Device::flex())).unwrap();
    let tensors: BTreeMap<String, TensorData> = keys::export(&fresh)
        .into_iter()
        .map(|(name, data)| {
            let is_filter = name.ends_with("resample_filter");
            let data = if is_filter { data } else { weight(&name, &data.shape().to_vec()) };
            (name, data)
        })
        .collect();
    keys::import(fresh, Path::new("weights"), tensors).unwrap()
}

#[track_caller]
fn assert_close(what: &str, found: &TensorData, expected: &TensorData) {
    assert_eq!(found.shape().to_vec(), expected.shape().to_vec(), "{what}");
    let scale = expected.iter::<f64>().fold(0.0, |m, v| f64::max(m, v.abs()));
    let pairs = found.iter::<f64>().zip(expected.iter::<f64>());
    let worst = pairs.fold(0.0, |m, (a, b)| f64::max(m, (a - b).abs()));
    assert!(worst <= 1e-4 * scale, "{what}: difference {worst:.2e}, largest value {scale:.2e}");
}

fn picture(name: &str, scale: f32, device: &Device) -> Tensor<4> {
    let values = uniform(name, 2 * 3 * 64).into_iter().map(|v| v * scale).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(values, [2, 3, 8, 8]), device)
}

fn condition(name: &str, device: &Device) -> Condition {
    let augment = TensorData::new(uniform(&format!("{name}.augment"), 18), [2, 9]);
    Condition {
        label: Some(Tensor::from_floats([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], device)),
        augment: Some(Tensor::from_data(augment, device)),
    }
}

#[test]
fn outputs_loss_and_all_gradients_equal_pytorch() {
    for (family, name) in
        [(Family::DdpmPlusPlus, "ddpmpp"), (Family::NcsnPlusPlus, "ncsnpp"), (Family::Adm, "adm")]
    {
        let file = WeightFile::open(&fixture(&format!("edm_{name}.safetensors"))).unwrap();
        let expected = |key: &str| file.get(key).unwrap();
        let device = Device::flex().autodiff();
        let network = network(family).train();
        let (edm, sigma) = (EdmLoss::default(), vec![0.35, 4.0]);
        let clean = picture(&format!("{name}.clean"), 1.0, &device).require_grad();
        let noise = picture(&format!("{name}.noise"), 1.5, &device);

        let x =
            clean.clone() + noise.clone() * Tensor::from_floats([[[[0.35]]], [[[4.0]]]], &device);
        let condition = condition(name, &device);
        let scales = edm.preconditioner();
        let found = network.denoise(x.clone(), &sigma, condition.clone(), None, scales);
        assert_close(name, &found.picture.into_data(), &expected("denoised"));
        assert_close(name, &found.encoded.into_data(), &expected("encoded"));
        let c_in = sigma.iter().map(|&s| scales.at(s).c_in as f32).collect::<Vec<_>>();
        let c_in = Tensor::from_data(TensorData::new(c_in, [2, 1, 1, 1]), &device);
        let levels: Vec<f64> = sigma.iter().map(|s: &f64| s.ln() / 4.0).collect();
        let raw = network.forward(x * c_in, &levels, condition.clone(), None).output;
        assert_close(name, &raw.into_data(), &expected("raw"));

        let batch = NoisyBatch { clean: clean.clone(), noise, sigma, condition };
        let loss = edm.loss(&network, batch, None);
        assert_close(name, &loss.clone().into_data(), &expected("loss"));
        let mut gradients = loss.backward();
        let of_input = clean.grad_remove(&mut gradients).unwrap().into_data();
        assert_close("grad.clean", &of_input, &expected("grad.clean"));
        let found = params::gradients(&network, gradients);
        let names = keys::shapes(&network);
        assert_eq!(found.len() + 2, file.names().unwrap().len() - 3);
        for ((_, gradient), (key, _)) in found.iter().zip(&names) {
            assert_close(&format!("{name} {key}"), gradient, &expected(&format!("grad.{key}")));
        }
    }
}

/// Every tensor of every published file, by name and shape.
#[test]
fn tensors_are_those_of_the_published_files() {
    for (preset, list) in [
        ("edm-cifar10-32x32-uncond-vp", "cifar10_uncond_vp"),
        ("edm-cifar10-32x32-cond-vp", "cifar10_cond_vp"),
        ("edm-cifar10-32x32-uncond-ve", "cifar10_uncond_ve"),
        ("edm-ffhq-64x64-uncond-vp", "ffhq64_vp"),
        ("edm-imagenet-64x64-cond-adm", "imagenet64_adm"),
    ] {
        let bytes = std::fs::read(fixture(&format!("edm_keys/{list}.txt.gz"))).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        let mut expected: Vec<(String, Vec<usize>)> = text
            .lines()
            .map(|line| {
                let (name, shape) = line.split_once(' ').unwrap();
                let numbers = shape.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
                let shape = numbers.map(|n| n.parse().unwrap()).collect();
                (name.trim_end_matches("#buffer").to_string(), shape)
            })
            .collect();
        let config = UNetConfig::preset(preset).unwrap();
        let mut found = keys::published_shapes(&config).unwrap();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{preset}");
    }
}

#[test]
fn export_and_import_change_nothing_and_mistakes_are_named() {
    for family in Family::ALL {
        let network = network(family);
        let tensors: BTreeMap<_, _> = keys::export(&network).into_iter().collect();
        let fresh = || small(family).init(&mut Init::random(Seed(3), &Device::flex())).unwrap();
        let path = Path::new("teacher.safetensors");
        let again = keys::import(fresh(), path, tensors.clone()).unwrap();
        assert_eq!(keys::export(&again), keys::export(&network));

        let mut some = tensors.clone();
        some.remove("model.enc.8x8_block0.conv0.weight");
        let error = keys::import(fresh(), path, some).unwrap_err();
        assert!(
            matches!(&error, Error::TensorMismatch { missing, .. }
                if missing.len() == 1 && missing[0].name == "model.enc.8x8_block0.conv0.weight"),
            "{error}"
        );
        let mut other = tensors.clone();
        let filter = "model.enc.4x4_down.conv0.resample_filter";
        let shape = tensors[filter].shape().to_vec();
        other.insert(filter.into(), TensorData::zeros::<f32, _>(shape));
        let error = keys::import(fresh(), path, other).unwrap_err().to_string();
        assert!(error.contains("conv0.resample_filter` is not the filter"), "{error}");
        let mut more = tensors;
        more.insert("model.extra".into(), TensorData::zeros::<f32, _>([1]));
        let error = keys::import(fresh(), path, more).unwrap_err();
        assert!(
            matches!(&error, Error::TensorMismatch { unexpected, .. }
                if unexpected.len() == 1 && unexpected[0].name == "model.extra"),
            "{error}"
        );
    }
}

/// Fresh networks start as published ones do: the raw output is (almost) zero, so `D` is `c_skip x`.
#[test]
fn fresh_networks_pass_the_picture_on() {
    for family in Family::ALL {
        let device = Device::flex();
        let network = small(family).init(&mut Init::random(Seed(5), &device)).unwrap();
        let x = picture("x", 1.0, &device);
        let scales = EdmLoss::default().preconditioner();
        let found = network.denoise(x.clone(), &[0.5; 2], Condition::default(), None, scales);
        let error = (found.picture - x * 0.5).abs().max().into_scalar::<f32>();
        assert!(error < 1e-3, "{family:?}: {error}");
    }
}

/// A picture's result does not depend on the others, dropout included.
#[test]
fn pictures_of_a_batch_do_not_see_each_other() {
    for family in Family::ALL {
        let (device, network) = (Device::flex(), network(family));
        let (x, condition) = (picture("x", 1.0, &device), condition("x", &device));
        let masks = |range: std::ops::Range<u64>| {
            Masks::new(range.map(|i| Seed(1).stream("dropout", i)).collect(), 0.3)
        };
        let both =
            network.forward(x.clone(), &[0.1, -0.4], condition.clone(), Some(&mut masks(0..2)));
        let row = |t: Option<Tensor<2>>| t.map(|t| t.narrow(0, 1, 1));
        let alone = Condition { label: row(condition.label), augment: row(condition.augment) };
        let second = network.forward(x.narrow(0, 1, 1), &[-0.4], alone, Some(&mut masks(1..2)));
        let [a, b] = [second.output, both.output.narrow(0, 1, 1)].map(Tensor::into_data);
        assert_close(&format!("{family:?}"), &a, &b);
    }
}
