//! Pictures: names, contents, seeds, batches, settings inside.

use std::path::Path;

use trefoil_core::Picture;

use crate::support::{json_lines, lines, run, text_inside, trefoil, write_picture};

const FAST: [&str; 4] = ["--steps", "3", "--seed", "7"];

fn args<'a>(start: &[&'a str]) -> Vec<&'a str> {
    [start, &FAST].concat()
}

fn pixels(path: &Path) -> Vec<u8> {
    Picture::open(path).unwrap().pixels().to_vec()
}

#[test]
fn a_prompt_becomes_a_picture_with_its_settings_inside() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let printed = lines(folder.path(), &args(&["generate", "a red apple", "-o", "apple.png"]));
    assert_eq!(printed, ["apple.png"]);
    let picture = Picture::open(&at("apple.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (32, 32));

    let parameters = text_inside(&at("apple.png"), "parameters");
    let start = "a red apple\nSteps: 3, Sampler: dpm-fast, CFG scale: 8, Seed: 7, Size: 32x32, \
                 Model: hf-v1, Model hash: ";
    assert!(parameters.starts_with(start), "{parameters}");
    let record: serde_json::Value =
        serde_json::from_str(&text_inside(&at("apple.png"), "trefoil")).unwrap();
    assert_eq!(record["mode"], "text-to-image");
    assert_eq!((&record["seed"], &record["index"]), (&7.into(), &0.into()));
    assert_eq!(record["settings"]["solver"]["kind"], "dpm-fast");
    assert_eq!(record["settings"]["guidance"], 8.0);
    assert_eq!(record["model"]["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn the_batch_does_not_change_the_pixels_and_the_seed_does() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let with = |extra: &[&str], output: &str| {
        let start = ["generate", "a cat", "-n", "3", "--steps", "4", "-o", output];
        lines(folder.path(), &[&start[..], extra].concat())
    };
    let names = with(&["--seed", "5", "--batch", "1"], "one.png");
    assert_eq!(names, ["one-000.png", "one-001.png", "one-002.png"]);
    assert_eq!(with(&["--seed", "5", "--batch", "3"], "all")[2], "all/generate-5-002.png");
    with(&["--seed", "6", "--batch", "2"], "other.png");
    for index in 0..3 {
        let one = pixels(&at(&format!("one-00{index}.png")));
        assert!(one == pixels(&at(&format!("all/generate-5-00{index}.png"))), "{index}");
        assert!(one != pixels(&at(&format!("other-00{index}.png"))), "{index}");
    }
    assert_ne!(pixels(&at("one-000.png")), pixels(&at("one-001.png")));
}

#[test]
fn a_picture_is_drawn_again_from_its_own_settings() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let first = ["generate", "a dog", "-n", "2", "--solver", "heun", "--guidance", "3"];
    lines(folder.path(), &[&first[..], &FAST, &["-o", "a.png"]].concat());
    for name in ["a-000.png", "a-001.png"] {
        let printed = lines(folder.path(), &["generate", "--from", name, "-o", "again.png"]);
        assert_eq!(printed, ["again.png"]);
        assert_eq!(std::fs::read(at(name)).unwrap(), std::fs::read(at("again.png")).unwrap());
    }
    let other = ["generate", "--from", "a-000.png", "--steps", "2", "-o", "other.png"];
    lines(folder.path(), &other);
    assert_ne!(pixels(&at("a-000.png")), pixels(&at("other.png")));
    let parameters = text_inside(&at("other.png"), "parameters");
    assert!(parameters.contains("Steps: 2, Sampler: heun, CFG scale: 3, Seed: 7"), "{parameters}");

    lines(folder.path(), &args(&["joint", "-o", "joint.png"]));
    lines(folder.path(), &["generate", "--from", "joint.png", "-o", "again.png"]);
    assert_eq!(pixels(&at("joint.png")), pixels(&at("again.png")));

    write_picture(&at("plain.png"), [1, 2, 3]);
    let plain = run(folder.path(), &["generate", "--from", "plain.png"]);
    assert_eq!(plain.code, Some(2));
    let expected = "error: plain.png carries no settings of Trefoil\n\nhint: `--from` needs a PNG";
    assert!(plain.err.starts_with(expected), "{}", plain.err);
}

#[test]
fn a_dash_is_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        trefoil(folder.path()).args(args(&["generate", "a cat", "-o", "-"])).output().unwrap();
    assert!(output.status.success());
    assert_eq!(Picture::decode(&output.stdout, "out").unwrap().width(), 32);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    for extra in [&["-n", "2"][..], &["--json"]] {
        let refused =
            run(folder.path(), &[&args(&["generate", "a cat", "-o", "-"]), extra].concat());
        assert_eq!((refused.code, refused.out.as_str()), (Some(2), ""));
        assert!(refused.err.contains("standard output\n\nhint: write the"), "{}", refused.err);
    }
}

