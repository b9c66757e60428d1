//! `trefoil train` on a dozen pictures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{json_lines, lines, run, trefoil, write_picture};

/// Networks of a few thousand weights; each stage sees a few dozen samples.
const RECIPE: &str = r"
[data]
resolution = 16
clip_vocabulary = 600
caption_vocabulary = 300

[autoencoder.model]
block_out_channels = [8, 8]
layers_per_block = 1
norm_num_groups = 4
latent_channels = 2

[clip.text]
hidden_size = 16
intermediate_size = 16
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 8

[clip.vision]
image_size = 16
patch_size = 8
hidden_size = 16
intermediate_size = 16
num_hidden_layers = 1
num_attention_heads = 2
projection_dim = 8

[caption.model]
prefix_hidden_dim = 8
n_positions = 96
n_embd = 16
n_layer = 1
n_head = 2

[unidiffuser.model]
patch_size = 2
embed_dim = 16
num_layers = 2
num_heads = 2

[unidiffuser.preview]
count = 1
steps = 2
";

const STAGES: [&str; 4] = ["autoencoder", "clip", "caption", "unidiffuser"];

/// A folder with a dataset and a recipe in which a stage sees `durations` samples.
fn workplace(durations: [u32; 4], checkpoint_every: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut rows = String::new();
    for i in 0..12_u8 {
        write_picture(&data.join(format!("{i:02}.png")), [i * 20, 255 - i * 20, 128]);
        let row =
            json!({"file_name": format!("{i:02}.png"), "text": format!("picture number {i}")});
        writeln!(rows, "{row}").unwrap();
    }
    std::fs::write(data.join("metadata.jsonl"), rows).unwrap();
    let mut recipe = RECIPE.to_string();
    for (stage, duration) in STAGES.iter().zip(durations) {
        write!(
            recipe,
            "\n[{stage}.train]\nbatch_size = 4\nduration = {duration}\nwarmup = 8\n\
             log_every = 8\nsample_every = 0\ncheckpoint_every = {checkpoint_every}\n"
        )
        .unwrap();
    }
    std::fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
    folder
}

fn train<'a>(what: &'a str, run: &'a str) -> Vec<&'a str> {
    vec!["train", what, "--config", "recipe.toml", "--data", "data", "--run", run, "--no-progress"]
}

/// All files below a folder, by name.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.push((path.strip_prefix(folder).unwrap().into(), bytes));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn all_stages_make_a_model_that_draws_and_captions() {
    let folder = workplace([24; 4], 0);
    let done = run(folder.path(), &train("all", "run"));
    assert_eq!((done.code, done.out.as_str()), (Some(0), "run/model\n"), "{done:?}");
    assert!(
        done.err.starts_with("12 pictures of 16x16 pixels\nautoencoder  24 samples"),
        "{done:?}"
    );
    for stage in STAGES {
        assert!(folder.path().join("run").join(stage).join("config.toml").is_file(), "{stage}");
        let log =
            std::fs::read_to_string(folder.path().join("run").join(stage).join("metrics.jsonl"));
        assert_eq!(log.unwrap().lines().count(), 3, "{stage}");
    }
    let kind = &json_lines(folder.path(), &["inspect", "--json", "run/model"])[0];
    assert_eq!(kind["kind"], "model");
    let fast = ["--model", "run/model", "--steps", "3", "--seed", "1"];
    let draw = ["generate", "picture number 3", "-o", "three.png"];
    lines(folder.path(), &[&draw[..], &fast].concat());
    assert_eq!(lines(folder.path(), &[&["caption", "three.png"][..], &fast].concat()).len(), 1);

    // A finished run costs nothing and changes nothing.
    let before = files(&folder.path().join("run/model"));
    assert_eq!(lines(folder.path(), &train("all", "run")), ["run/model"]);
    assert_eq!(files(&folder.path().join("run/model")), before);
    let other = [&train("clip", "run")[..], &["--set", "clip.train.learning_rate=1.0"]].concat();
    let other = run(folder.path(), &other);
    assert_eq!(other.code, Some(2));
    assert!(other.err.contains("learning_rate"), "{}", other.err);
    assert!(other.err.contains("\n\nhint: undo the change"), "{}", other.err);
}

#[test]
fn a_model_is_trained_further_with_its_own_encoders() {
    let folder = workplace([24; 4], 0);
    lines(folder.path(), &train("all", "run"));
    let further = [&train("all", "more")[..], &["--from", "run/model"]].concat();
    assert_eq!(lines(folder.path(), &further), ["more/model"]);
    let weights = |run: &str, part: &str| {
        let file = format!("{run}/model/{part}/diffusion_pytorch_model.safetensors");
        std::fs::read(folder.path().join(file)).unwrap()
    };
    assert!(weights("run", "vae") == weights("more", "vae"));
    assert!(weights("run", "text_decoder") == weights("more", "text_decoder"));
    assert!(weights("run", "unet") != weights("more", "unet"));
    assert!(!folder.path().join("more/autoencoder").exists());

    let wrong = [&train("clip", "other")[..], &["--from", "run/model"]].concat();
    let wrong = run(folder.path(), &wrong);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("`--from` has no meaning for the stage clip"), "{}", wrong.err);
}

