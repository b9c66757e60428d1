//! Model folders: loading, what errors say, and saving.

#[expect(dead_code, reason = "no fixture of numbers here")]
mod support;

#[path = "support/models.rs"]
mod models;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use serde_json::{Value, json};
use tempfile::TempDir;
use trefoil_core::nn::Init;
use trefoil_core::weights::{Precision, WeightFile, save};
use trefoil_core::{Seed, fs};
use unidiffuser::autoencoder::AutoencoderConfig;
use unidiffuser::caption::CaptionDecoderConfig;
use unidiffuser::clip::{ClipTextConfig, ClipVisionConfig};
use unidiffuser::model::{ModelConfig, UniDiffuser};
use unidiffuser::tokenizer::Tokenizer;
use unidiffuser::uvit::UVitConfig;

use models::{copy_folder, tensors};
use support::fixture;

/// A copy of the recorded model that a test may damage.
fn copy() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    copy_folder(&fixture("hf-v1"), &model);
    (dir, model)
}

/// Rewrites the tensors of a weight file.
fn rewrite(path: &Path, edit: impl FnOnce(&mut BTreeMap<String, TensorData>)) {
    let file = WeightFile::open(path).unwrap();
    let names = file.names().unwrap();
    let mut tensors: BTreeMap<String, TensorData> =
        names.into_iter().map(|name| (name.clone(), file.get(&name).unwrap())).collect();
    edit(&mut tensors);
    let tensors: Vec<(String, TensorData)> = tensors.into_iter().collect();
    save(path, &tensors, Precision::F32, BTreeMap::new()).unwrap();
}

/// Changes one field of a JSON file.
fn set(path: &Path, field: &str, value: Value) {
    let mut json: Value = fs::read_json(path).unwrap();
    json[field] = value;
    fs::write_json(path, &json).unwrap();
}

