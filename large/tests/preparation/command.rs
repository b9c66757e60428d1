//! The command.

use std::process::{Command, Output};

use uditsr::data::{Prepare, Report};

use crate::{assert_same, fixtures};

pub(crate) fn trefoil_large(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trefoil-large")).args(arguments).output().unwrap()
}

#[test]
fn the_command_writes_the_folder_and_prints_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let [expected, found] = ["memory", "command"].map(|name| folder.path().join(name));
    let log = fixtures().join("events.csv");
    let mut prepare = Prepare::new([&log]);
    prepare.options.negatives = 1;
    prepare.options.seed = 9;
    prepare.options.min_word_count = 1;
    let report = prepare.run(&expected).unwrap();
    let work = folder.path().to_str().unwrap();
    let out = found.to_str().unwrap();
    let output = trefoil_large(&[
        "prepare",
        log.to_str().unwrap(),
        "-o",
        out,
        "--negatives",
        "1",
        "--seed",
        "9",
        "--options",
        r#"{"min_word_count": 1}"#,
        "--json",
        "--memory",
        "64MiB",
        "--work",
        work,
    ]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert!(errors.contains("rows per second"), "{errors}");
    assert_eq!(serde_json::from_slice::<Report>(&output.stdout).unwrap(), report);
    assert_same(&expected, &found, "the command");
}

#[test]
fn errors_end_with_2_and_name_what_is_wrong() {
    let log = fixtures().join("events.csv");
    let log = log.to_str().unwrap();
    for (arguments, expected) in [
        (&["prepare", "missing.csv", "--check"][..], "cannot read missing.csv"),
        (&["prepare", log], "--out <DIR>"),
        (&["prepare", log, "--check", "--memory", "2 parsecs"], "found `parsecs`"),
        (&["prepare", log, "--check", "--options", r#"{"sed": 1}"#], "unknown field `sed`"),
        (&["prepare", log, "--check", "--split", "weeks:1"], "expected `leave-one-out`"),
    ] {
        let output = trefoil_large(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    }
}
