//! CLIP's two towers, the prompt tokenizer and the preprocessing against recorded numbers of
//! transformers and diffusers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::Value;
use trefoil_core::nn::Init;
use trefoil_core::params;
use trefoil_core::weights::WeightFile;
use trefoil_core::{Picture, Seed};
use unidiffuser::clip::{ClipText, ClipTextConfig, ClipVision, ClipVisionConfig, TextProjection};
use unidiffuser::preprocess::{InputSizes, Preprocess};
use unidiffuser::tokenizer::{CleanUp, Flavour, Tokenizer};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open(name: &str) -> WeightFile {
    WeightFile::open(&fixture(name)).unwrap()
}

fn json(name: &str) -> Value {
    trefoil_core::fs::read_json(&fixture(name)).unwrap()
}

fn tensor<const D: usize>(file: &WeightFile, name: &str) -> Tensor<D> {
    Tensor::from_data(file.get(name).unwrap(), &Device::flex())
}

fn integers(file: &WeightFile, name: &str) -> (Vec<i64>, Vec<usize>) {
    file.get_integers(name).unwrap()
}

fn ids(file: &WeightFile, name: &str) -> Tensor<2, Int> {
    let (values, shape) = integers(file, name);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn assert_close<const D: usize>(found: Tensor<D>, expected: Tensor<D>, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims());
    let difference = (found - expected).abs().max().into_scalar::<f32>();
    assert!(difference <= tolerance, "largest difference {difference:e}, allowed {tolerance:e}");
}

fn clip_text() -> ClipText {
    let config = ClipTextConfig::from_hub_json(&json("hf-v1/text_encoder/config.json")).unwrap();
    let text = config.init(&mut Init::zeros(&Device::flex())).unwrap();
    text.load(&open("hf-v1/text_encoder/model.safetensors")).unwrap()
}

fn clip_vision() -> ClipVision {
    let config = ClipVisionConfig::from_hub_json(&json("hf-v1/image_encoder/config.json")).unwrap();
    let vision = config.init(&mut Init::zeros(&Device::flex())).unwrap();
    vision.load(&open("hf-v1/image_encoder/model.safetensors")).unwrap()
}

#[test]
fn hidden_states_equal_transformers() {
    let recorded = open("text_encoder.safetensors");
    let hidden = clip_text().forward(ids(&recorded, "input_ids"));
    assert_close(hidden, tensor::<3>(&recorded, "last_hidden_state"), 1e-5);
}

#[test]
fn a_batch_and_a_shorter_context_give_the_same_hidden_states() {
    let recorded = open("text_encoder.safetensors");
    let (text, all) = (clip_text(), ids(&recorded, "input_ids"));
    let expected = text.forward(all.clone());
    let one = text.forward(all.clone().narrow(0, 2, 1));
    assert_close(one, expected.clone().narrow(0, 2, 1), 1e-5);
    // Attention is causal: later positions have no influence on earlier ones.
    assert_close(text.forward(all.narrow(1, 0, 20)), expected.narrow(1, 0, 20), 1e-5);
}

#[test]
fn image_embeddings_equal_transformers() {
    let recorded = open("image_side.safetensors");
    let vision = clip_vision();
    for i in 0..2 {
        let pixels = tensor::<4>(&recorded, &format!("{i}.orig.clip_in"));
        let hidden = tensor::<3>(&recorded, &format!("{i}.clip_last_hidden"));
        assert_close(vision.hidden(pixels.clone()), hidden, 1e-5);
        let embedding = tensor::<2>(&recorded, &format!("{i}.clip_embed"));
        assert_close(vision.forward(pixels), embedding, 1e-5);
    }
}

#[test]
fn pooling_takes_the_first_end_token() {
    let device = Device::flex();
    let rows = [[1, 5, 31, 31, 31, 31], [1, 2, 3, 4, 5, 31], [31, 1, 30, 31, 2, 2]];
    let tokens = Tensor::<2, Int>::from_data(rows, &device);
    for eos_token_id in [31, 2] {
        let config = ClipTextConfig { eos_token_id, ..ClipTextConfig::tiny() };
        let text = config.init(&mut Init::random(Seed(3), &device)).unwrap();
        let hidden = text.forward(tokens.clone());
        let ends = [2usize, 5, 0];
        let expected = ends
            .iter()
            .enumerate()
            .map(|(row, &end)| hidden.clone().narrow(0, row, 1).narrow(1, end, 1).reshape([1, 16]))
            .collect();
        let pooled = text.pooled(hidden, tokens.clone());
        assert_close(pooled, Tensor::<2>::cat(expected, 0), 0.0);
    }
}