#[test]
fn a_dry_run_prints_the_resolved_recipe() {
    let folder = workplace([24; 4], 0);
    let args = ["train", "all", "--config", "recipe.toml", "--dry-run"];
    let set = ["--set", "unidiffuser.train.seed=5", "--set", "data.split=test"];
    let recipe: toml::Table =
        lines(folder.path(), &[&args[..], &set].concat()).join("\n").parse().unwrap();
    assert_eq!(recipe["unidiffuser"]["train"]["seed"].as_integer(), Some(5));
    assert_eq!(recipe["data"]["split"].as_str(), Some("test"));
    assert_eq!(recipe["unidiffuser"]["model"]["sample_size"].as_integer(), Some(8));
    assert_eq!(recipe["unidiffuser"]["train"]["betas"].as_array().map(Vec::len), Some(2));
    assert!(!folder.path().join("run").exists());
}

#[test]
fn mistakes_are_named_before_the_work_begins() {
    let folder = workplace([24; 4], 0);
    let refused = |args: &[&str], expected: &str| {
        let run = run(folder.path(), args);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{run:?}");
        assert!(run.err.contains(expected), "{expected}: {}", run.err);
    };
    let with = |extra: &[&'static str]| [&train("all", "run")[..], extra].concat();
    refused(&["train", "all", "--config", "recipe.toml"], "--data <SOURCE>");
    refused(&["train", "everything", "--config", "recipe.toml"], "possible values: autoencoder");
    refused(&with(&["--set", "clip.train.batchsize=3"]), "unknown field `batchsize`");
    refused(&with(&["--set", "clip"]), "error: `--set clip`: there is no `=`\n\nhint: ");
    refused(&with(&["--set", "data.resolution=17"]), "`data.resolution`: 17 is not a multiple");
    refused(
        &["train", "all", "--config", "none.toml", "--data", "data", "--run", "r"],
        "error: cannot read none.toml: No such file",
    );
    refused(&["train", "all", "--config", "recipe.toml", "--data", "none", "--run", "r"], "none");
    std::fs::write(folder.path().join("data/05.png"), "broken").unwrap();
    refused(&with(&["--strict"]), "05.png: broken picture");
    assert!(!folder.path().join("run").exists());
    refused(
        &train("unidiffuser", "run"),
        "error: unidiffuser needs autoencoder, which is not finished in run\n\nhint: run `trefoil",
    );
    assert!(!folder.path().join("run").exists());
}

/// Starts a training and kills it, without any warning, once its stage has written checkpoints.
fn kill_in(folder: &Path, stage: &str, checkpoints: usize) {
    let program = trefoil(folder).get_program().to_owned();
    let mut child: Child = std::process::Command::new(program)
        .current_dir(folder)
        .args(train("all", "killed"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let state = folder.join("killed").join(stage).join("state");
    let mut seen = std::collections::BTreeSet::new();
    let start = Instant::now();
    while seen.len() < checkpoints {
        assert!(start.elapsed() < Duration::from_mins(5), "no checkpoint of {stage}");
        assert_eq!(child.try_wait().unwrap(), None, "{stage} ended before it could be killed");
        if let Ok(entries) = std::fs::read_dir(&state) {
            let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
            seen.extend(
                names
                    .filter(|name| Path::new(name).extension().is_some_and(|e| e == "safetensors")),
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), None, "{stage} ended before it could be killed: {status}");
}

#[test]
fn a_killed_run_continues_to_the_same_bits() {
    let folder = workplace([800, 24, 24, 1200], 16);
    lines(folder.path(), &train("all", "whole"));
    kill_in(folder.path(), "autoencoder", 5);
    assert!(!folder.path().join("killed/autoencoder/model/vae").exists());
    kill_in(folder.path(), "unidiffuser", 5);
    assert!(!folder.path().join("killed/unidiffuser/model/unet").exists());
    let end = run(folder.path(), &train("all", "killed"));
    assert_eq!((end.code, end.out.as_str()), (Some(0), "killed/model\n"), "{end:?}");

    let whole = files(&folder.path().join("whole/model"));
    assert!(whole.len() > 15, "{}", whole.len());
    let unet = Path::new("unet/diffusion_pytorch_model.safetensors");
    assert!(whole.iter().any(|(name, _)| name == unet));
    for ((name, bytes), (other, resumed)) in
        whole.iter().zip(files(&folder.path().join("killed/model")))
    {
        assert_eq!(*name, other);
        assert!(*bytes == resumed, "{} differs", name.display());
    }
    for stage in ["autoencoder", "unidiffuser"] {
        let losses = |run: &str| {
            let path = folder.path().join(run).join(stage).join("metrics.jsonl");
            let text = std::fs::read_to_string(path).unwrap();
            let rows = text.lines().map(|line| {
                let row: serde_json::Value = serde_json::from_str(line).unwrap();
                (row["samples"].as_u64().unwrap(), row["loss"].as_f64().unwrap().to_bits())
            });
            rows.collect::<Vec<_>>()
        };
        assert_eq!(losses("whole"), losses("killed"), "{stage}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_saves_and_says_how_to_continue() {
    let folder = workplace([4000, 24, 24, 24], 0);
    let program = trefoil(folder.path()).get_program().to_owned();
    let mut child = std::process::Command::new(program)
        .current_dir(folder.path())
        .args(train("autoencoder", "run"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = folder.path().join("run/autoencoder/metrics.jsonl");
    let start = Instant::now();
    while !log.is_file() {
        assert!(start.elapsed() < Duration::from_mins(5) && child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(2));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.ends_with("\n\nhint: the same command continues the run\n"), "{err}");
    let state = std::fs::read_dir(folder.path().join("run/autoencoder/state")).unwrap();
    let saved = state
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "safetensors"));
    assert_eq!(saved.count(), 1);
    assert_eq!(lines(folder.path(), &train("autoencoder", "run")), ["run/autoencoder/model"]);
}
