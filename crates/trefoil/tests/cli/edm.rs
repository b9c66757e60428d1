//! Teachers: training, drawing, and the distance of what they draw from their data.

use std::path::Path;

use serde_json::Value;
use trefoil_core::{Picture, png};

use crate::support::{compare, json_lines, lines, run};

const RECIPE: &str = "
[data]
resolution = 8
labels = true
[network]
model_channels = 8
channel_mult = [1]
num_blocks = 1
attn_resolutions = []
[train]
batch_size = 4
duration = 16
warmup = 0
checkpoint_every = 8
[preview]
count = 0
";

/// A recipe, and twelve pictures in two class folders.
fn write(folder: &Path) {
    std::fs::write(folder.join("recipe.toml"), RECIPE).unwrap();
    for (class, base) in [("cat", 20), ("dog", 180)] {
        let pictures = folder.join("data").join(class);
        std::fs::create_dir_all(&pictures).unwrap();
        for i in 0..6_u8 {
            let pixels = (0..8 * 8 * 3_u8).map(|p| base + p / 8 + 7 * i).collect();
            let bytes = png::encode(&Picture::new(8, 8, pixels).unwrap(), &[]).unwrap();
            std::fs::write(pictures.join(format!("{i}.png")), bytes).unwrap();
        }
    }
}

const TRAIN: [&str; 8] =
    ["train", "edm", "--config", "recipe.toml", "--data", "data", "--run", "run"];

#[test]
fn a_teacher_is_trained_draws_and_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path);
    let trained = run(path, &TRAIN);
    assert_eq!((trained.code, trained.out.as_str()), (Some(0), "run/model\n"), "{trained:?}");
    assert!(trained.err.contains("12 pictures of 8x8 pixels"), "{}", trained.err);
    assert!(trained.err.contains("2 classes: cat, dog"), "{}", trained.err);
    // The same command again finds everything done.
    assert_eq!(run(path, &TRAIN).code, Some(0));

    let draw = |args: &[&str]| {
        json_lines(
            path,
            &[&["sample", "edm", "run/model", "--steps", "2", "--json"], args].concat(),
        )
    };
    let drawn = draw(&["-n", "3", "--seed", "5", "-o", "drawn/"]);
    assert_eq!(drawn[2]["path"], "drawn/edm-5-002.png");
    let bytes = |name: &str| std::fs::read(path.join(name)).unwrap();
    let picture = Picture::decode(&bytes("drawn/edm-5-000.png"), "drawn").unwrap();
    assert_eq!((picture.width(), picture.height()), (8, 8));
    draw(&["-n", "2", "--seed", "5", "--class", "dog", "-o", "dogs/", "--batch", "1"]);
    draw(&["-n", "2", "--seed", "5", "--class", "1", "-o", "same/", "--churn", "3"]);
    assert_ne!(bytes("dogs/edm-5-000.png"), bytes("same/edm-5-000.png"));

    let measure = |args: &[&str]| -> Value {
        let common = ["evaluate", "fid", "--json", "--components", "5"];
        serde_json::from_str(&lines(path, &[&common[..], args].concat()).join("\n")).unwrap()
    };
    let same = measure(&["data", "data", "--resolution", "8", "--save-reference", "data.npz"]);
    let row = |report: &Value, place: usize| report["rows"][place].clone();
    assert_eq!(row(&same, 0)["samples"], 12);
    let name = row(&same, 0)["metric"].as_str().unwrap().to_string();
    assert_eq!(name, "Frechet distance (8x8 pixels, 5 principal axes of the reference)");
    assert!(row(&same, 0)["value"].as_f64().unwrap() < 1e-9, "{same}");
    assert_eq!(
        (row(&same, 2)["value"].as_f64(), same["rows"].as_array().unwrap().len()),
        (Some(1.0), 4)
    );
    // Without a side, that of the first picture.
    let first = measure(&["data", "data"]);
    let name = row(&first, 0)["metric"].as_str().unwrap().to_string();
    assert!(name.starts_with("Frechet distance (8x8 pixels"), "{name}");
    assert!(row(&first, 0)["value"].as_f64().unwrap() < 1e-9, "{first}");
    let far = measure(&["run/model", "data", "-n", "6", "--steps", "2", "--repeats", "2"]);
    assert_eq!(far["seeds"], serde_json::json!([0, 1]));
    assert!(row(&far, 0)["value"].as_f64().unwrap() > 0.1, "{far}");
    let note = row(&far, 0)["note"].as_str().unwrap().to_string();
    assert!(note.contains("against 12 real samples, covariances divided by n-1"), "{note}");
    assert!(note.contains("over 2 seeds"), "{note}");
    // Statistics of the reference in place of the reference.
    let stored = measure(&["run/model", "data.npz", "-n", "6", "--steps", "2", "--repeats", "2"]);
    let difference =
        row(&stored, 0)["value"].as_f64().unwrap() - row(&far, 0)["value"].as_f64().unwrap();
    assert!(difference.abs() < 1e-6 && stored["rows"].as_array().unwrap().len() == 1, "{stored}");
}