#[test]
fn the_projection_is_trained_through_the_end_token() {
    let device = Device::flex().autodiff();
    let config = ClipTextConfig { projection: TextProjection::Linear, ..ClipTextConfig::tiny() };
    let text = config.init(&mut Init::random(Seed(4), &device)).unwrap();
    let tokens = Tensor::<2, Int>::from_data([[1, 5, 31, 31], [1, 2, 3, 31]], &device);
    let pooled = text.pooled(text.forward(tokens.clone()), tokens);
    assert_eq!(pooled.dims(), [2, 12]);
    let gradients = params::gradients(&text, pooled.powi_scalar(2).sum().backward());
    let size = |name: &str| -> f32 {
        let (_, data) = gradients.iter().find(|(n, _)| n == name).unwrap();
        data.iter::<f32>().map(f32::abs).sum()
    };
    assert!(size("text_projection.weight") > 1e-3);
    assert!(size("text_model.encoder.layers.0.self_attn.k_proj.weight") > 1e-6);
    // Position 3 lies behind the end token of the first text and is the end of the second.
    let (_, positions) =
        gradients.iter().find(|(n, _)| n.ends_with("position_embedding.weight")).unwrap();
    let positions: Vec<f32> = positions.iter::<f32>().collect();
    assert!(positions[3 * 16..4 * 16].iter().any(|&g| g != 0.0));
    assert!(positions[4 * 16..].iter().all(|&g| g == 0.0));
}

#[test]
fn prompts_tokenize_as_in_transformers() {
    let (expected, shape) = integers(&open("text_encoder.safetensors"), "input_ids");
    let texts: Vec<String> = serde_json::from_value(json("texts.json")).unwrap();
    let tokenizer = Tokenizer::open(&fixture("hf-v1/clip_tokenizer"), Flavour::Clip).unwrap();
    let found = tokenizer.encode_batch(&texts, shape[1]).unwrap();
    let rows = expected.chunks_exact(shape[1]);
    for ((found, expected), text) in found.iter().zip(rows).zip(&texts) {
        let found: Vec<i64> = found.iter().map(|&id| i64::from(id)).collect();
        assert_eq!(found, expected, "{text:?}");
    }
    let dropped: Vec<bool> =
        texts.iter().map(|text| tokenizer.encode(text, 77).unwrap().dropped > 0).collect();
    assert_eq!(dropped, [false, false, false, false, true]);
}