#[test]
fn json_says_everything_about_every_result() {
    let folder = tempfile::tempdir().unwrap();
    let rows = json_lines(folder.path(), &args(&["joint", "-n", "2", "--json", "-o", "pairs"]));
    assert_eq!(rows.len(), 2);
    for (index, row) in rows.iter().enumerate() {
        let file = row["file"].as_str().unwrap();
        assert_eq!(file, format!("pairs/joint-7-00{index}.png"));
        assert_eq!((&row["mode"], &row["index"]), (&"joint".into(), &index.into()));
        assert_eq!((&row["seed"], &row["settings"]["steps"]), (&7.into(), &3.into()));
        let inside = text_inside(&folder.path().join(file), "trefoil");
        let inside: serde_json::Value = serde_json::from_str(&inside).unwrap();
        assert_eq!(inside["text"], row["text"]);
        assert!(inside["text"].is_string());
    }
}

#[test]
fn a_random_seed_is_printed_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let draw = |output: &str| {
        let run = run(folder.path(), &["sample", "--image", "--steps", "1", "-o", output]);
        assert_eq!(run.code, Some(0), "{run:?}");
        run.err.trim().strip_prefix("seed ").unwrap().parse::<u64>().unwrap()
    };
    let (first, second) = (draw("a.png"), draw("b.png"));
    assert_ne!(first, second);
    let inside = text_inside(&folder.path().join("a.png"), "trefoil");
    assert!(inside.contains(&format!("\"seed\":{first},")), "{inside}");
    let quiet = run(folder.path(), &["sample", "--image", "--steps", "1", "-q"]);
    assert_eq!((quiet.code, quiet.err.as_str()), (Some(0), ""));
}

#[test]
fn variations_and_blends_remember_where_they_came_from() {
    let folder = tempfile::tempdir().unwrap();
    write_picture(&folder.path().join("a.png"), [200, 10, 10]);
    write_picture(&folder.path().join("b.png"), [10, 10, 200]);
    let row = &json_lines(folder.path(), &args(&["vary", "a.png", "--json", "-o", "v.png"]))[0];
    assert_eq!((&row["mode"], &row["inputs"][0]), (&"image-variation".into(), &"a.png".into()));

    let start = ["blend", "a.png", "b.png", "--weights", "0,0.5,1", "--json", "-o", "mix"];
    let rows = json_lines(folder.path(), &args(&start));
    let weights: Vec<f64> = rows.iter().map(|row| row["weight"].as_f64().unwrap()).collect();
    assert_eq!(weights, [0.0, 0.5, 1.0]);
    assert_eq!(rows[2]["inputs"], serde_json::json!(["a.png", "b.png"]));
    let [first, last] =
        [0, 2].map(|i| pixels(&folder.path().join(rows[i]["file"].as_str().unwrap())));
    assert_ne!(first, last);
    // At weight 0 the blend is the variation of the first picture.
    assert_eq!(first, pixels(&folder.path().join("v.png")));
    let again = run(folder.path(), &["generate", "--from", "v.png"]);
    assert!(again.err.contains("v.png was made from other pictures"), "{}", again.err);
}