#[track_caller]
fn refuses(model: &Path, parts: &[&str]) {
    let error = UniDiffuser::load(model, &Device::flex()).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn the_recorded_model_is_what_its_files_say() {
    let model = UniDiffuser::load(&fixture("hf-v1"), &Device::flex()).unwrap();
    assert_eq!((model.image_size(), model.context_length()), (32, 77));
    assert_eq!(model.latent_shape(), [4, 8, 8]);
    assert_eq!(model.uvit.num_params(), 160_956);
    let values: usize = tensors(&model).iter().map(|(_, data)| data.num_elements()).sum();
    assert_eq!(model.num_params(), values);
    assert_eq!(model.schedule.discrete().config().beta_end, 0.012);
}

#[test]
fn a_saved_model_loads_with_equal_tensors() {
    let device = Device::flex();
    let model = UniDiffuser::load(&fixture("hf-v1"), &device).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a/b");
    model.save(&folder, Precision::F32).unwrap();
    let index: Value = fs::read_json(&folder.join("model_index.json")).unwrap();
    assert_eq!(index["_class_name"], "UniDiffuserPipeline");
    for component in index.as_object().unwrap().keys().filter(|name| !name.starts_with('_')) {
        assert!(folder.join(component).is_dir(), "{component}");
    }
    let expected: Value =
        fs::read_json(&fixture("hf-v1/clip_image_processor/preprocessor_config.json")).unwrap();
    let found: Value =
        fs::read_json(&folder.join("clip_image_processor/preprocessor_config.json")).unwrap();
    assert_eq!(found, expected);

    let again = UniDiffuser::load(&folder, &device).unwrap();
    assert_eq!(again.config, model.config);
    let (before, after) = (tensors(&model), tensors(&again));
    assert_eq!(before.len(), after.len());
    for ((name, a), (other, b)) in before.iter().zip(&after) {
        assert_eq!(name, other);
        assert_eq!(a, b, "{name}");
    }
    let text = "an elephant under the sea".to_string();
    for (a, b) in [
        (&model.clip_tokenizer, &again.clip_tokenizer),
        (&model.text_tokenizer, &again.text_tokenizer),
    ] {
        assert_eq!(a.encode(&text, 77).unwrap(), b.encode(&text, 77).unwrap());
    }
}

#[test]
fn a_missing_tensor_is_named_with_its_file() {
    for (file, tensor) in [
        ("unet/diffusion_pytorch_model.safetensors", "text_out.bias"),
        ("vae/diffusion_pytorch_model.safetensors", "decoder.conv_in.weight"),
        ("image_encoder/model.safetensors", "visual_projection.weight"),
        ("text_decoder/diffusion_pytorch_model.safetensors", "encode_prefix.bias"),
    ] {
        let (_dir, model) = copy();
        let path = model.join(file);
        rewrite(&path, |tensors| assert!(tensors.remove(tensor).is_some(), "{tensor}"));
        refuses(&model, &[&path.display().to_string(), &format!("`{tensor}`"), "lacks"]);
    }
}

#[test]
fn a_misshapen_tensor_is_named_with_both_shapes() {
    for (file, tensor, expected) in [
        ("unet/diffusion_pytorch_model.safetensors", "clip_img_in.weight", "[48, 20]"),
        ("vae/diffusion_pytorch_model.safetensors", "quant_conv.bias", "[8]"),
        ("text_decoder/diffusion_pytorch_model.safetensors", "encode_prefix.weight", "[24, 48]"),
    ] {
        let (_dir, model) = copy();
        let path = model.join(file);
        rewrite(&path, |tensors| {
            let wrong = TensorData::new(vec![0.0f32; 6], [2, 3]);
            assert!(tensors.insert(tensor.to_string(), wrong).is_some(), "{tensor}");
        });
        let path = path.display().to_string();
        let last = tensor.rsplit('.').next().unwrap();
        refuses(&model, &[&path, last, &format!("expected shape {expected}"), "found [2, 3]"]);
    }
}

#[test]
fn a_missing_file_is_named() {
    for file in ["unet/config.json", "text_encoder/config.json", "text_decoder/config.json"] {
        let (_dir, model) = copy();
        let path = model.join(file);
        std::fs::remove_file(&path).unwrap();
        refuses(&model, &["cannot read", &path.display().to_string()]);
    }
    // Weights may have several names.
    for (folder, file) in
        [("vae", "diffusion_pytorch_model.safetensors"), ("image_encoder", "model.safetensors")]
    {
        let (_dir, model) = copy();
        std::fs::remove_file(model.join(folder).join(file)).unwrap();
        refuses(&model, &[&format!("{folder}: expected one of {file}, "), "found none"]);
    }
    let (_dir, model) = copy();
    std::fs::remove_dir_all(model.join("clip_tokenizer")).unwrap();
    refuses(&model, &["cannot read", "clip_tokenizer"]);
    std::fs::remove_dir_all(&model).unwrap();
    refuses(&model, &["cannot read", &model.display().to_string()]);
}

#[test]
fn components_that_do_not_fit_are_named_by_file_and_field() {
    for (component, field, value) in [
        ("unet", "text_dim", 25),
        ("unet", "num_text_tokens", 76),
        ("unet", "clip_img_dim", 21),
        ("unet", "in_channels", 5),
        ("text_encoder", "max_position_embeddings", 78),
        ("text_encoder", "hidden_size", 52),
        ("vae", "in_channels", 1),
        ("image_encoder", "num_channels", 4),
    ] {
        let (_dir, model) = copy();
        let path = model.join(component).join("config.json");
        set(&path, field, json!(value));
        let found = format!("found {value}");
        refuses(&model, &[&path.display().to_string(), &format!("`{field}`"), &found]);
    }
}

#[test]
fn vocabularies_must_fit_their_tables() {
    for (encoder, tokenizer, rows) in
        [("text_encoder", "clip_tokenizer", 600), ("text_decoder", "text_tokenizer", 340)]
    {
        let (_dir, model) = copy();
        set(&model.join(encoder).join("config.json"), "vocab_size", json!(rows));
        refuses(&model, &[tokenizer, &format!("{rows} rows")]);
    }
}

#[test]
fn the_scheduler_file_is_read_and_may_be_absent() {
    let device = Device::flex();
    let (_dir, model) = copy();
    let path = model.join("scheduler/scheduler_config.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("-Infinity"));
    std::fs::write(&path, text.replace("0.012", "0.02")).unwrap();
    let loaded = UniDiffuser::load(&model, &device).unwrap();
    assert_eq!(loaded.schedule.discrete().config().beta_end, 0.02);

    let dir = tempfile::tempdir().unwrap();
    loaded.save(dir.path(), Precision::F16).unwrap();
    let again = UniDiffuser::load(dir.path(), &device).unwrap();
    assert_eq!(again.config.schedule, loaded.config.schedule);

    std::fs::write(&path, text.replace("scaled_linear", "linear")).unwrap();
    refuses(&model, &[&path.display().to_string(), "`beta_schedule`"]);
    std::fs::remove_file(&path).unwrap();
    let published = UniDiffuser::load(&model, &device).unwrap();
    assert_eq!(published.schedule.discrete().config().beta_end, 0.012);
}

/// A model of fresh weights, which no file has ever held.
#[test]
fn a_fresh_model_is_checked_and_saved() {
    let device = Device::flex();
    let captions = ["a cat on a mat".to_string(), "a dog".to_string()];
    let clip = Tokenizer::train_clip(&captions, 514).unwrap();
    let text = Tokenizer::train_gpt2(&captions, 258).unwrap();
    let config = ModelConfig {
        uvit: UVitConfig { clip_img_dim: 12, num_text_tokens: 8, ..UVitConfig::tiny() },
        autoencoder: AutoencoderConfig::tiny(),
        text_encoder: ClipTextConfig { vocab_size: clip.vocab_size(), ..ClipTextConfig::tiny() },
        image_encoder: ClipVisionConfig::tiny(),
        caption_decoder: CaptionDecoderConfig {
            vocab_size: text.vocab_size(),
            prefix_length: 8,
            ..CaptionDecoderConfig::tiny()
        },
        ..ModelConfig::default()
    };
    let build = |config: &ModelConfig| {
        config.init(&mut Init::random(Seed(1), &device), clip.clone(), text.clone())
    };
    let model = build(&config).unwrap();
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path(), Precision::F32).unwrap();
    let loaded = UniDiffuser::load(dir.path(), &device).unwrap();
    assert_eq!(loaded.config, config);
    for ((name, a), (_, b)) in tensors(&model).iter().zip(&tensors(&loaded)) {
        assert_eq!(a, b, "{name}");
    }

    let mut wrong = config.clone();
    wrong.uvit.text_dim = 7;
    let error = build(&wrong).unwrap_err().to_string();
    assert!(error.contains("`unet.text_dim`") && error.contains("expected 6"), "{error}");
    let mut wrong = config;
    wrong.caption_decoder.vocab_size = 20;
    let error = build(&wrong).unwrap_err().to_string();
    assert!(error.contains("`text_decoder.vocab_size`"), "{error}");
    assert!(ModelConfig::default().check().is_ok());
    assert_eq!(ModelConfig::default().image_size(), 512);
}