#[test]
fn both_tokenizers_agree_with_transformers_from_either_kind_of_folder() {
    let recorded = json("tokenizers.json");
    for (flavour, folder, key) in [
        (Flavour::Clip, "hf-v1/clip_tokenizer", "clip"),
        (Flavour::Gpt2, "hf-v1/text_tokenizer", "gpt2"),
    ] {
        let old = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(fixture(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "tokenizer.json" {
                std::fs::copy(entry.path(), old.path().join(entry.file_name())).unwrap();
            }
        }
        let new = Tokenizer::open(&fixture(folder), flavour).unwrap();
        let old = Tokenizer::open(old.path(), flavour).unwrap();
        assert_eq!((new.bos(), new.eos(), new.pad()), (old.bos(), old.eos(), old.pad()));
        assert_eq!(new.vocab_size(), old.vocab_size());
        for case in recorded["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(case[format!("{key}_ids")].clone()).unwrap();
            // A prompt is recorded with its frame, a caption without its end token.
            let (length, expected) = match flavour {
                Flavour::Clip => (ids.len(), ids.clone()),
                Flavour::Gpt2 => (ids.len() + 1, [&ids[..], &[new.eos()]].concat()),
            };
            assert_eq!(new.encode(text, length).unwrap().ids, expected, "{text:?}");
            assert_eq!(old.encode(text, length).unwrap().ids, expected, "{text:?}");
            let decoded = case[format!("{key}_decoded")].as_str().unwrap();
            assert_eq!(new.decode(&ids, CleanUp::No).unwrap(), decoded);
            assert_eq!(old.decode(&ids, CleanUp::No).unwrap(), decoded);
        }
    }
}

/// One level of 8 bits: the resampler and Pillow may round apart by it.
const LEVEL: f32 = 1.001 / 255.0;

#[test]
fn preprocessing_equals_the_recorded_inputs() {
    let recorded = open("image_side.safetensors");
    let device = Device::flex();
    let sizes = InputSizes { image: 32, clip: 32, vae_scale: 4 };
    for i in 0..2 {
        let (pixels, shape) = integers(&recorded, &format!("{i}.image"));
        let pixels = pixels.iter().map(|&v| v as u8).collect();
        let picture = Picture::new(shape[1] as u32, shape[0] as u32, pixels).unwrap();

        let original = Preprocess::Original.apply(&picture, sizes, &device).unwrap();
        let (crop, _) = integers(&recorded, &format!("{i}.orig.crop"));
        let crop = crop.iter().map(|&v| v as u8).zip(original.picture.pixels());
        let off: Vec<u8> = crop.map(|(expected, found)| expected.abs_diff(*found)).collect();
        let mean = off.iter().map(|&v| f64::from(v)).sum::<f64>() / off.len() as f64;
        assert!(off.iter().all(|&v| v <= 1) && mean < 0.35, "off by {mean} levels on average");
        let expected = tensor(&recorded, &format!("{i}.orig.vae_in"));
        assert_close(original.vae, expected, 2.0 * LEVEL);
        let expected = tensor(&recorded, &format!("{i}.orig.clip_in"));
        assert_close(original.clip, expected, LEVEL / 0.26);

        let diffusers = Preprocess::Diffusers.apply(&picture, sizes, &device).unwrap();
        let clip = tensor(&recorded, &format!("{i}.diffusers.clip_in"));
        assert_close(diffusers.clip, clip, LEVEL / 0.26);
        if i == 1 {
            let expected = tensor(&recorded, "1.diffusers.vae_in");
            assert_close(diffusers.vae, expected, 2.0 * LEVEL);
        }
    }
}

#[test]
fn published_sizes_have_the_published_keys() {
    let device = Device::flex();
    let narrow = 12;
    let text = ClipTextConfig {
        vocab_size: 3,
        hidden_size: narrow,
        intermediate_size: 5,
        ..ClipTextConfig::default()
    };
    let text = text.init(&mut Init::zeros(&device)).unwrap();
    assert_eq!(names(params::shapes(&text)), listed("unidiffuser_keys_clip_text.txt"));
    let vision = ClipVisionConfig {
        hidden_size: narrow,
        intermediate_size: 5,
        ..ClipVisionConfig::default()
    };
    let vision = vision.init(&mut Init::zeros(&device)).unwrap();
    assert_eq!(names(params::shapes(&vision)), listed("unidiffuser_keys_clip_vision.txt"));
}

fn names(shapes: Vec<(String, Vec<usize>)>) -> BTreeSet<String> {
    shapes.into_iter().map(|(name, _)| name).collect()
}

fn listed(file: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(fixture("keys").join(file)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_once(' ').unwrap().0.to_string()).collect()
}

#[test]
fn weights_with_and_without_prefix_load() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prefixed.safetensors");
    let text = clip_text();
    let tensors = params::export(&text);
    assert!(tensors[0].0.starts_with("text_model."));
    let precision = trefoil_core::weights::Precision::F32;
    trefoil_core::weights::save(&path, &tensors, precision, std::collections::BTreeMap::new())
        .unwrap();
    let config = ClipTextConfig::from_hub_json(&json("hf-v1/text_encoder/config.json")).unwrap();
    let empty = config.init(&mut Init::zeros(&Device::flex())).unwrap();
    let loaded = empty.load(&WeightFile::open(&path).unwrap()).unwrap();
    assert_eq!(params::export(&loaded), tensors);
}

#[test]
fn configurations_are_strict_for_users_and_lenient_for_published_files() {
    assert!(toml::from_str::<ClipTextConfig>("hidden_sise = 3").is_err());
    let error = ClipTextConfig::from_hub_json(&serde_json::json!({"hidden_size": 8})).unwrap_err();
    assert!(error.to_string().contains("vocab_size"), "{error}");
    let bad = ClipVisionConfig { num_attention_heads: 7, ..ClipVisionConfig::tiny() };
    let error = bad.init(&mut Init::zeros(&Device::flex())).unwrap_err().to_string();
    assert!(error.contains("7 does not divide hidden_size = 16"), "{error}");

    let text = ClipTextConfig { projection: TextProjection::Linear, ..ClipTextConfig::tiny() };
    assert_eq!(ClipTextConfig::from_hub_json(&text.to_hub_json()).unwrap(), text);
    let vision = ClipVisionConfig::tiny();
    assert_eq!(ClipVisionConfig::from_hub_json(&vision.to_hub_json()).unwrap(), vision);
}