#[test]
fn the_model_folder_recommends_settings_and_the_command_line_wins() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    crate::support::copy_folder(&crate::support::model(), &model);
    let settings = r#"{"guidance": 2.5, "steps": 2, "solver": "ddim"}"#;
    std::fs::write(model.join("trefoil.json"), settings).unwrap();
    let draw = |extra: &[&str]| {
        let start = ["generate", "x", "--seed", "1", "-m", "model", "--json", "-o", "x.png"];
        json_lines(folder.path(), &[&start[..], extra].concat()).remove(0)["settings"].clone()
    };
    let recommended = draw(&[]);
    assert_eq!((&recommended["guidance"], &recommended["steps"]), (&2.5.into(), &2.into()));
    assert_eq!(recommended["solver"]["kind"], "ddim");
    let own = draw(&["--guidance", "-1", "--steps", "3", "--solver", "euler"]);
    assert_eq!((&own["guidance"], &own["steps"]), (&(-1.0).into(), &3.into()));
    assert_eq!(own["solver"]["kind"], "euler");
}

#[test]
fn the_model_of_the_repository_is_found_from_below_it() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("some/where");
    std::fs::create_dir_all(&below).unwrap();
    crate::support::copy_folder(
        &crate::support::model(),
        &folder.path().join("models/openmoji-32"),
    );
    let output = trefoil(&below)
        .env_remove("TREFOIL_MODEL")
        .args(args(&["generate", "a cat", "-o", "cat.png"]))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let inside = text_inside(&below.join("cat.png"), "parameters");
    assert!(inside.contains("Size: 32x32, Model: openmoji-32,"), "{inside}");
}

