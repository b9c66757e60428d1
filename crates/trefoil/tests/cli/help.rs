//! Help, completions, colours.

use crate::support::{lines, run, trefoil};

const COMMANDS: [&str; 20] = [
    "generate",
    "caption",
    "joint",
    "sample",
    "vary",
    "blend",
    "chain",
    "inspect",
    "models",
    "verify",
    "data",
    "train",
    "distill",
    "prepare",
    "search",
    "recommend",
    "similar",
    "explain",
    "event",
    "completions",
];

#[test]
fn every_command_has_help_with_examples() {
    let folder = tempfile::tempdir().unwrap();
    let top = lines(folder.path(), &["--help"]).join("\n");
    assert!(top.contains("Examples:\n  trefoil generate") && top.contains("Exit codes:"), "{top}");
    for command in COMMANDS {
        assert!(top.contains(&format!("\n  {command} ")), "{command}");
        let help = lines(folder.path(), &[command, "--help"]).join("\n");
        let example = match command {
            "verify" => "Examples:\n  python reference/".to_string(),
            _ => format!("Examples:\n  trefoil {command}"),
        };
        assert!(help.contains(&example), "{help}");
        assert!(!help.starts_with("Usage"), "{command} says what it does");
    }
    for nested in ["openmoji", "scenes", "check"] {
        let help = lines(folder.path(), &["data", nested, "--help"]).join("\n");
        assert!(help.contains(&format!("Examples:\n  trefoil data {nested} ")), "{help}");
    }
    for nested in ["add", "item", "list", "delete", "export"] {
        let help = lines(folder.path(), &["event", nested, "--help"]).join("\n");
        assert!(help.contains(&format!("Examples:\n  trefoil event {nested} ")), "{help}");
    }
    for command in ["train", "evaluate"] {
        let help = lines(folder.path(), &[command, "uditsr", "--help"]).join("\n");
        assert!(help.contains(&format!("  trefoil {command} uditsr ")), "{help}");
    }
    let guidance = lines(folder.path(), &["generate", "--help"]).join(" ");
    let guidance: Vec<&str> = guidance.split_whitespace().collect();
    assert!(guidance.join(" ").contains("the paper's scale is s = w - 1"), "{guidance:?}");
    let version = lines(folder.path(), &["--version"]);
    assert_eq!(version, [format!("trefoil {}", env!("CARGO_PKG_VERSION"))]);
}

#[test]
fn completions_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = lines(folder.path(), &["completions", shell]).join("\n");
        for command in COMMANDS {
            assert!(script.contains(command), "{shell} {command}");
        }
    }
    assert!(lines(folder.path(), &["completions", "bash"]).concat().contains("dpm-multistep"));
}

#[test]
fn colours_are_left_out_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let escapes = |no_color: bool, args: &[&str]| {
        let mut command = trefoil(folder.path());
        command.args(args).env("CLICOLOR_FORCE", "1");
        if no_color {
            command.env("NO_COLOR", "1");
        }
        let output = command.output().unwrap();
        [output.stdout, output.stderr].concat().contains(&0x1b)
    };
    assert!(escapes(false, &["--help"]), "the request is what makes the difference");
    for args in [&["--help"][..], &["generate"], &["inspect", "absent.png"]] {
        assert!(!escapes(true, args), "{args:?}");
    }
}

#[test]
fn a_command_is_required_and_misspellings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let typo = run(folder.path(), &["generat", "a cat"]);
    assert_eq!(typo.code, Some(2));
    assert!(typo.err.contains("'generate'"), "{}", typo.err);
    assert_eq!(run(folder.path(), &[]).code, Some(2));
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let program = trefoil(folder.path()).get_program().to_owned();
    let mut child = std::process::Command::new(program)
        .args(["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
