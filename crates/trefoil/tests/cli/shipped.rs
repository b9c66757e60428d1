//! The model of the repository: found without being named, and good at what it was trained for.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use burn::tensor::{Device, Int, Tensor, TensorData};
use trefoil_core::Picture;
use trefoil_train::data::{DataOptions, Dataset};
use unidiffuser::model::UniDiffuser;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/openmoji-32")
}

/// Rows of unit length.
fn normalised(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().square().sum_dim(1).sqrt();
    x / length
}

/// The program, in another folder and without a word on the model, draws the examples' captions; by the
/// model's own CLIP seven of the eight drawings find the caption that they were drawn from, and one may be
/// lost to another processor's rounding. Chance finds one.
#[test]
fn drawings_find_their_captions() {
    let folder = tempfile::tempdir().unwrap();
    let options = DataOptions { split: None, ..DataOptions::new(32) };
    let examples = Dataset::load(&[shipped().join("examples")], &options).unwrap().samples;
    let captions: Vec<String> = examples.iter().map(|e| e.captions[0].clone()).collect();
    let mut drawn = Vec::new();
    for caption in &captions {
        let mut command: Command = assert_cmd::cargo::cargo_bin_cmd!("trefoil");
        command.env_remove("TREFOIL_MODEL").current_dir(folder.path());
        command.args(["generate", caption, "--seed", "3", "-o", "drawn.png"]).assert().success();
        drawn.push(Picture::open(&folder.path().join("drawn.png")).unwrap());
    }

    let device = Device::flex();
    let model = UniDiffuser::load(&shipped(), &device).unwrap();
    let length = model.context_length();
    let ids = model.clip_tokenizer.encode_batch(&captions, length).unwrap().concat();
    let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [captions.len(), length]), &device);
    let texts = model.text_encoder.pooled(model.text_encoder.forward(ids.clone()), ids);
    let pictures = model.encode_images(&drawn).unwrap().clip.squeeze_dim::<2>(1);
    let scores = normalised(pictures).matmul(normalised(texts).transpose());
    let best: Vec<i64> = scores.argmax(1).into_data().iter::<i64>().collect();
    let found = (0i64..).zip(&best).filter(|(i, best)| i == *best).count();
    assert!(found >= 6, "{found} of {}: {best:?}", captions.len());
}

/// Captions of pictures that the model has seen, and of a profession and a skin tone that it has only seen
/// apart.
#[test]
fn pictures_are_described() {
    let folder = shipped().join("examples/images");
    for (picture, caption) in [
        ("1F34E.png", "red apple"),
        ("1F469-1F3FD-200D-1F692.png", "woman firefighter: medium skin tone"),
        ("1F46E-1F3FF-200D-2642-FE0F.png", "man police officer: dark skin tone"),
    ] {
        let mut command: Command = assert_cmd::cargo::cargo_bin_cmd!("trefoil");
        command.env_remove("TREFOIL_MODEL").current_dir(&folder);
        let output = command.args(["caption", picture, "--seed", "0"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), caption);
    }
}
