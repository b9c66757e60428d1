//! The text decoder against recorded numbers of diffusers and transformers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::Value;
use trefoil_core::nn::{Activation, Init};
use trefoil_core::weights::WeightFile;
use trefoil_core::{Seed, params};
use unidiffuser::caption::{
    BeamOptions, CaptionBatch, CaptionDecoder, CaptionDecoderConfig, DummyPrefix,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn recorded() -> WeightFile {
    WeightFile::open(&fixture("text_decoder.safetensors")).unwrap()
}

fn tensor<const D: usize>(file: &WeightFile, name: &str, device: &Device) -> Tensor<D> {
    Tensor::from_data(file.get(name).unwrap(), device)
}

/// The recorded decoder and its end token.
fn decoder(device: &Device) -> (CaptionDecoder, u32) {
    let json: Value =
        trefoil_core::fs::read_json(&fixture("hf-v1/text_decoder/config.json")).unwrap();
    let config = CaptionDecoderConfig::from_hub_json(&json).unwrap();
    let decoder = config.init(&mut Init::zeros(device)).unwrap();
    let path = fixture("hf-v1/text_decoder/diffusion_pytorch_model.safetensors");
    let decoder = decoder.load(&WeightFile::open(&path).unwrap()).unwrap();
    (decoder, config.vocab_size as u32 - 1)
}

fn token_rows(file: &WeightFile, name: &str) -> Vec<Vec<u32>> {
    let (values, shape) = file.get_integers(name).unwrap();
    values.chunks_exact(shape[1]).map(|row| row.iter().map(|&v| v as u32).collect()).collect()
}

fn token_tensor(rows: &[Vec<u32>], device: &Device) -> Tensor<2, Int> {
    let values: Vec<i64> = rows.iter().flatten().map(|&v| i64::from(v)).collect();
    Tensor::from_data(TensorData::new(values, [rows.len(), rows[0].len()]), device)
}

fn assert_close<const D: usize>(found: Tensor<D>, expected: Tensor<D>, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims());
    let difference = (found - expected).abs().max().into_scalar::<f32>();
    assert!(difference <= tolerance, "largest difference {difference:e}, allowed {tolerance:e}");
}

/// CLIP's hidden states of the first two recorded prompts.
fn prefix(device: &Device) -> Tensor<3> {
    let file = WeightFile::open(&fixture("text_encoder.safetensors")).unwrap();
    tensor::<3>(&file, "last_hidden_state", device).narrow(0, 0, 2)
}

#[test]
fn codes_equal_diffusers() {
    let device = Device::flex();
    let file = WeightFile::open(&fixture("text_encoder.safetensors")).unwrap();
    let code = decoder(&device).0.encode(tensor(&file, "last_hidden_state", &device));
    assert_close(code, tensor::<3>(&file, "low_dim", &device), 1e-5);
}

#[test]
fn logits_equal_transformers() {
    let device = Device::flex();
    let (decoder, _) = decoder(&device);
    let tokens = token_tensor(&token_rows(&recorded(), "input_ids"), &device);
    let logits = decoder.logits(decoder.encode(prefix(&device)), tokens); // [2, 77 + 9, V]
    let expected = tensor::<3>(&recorded(), "logits_every_5th", &device);
    let every_fifth: Vec<Tensor<3>> =
        (0..expected.dims()[1]).map(|i| logits.clone().narrow(1, 5 * i, 1)).collect();
    assert_close(Tensor::cat(every_fifth, 1), expected, 1e-4);
}

#[test]
fn the_loss_equals_transformers() {
    let device = Device::flex();
    let (decoder, _) = decoder(&device);
    let batch = CaptionBatch::new(&token_rows(&recorded(), "input_ids")).unwrap();
    let loss = decoder.loss(prefix(&device), &batch, DummyPrefix::Zeros).unwrap();
    let expected = recorded().get("loss").unwrap().iter::<f32>().next().unwrap();
    let loss = loss.into_scalar::<f32>();
    assert!((loss / expected - 1.0).abs() < 1e-5, "expected {expected}, found {loss}");
}

