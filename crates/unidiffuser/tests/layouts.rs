//! One model in every published layout: the same numbers, whatever the names, files and formats. The fixtures come
//! from `reference/layouts.py`.

#[expect(dead_code, reason = "no fixture of numbers here")]
mod support;

#[path = "support/models.rs"]
mod models;

#[path = "layouts/convert.rs"]
mod convert;
#[path = "layouts/strict.rs"]
mod strict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use trefoil_core::weights::{Precision, StoredTensor, WeightFile, save};
use trefoil_core::{Error, fs};
use unidiffuser::folder::Component;
use unidiffuser::keys;
use unidiffuser::model::{Layout, ModelFiles, UniDiffuser};
use unidiffuser::uvit::{Levels, Modalities, UVit};

use models::{copy_folder, tensors};
use support::{assert_close, fixture, tensor};

fn layout(name: &str) -> PathBuf {
    fixture("layouts").join(name)
}

fn load(path: &Path) -> UniDiffuser {
    UniDiffuser::load(path, &Device::flex()).unwrap()
}

#[test]
fn every_layout_holds_the_same_model() {
    let expected = load(&layout("diffusers"));
    for name in ["bin", "authors"] {
        let found = load(&layout(name));
        assert_eq!(found.config.uvit, expected.config.uvit, "{name}");
        assert_eq!(found.config.caption_decoder, expected.config.caption_decoder, "{name}");
        let (a, b) = (tensors(&found), tensors(&expected));
        assert_eq!(a.len(), b.len());
        for ((name_a, a), (name_b, b)) in a.iter().zip(&b) {
            assert_eq!(name_a, name_b);
            assert_eq!(a, b, "{name}: {name_a}");
        }
    }
    assert_eq!(ModelFiles::open(&layout("authors")).unwrap().layout, Layout::Authors);
    assert_eq!(ModelFiles::open(&layout("bin")).unwrap().layout, Layout::Diffusers);
}

#[test]
fn the_networks_compute_what_the_libraries_compute() {
    let file = WeightFile::open(&layout("codes.safetensors")).unwrap();
    let model = load(&layout("authors"));
    let close = |name: &str, found: TensorData| {
        assert_close(name, &found, &file.get(name).unwrap(), 1e-5);
    };
    let (ids, shape) = file.get_integers("ids").unwrap();
    let integers = |values: Vec<i64>, shape: &[usize]| {
        let data = TensorData::new(values, [shape[0], shape[1]]);
        Tensor::<2, Int>::from_data(data, &Device::flex())
    };
    let hidden = model.text_encoder.forward(integers(ids, &shape));
    let text = model.caption_decoder.encode(hidden.clone());
    close("hidden", hidden.into_data());
    close("text", text.clone().into_data());
    let encoded = model.clip_tokenizer.encode("the sea and the moon", shape[1]).unwrap().ids;
    let recorded = file.get_integers("ids").unwrap().0;
    assert_eq!(encoded.into_iter().map(i64::from).collect::<Vec<_>>(), recorded);

    let z: Tensor<4> = tensor(&file, "z");
    let input = Modalities { z: z.clone(), clip: tensor(&file, "clip"), text: text.clone() };
    let out = model.uvit.forward(input, &Levels::uniform(1, 300.0, 20.0));
    close("out_z", out.z.into_data());
    close("out_clip", out.clip.into_data());
    close("out_text", out.text.into_data());
    let pixels: Tensor<4> = tensor(&file, "pixels");
    close("mean", model.autoencoder.encode(pixels.clone()).mean.into_data());
    close("decoded", model.autoencoder.decode(z).into_data());
    close("embedding", model.image_encoder.forward(pixels).into_data());
    let (tokens, shape) = file.get_integers("tokens").unwrap();
    let logits = model.caption_decoder.logits(text, integers(tokens, &shape));
    close("logits", logits.into_data());
}

#[test]
fn versions_are_told_apart_by_the_weights() {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&layout("authors"), dir.path());
    let v0 = dir.path().join("uvit_v0.pth");
    std::fs::copy(layout("authors-v0").join("uvit_v0.pth"), &v0).unwrap();
    // Of two, the newer; the other by name.
    assert!(load(dir.path()).config.uvit.use_data_type_embedding);
    let model = load(&v0);
    assert!(!model.config.uvit.use_data_type_embedding);
    std::fs::remove_file(dir.path().join("uvit_v1.pth")).unwrap();
    assert_eq!(load(dir.path()).uvit.num_params(), model.uvit.num_params());

    // A configuration of diffusers that says the opposite is corrected.
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&layout("diffusers"), dir.path());
    let path = dir.path().join("unet/config.json");
    let mut config: serde_json::Value = fs::read_json(&path).unwrap();
    config["use_data_type_embedding"] = false.into();
    fs::write_json(&path, &config).unwrap();
    assert!(load(dir.path()).config.uvit.use_data_type_embedding);
}

#[test]
fn half_precision_files_are_read() {
    let model = load(&layout("diffusers"));
    for (precision, tolerance) in [(Precision::F16, 6e-4), (Precision::Bf16, 5e-3)] {
        let dir = tempfile::tempdir().unwrap();
        model.save(dir.path(), precision).unwrap();
        let name = "unet/diffusion_pytorch_model";
        let from = dir.path().join(format!("{name}.safetensors"));
        std::fs::rename(from, dir.path().join(format!("{name}.fp16.safetensors"))).unwrap();
        let found = load(dir.path());
        for ((name, a), (_, b)) in tensors(&found).iter().zip(&tensors(&model)) {
            assert_close(name, a, b, tolerance);
        }
    }
}

