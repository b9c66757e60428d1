//! The tour and the evaluation, on networks with random weights: everything is written, whatever it shows.

use std::fmt::Write as _;
use std::path::Path;

use trefoil_core::Picture;

use crate::support::{copy_folder, lines, model, run, text_inside, write_picture};

/// A folder of captioned pictures; the last `held_out` of them are marked so.
fn dataset(folder: &Path, count: usize, held_out: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let mut metadata = String::new();
    for i in 0..count {
        write_picture(&folder.join(format!("{i}.png")), [i as u8 * 20, 90, 200 - i as u8 * 9]);
        let split = if i < count - held_out { "train" } else { "held-out" };
        let sea = if i == 2 { "sea ".repeat(100) } else { String::new() };
        let _ = writeln!(
            metadata,
            "{{\"file_name\": \"{i}.png\", \"text\": \"{sea}the moon {i}\", \"split\": \"{split}\"}}"
        );
    }
    std::fs::write(folder.join("metadata.jsonl"), metadata).unwrap();
}

#[test]
fn the_tour_shows_every_mode_on_one_offline_page() {
    let folder = tempfile::tempdir().unwrap();
    let mine = folder.path().join("model");
    copy_folder(&model(), &mine);
    dataset(&mine.join("examples"), 2, 0);
    let args = ["tour", "--model", "model", "--steps", "3", "--seed", "1", "-o", "tour"];
    assert_eq!(lines(folder.path(), &args), ["tour/index.html"]);
    let page = std::fs::read_to_string(folder.path().join("tour/index.html")).unwrap();
    for title in [
        "Text to image",
        "Image to text",
        "Pairs of picture and text",
        "Pictures of anything",
        "Texts about anything",
        "Variations of a picture",
        "Variations of a text",
        "From one picture to another",
        "a simulated log",
        "Recommendation, before any click: ordered by popularity",
        "Recommendation, after the click: ordered by the model and likeness to the latest items",
    ] {
        assert!(page.contains(title), "{title}");
    }
    assert!(!page.contains("http"), "the page must work offline");
    let sources: Vec<&str> =
        page.split("<img src=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    // 2 x 2 drawn, 2 captioned, 8 pairs, 8 pictures, 1 + 5 variations, 5 blends.
    // The shop: the item that is clicked, and two answers of seven items before and after the click.
    assert_eq!(sources.len(), 33 + 1 + 4 * 7);
    for source in sources {
        Picture::open(&folder.path().join("tour").join(source)).unwrap();
    }
}

/// The network of a model stands in for a generator that was distilled from it.
fn one_step(model: &Path, tasks: &str) {
    copy_folder(&model.join("unet"), &model.join("one_step/unet"));
    let text = format!("{{\"level\": 5.0, \"tasks\": [{tasks}]}}");
    std::fs::write(model.join("one_step/one_step.json"), text).unwrap();
}

#[test]
fn a_one_step_generator_stands_beside_many_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mine = path.join("model");
    copy_folder(&model(), &mine);
    dataset(&mine.join("examples"), 2, 0);
    one_step(&mine, "\"text-to-image\", \"image-to-text\"");
    let with = |args: &[&str]| lines(path, &[args, &["--model", "model", "--seed", "1"]].concat());
    with(&["tour", "--steps", "3", "-o", "tour"]);
    let page = std::fs::read_to_string(path.join("tour/index.html")).unwrap();
    assert!(page.contains("Many steps on the left, one on the right"));
    // Two pictures for each of two captions, and two captioned ones.
    assert_eq!(page.matches("<img src=\"").count(), 33 + 1 + 4 * 7 + 6);

    // One pass, the same every time, and again from the file alone.
    for name in ["a.png", "b.png"] {
        with(&["generate", "the moon", "--one-step", "-o", name]);
    }
    let read = |name: &str| Picture::open(&path.join(name)).unwrap();
    assert_eq!(read("a.png"), read("b.png"));
    with(&["generate", "the moon", "--steps", "3", "-o", "many.png"]);
    assert_ne!(read("a.png"), read("many.png"));
    let again = ["generate", "--from", "a.png", "--model", "model", "-o", "again.png"];
    assert_eq!(lines(path, &again), Vec::<String>::new());
    assert_eq!(read("again.png"), read("a.png"));
    let record: serde_json::Value =
        serde_json::from_str(&text_inside(&path.join("a.png"), "trefoil")).unwrap();
    assert_eq!(
        (&record["settings"]["one_step"], &record["settings"]["steps"]),
        (&true.into(), &1.into())
    );
    assert_eq!(with(&["caption", "a.png", "--one-step=model/one_step"]).len(), 1);

    dataset(&path.join("data"), 5, 0);
    let report = with(&["evaluate", "--data", "data", "--count", "5", "--one-step", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report.join("\n")).unwrap();
    let rows: Vec<&str> =
        report["rows"].as_array().unwrap().iter().map(|r| r["metric"].as_str().unwrap()).collect();
    for metric in ["captions: caption token F1", "time of a picture"] {
        assert!(rows.contains(&metric), "{rows:?}");
        assert!(rows.contains(&format!("one step, {metric}").as_str()), "{rows:?}");
    }

    let wrong = |args: &[&str]| {
        let found = run(path, &[args, &["--model", "model", "--seed", "1"]].concat());
        assert_eq!(found.code, Some(2), "{found:?}");
        found.err
    };
    let error = wrong(&["joint", "--one-step"]);
    assert!(
        error.contains("`one_step.tasks`: expected one of text-to-image, image-to-text"),
        "{error}"
    );
    let error = wrong(&["generate", "x", "--one-step", "--steps", "3"]);
    assert!(error.contains("--steps"), "{error}");
    let error = wrong(&["generate", "x", "--one-step", "--negative", "y"]);
    assert!(error.contains("`negative`: a one-step generator"), "{error}");
    let error = wrong(&["generate", "x", "--one-step=nowhere"]);
    assert!(error.contains("no one-step generator: nowhere is not there"), "{error}");
}

/// A short distillation of the tiny model ends in a generator that the same program runs.
#[test]
fn unidiffuser_is_distilled_and_runs_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    dataset(&path.join("data"), 5, 0);
    let recipe = format!(
        "method = \"uni-instruct\"\ndivergence = \"jensen-shannon\"\n[problem]\nkind = \"unidiffuser\"\n\
         model = \"{}\"\ndata = [\"data\"]\nmeasured = 0\n[train]\nbatch_size = 4\nwarm_up = 4\n\
         duration = 8\nlog_every = 4\nsample_every = 0\ncheckpoint_every = 4\n",
        model().display()
    );
    std::fs::write(path.join("r.toml"), &recipe).unwrap();
    let dry = run(path, &["distill", "--config", "r.toml", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert!(dry.err.contains("MiB of activations"), "{}", dry.err);
    let found = lines(path, &["distill", "--config", "r.toml", "--run", "run"]);
    assert_eq!(found, ["run/model"]);
    let drawn = ["joint", "--one-step=run/model", "--seed", "2", "-o", "pair.png"];
    assert_eq!(lines(path, &drawn).len(), 1);
    Picture::open(&path.join("pair.png")).unwrap();
    for name in ["pictures", "joint", "student-teacher-fake"] {
        assert!(path.join(format!("run/samples/{name}-000000012.png")).is_file(), "{name}");
    }
    // The same from a checkpoint.
    let weights =
        || std::fs::read(path.join("run/model/unet/diffusion_pytorch_model.safetensors")).unwrap();
    let straight = weights();
    std::fs::remove_file(path.join("run/state/000000012.safetensors")).unwrap();
    lines(path, &["distill", "--resume", "run"]);
    assert!(weights() == straight);

    let error = |change: &str| {
        let found = run(path, &["distill", "--config", "r.toml", "--run", "no", "--set", change]);
        assert_eq!(found.code, Some(2), "{found:?}");
        found.err
    };
    assert!(error("problem.tasks.joint=-1").contains("`problem.tasks`: expected shares"));
    assert!(error("problem.gudance=3").contains("unknown field `gudance`"));
    assert!(error("method=sds").contains("`divergence`") || error("method=sds").contains("sds"));
}

#[test]
fn a_model_without_examples_cannot_be_toured() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), &["tour", "--steps", "3"]);
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(run.err.contains("the tour needs captioned pictures in"), "{}", run.err);
}