#[test]
fn padding_changes_neither_loss_nor_gradient() {
    let device = Device::flex().autodiff();
    let (decoder, eos) = decoder(&device);
    let captions = [vec![5, 6, 7, 8, eos], vec![9, eos]];
    let hidden = prefix(&device);
    for dummy in [DummyPrefix::Zeros, DummyPrefix::Masked] {
        let both =
            decoder.loss(hidden.clone(), &CaptionBatch::new(&captions).unwrap(), dummy).unwrap();
        // The mean over the batch weighs each caption by its number of positions.
        let mut sum = Tensor::<1>::zeros([1], &device);
        let mut positions = 0;
        for (i, caption) in captions.iter().enumerate() {
            let count = match dummy {
                DummyPrefix::Zeros => 76 + caption.len(),
                DummyPrefix::Masked => caption.len(),
            };
            let batch = CaptionBatch::new(std::slice::from_ref(caption)).unwrap();
            let alone = decoder.loss(hidden.clone().narrow(0, i, 1), &batch, dummy).unwrap();
            sum = sum + alone * count as f64;
            positions += count;
        }
        let separate = sum / positions as f64;
        assert_close(both.clone(), separate.clone(), 1e-5);
        let both = params::gradients(&decoder, both.backward());
        let separate = params::gradients(&decoder, separate.backward());
        for ((name, a), (_, b)) in both.iter().zip(&separate) {
            let largest = a.iter::<f32>().map(f32::abs).fold(0.0, f32::max);
            let off = a.iter::<f32>().zip(b.iter::<f32>()).map(|(a, b)| (a - b).abs());
            assert!(largest > 0.0, "no gradient reaches {name}");
            assert!(off.fold(0.0, f32::max) <= 1e-4 * largest.max(1e-2), "{name}");
        }
    }
}

#[test]
fn gradients_equal_finite_differences() {
    let device = Device::flex().autodiff();
    let config = CaptionDecoderConfig { initializer_range: 0.3, ..CaptionDecoderConfig::tiny() };
    let model = config.init(&mut Init::random(Seed(1), &device)).unwrap();
    let values = Seed(2).stream("hidden", 0).normals(2 * 5 * 16);
    let batch = CaptionBatch::new(&[vec![3, 4, 39], vec![7, 39]]).unwrap();
    let hidden = Tensor::<3>::from_data(TensorData::new(values, [2, 5, 16]), &device);
    let loss =
        |model: &CaptionDecoder| model.loss(hidden.clone(), &batch, DummyPrefix::Zeros).unwrap();
    let gradients = params::gradients(&model, loss(&model).backward());
    for (name, index) in [
        ("encode_prefix.weight", 11),
        ("decode_prefix.bias", 3),
        ("transformer.transformer.wte.weight", 4 * 20 + 1),
        ("transformer.transformer.wpe.weight", 6 * 20 + 2),
        ("transformer.transformer.h.0.attn.c_attn.weight", 45),
        ("transformer.transformer.h.1.mlp.c_proj.weight", 33),
    ] {
        let mut gradient = gradients.iter().find(|(n, _)| n == name).unwrap().1.iter::<f32>();
        let gradient = gradient.nth(index).unwrap();
        let nudged = |by: f32| {
            let exported: Vec<(String, TensorData)> = params::export(&model);
            let model = params::import(model.clone(), &mut |n, _| {
                let data = exported.iter().find(|(m, _)| m == n).unwrap().1.clone();
                let shape = data.shape().clone();
                let mut values: Vec<f32> = data.iter::<f32>().collect();
                if n == name {
                    values[index] += by;
                }
                Ok(TensorData::new(values, shape))
            })
            .unwrap();
            f64::from(loss(&model).into_scalar::<f32>())
        };
        let difference = (nudged(1e-2) - nudged(-1e-2)) / 2e-2;
        let off = (difference - f64::from(gradient)).abs();
        assert!(off < 2e-3 + 1e-2 * difference.abs(), "{name}: {gradient} and {difference}");
    }
}

#[test]
fn beams_equal_the_recorded_ones_alone_and_in_a_batch() {
    let device = Device::flex();
    let (decoder, eos) = decoder(&device);
    let file = recorded();
    let features = tensor::<3>(&file, "features", &device);
    let together = decoder.beam_search(features.clone(), eos, &BeamOptions::default()).unwrap();
    let captions = decoder.caption(features.clone(), eos, &BeamOptions::default()).unwrap();
    assert_eq!(together.len(), 6);
    for (i, beams) in together.iter().enumerate() {
        let (lengths, _) = file.get_integers(&format!("beam.{i}.lengths")).unwrap();
        let rows = token_rows(&file, &format!("beam.{i}.tokens"));
        for ((beam, row), &length) in beams.iter().zip(&rows).zip(&lengths) {
            assert_eq!(beam.tokens, row[..length as usize], "sample {i}");
        }
        assert_eq!(beams.len(), rows.len());
        assert!(beams.is_sorted_by(|a, b| a.score >= b.score));
        assert_eq!(captions[i], beams[0].tokens);

        let code = features.clone().narrow(0, i, 1);
        let alone = decoder.beam_search(code, eos, &BeamOptions::default()).unwrap();
        for (a, b) in alone[0].iter().zip(beams) {
            assert_eq!(a.tokens, b.tokens);
            assert!((a.score - b.score).abs() < 1e-5);
        }
    }
}

