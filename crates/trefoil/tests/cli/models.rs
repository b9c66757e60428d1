//! `trefoil models`, and models that are not folders of diffusers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use trefoil_core::weights::{Precision, WeightFile, save};

use crate::support::{copy_folder, json_lines, lines, model, run};

fn layouts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../unidiffuser/tests/fixtures/layouts")
}

/// Puts a revision of a model into the cache of the test, and returns where its files are.
fn cached(folder: &Path, id: &str, (reference, commit): (&str, &str), from: &Path) -> PathBuf {
    let root = folder.join("hub").join(format!("models--{}", id.replace('/', "--")));
    let snapshot = root.join("snapshots").join(commit);
    copy_folder(from, &snapshot);
    std::fs::create_dir_all(root.join("refs")).unwrap();
    std::fs::write(root.join("refs").join(reference), commit).unwrap();
    snapshot
}

#[test]
fn facts_are_told_before_loading() {
    let dir = tempfile::tempdir().unwrap();
    let path = model().display().to_string();
    let out = lines(dir.path(), &["models", "info", &path]);
    assert_eq!(out[0], path);
    assert_eq!(out[1], "  layout: diffusers, UniDiffuser v1, pictures of 32 pixels");
    assert!(out[2].starts_with("  unet") && out[2].contains("160956 parameters"), "{}", out[2]);
    assert!(out[2].ends_with("f32   diffusion_pytorch_model.safetensors"), "{}", out[2]);
    assert_eq!(out[7], "  licence: not said in the folder");
    assert!(out[8].starts_with("  memory: ") && out[8].contains("for the weights"), "{}", out[8]);
    let json = &json_lines(dir.path(), &["models", "info", "--json", &path])[0];
    assert_eq!((json["version"].as_str(), json["image_size"].as_u64()), (Some("v1"), Some(32)));
    // The axes of the tiny model are mostly too short for a scale; those of the shipped one are not.
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/openmoji-32");
    let shipped = &json_lines(dir.path(), &["models", "info", "--json", shipped])[0];
    for (held, eight_bits) in
        [(&json["memory"]["held"], 0.5..1.0), (&shipped["memory"]["held"], 0.25..0.4)]
    {
        let bytes =
            |name: &str| held[name].as_u64().unwrap() as f64 / held["f32"].as_u64().unwrap() as f64;
        assert!(bytes("f16") == bytes("bf16") && (0.5..0.6).contains(&bytes("f16")), "{held}");
        assert!(eight_bits.contains(&bytes("int8")), "{held}");
    }
    assert!(out[8].contains(" MB in bf16") && out[8].contains(" MB in int8"), "{}", out[8]);
    let total: u64 = json["components"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["parameters"].as_u64().unwrap())
        .sum();
    assert_eq!(json["memory"]["weights"].as_u64(), Some(4 * total));

    let authors = layouts().join("authors").display().to_string();
    let out = lines(dir.path(), &["models", "info", &authors]);
    assert_eq!(out[1], "  layout: authors, UniDiffuser v1, pictures of 8 pixels");
    assert!(out[5].ends_with("ViT-B-32.pt"), "{}", out[5]);
}

