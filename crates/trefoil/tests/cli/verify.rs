//! `trefoil verify` on the recorded runs of the fixtures, as they are and damaged.

use std::path::Path;

use burn::tensor::TensorData;
use serde_json::json;
use trefoil_core::fs;
use trefoil_core::weights::{Precision, WeightFile, save};

use crate::support::{copy_folder, json_lines, lines, model, run};

const RUNS: [&str; 8] = ["t2i", "t2i_empty", "i2t", "i", "t", "joint", "i2t2i", "t2i2t"];

const PIPELINES: [&str; 6] =
    ["joint", "text2img", "text2img_noguidance_np", "img2text", "img", "text"];

/// A recorded folder of the authors' samplers and of diffusers' pipeline: the model, the runs, a manifest.
fn oracle(folder: &Path) {
    copy_folder(&model(), &folder.join("hf"));
    let mut groups = serde_json::Map::new();
    for name in RUNS {
        let group = format!("original_{name}");
        let file = format!("{group}.safetensors");
        let from = model().join("..").join(&file);
        std::fs::copy(from, folder.join(file)).unwrap();
        groups.insert(group, json!({"scale": 7.0, "steps": 8}));
    }
    let fixtures = model().join("..");
    let facts: serde_json::Value = fs::read_json(&fixtures.join("pipelines.json")).unwrap();
    for (group, facts) in facts.as_object().unwrap() {
        let file = format!("{group}.safetensors");
        std::fs::copy(fixtures.join(&file), folder.join(file)).unwrap();
        groups.insert(group.clone(), facts.clone());
    }
    let manifest = json!({"args": {"version": 1, "steps": 8}, "groups": groups, "clipped": null});
    // Python writes the scheduler's infinity as a word that JSON does not have.
    let text = manifest.to_string().replace(r#""clipped":null"#, r#""clipped":-Infinity"#);
    std::fs::write(folder.join("manifest.json"), text).unwrap();
}

/// Rewrites a recorded group with one tensor changed.
fn change(path: &Path, name: &str, by: f32) {
    let file = WeightFile::open(path).unwrap();
    let tensors: Vec<(String, TensorData)> = file
        .tensors()
        .filter_map(|(n, tensor)| {
            let data = tensor.read()?;
            let shape = data.shape().to_vec();
            let mut values: Vec<f32> = data.iter::<f32>().collect();
            if n == name {
                values[0] += by;
            }
            Some((n.to_string(), TensorData::new(values, shape)))
        })
        .collect();
    drop(file);
    save(path, &tensors, Precision::F32, std::collections::BTreeMap::new()).unwrap();
}

#[test]
fn every_group_is_a_line_and_all_of_them_pass() {
    let dir = tempfile::tempdir().unwrap();
    oracle(&dir.path().join("oracle"));
    let mut out = lines(dir.path(), &["verify", "oracle"]);
    // The last bit of the noise decides the end of the joint run, by about as much as a run may differ: where it does, the
    // end is shown, and the evaluations are judged.
    let joint = out.iter().position(|line| line.starts_with("  pipeline_joint ")).unwrap();
    let shown: Vec<String> =
        out.extract_if(joint + 1.., |line| line.starts_with("    whole run: ")).collect();
    for line in &shown {
        assert!(line.contains("not judged: the last bit of the noise moves it by "), "{line}");
    }
    assert!(out[joint].contains(" 23 comparisons "), "{}", out[joint]);
    assert_eq!((out.len(), out[0].as_str()), (16, "oracle"));
    let original = RUNS.iter().map(|name| format!("original_{name}"));
    let names = original.chain(PIPELINES.iter().map(|name| format!("pipeline_{name}")));
    for (line, name) in out[1..15].iter().zip(names) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], name);
        assert!(words[2] == "comparisons" && line.ends_with("  pass"), "{line}");
        let relative: f64 =
            words[words.iter().position(|w| *w == "relative").unwrap() - 1].parse().unwrap();
        assert!(relative < 1e-3, "{line}");
    }
    assert_eq!(out[15], "  14 of 14 groups pass");
}

#[test]
fn a_difference_is_a_negative_answer_that_names_group_and_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("oracle");
    oracle(&folder);
    change(&folder.join("original_i2t.safetensors"), "out.text", 0.5);
    change(&folder.join("original_t2i.safetensors"), "noise.001", 0.5);
    change(&folder.join("pipeline_joint.safetensors"), "noise_pred", 0.5);
    let found = run(dir.path(), &["verify", "oracle"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(
        found.err.contains("oracle: failed: original_t2i, original_i2t, pipeline_joint"),
        "{}",
        found.err
    );
    assert!(found.out.contains("  11 of 14 groups pass"), "{}", found.out);
    let i2t = found.out.lines().position(|l| l.starts_with("  original_i2t ")).unwrap();
    let lines: Vec<&str> = found.out.lines().collect();
    assert!(
        lines[i2t].ends_with("FAIL") && lines[i2t].contains("5.0e-1 absolute"),
        "{}",
        lines[i2t]
    );
    assert!(lines[i2t + 1].starts_with("    out.text: 5.0e-1 absolute"), "{}", lines[i2t + 1]);

    let json = {
        let found = run(dir.path(), &["verify", "--json", "oracle"]);
        assert_eq!(found.code, Some(1));
        serde_json::from_str::<serde_json::Value>(&found.out).unwrap()
    };
    assert_eq!(json["passes"], false);
    let failed: Vec<&str> = json["groups"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|group| group["passes"] == false)
        .map(|group| group["name"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["original_t2i", "original_i2t", "pipeline_joint"]);
    let check = &json["groups"][2]["checks"][0];
    assert_eq!((&check["what"], &check["passes"]), (&json!("out.text"), &json!(false)));
    assert_eq!(check["tolerance"], json!({"relative": 1e-3}));
}

#[test]
fn a_missing_draw_and_a_missing_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("oracle");
    oracle(&folder);
    // Fewer steps than recorded ask for fewer draws.
    let path = folder.join("manifest.json");
    let mut manifest: serde_json::Value = fs::read_python_json(&path).unwrap();
    manifest["groups"] = json!({"original_i": {"scale": 7.0, "steps": 7}});
    fs::write_json(&path, &manifest).unwrap();
    let json = {
        let found = run(dir.path(), &["verify", "--json", "oracle"]);
        assert_eq!(found.code, Some(1));
        serde_json::from_str::<serde_json::Value>(&found.out).unwrap()
    };
    let draws = json["groups"][0]["checks"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&draws["what"], &draws["absolute"]), (&json!("order of draws"), &json!(null)));

    manifest["groups"] = json!({});
    fs::write_json(&path, &manifest).unwrap();
    let found = run(dir.path(), &["verify", "oracle"]);
    assert_eq!(found.code, Some(2));
    assert!(found.err.contains("manifest.json: it lists no group that is known"), "{}", found.err);
    let found = run(dir.path(), &["verify", "nowhere"]);
    assert_eq!(
        (found.code, found.err.contains("cannot read nowhere/manifest.json")),
        (Some(2), true)
    );
    assert!(json_lines(dir.path(), &["models", "list", "--json"])[0]["parameters"].is_u64());
}
