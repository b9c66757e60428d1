//! Wrong input: one line that says what is wrong, a remedy, exit code 2, nothing on standard output.

use std::collections::BTreeMap;
use std::path::Path;

use trefoil_core::weights::{Precision, WeightFile, save};

use crate::support::{copy_folder, model, run, write_picture};

/// Runs, and expects an error that contains `parts` in this order.
fn refused(folder: &Path, args: &[&str], parts: &[&str]) {
    let run = run(folder, args);
    assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{args:?}: {run:?}");
    assert!(run.err.starts_with("error: "), "{}", run.err);
    let mut rest = run.err.as_str();
    for part in parts {
        let found = rest.find(part).unwrap_or_else(|| panic!("`{part}` is not in {}", run.err));
        rest = &rest[found + part.len()..];
    }
    let message = run.err.split("\n\n").next().unwrap();
    assert_eq!(message.trim_end().lines().count(), 1, "one line: {}", run.err);
}

#[test]
fn pictures_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    refused(
        folder.path(),
        &["caption", "absent.png"],
        &["cannot read absent.png: No such file", "\n\nhint: check the spelling"],
    );
    std::fs::write(folder.path().join("text.png"), "hello").unwrap();
    write_picture(&folder.path().join("good.png"), [9; 3]);
    refused(
        folder.path(),
        &["caption", "good.png", "text.png"],
        &["text.png is not a readable picture", "\n\nhint: PNG and JPEG"],
    );
    refused(folder.path(), &["vary", "text.png"], &["text.png is not a readable picture"]);
    refused(
        folder.path(),
        &["vary", "red apple"],
        &[
            "no such picture: red apple",
            "\n\nhint: a text that is to be varied goes after `--text`",
        ],
    );
    refused(folder.path(), &["blend", "good.png", "absent.png"], &["cannot read absent.png"]);
    refused(folder.path(), &["generate", "--from", "absent.png"], &["cannot read absent.png"]);
    refused(folder.path(), &["inspect", "absent.png"], &["cannot read absent.png: No such file"]);
}

#[test]
fn prompts_that_are_empty_or_too_long() {
    let folder = tempfile::tempdir().unwrap();
    refused(folder.path(), &["generate", ""], &["the prompt is empty", "\n\nhint: describe"]);
    refused(folder.path(), &["vary", "--text", "  "], &["the prompt is empty"]);
    let long = "cat ".repeat(100);
    refused(
        folder.path(),
        &["generate", &long, "--seed", "1"],
        &["error: the prompt has ", " tokens; this model takes 75", "\n\nhint: shorten"],
    );
    let none = run(folder.path(), &["generate"]);
    assert_eq!(none.code, Some(2));
    assert!(none.err.contains("<PROMPT>"), "{}", none.err);
}

#[test]
fn values_that_are_out_of_range() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 9] = [
        (&["--steps", "0"], "invalid value '0' for '--steps <N>'"),
        (&["--steps", "x"], "invalid value 'x' for '--steps <N>'"),
        (&["--count", "0"], "invalid value '0' for '--count <N>': expected at least 1"),
        (&["--batch", "0"], "invalid value '0' for '--batch <N>': expected at least 1"),
        (&["--guidance", "inf"], "must be finite"),
        (&["--solver", "magic"], "[possible values: dpm-fast, dpm-multistep, ddim, euler, heun]"),
        (&["--device", "tpu"], "device `tpu`: unknown device; available: auto, cpu"),
        (&["--device", "rocm:7"], "device `rocm:7`: not part of this build"),
        (&["-o", "cat.jpg"], "error: cat.jpg: pictures are written as PNG only"),
    ];
    for (options, expected) in cases {
        let run = run(folder.path(), &[&["generate", "a cat", "--seed", "1"], options].concat());
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{options:?}: {run:?}");
        assert!(run.err.contains(expected), "{options:?}: {}", run.err);
    }
    write_picture(&folder.path().join("a.png"), [9; 3]);
    let weights = run(folder.path(), &["blend", "a.png", "a.png", "--weights", "0,1.5"]);
    assert_eq!(weights.code, Some(2));
    assert!(weights.err.contains("'1.5'") && weights.err.contains("between 0 and 1"));
}

