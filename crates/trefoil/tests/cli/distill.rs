//! `trefoil distill`: methods, checks, a short run, and recipes that cannot work.

use std::path::Path;

use crate::support::{lines, run};

const RECIPE: &str = "\
method = \"sid\"
alpha = 1.0

[problem]
kind = \"mixture\"
network = { width = 16, depth = 2 }

[train]
batch_size = 32
prepare = 320
warm_up = 320
duration = 640
log_every = 320
sample_every = 0
checkpoint_every = 320

[train.preparation]
learning_rate = 1e-3

[train.fake]
learning_rate = 1e-3

[train.student]
learning_rate = 1e-3
";

fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join("r.toml"), text).unwrap();
}

#[test]
fn methods_are_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let found = lines(folder.path(), &["distill", "methods"]);
    assert_eq!(found.len(), 2 + 18);
    let row = "| sida | SiDA (arXiv 2410.14919) | reverse KL | SiD with an adversarial term on";
    assert!(found.iter().any(|line| line.starts_with(row)), "{found:?}");
}

#[test]
fn a_level_of_the_checks_passes() {
    let folder = tempfile::tempdir().unwrap();
    let found = lines(folder.path(), &["distill", "verify", "--level", "V0"]);
    assert_eq!(found[0], "| level | what | error | limit | |");
    assert_eq!(found.iter().filter(|line| line.ends_with("| passes |")).count(), 3, "{found:?}");
    let unknown = run(folder.path(), &["distill", "verify", "--level", "V99"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("expected one of V0, V1,"), "{}", unknown.err);
}

#[test]
fn a_comparison_takes_no_result_of_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, RECIPE);
    let mixture = |mean: f64| {
        let text =
            format!(r#"{{"components": [{{"weight": 1, "mean": [{mean}, 1], "deviation": 1}}]}}"#);
        std::fs::write(path.join("m.json"), text).unwrap();
    };
    mixture(0.0);
    let compare = |more: &[&str]| {
        let common = ["distill", "compare", "r.toml", "--mixture", "m.json", "--runs", "runs"];
        run(
            path,
            &[
                &common[..],
                &["-o", "page.md"][..],
                if more.contains(&"--seeds") { &[] } else { &["--seeds", "1"] },
                more,
            ]
            .concat(),
        )
    };
    assert_eq!(compare(&[]).code, Some(0));
    let page = std::fs::read_to_string(path.join("page.md")).unwrap();
    assert_eq!(compare(&[]).code, Some(0));
    assert_eq!(std::fs::read_to_string(path.join("page.md")).unwrap(), page);
    let refused = |found: crate::support::Run, part: &str| {
        assert_eq!(found.code, Some(2), "{found:?}");
        assert!(found.err.contains(part), "{}", found.err);
    };
    let part = "has a result of another recipe or another mixture";
    refused(compare(&["--set", "alpha=0.5"]), part);
    mixture(2.0);
    refused(compare(&[]), part);
    refused(compare(&["--seeds", "0"]), "0 is not in 1..");
    // A run that was killed does not go on with another mixture either.
    std::fs::remove_dir_all(path.join("runs/r-m-1/model")).unwrap();
    refused(
        compare(&[]),
        "was written with another configuration; changed: settings.problem.mixture",
    );
}

#[test]
fn a_dry_run_prints_a_recipe_that_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), RECIPE);
    let args = ["distill", "--config", "r.toml", "--set", "train.seed=5", "--dry-run"];
    let first = run(folder.path(), &args);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.out.contains("[[plan.stages]]") && first.out.contains("seed = 5"));
    assert!(first.err.contains("MiB of weights and optimiser state"), "{}", first.err);
    write(folder.path(), &first.out);
    assert_eq!(run(folder.path(), &["distill", "--config", "r.toml", "--dry-run"]).out, first.out);
}

#[test]
fn a_run_writes_a_student_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), RECIPE);
    let found = lines(folder.path(), &["distill", "--config", "r.toml", "--run", "run"]);
    assert_eq!(found, ["run/model"]);
    let model = folder.path().join("run/model");
    let expected = std::fs::read(model.join("student.safetensors")).unwrap();
    // Without the last checkpoint and the result, the run goes on from the one before.
    let mut states: Vec<_> = std::fs::read_dir(folder.path().join("run/state"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    states.sort();
    assert_eq!(states.len(), 2);
    std::fs::remove_file(&states[1]).unwrap();
    std::fs::remove_file(model.join("student.safetensors")).unwrap();
    assert_eq!(lines(folder.path(), &["distill", "--resume", "run"]), ["run/model"]);
    assert_eq!(std::fs::read(model.join("student.safetensors")).unwrap(), expected);
}

#[test]
fn a_mixture_of_the_user_takes_the_place_of_the_recipes() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), RECIPE);
    let mixture = r#"{"components": [{"weight": 1, "mean": [0, 1, 2], "deviation": 1}]}"#;
    std::fs::write(folder.path().join("m.json"), mixture).unwrap();
    let args = ["distill", "--config", "r.toml", "--mixture", "m.json", "--run", "run"];
    let found = run(folder.path(), &args);
    assert_eq!(found.code, Some(0), "{found:?}");
    assert!(found.err.contains("modes 1.0000"), "{}", found.err);
}

#[test]
fn recipes_that_cannot_work_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |text: &str, part: &str| {
        write(folder.path(), text);
        let found = run(folder.path(), &["distill", "--config", "r.toml", "--run", "run"]);
        assert_eq!((found.code, found.out.as_str()), (Some(2), ""), "{found:?}");
        let message = found.err.split("\n\n").next().unwrap().trim_end();
        assert!(message.starts_with("error: r.toml: "), "{message}");
        assert!(message.contains(part) && !message.contains('\n'), "{message}");
    };
    refused(&RECIPE.replace("alpha", "beta"), "line 2: unknown field `beta`");
    refused(&RECIPE.replace("\"sid\"", "\"sad\""), "`method`: expected one of diff-instruct,");
    refused(
        &format!("{RECIPE}[objective.fake]\nkind = \"conditional\"\n"),
        "`objective.estimator`: the expanded form vanishes",
    );
    refused(
        &RECIPE.replace("[train]", "mixture = { file = \"absent.json\" }\n[train]"),
        "cannot read absent.json",
    );
    let missing = run(folder.path(), &["distill", "--config", "absent.toml", "--run", "run"]);
    assert!(missing.err.contains("cannot read absent.toml"), "{}", missing.err);
    assert!(missing.err.contains("hint: check the spelling"), "{}", missing.err);
    let resumed = run(folder.path(), &["distill", "--resume", "nowhere"]);
    assert_eq!(resumed.code, Some(2));
    assert!(resumed.err.contains("nowhere has no config.toml"), "{}", resumed.err);
}
