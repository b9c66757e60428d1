//! The autoencoder against diffusers, and its names against the published list.

mod support;

use burn::tensor::Device;
use support::{assert_close, fixture, open, tensor};
use trefoil_core::nn::Init;
use trefoil_core::params;
use trefoil_core::weights::{self, WeightFile};
use unidiffuser::autoencoder::{Autoencoder, AutoencoderConfig};

fn load() -> Autoencoder {
    let config = AutoencoderConfig {
        block_out_channels: vec![12, 16, 24],
        layers_per_block: 1,
        norm_num_groups: 4,
        ..AutoencoderConfig::default()
    };
    let path = fixture("hf-v1/vae/diffusion_pytorch_model.safetensors");
    let network = config.init(&mut Init::zeros(&Device::flex())).unwrap();
    weights::load_strict(network, &WeightFile::open(&path).unwrap(), &[]).unwrap()
}

#[test]
fn encoding_and_decoding_equal_diffusers() {
    let (file, network) = (open("image_side"), load());
    for i in 0..2 {
        let name = |n: &str| format!("{i}.{n}");
        let posterior = network.encode(tensor(&file, &name("orig.vae_in")));
        let expected = |n: &str| file.get(&name(n)).unwrap();
        assert_close("mean", &posterior.mean.clone().into_data(), &expected("mean"), 1e-5);
        assert_close("logvar", &posterior.logvar.clone().into_data(), &expected("logvar"), 1e-5);
        let decoded = network.decode(tensor::<4>(&file, &name("mean")) * 0.8);
        assert_close("decoded", &decoded.into_data(), &expected("decoded"), 1e-5);
    }
}

#[test]
fn keys_are_the_published_ones() {
    let narrow = AutoencoderConfig {
        block_out_channels: vec![8, 16, 32, 32],
        norm_num_groups: 4,
        ..AutoencoderConfig::default()
    };
    let network = narrow.init(&mut Init::zeros(&Device::flex())).unwrap();
    let mut names: Vec<String> = params::shapes(&network).into_iter().map(|(n, _)| n).collect();
    names.sort();
    let text = std::fs::read_to_string(fixture("keys/unidiffuser_keys_vae_diffusers.txt")).unwrap();
    let mut expected: Vec<String> = text
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split_whitespace().next())
        .map(ToString::to_string)
        .collect();
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn the_divergence_from_the_prior_is_the_closed_form() {
    use burn::tensor::Tensor;
    use unidiffuser::autoencoder::Posterior;
    let device = Device::flex();
    let posterior = Posterior {
        mean: Tensor::from_floats([[[[1.0, 0.0]]]], &device),
        logvar: Tensor::from_floats([[[[0.0, 2.0]]]], &device),
    };
    // 1/2 (1 + 1 - 1 - 0) + 1/2 (0 + e^2 - 1 - 2)
    let expected = 0.5 + 0.5 * (std::f32::consts::E.powi(2) - 3.0);
    assert!((posterior.kl().into_scalar::<f32>() - expected).abs() < 1e-5);
}