#[test]
fn another_model_is_noticed_when_a_picture_is_drawn_again() {
    let folder = tempfile::tempdir().unwrap();
    lines(folder.path(), &args(&["generate", "a cat", "-o", "cat.png"]));
    let model = folder.path().join("renamed");
    crate::support::copy_folder(&crate::support::model(), &model);
    let again = ["generate", "--from", "cat.png", "--model", "renamed", "-o", "again.png"];
    assert_eq!(run(folder.path(), &again).err, "", "the weights count, not the name");

    let file = model.join("unet/diffusion_pytorch_model.safetensors");
    let mut weights = std::fs::read(&file).unwrap();
    let place = weights.len() - 4;
    weights[place] ^= 1;
    std::fs::write(&file, weights).unwrap();
    let warned = run(folder.path(), &again);
    assert_eq!(warned.code, Some(0));
    assert!(warned.err.starts_with("warning: the picture was drawn by hf-v1 ("), "{}", warned.err);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_ends_with_130_and_leaves_nothing() {
    use std::io::BufRead as _;

    let folder = tempfile::tempdir().unwrap();
    let mut child = std::process::Command::new(trefoil(folder.path()).get_program())
        .current_dir(folder.path())
        .env("TREFOIL_MODEL", crate::support::model())
        .args(["generate", "a cat", "-v", "-n", "1000", "--steps", "1000", "--seed", "1"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    // The first line of progress tells that sampling has begun.
    assert!(lines.any(|line| line.unwrap().contains("steps/s")));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(lines.any(|line| line.unwrap() == "interrupted"));
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn edits_sizes_and_negative_prompts_are_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let fast = ["--steps", "2", "--seed", "5", "--json"];
    let draw = |args: &[&str]| json_lines(folder.path(), &[args, &fast].concat())[0].clone();
    let record =
        draw(&["generate", "a cat", "--negative", "a dog", "--size", "40x24", "-o", "a.png"]);
    assert_eq!(record["negative"], "a dog");
    assert_eq!(record["settings"]["size"], serde_json::json!([24, 40]));
    let first = Picture::open(&at("a.png")).unwrap();
    assert_eq!((first.width(), first.height()), (40, 24));
    assert!(text_inside(&at("a.png"), "parameters").contains("\nNegative prompt: a dog\n"));
    lines(folder.path(), &["generate", "--from", "a.png", "-o", "b.png"]);
    assert_eq!(Picture::open(&at("b.png")).unwrap(), first);

    write_picture(&at("grey.png"), [90; 3]);
    write_picture(&at("mask.png"), [0; 3]);
    let args = ["generate", "a cat", "--image", "grey.png", "--mask", "mask.png", "-o", "c.png"];
    let record = draw(&args);
    assert_eq!(record["inputs"], serde_json::json!(["grey.png", "mask.png"]));
    // Nothing is white, so nothing is drawn.
    assert!(Picture::open(&at("c.png")).unwrap().pixels().iter().all(|v| *v == 90));
    let again = run(folder.path(), &["generate", "--from", "c.png"]);
    assert_eq!(again.code, Some(2));
    assert!(again.err.contains("c.png was made from other pictures"), "{}", again.err);
    for (args, message) in [
        (&["--strength", "0.5"][..], "--image"),
        (&["--image", "grey.png", "--strength", "0"], "above 0, at most 1"),
        (&["--size", "12"], "expected WIDTHxHEIGHT"),
    ] {
        let refused = run(folder.path(), &[&["generate", "a cat"][..], args].concat());
        assert_eq!(refused.code, Some(2));
        assert!(refused.err.contains(message), "{args:?}: {}", refused.err);
    }

    let original = draw(&["generate", "a cat", "-o", "d.png"]);
    let diffusers = draw(&["generate", "a cat", "--sampler", "diffusers", "-o", "e.png"]);
    assert_eq!(original["settings"]["procedure"], serde_json::Value::Null);
    assert_eq!(diffusers["settings"]["procedure"], "diffusers");
    assert_eq!(diffusers["settings"]["solver"]["kind"], "dpm-multistep");
    assert_ne!(Picture::open(&at("d.png")).unwrap(), Picture::open(&at("e.png")).unwrap());
}

#[test]
fn chains_alternate_captions_and_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let fast = ["--steps", "2", "--seed", "5", "--rounds", "2", "-o", "chain/"];
    let out = lines(folder.path(), &[&["chain", "a cat"][..], &fast].concat());
    assert_eq!(out.len(), 4);
    let is_picture = |line: &str| Path::new(line).extension().is_some_and(|end| end == "png");
    assert!(is_picture(&out[0]) && is_picture(&out[2]), "{out:?}");
    assert!(folder.path().join(&out[0]).is_file() && !is_picture(&out[1]));
    let refused = run(folder.path(), &["chain", "a cat", "-o", "-"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("both want standard output"), "{}", refused.err);
}

#[test]
fn a_negative_prompt_without_guidance_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let args =
        ["generate", "a cat", "--negative", "a dog", "--steps", "1", "--seed", "1", "-o", "a.png"];
    let warning = "warning: `--negative` has no effect without guidance\n";
    let with =
        |guidance: &str| run(folder.path(), &[&args[..], &["--guidance", guidance]].concat());
    assert_eq!((with("1").code, with("1").err.as_str()), (Some(0), warning));
    assert!(!with("3").err.contains(warning));
}

#[test]
fn weights_in_fewer_bits_draw_nearly_the_same_and_the_file_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let exact = lines(folder.path(), &args(&["generate", "a cat", "-n", "2", "-o", "f32.png"]));
    assert_eq!(exact.len(), 2);
    for (precision, most) in [("f16", 3.0), ("bf16", 20.0), ("int8", 40.0)] {
        let one = format!("{precision}.png");
        let start = ["generate", "a cat", "-n", "2", "--precision", precision];
        let with = |extra: &[&str]| lines(folder.path(), &args(&[&start[..], extra].concat()));
        with(&["-o", &one, "--batch", "1"]);
        // The batch changes nothing here either.
        with(&["-o", "both.png", "--batch", "2"]);
        for index in 0..2 {
            let name = |start: &str| at(&format!("{start}-00{index}.png"));
            let ours = pixels(&name(precision));
            assert!(ours == pixels(&name("both")), "{precision} {index}");
            let pairs = ours.iter().zip(pixels(&name("f32")));
            let total: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(b))).sum();
            let mean = total / ours.len() as f64;
            assert!(mean > 0.0 && mean < most, "{precision} {index}: {mean} levels");
        }
        let record = text_inside(&at(&format!("{precision}-000.png")), "trefoil");
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        assert_eq!(record["model"]["precision"], precision);
    }
    let again = run(folder.path(), &["generate", "--from", "int8-000.png", "-o", "again.png"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.err.contains("choose `--precision int8`"), "{}", again.err);
    let same = ["generate", "--from", "int8-000.png", "--dtype", "int8", "-o", "same.png"];
    assert_eq!(run(folder.path(), &same).err, "");
    assert!(pixels(&at("same.png")) == pixels(&at("int8-000.png")));
    let wrong = run(folder.path(), &["generate", "a cat", "--precision", "int4"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.err.contains("f32, f16, bf16, int8"), "{}", wrong.err);
}
