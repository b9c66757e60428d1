//! `cargo xtask check`: what a change must pass. `.ci/run` calls this and nothing else.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;

use crate::{layers, process};

/// Run the checks that every change must pass, most important first
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Only the steps whose name contains this
    #[arg(long)]
    only: Option<String>,
}

/// A named part of the checks.
struct Step {
    name: &'static str,
    run: fn() -> anyhow::Result<()>,
}

/// All of them. Formatting and layers take a second; of the builds, the tests come first because they
/// matter most. Everything uses the release profile: the networks are too slow without optimisation, and
/// dependencies are compiled for one profile only.
const STEPS: &[Step] = &[
    Step { name: "format", run: || run(&["fmt", "--all", "--check"]) },
    Step { name: "layers", run: layers::check },
    Step { name: "test", run: || run(&["test", "--release"]) },
    Step {
        name: "hub",
        run: || run(&["test", "--release", "--features", "trefoil-core/hub", "--test", "hub"]),
    },
    Step {
        name: "clippy",
        run: || {
            run(&["clippy", "--workspace", "--all-targets", "--release", "--", "-D", "warnings"])
        },
    },
    // What the workspace in `large/`, which takes half an hour to build, uses of this one.
    Step {
        name: "large-logs",
        run: || {
            let what = ["clippy", "--package", "uditsr", "--features", "large-logs", "--release"];
            run(&[&what[..], &["--", "-D", "warnings"]].concat())
        },
    },
    Step {
        name: "documentation",
        run: || {
            let mut command = cargo(&["doc", "--workspace", "--no-deps", "--release"]);
            process::run(command.env("RUSTDOCFLAGS", "-D warnings"))
        },
    },
];

impl CheckArgs {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut durations = Vec::new();
        let wanted = |name: &str| self.only.as_deref().is_none_or(|part| name.contains(part));
        for Step { name, run } in STEPS.iter().filter(|step| wanted(step.name)) {
            eprintln!("==> {name}");
            let clock = Instant::now();
            run().with_context(|| format!("check `{name}`"))?;
            let took = clock.elapsed();
            eprintln!("<== {name}: {}", seconds(took));
            durations.push((name, took));
        }
        for (name, took) in durations {
            eprintln!("{name:>14} {:>9}", seconds(took));
        }
        eprintln!("{:>14} {:>9}", "all checks", seconds(begin.elapsed()));
        Ok(())
    }
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = process::cargo();
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> anyhow::Result<()> {
    process::run(&mut cargo(arguments))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
