//! From coloured solids to scenes that a teacher of their pictures shaped.

use std::path::Path;

use crate::support::{compare, lines, run};

const DATA: [&str; 13] = [
    "data",
    "scenes",
    "data",
    "--scenes",
    "3",
    "--pictures",
    "6",
    "--size",
    "8",
    "--grid",
    "6",
    "--directions",
    "2",
];

const TEACHER: &str = "
[data]
resolution = 8
labels = true
[network]
model_channels = 8
channel_mult = [1]
num_blocks = 1
attn_resolutions = []
[augment]
probability = 0.0
mirror = false
upside_down = false
[train]
batch_size = 8
duration = 32
warmup = 0
[preview]
count = 0
";

fn write(folder: &Path) {
    std::fs::write(folder.join("teacher.toml"), TEACHER).unwrap();
    for method in ["sds", "vsd"] {
        let text = format!(
            "method = \"{method}\"\n[problem]\nkind = \"scenes\"\nteacher = \"run/model\"\ndata = \"data\"\n\
             class = \"tree\"\nparticles = 2\nviews = 3\n[train]\nbatch_size = 4\nduration = 8\nlog_every = 4\n\
             sample_every = 0\ncheckpoint_every = 8\n[train.student]\nlearning_rate = 0.05\n"
        );
        std::fs::write(folder.join(format!("{method}.toml")), text).unwrap();
    }
}

#[test]
fn scenes_are_shaped_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path);
    let made = run(path, &DATA);
    assert_eq!((made.code, made.out.as_str()), (Some(0), "data\n"), "{made:?}");
    assert!(made.err.contains("72 pictures, 8 labels"), "{}", made.err);
    let again = run(path, &DATA);
    assert_eq!(again.code, Some(2));
    assert!(again.err.contains("data is not empty"), "{}", again.err);
    let train = ["train", "edm", "--config", "teacher.toml", "--data", "data", "--run", "run"];
    assert_eq!(lines(path, &train), ["run/model"]);

    let args = [
        "distill", "compare", "sds.toml", "vsd.toml", "--seeds", "2", "--count", "20", "--runs",
        "runs", "-o", "table.md",
    ];
    let table = compare(path, &args, &["teacher", "new", "start", "sds", "vsd"]);
    for row in ["teacher, 18 Heun steps", "new scenes of the data's kind", "sds", "vsd"] {
        assert_eq!(table.matches(&format!("\n| {row} |")).count(), 1, "{row} in {table}");
    }
    assert!(table.contains("**No Stable Diffusion model"), "{table}");
    assert!(table.contains("sds.toml vsd.toml --seeds 2 --count 20 --runs runs -o table.md"));

    let sds = std::fs::read_to_string(path.join("sds.toml")).unwrap();
    std::fs::write(path.join("other.toml"), sds.replace("\"tree\"", "\"car\"")).unwrap();
    let other = ["distill", "compare", "sds.toml", "other.toml", "--runs", "r", "-o", "t.md"];
    let error = run(path, &other);
    assert_eq!(error.code, Some(2));
    assert!(
        error.err.contains("other: `problem`: expected that of the other recipes"),
        "{error:?}"
    );
}

#[test]
fn recipes_of_the_repository_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/uni-instruct/scenes");
    let dry = ["train", "edm", "--dry-run", "--config", "teacher.toml"];
    assert!(lines(&folder, &dry).join("\n").contains("labels = true"));
    // Without data, a recipe gets as far as the folder that it names.
    for name in ["sds", "vsd", "uni-instruct-fkl", "uni-instruct-js"] {
        let file = format!("{name}.toml");
        let run = run(&folder, &["distill", "--dry-run", "--config", &file]);
        assert_eq!(run.code, Some(2), "{name}: {run:?}");
        assert!(run.err.contains("cannot read data/scenes/scenes.json"), "{name}: {}", run.err);
    }
}
