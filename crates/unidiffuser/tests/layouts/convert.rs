//! A conversion is there as a whole or not at all.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::TensorData;
use trefoil_core::weights::{Precision, WeightFile, save};
use trefoil_core::{Error, fs};
use unidiffuser::model::{Layout, ModelFiles};

use super::{copy_folder, layout};

/// Names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_conversion_that_fails_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (dir.path().join("model"), dir.path().join("out"));
    copy_folder(&layout("diffusers"), &model);
    let convert =
        |layout, precision| ModelFiles::open(&model).unwrap().convert(&out, layout, precision);

    // Found before anything is written: tensors that a part lacks.
    let path = model.join("vae/config.json");
    let config: serde_json::Value = fs::read_json(&path).unwrap();
    let mut deeper = config.clone();
    deeper["layers_per_block"] = 2.into();
    fs::write_json(&path, &deeper).unwrap();
    let error = convert(Layout::Diffusers, Precision::F32).unwrap_err();
    assert!(error.to_string().contains("vae"), "{error}");
    assert_eq!(names(dir.path()), ["model"]);
    fs::write_json(&path, &config).unwrap();

    // Found while it is written: a number that half precision does not have.
    let path = model.join("text_decoder/diffusion_pytorch_model.safetensors");
    let file = WeightFile::open(&path).unwrap();
    let floats = file.tensors().filter(|(_, tensor)| tensor.element().is_float());
    let mut tensors: BTreeMap<String, TensorData> =
        floats.map(|(name, tensor)| (name.to_string(), tensor.read().unwrap())).collect();
    drop(file);
    let table = tensors.get_mut("transformer.transformer.wpe.weight").unwrap();
    let shape = table.shape().to_vec();
    *table = TensorData::new(vec![1e30_f32; shape.iter().product()], shape);
    save(&path, &tensors.into_iter().collect::<Vec<_>>(), Precision::F32, BTreeMap::new()).unwrap();
    for layout in [Layout::Diffusers, Layout::Authors] {
        let error = convert(layout, Precision::F16).unwrap_err();
        assert!(matches!(error, Error::NonFinite { .. }), "{error}");
        assert_eq!(names(dir.path()), ["model"]);
    }

    convert(Layout::Authors, Precision::F32).unwrap();
    assert_eq!(names(dir.path()), ["model", "out"]);
    // Nothing is written over.
    let error = convert(Layout::Diffusers, Precision::F32).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
    assert!(out.join("uvit_v1.pth").is_file());
}
