//! The files of `deploy/` speak of what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::process::program;

fn file(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(name)).unwrap()
}

/// Words of a text that begin like this and go on with letters and signs that names have.
fn words(text: &str, begin: &str, signs: &[char]) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || signs.contains(&c);
    let rest = text.split(begin).skip(1);
    rest.map(|rest| rest.split(|c| !is_name(c)).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_board_asks_for_metrics_that_there_are() {
    let registered = file("crates/trefoil-server/src/metrics.rs");
    let names = words(&file("deploy/grafana/trefoil.json"), "trefoil_", &['_']);
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let ends = ["_total", "_bucket", "_sum", "_count"];
        let base = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        assert!(registered.contains(&format!(" \"{base}\" ")), "{name}");
    }
}

#[test]
fn the_unit_and_the_containers_use_options_that_there_are() {
    let help = program().args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let unit = file("deploy/trefoil.service");
    let start = unit.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    let compose = file("deploy/compose.yaml");
    let commands = compose.lines().filter(|line| line.trim().starts_with("command:"));
    let commands = commands.collect::<String>();
    for text in [start, &*commands] {
        let options = words(text, "--", &['-']);
        assert!(options.len() >= 3, "{options:?}");
        for option in options {
            assert!(help.contains(&format!("--{option} ")), "--{option}");
        }
    }
    for name in ["TREFOIL_STATE", "TREFOIL_BIND"] {
        assert!(help.contains(&format!("[env: {name}")), "{name}");
    }
}