/// From the name and shape of a tensor to its new shape, or to nothing when it is left out.
type NewShape<'a> = dyn Fn(&str, Vec<usize>) -> Option<Vec<usize>> + 'a;

#[test]
fn models_that_are_absent_or_broken() {
    let folder = tempfile::tempdir().unwrap();
    let with = |model: &str, parts: &[&str]| {
        refused(folder.path(), &["generate", "a cat", "--seed", "1", "--model", model], parts);
    };
    with("nowhere", &["no such model folder: nowhere", "\n\nhint: "]);
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    with(
        "empty",
        &["empty: expected a model: `model_index.json` with its folders, or `uvit_v1.pth`"],
    );

    // One tensor too few, one too many, one of another shape.
    let file = "unet/diffusion_pytorch_model.safetensors";
    let weights = WeightFile::open(&model().join(file)).unwrap();
    let names = weights.names().unwrap();
    let rewrite = |name: &str, change: &NewShape<'_>| {
        let copy = folder.path().join(name);
        copy_folder(&model(), &copy);
        let tensors = names.iter().filter_map(|name| {
            let data = weights.get(name).unwrap();
            let shape = change(name, data.shape().to_vec())?;
            let values: Vec<f32> = data.iter::<f32>().collect();
            let data = burn::tensor::TensorData::new(values, shape);
            Some((name.clone(), data))
        });
        let tensors: Vec<_> = tensors.collect();
        save(&copy.join(file), &tensors, Precision::F32, BTreeMap::new()).unwrap();
    };
    let chosen = names.iter().find(|name| name.ends_with("norm1.bias")).unwrap().as_str();
    rewrite("missing", &|name, shape| (name != chosen).then_some(shape));
    with(
        "missing",
        &["missing/unet/", "lacks 1 tensor(s)", "hint: the weights and the config.json"],
    );
    rewrite("misshapen", &|name, shape| {
        Some(if name == chosen { vec![1, shape[0]] } else { shape })
    });
    with(
        "misshapen",
        &["tensor `", "misshapen/unet/", "expected shape [48], found [1, 48]", "hint: the weights"],
    );

    let cut = std::fs::read(model().join(file)).unwrap();
    copy_folder(&model(), &folder.path().join("cut"));
    std::fs::write(folder.path().join("cut").join(file), &cut[..1000]).unwrap();
    with("cut", &["cut/unet/", "not a safetensors file"]);
}

#[test]
fn places_that_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let draw = |output: &str, parts: &[&str]| {
        let args = ["generate", "a cat", "--steps", "1", "--seed", "1", "-o", output];
        refused(folder.path(), &args, parts);
    };
    draw("file/cat.png", &["cannot write file", "\n\nhint: choose a folder"]);
    draw("file/pictures/", &["cannot write file/pictures", "\n\nhint: choose a folder"]);
    let args = ["sample", "--text", "--steps", "1", "--seed", "1", "-o", "file/texts.txt"];
    refused(folder.path(), &args, &["cannot write file", "\n\nhint: choose a folder"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let fast = ["--steps", "1", "--seed", "1", "-o", "/dev/full"];
    for start in [&["generate", "a cat"][..], &["sample", "--text"]] {
        refused(
            folder.path(),
            &[start, &fast].concat(),
            &["cannot write /dev/full: No space left", "\n\nhint: free some space"],
        );
    }
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let program = crate::support::trefoil(folder.path()).get_program().to_owned();
    let output = std::process::Command::new(program)
        .args(["completions", "bash"])
        .stdout(full)
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.starts_with("error: cannot write standard output: No space left"), "{err}");
}