/// Beam search as its definition says it, without a cache: every step reads the whole text again.
fn plain_search(
    decoder: &CaptionDecoder,
    code: Tensor<3>,
    eos: u32,
    width: usize,
) -> Vec<Vec<u32>> {
    let device = code.device();
    let mut beams: Vec<(Vec<u32>, f64)> = vec![(Vec::new(), 0.0)];
    for _ in 0..12 {
        let mut candidates = Vec::new();
        for (tokens, sum) in &beams {
            if tokens.last() == Some(&eos) {
                candidates.push((tokens.clone(), *sum));
                continue;
            }
            // A place of padding at the end keeps the tensor from being empty.
            let fed = [tokens.clone(), vec![0]].concat();
            let logits = decoder.logits(code.clone(), token_tensor(&[fed], &device));
            let last = logits.narrow(1, 77 + tokens.len() - 1, 1);
            let logits: Vec<f64> = last.into_data().iter::<f64>().collect();
            let log_sum = logits.iter().map(|l| l.exp()).sum::<f64>().ln();
            for (token, logit) in (0u32..).zip(logits) {
                candidates.push(([&tokens[..], &[token]].concat(), sum + logit - log_sum));
            }
        }
        let mean = |beam: &(Vec<u32>, f64)| beam.1 / beam.0.len() as f64;
        candidates.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
        candidates.truncate(width);
        beams = candidates;
        if beams.iter().all(|(tokens, _)| tokens.last() == Some(&eos)) {
            break;
        }
    }
    beams.into_iter().map(|(tokens, _)| tokens).collect()
}

#[test]
fn the_cache_changes_nothing() {
    let device = Device::flex();
    let (decoder, eos) = decoder(&device);
    let features = tensor::<3>(&recorded(), "features", &device);
    for beams in [1, 3] {
        let options = BeamOptions { beams, max_tokens: 12, ..BeamOptions::default() };
        let found = decoder.beam_search(features.clone(), eos, &options).unwrap();
        for (i, found) in found.into_iter().enumerate() {
            let found: Vec<Vec<u32>> = found.into_iter().map(|beam| beam.tokens).collect();
            let code = features.clone().narrow(0, i, 1);
            assert_eq!(
                found,
                plain_search(&decoder, code, eos, beams),
                "sample {i}, {beams} beams"
            );
        }
    }
}

#[test]
fn published_sizes_have_the_published_keys() {
    let config = CaptionDecoderConfig {
        vocab_size: 3,
        n_positions: 2,
        n_embd: 12,
        n_inner: Some(5),
        prefix_inner_dim: 4,
        prefix_hidden_dim: 2,
        ..CaptionDecoderConfig::default()
    };
    let decoder = config.init(&mut Init::zeros(&Device::flex())).unwrap();
    let mut names: BTreeSet<String> =
        params::shapes(&decoder).into_iter().map(|(name, _)| name).collect();
    names.insert("transformer.lm_head.weight".into()); // tied to `wte`
    let path = fixture("keys/unidiffuser_keys_text_decoder_diffusers.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let listed = lines.map(|line| line.split_once(' ').unwrap().0.to_string()).collect();
    assert_eq!(names, listed);
}

#[test]
fn configurations_and_options_are_checked() {
    assert!(toml::from_str::<CaptionDecoderConfig>("n_heads = 3").is_err());
    let gelu: CaptionDecoderConfig = toml::from_str("activation_function = \"gelu\"").unwrap();
    assert_eq!(gelu.activation_function, Activation::Gelu);
    let tiny = CaptionDecoderConfig::tiny();
    assert_eq!(CaptionDecoderConfig::from_hub_json(&tiny.to_hub_json()).unwrap(), tiny);
    let mut json = tiny.to_hub_json();
    json["scale_attn_weights"] = false.into();
    assert!(CaptionDecoderConfig::from_hub_json(&json).is_err());

    let device = Device::flex();
    let decoder = tiny.init(&mut Init::random(Seed(0), &device)).unwrap();
    let code = Tensor::<3>::zeros([1, 5, 6], &device);
    let fails =
        |options: BeamOptions| decoder.caption(code.clone(), 39, &options).unwrap_err().to_string();
    assert!(fails(BeamOptions { beams: 41, ..BeamOptions::default() }).contains("beams"));
    assert!(fails(BeamOptions { temperature: 0.0, ..BeamOptions::default() }).contains("temp"));
    assert!(
        fails(BeamOptions::default()).contains("need 71 positions"),
        "{}",
        fails(BeamOptions::default())
    );
    let longest = BeamOptions { max_tokens: 28, ..BeamOptions::greedy() };
    assert!(decoder.caption(code.clone(), 39, &longest).is_ok());
    let nan = decoder.caption(code * f32::NAN, 39, &longest);
    assert!(nan.unwrap_err().to_string().contains("not finite"));
    assert!(CaptionBatch::new(&[vec![1], vec![]]).is_err());
}
