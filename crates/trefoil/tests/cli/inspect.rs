//! `trefoil inspect`.

use crate::support::{json_lines, lines, model, run, write_picture};

#[test]
fn settings_of_a_picture_are_shown_and_their_absence_is_a_no() {
    let folder = tempfile::tempdir().unwrap();
    let draw = ["generate", "a cat", "--steps", "2", "--seed", "9", "-o", "cat.png"];
    lines(folder.path(), &draw);
    let shown = lines(folder.path(), &["inspect", "cat.png"]);
    assert_eq!(shown[0], "cat.png");
    for line in ["  mode: text-to-image", "  prompt: a cat", "  seed: 9", "  index: 0"] {
        assert!(shown.contains(&line.to_string()), "{shown:?}");
    }
    let row = &json_lines(folder.path(), &["inspect", "--json", "cat.png"])[0];
    assert_eq!((&row["width"], &row["trefoil"]["seed"]), (&32.into(), &9.into()));
    assert!(row["parameters"].as_str().unwrap().starts_with("a cat\nSteps: 2, "));

    write_picture(&folder.path().join("plain.png"), [0; 3]);
    let plain = run(folder.path(), &["inspect", "plain.png"]);
    assert_eq!((plain.code, plain.out.as_str()), (Some(1), ""));
    assert_eq!(plain.err, "plain.png: no settings inside\n");
    let both = run(folder.path(), &["inspect", "--json", "plain.png", "cat.png"]);
    assert_eq!((both.code, both.out.lines().count()), (Some(1), 2));

    std::fs::write(folder.path().join("a.txt"), "hello").unwrap();
    let text = run(folder.path(), &["inspect", "a.txt"]);
    assert_eq!(text.code, Some(2));
    assert!(text.err.starts_with("error: a.txt is neither a picture nor a model\n\nhint: "));
}

#[test]
fn a_model_folder_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = model();
    let path = path.to_str().unwrap();
    let row = &json_lines(folder.path(), &["inspect", "--json", path])[0];
    assert_eq!((&row["kind"], &row["licence"]), (&"model".into(), &serde_json::Value::Null));
    let components = row["components"].as_array().unwrap();
    assert_eq!(components.len(), 9);
    let unet = components.iter().find(|c| c["name"] == "unet").unwrap();
    assert_eq!(unet["class"], "UniDiffuserModel");
    let sum: u64 = components.iter().map(|c| c["parameters"].as_u64().unwrap()).sum();
    assert_eq!(row["parameters"].as_u64(), Some(sum));

    // The weights of the file are those that the folder counts.
    let weights = format!("{path}/unet/diffusion_pytorch_model.safetensors");
    let file = &json_lines(folder.path(), &["inspect", "--json", &weights])[0];
    assert_eq!(file["parameters"], unet["parameters"]);
    let core = trefoil_core::weights::WeightFile::open(weights.as_ref()).unwrap();
    let mut names: Vec<&str> = Vec::new();
    for tensor in file["tensors"].as_array().unwrap() {
        let name = tensor["name"].as_str().unwrap();
        let shape = core.shape(name).unwrap().unwrap();
        assert_eq!(tensor["shape"], serde_json::json!(shape), "{name}");
        names.push(name);
    }
    names.sort_unstable();
    assert_eq!(names, core.names().unwrap());

    let text = lines(folder.path(), &["inspect", path]);
    assert!(
        text.iter().any(|line| line.starts_with("  unet ") && line.contains("UniDiffuserModel"))
    );
    assert!(text.contains(&"  licence: no file".to_string()), "{text:?}");
}

#[test]
fn a_damaged_weight_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read(model().join("vae/diffusion_pytorch_model.safetensors")).unwrap();
    std::fs::write(folder.path().join("cut.safetensors"), &good[..good.len() - 8]).unwrap();
    std::fs::write(folder.path().join("text.safetensors"), "not weights").unwrap();
    for (name, reason) in [("cut", "bytes are announced"), ("text", "not a safetensors file")] {
        let run = run(folder.path(), &["inspect", &format!("{name}.safetensors")]);
        assert_eq!(run.code, Some(2));
        assert!(run.err.starts_with(&format!("error: {name}.safetensors: ")), "{}", run.err);
        assert!(run.err.contains(reason), "{}", run.err);
    }
}
