//! The U-ViT against a double-precision reference and against the published key lists.

mod support;

use burn::tensor::{Device, Tensor};
use support::{assert_close, fixture, open, tensor};
use trefoil_core::nn::Init;
use trefoil_core::params;
use trefoil_core::weights::{self, WeightFile};
use unidiffuser::keys;
use unidiffuser::uvit::{Levels, Modalities, UVit, UVitConfig};

fn config(version: u8) -> UVitConfig {
    UVitConfig {
        sample_size: 8,
        embed_dim: 48,
        num_layers: 4,
        num_heads: 3,
        text_dim: 24,
        clip_img_dim: 20,
        use_data_type_embedding: version == 1,
        ..UVitConfig::default()
    }
}

fn load(version: u8) -> UVit {
    let path = fixture(&format!("hf-v{version}/unet/diffusion_pytorch_model.safetensors"));
    let file = WeightFile::open(&path).unwrap();
    let network = config(version).init(&mut Init::zeros(&Device::flex())).unwrap();
    weights::load_strict(network, &keys::uvit(file), &[]).unwrap()
}

fn compare(file: &WeightFile, case: &str, out: Modalities) {
    let expected = |name: &str| file.get(&format!("{case}.out.{name}")).unwrap();
    assert_close(&format!("{case}.z"), &out.z.into_data(), &expected("z"), 1e-5);
    assert_close(&format!("{case}.clip"), &out.clip.into_data(), &expected("clip"), 1e-5);
    assert_close(&format!("{case}.text"), &out.text.into_data(), &expected("text"), 1e-5);
}

fn input(file: &WeightFile, z: &str) -> Modalities {
    Modalities { z: tensor(file, z), clip: tensor(file, "clip"), text: tensor(file, "text") }
}

#[test]
fn both_versions_equal_the_reference() {
    for version in [0, 1] {
        let (file, network) = (open(&format!("uvit_v{version}")), load(version));
        for (i, (image, text)) in
            [(1.0, 1000.0), (0.0, 1000.0), (980.02, 1000.0)].iter().enumerate()
        {
            let out = network.forward(input(&file, "z"), &Levels::uniform(2, *image, *text));
            compare(&file, &format!("case{i}"), out);
        }
        let floats = |name: &str| file.get(name).unwrap().iter::<f32>().collect::<Vec<f32>>();
        let data_type = file.get_integers("batch_data_type").unwrap().0;
        let levels = Levels {
            image: floats("batch_t_img"),
            text: floats("batch_t_text"),
            data_type: data_type.into_iter().map(|v| v as i32).collect(),
        };
        compare(&file, "batch", network.forward(input(&file, "z"), &levels));
        let out = network.forward(input(&file, "resized.z_in"), &Levels::uniform(2, 500.0, 20.0));
        compare(&file, "resized", out);
    }
}

#[test]
fn rows_of_a_batch_do_not_see_each_other() {
    let (file, network) = (open("uvit_v1"), load(1));
    let both = network.forward(input(&file, "z"), &Levels::uniform(2, 300.0, 700.0));
    for row in 0..2 {
        let input = input(&file, "z");
        let alone = Modalities {
            z: input.z.narrow(0, row, 1),
            clip: input.clip.narrow(0, row, 1),
            text: input.text.narrow(0, row, 1),
        };
        let out = network.forward(alone, &Levels::uniform(1, 300.0, 700.0));
        let row_of = |t: &Tensor<4>| t.clone().narrow(0, row, 1).into_data();
        assert_close("z", &out.z.into_data(), &row_of(&both.z), 1e-6);
    }
}

/// Non-square latents work: the authors' program cannot un-patchify them.
#[test]
fn latents_need_not_be_square() {
    let (file, network) = (open("uvit_v1"), load(1));
    let z = tensor::<4>(&file, "resized.z_in").narrow(2, 0, 6);
    let input = Modalities { z, ..input(&file, "z") };
    let out = network.forward(input, &Levels::uniform(2, 10.0, 0.0));
    assert_eq!(out.z.dims(), [2, 4, 6, 12]);
}

/// Names and shapes of both layouts at the fixture's size and at the published sizes.
#[test]
fn keys_are_the_published_ones() {
    let read_list = |name: &str| -> Vec<(String, Vec<usize>)> {
        let text = std::fs::read_to_string(fixture(name)).unwrap();
        let mut list: Vec<_> =
            text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(parse).collect();
        list.sort();
        list
    };
    let sorted = |network: &UVit| {
        let mut list = params::shapes(network);
        list.sort();
        list
    };
    for version in [0, 1] {
        let network = load(version);
        let list = read_list(&format!("uvit_v{version}_original_keys.txt"));
        assert_eq!(sorted(&network), list);

        let path = fixture(&format!("hf-v{version}/unet/diffusion_pytorch_model.safetensors"));
        let file = WeightFile::open(&path).unwrap();
        let mut written = keys::uvit_to_diffusers(params::export(&network));
        written.sort_by(|a, b| a.0.cmp(&b.0));
        let names: Vec<String> = written.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, file.names().unwrap());
        for (name, data) in written.iter().filter(|(n, _)| !n.starts_with("transformer.pos_embed"))
        {
            assert_eq!(data, &file.get(name).unwrap(), "{name}");
        }
    }
    // The published depth at a hundredth of the width: names do not depend on widths.
    for (version, full) in [(0, UVitConfig::v0()), (1, UVitConfig::default())] {
        let narrow = UVitConfig { embed_dim: 24, ..full };
        let network = narrow.init(&mut Init::zeros(&Device::flex())).unwrap();
        let names: Vec<String> = sorted(&network).into_iter().map(|(name, _)| name).collect();
        let list = read_list(&format!("keys/unidiffuser_keys_uvit_v{version}_original.txt"));
        let expected: Vec<String> = list.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, expected);
    }
}

/// `name [1, 2]` or `name 1 2` or `name [1,2]`
fn parse(line: &str) -> (String, Vec<usize>) {
    let (name, shape) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let numbers = shape.split(|c: char| !c.is_ascii_digit()).filter(|s| !s.is_empty());
    (name.to_string(), numbers.map(|n| n.parse().unwrap()).collect())
}

#[test]
fn configurations_are_checked_by_field() {
    let error = UVitConfig { num_heads: 5, ..config(1) }.validate().unwrap_err().to_string();
    assert_eq!(error, "invalid configuration `num_heads`: 5 does not divide embed_dim = 48");
    assert!(UVitConfig { num_layers: 3, ..config(1) }.validate().is_err());
    assert_eq!(UVitConfig::default().num_tokens(), 1105);
    assert_eq!(UVitConfig::v0().num_tokens(), 1104);
}
