//! `trefoil verify`: this program against a recorded run of the reference implementations.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use unidiffuser::verify::{Check, Group, Tolerance, verify};

use crate::Answer;
use crate::args::DeviceArgs;
use crate::output::{self, Talk};

/// Compare this program with recorded numbers of the reference implementations
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  python reference/unidiffuser_oracle.py --out oracle --seed 7 --version 1
  trefoil verify oracle
  trefoil verify --json oracle | jq .passes

A group passes when every comparison in it stays within its tolerance: relative to the largest magnitude of the
tensor, absolute, or none at all (names, tokens, captions). Runs are compared whole, and evaluation by evaluation from
the recorded states. A whole run that differs is no failure where the last bit of its noise moves its end as far.

Exit code 1: a group fails.")]
pub(crate) struct VerifyArgs {
    /// Folders that the reference script wrote
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Print one JSON object per folder, with every comparison
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

impl VerifyArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let device = self.device.device.device()?;
        let mut answer = Answer::Yes;
        for folder in &self.folders {
            if !self.json {
                output::print(folder.display())?;
            }
            let mut printed = Ok(());
            let groups = verify(folder, &device, &mut |group| {
                if !self.json && printed.is_ok() {
                    printed = print(group);
                }
            })?;
            printed?;
            let failed: Vec<&Group> = groups.iter().filter(|group| !group.passes()).collect();
            let (passed, all) = (groups.len() - failed.len(), groups.len());
            if self.json {
                output::print_json(&json!({
                    "folder": folder.display().to_string(),
                    "passes": failed.is_empty(),
                    "groups": groups.iter().map(to_json).collect::<Vec<_>>(),
                }))?;
            } else {
                output::print(format_args!("  {passed} of {all} groups pass"))?;
            }
            if !failed.is_empty() {
                let names: Vec<&str> = failed.iter().map(|group| group.name.as_str()).collect();
                talk.note(format_args!("{}: failed: {}", folder.display(), names.join(", ")));
                answer = Answer::No;
            }
        }
        Ok(answer)
    }
}

/// A line for the group, and one for each of the first comparisons that fail.
fn print(group: &Group) -> anyhow::Result<()> {
    const SHOWN: usize = 5;
    let [absolute, relative] = group.largest();
    let verdict = if group.passes() { "pass" } else { "FAIL" };
    let limit = group.worst().map_or_else(String::new, |check| limit(check.tolerance));
    output::print(format_args!(
        "  {:<32}{:>4} comparisons  largest {absolute:.1e} absolute, {relative:.1e} relative  ({limit})  {verdict}",
        group.name,
        group.checks.len(),
    ))?;
    let failed = group.checks.iter().filter(|check| !check.passes());
    let chaotic =
        group.checks.iter().filter(|check| matches!(check.tolerance, Tolerance::Chaotic(_)));
    failed
        .take(SHOWN)
        .chain(chaotic)
        .try_for_each(|check| output::print(format_args!("    {}", line(check))))
}

/// A comparison that fails.
fn line(check: &Check) -> String {
    let Check { what, absolute, relative, tolerance } = check;
    let limit = limit(*tolerance);
    let wanted =
        if matches!(tolerance, Tolerance::Chaotic(_)) { "not judged:" } else { "expected" };
    format!("{what}: {absolute:.1e} absolute, {relative:.1e} relative, {wanted} {limit}")
}

fn limit(tolerance: Tolerance) -> String {
    match tolerance {
        Tolerance::Relative(limit) => format!("at most {limit:.0e} relative"),
        Tolerance::Absolute(limit) => format!("at most {limit:.1e} absolute"),
        Tolerance::Identical => "identical".into(),
        Tolerance::Chaotic(moved) => format!("the last bit of the noise moves it by {moved:.1e}"),
    }
}

fn to_json(group: &Group) -> serde_json::Value {
    let [absolute, relative] = group.largest();
    json!({
        "name": group.name,
        "passes": group.passes(),
        "absolute": finite(absolute),
        "relative": finite(relative),
        "checks": group.checks.iter().map(|check| json!({
            "what": check.what,
            "passes": check.passes(),
            "absolute": finite(check.absolute),
            "relative": finite(check.relative),
            "tolerance": check.tolerance,
        })).collect::<Vec<_>>(),
    })
}

/// JSON has no infinity: what could not be compared is `null`.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