#[test]
fn the_evaluation_prints_both_splits_and_keeps_what_it_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    dataset(&folder.path().join("data"), 9, 3);
    let args = [
        "evaluate",
        "--data",
        "data",
        "--count",
        "5",
        "--steps",
        "3",
        "--json",
        "-o",
        "evaluation",
    ];
    let report: serde_json::Value =
        serde_json::from_str(&lines(folder.path(), &args).join("\n")).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let row = |metric: &str, split: &str| {
        rows.iter()
            .find(|row| row["metric"].as_str().unwrap().contains(metric) && row["split"] == split)
            .unwrap_or_else(|| panic!("{metric} on {split}: {rows:?}"))
    };
    for (split, samples) in [("train", 5), ("held-out", 3)] {
        for metric in ["pixels", "drawn pictures", "captions", "autoencoder"] {
            assert_eq!(row(metric, split)["samples"], samples, "{metric} on {split}");
        }
    }
    assert_eq!(report["seeds"], serde_json::json!([0]));
    let evaluation = folder.path().join("evaluation");
    let markdown = std::fs::read_to_string(evaluation.join("report.md")).unwrap();
    assert!(markdown.contains("held-out"), "{markdown}");
    let captions = std::fs::read_to_string(evaluation.join("train-captions.tsv")).unwrap();
    assert_eq!(captions.lines().count(), 6);

    let error = run(folder.path(), &["evaluate", "--data", "nowhere"]);
    assert_eq!(error.code, Some(2));
    assert!(error.err.contains("nowhere"), "{}", error.err);
}