#[test]
fn models_of_the_cache_are_listed_found_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let out = lines(dir.path(), &["models", "list"]);
    assert!(
        out[0].starts_with("(comes with Trefoil)") && out[0].contains("M parameters"),
        "{out:?}"
    );
    assert_eq!(out.len(), 1);
    cached(dir.path(), "o/tiny", ("main", "0123abcd"), &model());
    std::fs::create_dir_all(dir.path().join("hub/models--o--other/snapshots/1")).unwrap();
    let out = lines(dir.path(), &["models", "list"]);
    assert!(out.len() == 2 && out[1].starts_with("o/tiny "), "{out:?}");
    let pulled = lines(dir.path(), &["models", "pull", "o/tiny"]);
    assert!(pulled[0].ends_with("models--o--tiny/snapshots/0123abcd"), "{pulled:?}");

    let draw = |model: &str| {
        let fast = ["--steps", "1", "--seed", "1", "-o", "a.png", "--json", "--model", model];
        json_lines(dir.path(), &[&["generate", "a cat"][..], &fast].concat())[0].clone()
    };
    let expected = draw(&model().display().to_string())["model"]["sha256"].clone();
    for name in ["o/tiny", "o/tiny@main", "o/tiny@0123abcd"] {
        assert_eq!(draw(name)["model"]["sha256"], expected);
    }
    let removed = run(dir.path(), &["models", "rm", "o/tiny"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    let what = "models--o--tiny: reference main, snapshot 0123abcd, the folder itself\n";
    assert!(removed.err.ends_with(what), "{}", removed.err);
    assert!(!dir.path().join("hub/models--o--tiny").exists());
    assert_eq!(run(dir.path(), &["models", "rm", "o/tiny"]).code, Some(1));
    let absent = run(dir.path(), &["models", "pull", "o/tiny"]);
    assert_eq!(absent.code, Some(2));
    let hint = if cfg!(feature = "hub") {
        "hint: HF_HUB_OFFLINE forbids to fetch it"
    } else {
        "hint: this build does not download; `hf download o/tiny"
    };
    assert!(absent.err.contains(hint), "{}", absent.err);
    let absent = run(dir.path(), &["generate", "a cat", "--model", "o/tiny"]);
    assert!(absent.err.contains("no such model folder: o/tiny, nor is it in "), "{}", absent.err);
}

#[test]
fn no_more_is_removed_than_was_named() {
    let dir = tempfile::tempdir().unwrap();
    let remove = |id: &str| -> String {
        let removed = run(dir.path(), &["models", "rm", id]);
        assert_eq!(removed.code, Some(0), "{removed:?}");
        let (before, what) = removed.err.trim_end().rsplit_once(": ").unwrap();
        assert!(before.starts_with("removed from ") && before.ends_with("models--o--tiny"));
        what.to_string()
    };
    for (reference, commit) in [("main", "abc123"), ("v1", "abc123"), ("fp16", "def456")] {
        cached(dir.path(), "o/tiny", (reference, commit), &model());
    }
    let names = |lines: &[String]| -> Vec<String> {
        let first = |line: &String| line.split(' ').next().unwrap().to_string();
        lines[1..].iter().map(first).collect()
    };
    let listed = || names(&lines(dir.path(), &["models", "list"]));
    assert_eq!(listed(), ["o/tiny", "o/tiny@fp16", "o/tiny@v1"]);
    assert_eq!(remove("o/tiny@v1"), "reference v1");
    assert_eq!(remove("o/tiny@main"), "reference main, snapshot abc123");
    assert_eq!(listed(), ["o/tiny@fp16"]);
    assert_eq!(run(dir.path(), &["models", "rm", "o/tiny@main"]).code, Some(1));
    cached(dir.path(), "o/tiny", ("main", "abc123"), &model());
    assert_eq!(remove("o/tiny@abc123"), "reference main, snapshot abc123");
    assert_eq!(remove("o/tiny@fp16"), "reference fp16, snapshot def456, the folder itself");
    assert!(!dir.path().join("hub/models--o--tiny").exists());
}

#[test]
fn half_a_model_is_listed_and_not_taken_for_a_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let snapshot = cached(dir.path(), "o/half", ("main", "0123abcd"), &model());
    std::fs::remove_dir_all(snapshot.join("unet")).unwrap();
    cached(dir.path(), "o/onlyrev", ("fp16", "0123abcd"), &model());
    // Of somebody else.
    let other = cached(dir.path(), "o/other", ("main", "0123abcd"), &model().join("vae"));
    std::fs::write(other.join("model_index.json"), r#"{"_class_name": "Other"}"#).unwrap();
    let out = lines(dir.path(), &["models", "list"]);
    assert_eq!(out.len(), 3, "{out:?}");
    assert!(out[1].starts_with("o/half ") && out[1].contains(" broken: "), "{}", out[1]);
    assert!(out[1].contains("unet") && out[1].ends_with("snapshots/0123abcd"), "{}", out[1]);
    assert!(out[2].starts_with("o/onlyrev@fp16 ") && out[2].contains(" M "), "{}", out[2]);
    let json = json_lines(dir.path(), &["models", "list", "--json"]);
    assert_eq!((json[1]["name"].as_str(), json[1].get("parameters")), (Some("o/half"), None));
    assert!(json[1]["problem"].as_str().unwrap().contains("unet"), "{}", json[1]);

    let half = run(dir.path(), &["models", "pull", "o/half"]);
    assert_eq!((half.code, half.out.as_str()), (Some(2), ""), "{half:?}");
    assert!(half.err.contains("error: o/half is incomplete or damaged in "), "{}", half.err);
    let hint = if cfg!(feature = "hub") {
        "hint: HF_HUB_OFFLINE forbids to fetch what is missing"
    } else {
        "hint: this build does not download; `hf download o/half --revision main`"
    };
    assert!(half.err.contains(hint), "{}", half.err);
    let whole = lines(dir.path(), &["models", "pull", "o/onlyrev@fp16"]);
    assert!(whole[0].ends_with("models--o--onlyrev/snapshots/0123abcd"), "{whole:?}");
}

/// The generator goes along in every layout, and a conversion that fails leaves nothing, so that the next one may succeed.
#[test]
fn conversions_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("m");
    copy_folder(&model(), &source);
    copy_folder(&model().join("unet"), &source.join("one_step/unet"));
    let about = source.join("one_step/one_step.json");
    std::fs::write(&about, r#"{"level": 5.0, "tasks": ["text-to-image"]}"#).unwrap();
    std::fs::write(source.join("LICENSE.txt"), "free").unwrap();
    let draw = |model: &str| -> Vec<u8> {
        let args = ["generate", "the sea", "--one-step", "--seed", "4", "-o", "x.png", "--model"];
        lines(dir.path(), &[&args[..], &[model]].concat());
        let picture = trefoil_core::Picture::open(&dir.path().join("x.png")).unwrap();
        picture.pixels().to_vec()
    };
    let expected = draw("m");
    let convert =
        |more: &[&str]| run(dir.path(), &[&["models", "convert", "m"][..], more].concat());
    for layout in ["diffusers", "authors"] {
        let done = convert(&[layout, "--layout", layout]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.err.contains("with its one-step generator"), "{}", done.err);
        assert_eq!(draw(layout), expected, "{layout}");
        assert!(dir.path().join(layout).join("LICENSE.txt").is_file());
    }

    let names = || -> Vec<String> {
        let entries = std::fs::read_dir(dir.path()).unwrap().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let before = names();
    std::fs::write(&about, r#"{"level": 0.0, "tasks": ["text-to-image"]}"#).unwrap();
    let failed = convert(&["again"]);
    assert_eq!(failed.code, Some(2), "{failed:?}");
    assert!(failed.err.contains("`level`: expected a positive number"), "{}", failed.err);
    assert_eq!(names(), before);
    std::fs::remove_dir_all(source.join("one_step")).unwrap();
    let done = convert(&["again"]);
    assert_eq!(done.code, Some(0), "{done:?}");
}

#[test]
fn conversions_keep_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let authors = layouts().join("authors").display().to_string();
    let sample = |model: &str| -> Vec<u8> {
        let args =
            ["generate", "the sea", "--steps", "2", "--seed", "4", "-o", "x.png", "--model", model];
        lines(dir.path(), &args);
        let picture = trefoil_core::Picture::open(&dir.path().join("x.png")).unwrap();
        picture.pixels().to_vec()
    };
    let expected = sample(&authors);
    let convert = |from: &str, to: &str, more: &[&str]| {
        let done = run(dir.path(), &[&["models", "convert", from, to][..], more].concat());
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    convert(&authors, "a", &[]);
    convert("a", "b", &["--layout", "authors"]);
    assert!(dir.path().join("b/uvit_v1.pth").is_file());
    convert("b", "c", &["--precision", "bf16"]);
    for name in ["a", "b"] {
        assert_eq!(sample(name), expected, "{name}");
        let checked = lines(dir.path(), &["models", "verify", name]);
        assert!(
            checked.len() == 5 && checked[0].contains("names, shapes and numbers"),
            "{checked:?}"
        );
    }
    let size = |name: &str| {
        dir.path()
            .join(name)
            .join("unet/diffusion_pytorch_model.safetensors")
            .metadata()
            .unwrap()
            .len()
    };
    assert!(size("c") * 10 < size("a") * 7, "{} {}", size("c"), size("a"));
    assert!(lines(dir.path(), &["models", "info", "c"])[2].contains(" bf16 "));
    let again = run(dir.path(), &["models", "convert", "a", "c"]);
    assert_eq!(again.code, Some(2));
    assert!(again.err.contains("error: c exists and is not empty"), "{}", again.err);
}

#[test]
fn files_of_pytorch_are_inspected() {
    let dir = tempfile::tempdir().unwrap();
    let path = layouts().join("authors/uvit_v1.pth").display().to_string();
    let out = lines(dir.path(), &["inspect", &path]);
    assert!(out[1].ends_with(" parameters") && out[1].contains(" tensors, "), "{}", out[1]);
    assert!(out.contains(&"  pos_embed F32 [1, 84, 16]".to_string()), "{out:?}");
    let evil = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../trefoil-core/tests/fixtures/torch/evil.pth")
        .display()
        .to_string();
    let refused = run(dir.path(), &["inspect", &evil]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains(".system` at byte"), "{}", refused.err);
}

/// A message has the first of many; `verify` has them all, of all networks, and looks at numbers and the output head too.
#[test]
fn everything_that_is_wrong_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let change = |model: &str,
                  part: &str,
                  change: &dyn Fn(&str, TensorData) -> Option<TensorData>| {
        let path = dir.path().join(model).join(part).join("diffusion_pytorch_model.safetensors");
        let file = WeightFile::open(&path).unwrap();
        let tensors = file.names().unwrap().into_iter();
        let tensors = tensors.filter_map(|name| {
            let data = change(&name, file.get(&name).unwrap())?;
            Some((name, data))
        });
        let tensors: Vec<_> = tensors.collect();
        drop(file);
        save(&path, &tensors, Precision::F32, BTreeMap::new()).unwrap();
    };
    for name in ["names", "numbers"] {
        copy_folder(&layouts().join("diffusers"), &dir.path().join(name));
    }

    let blocks = "transformer.transformer_in_blocks.0.";
    change("names", "unet", &|name, data| (!name.starts_with(blocks)).then_some(data));
    change("names", "vae", &|name, data| (name != "quant_conv.bias").then_some(data));
    let names = run(dir.path(), &["models", "verify", "names"]);
    assert_eq!(names.code, Some(2));
    for part in [
        "unet: missing `transformer.transformer_in_blocks.0.attn1.to_k.weight`: expected [16, 16]",
        "unet: missing `transformer.transformer_in_blocks.0.norm3.bias`: expected [16]",
        "vae: missing `quant_conv.bias`: expected [8]",
        "error: names/unet/diffusion_pytorch_model.safetensors does not fit the model: it lacks 13 tensor(s): ",
    ] {
        assert!(names.err.contains(part), "`{part}` is not in: {}", names.err);
    }
    assert!(names.out.contains("text_decoder"), "{}", names.out);

    let constant = |x: f32, data: &TensorData| TensorData::full::<f32, _>(data.shape().to_vec(), x);
    change("numbers", "unet", &|name, data| {
        Some(if name == "text_in.bias" { constant(f32::NAN, &data) } else { data })
    });
    change("numbers", "text_decoder", &|name, data| {
        Some(if name.ends_with("lm_head.weight") { constant(0.5, &data) } else { data })
    });
    let numbers = run(dir.path(), &["models", "verify", "numbers"]);
    assert_eq!(numbers.code, Some(1));
    for part in ["unet: `text_in.bias`: not finite", "text_decoder: the output head differs"] {
        assert!(numbers.err.contains(part), "`{part}` is not in: {}", numbers.err);
    }
}
