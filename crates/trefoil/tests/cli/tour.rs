//! The tour and the evaluation, on networks with random weights: everything is written, whatever it shows.

use std::fmt::Write as _;
use std::path::Path;

use trefoil_core::Picture;

use crate::support::{copy_folder, lines, model, run, write_picture};

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