#[test]
fn mistakes_are_one_line_with_exit_code_two() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path);
    let with = |change: &str| [&TRAIN[..], &["--set", change]].concat().join(" ");
    let unlabelled = "train edm --config recipe.toml --data flat --run other";
    std::fs::create_dir_all(path.join("flat")).unwrap();
    std::fs::copy(path.join("data/cat/0.png"), path.join("flat/0.png")).unwrap();
    std::fs::write(path.join("bad.pkl"), b"\x80\x04cos\nsystem\n.").unwrap();
    for (command, expected) in [
        (with("network.widht=3"), "unknown field `widht`"),
        (
            with("network.resolution=32"),
            "`network.resolution`: expected that of `data.resolution`, 8, found 32",
        ),
        (with("train.batch_size=0"), "`train.batch_size`: must be at least 1"),
        (with("preset=edm"), "expected one of edm-cifar10-32x32-uncond-vp"),
        (unlabelled.into(), "`data.labels`: the pictures have no classes"),
        ("train edm --config absent.toml --data data --run r".into(), "absent.toml"),
        ("train edm --config recipe.toml --data absent --run r".into(), "absent"),
        ("sample edm bad.pkl".into(), "pickle global `os.system` at byte 2 is not allowed"),
        ("sample edm absent".into(), "absent"),
        ("evaluate fid data nowhere".into(), "nowhere"),
        ("evaluate fid nowhere data".into(), "nowhere"),
        ("evaluate fid data absent.npz --resolution 8".into(), "absent.npz"),
        ("evaluate fid data data --features inception".into(), "--weights"),
    ] {
        let args: Vec<&str> = command.split(' ').collect();
        let run = run(path, &args);
        assert_eq!(run.code, Some(2), "{command}: {run:?}");
        assert!(run.err.contains(expected), "{command}: {}", run.err);
        assert_eq!(run.out, "", "{command}");
    }
    // The command lines of before still ask for what they need.
    for (command, expected) in
        [("train", "--config"), ("evaluate", "--data"), ("sample", "--image")]
    {
        let run = run(path, &[command]);
        assert_eq!(run.code, Some(2), "{run:?}");
        assert!(run.err.contains(expected), "{command}: {}", run.err);
    }
}

#[test]
fn recipes_of_the_repository_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/uni-instruct");
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("edm-") {
            let resolved =
                lines(&folder, &["train", "edm", "--dry-run", "--config", &name]).join("\n");
            assert!(resolved.contains("[network]") && resolved.contains("sigma_data"), "{name}");
            checked += 1;
        }
    }
    assert!(checked >= 2);
}

/// A teacher is distilled by two recipes; the table has it with few and many steps beside its students, and the
/// second call only writes it again.
#[test]
fn students_stand_beside_their_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path);
    assert_eq!(run(path, &TRAIN).code, Some(0));
    for (name, head) in
        [("sid", "method = \"sid\"\nalpha = 1.0"), ("di", "method = \"diff-instruct\"")]
    {
        let text = format!(
            "{head}\n[problem]\nkind = \"edm\"\nteacher = \"run/model\"\ndata = [\"data\"]\nmeasured = 8\n\
             [train]\nbatch_size = 4\nduration = 8\nlog_every = 4\nsample_every = 0\ncheckpoint_every = 8\n"
        );
        std::fs::write(path.join(format!("{name}.toml")), text).unwrap();
    }
    let args = [
        "distill", "compare", "sid.toml", "di.toml", "--seeds", "2", "--count", "8", "--runs",
        "runs", "-o", "table.md",
    ];
    let pictures = ["teacher-1", "teacher-5", "teacher-18", "sid", "di"];
    let table = compare(path, &args, &pictures);
    for row in ["| teacher, 1 Heun step |", "| teacher, 18 Heun steps |", "| sid |", "| di |"] {
        assert_eq!(table.matches(row).count(), 1, "{row} in {table}");
    }
    assert!(
        table.contains("8 drawn pictures of each seed against 12 of the training set"),
        "{table}"
    );

    // What was measured with fewer pictures is measured again, and the student is the same.
    let weights = path.join("runs/sid-1/model/model.safetensors");
    let before = std::fs::read(&weights).unwrap();
    let more = args.map(|arg| if arg == "8" { "9" } else { arg });
    lines(path, &more);
    let table = std::fs::read_to_string(path.join("table.md")).unwrap();
    assert!(table.contains("9 drawn pictures of each seed"), "{table}");
    let kept = std::fs::read_to_string(path.join("runs/teacher-5-1.json")).unwrap();
    assert!(kept.contains("9 drawn pictures of each seed"), "{kept}");
    assert!(std::fs::read(&weights).unwrap() == before);

    let args = ["sample", "edm", "runs/sid-1/model", "-o", "a.png"];
    lines(path, &args);
    Picture::open(&path.join("a.png")).unwrap();
    let error = run(path, &[&args[..], &["--steps", "3"]].concat());
    assert_eq!(error.code, Some(2));
    assert!(error.err.contains("makes a picture in one pass"), "{}", error.err);
    lines(path, &["models", "convert", "runs/sid-1/model", "half", "--precision", "f16"]);
    lines(path, &["sample", "edm", "half", "-o", "b.png"]);
}
