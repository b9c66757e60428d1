//! `trefoil models`, and models that are not folders of diffusers.

use std::path::{Path, PathBuf};

use crate::support::{copy_folder, json_lines, lines, model, run};

fn layouts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../unidiffuser/tests/fixtures/layouts")
}

/// Puts a model into the cache of the test.
fn cached(folder: &Path, id: &str, from: &Path) {
    let root = folder.join("hub").join(format!("models--{}", id.replace('/', "--")));
    copy_folder(from, &root.join("snapshots/0123abcd"));
    std::fs::create_dir_all(root.join("refs")).unwrap();
    std::fs::write(root.join("refs/main"), "0123abcd").unwrap();
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
    cached(dir.path(), "o/tiny", &model());
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