/// Names in the authors' layout and back give the same tensors.
#[test]
fn names_go_to_the_authors_and_back() {
    let files = ModelFiles::open(&layout("diffusers")).unwrap();
    let as_file = |tensors: Vec<(String, StoredTensor)>| {
        files.uvit.weights.clone().with_tensors(tensors.into_iter().collect())
    };
    let original = keys::autoencoder_to_original(files.autoencoder.stored().unwrap(), 2);
    let authors = WeightFile::open(&layout("authors/autoencoder_kl.pth")).unwrap();
    let original = as_file(original);
    assert_eq!(original.names().unwrap(), authors.names().unwrap());
    for (name, tensor) in authors.tensors() {
        assert_eq!(original.get(name).unwrap(), tensor.read().unwrap(), "{name}");
    }
    let original =
        as_file(keys::caption_decoder_to_original(files.caption_decoder.stored().unwrap()));
    let authors = WeightFile::open(&layout("authors/caption_decoder.pth")).unwrap();
    for (name, tensor) in original.tensors() {
        assert_eq!(authors.get(name).unwrap(), tensor.read().unwrap(), "{name}");
    }
    // The noise predictor is held under the authors' names.
    let stored = files.uvit.stored().unwrap();
    let authors = WeightFile::open(&layout("authors/uvit_v1.pth")).unwrap();
    assert_eq!(as_file(stored.clone()).names().unwrap(), authors.names().unwrap());
    let diffusers = WeightFile::open(&layout("diffusers/unet/diffusion_pytorch_model.safetensors"));
    let diffusers = diffusers.unwrap();
    let published = as_file(UVit::published(stored));
    assert_eq!(published.names().unwrap(), diffusers.names().unwrap());
    let used = diffusers.tensors().filter(|(n, _)| !n.starts_with("transformer.pos_embed"));
    for (name, tensor) in used {
        assert_eq!(published.get(name).unwrap(), tensor.read().unwrap(), "{name}");
    }
}

#[test]
fn everything_that_does_not_fit_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&layout("diffusers"), dir.path());
    let path = dir.path().join("vae/diffusion_pytorch_model.safetensors");
    let file = WeightFile::open(&path).unwrap();
    let mut all: BTreeMap<String, TensorData> =
        file.tensors().map(|(name, t)| (name.to_string(), t.read().unwrap())).collect();
    drop(file);
    all.remove("quant_conv.bias").unwrap();
    all.insert("loss.weight".into(), TensorData::new(vec![1.0f32], [1]));
    all.insert("post_quant_conv.bias".into(), TensorData::new(vec![1.0f32; 6], [2, 3]));
    save(&path, &all.into_iter().collect::<Vec<_>>(), Precision::F32, BTreeMap::new()).unwrap();
    let error = UniDiffuser::load(dir.path(), &Device::flex()).unwrap_err();
    let Error::TensorMismatch { missing, unexpected, misshapen, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((missing.len(), unexpected.len(), misshapen.len()), (1, 1, 1));
    let text = error.to_string();
    for part in [
        "vae/diffusion_pytorch_model.safetensors does not fit the model",
        "lacks 1 tensor(s): `quant_conv.bias`",
        "1 unexpected tensor(s): `loss.weight`",
        "`post_quant_conv.bias`: expected shape [4], found [2, 3]",
    ] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[track_caller]
fn refuses(path: &Path, parts: &[&str]) {
    let error = UniDiffuser::load(path, &Device::flex()).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn what_the_authors_folder_lacks_is_named() {
    for (file, part) in [
        ("caption_decoder.pth", "expected one of caption_decoder.pth"),
        ("autoencoder_kl.pth", "expected one of autoencoder_kl.pth"),
        ("ViT-B-32.pt", "clip-vit-base-patch32"),
        ("clip-vit-large-patch14", "expected one of text_encoder"),
        ("gpt2", "expected one of text_tokenizer"),
        // Heads of another width than 64 do not follow from the weights.
        ("config.json", "num_heads"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(&layout("authors"), dir.path());
        let path = dir.path().join(file);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
        refuses(dir.path(), &[part]);
    }
}

#[test]
fn processors_that_normalise_otherwise_are_refused_under_both_names() {
    for name in ["image_processor", "clip_image_processor"] {
        let dir = tempfile::tempdir().unwrap();
        copy_folder(&layout("diffusers"), dir.path());
        let folder = dir.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join("preprocessor_config.json"),
            r#"{"image_mean": [0.5, 0.5, 0.5]}"#,
        )
        .unwrap();
        refuses(dir.path(), &[name, "`image_mean`", "found [0.5,0.5,0.5]"]);
    }
}

/// Shards that an index names outside of its folder are not opened.
#[test]
fn an_index_cannot_lead_out_of_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&layout("bin"), dir.path());
    let index = dir.path().join("unet/diffusion_pytorch_model.bin.index.json");
    let text = fs::read_to_string(&index).unwrap();
    let own = "diffusion_pytorch_model.bin.index.json";
    for name in ["../x", own] {
        let shard = "diffusion_pytorch_model-00001-of-00002.bin";
        std::fs::write(&index, text.replace(shard, name)).unwrap();
        refuses(dir.path(), &["bin.index.json", name, "is not the name of a shard"]);
    }
}

/// The published weights' own configuration: what a component folder needs is written and read.
#[test]
fn a_component_is_opened_without_reading_its_weights() {
    let part = UVit::open(&layout("bin")).unwrap();
    assert_eq!(part.config.num_layers, 2);
    assert_eq!(part.parameters().unwrap(), load(&layout("bin")).uvit.num_params());
}
