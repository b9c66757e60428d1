//! Proof on problems with known answers: what `trefoil distill verify` prints.
//!
//! Every level compares what the training code computes (the same [`crate::Divergence`],
//! [`crate::objective::Estimator`] and networks) with numbers of the oracle or with closed forms.

mod closed_forms;
mod fixed_points;
mod gradients;
mod identities;
mod learned;
mod problem;
mod quadrature;

use std::fmt::Write as _;

use crate::error::Result;

/// A comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Level of the ladder.
    pub level: &'static str,
    /// What is compared.
    pub what: String,
    /// The largest error found.
    pub error: f64,
    /// The largest error that passes.
    pub limit: f64,
}

impl Check {
    fn new(level: &'static str, what: impl Into<String>, error: f64, limit: f64) -> Self {
        Self { level, what: what.into(), error, limit }
    }

    /// Whether it passes; an error that is not a number does not.
    pub fn passes(&self) -> bool {
        self.error <= self.limit
    }
}

/// The levels, cheapest first.
type Level = (&'static str, fn() -> Result<Vec<Check>>);
const LEVELS: [Level; 8] = [
    ("V0", identities::weights),
    ("V1", identities::expansion),
    ("V2", gradients::terms),
    ("V3", gradients::special_cases),
    ("V4", gradients::weighted_path),
    ("V5", fixed_points::fixed_points),
    ("V6-V7", learned::networks),
    ("V11", closed_forms::closed_forms),
];

/// Names of the levels.
pub fn levels() -> impl Iterator<Item = &'static str> {
    LEVELS.iter().map(|(name, _)| *name)
}

/// Runs a level, or all of them; `done` hears each check.
///
/// # Errors
/// [`trefoil_core::Error::Config`] for a level that does not exist, and those of the networks.
pub fn run(level: Option<&str>, done: &mut dyn FnMut(&Check)) -> Result<Vec<Check>> {
    // Levels that share their networks run together, and each of their names finds them.
    let is = |name: &str, wanted: &str| name == wanted || name.split('-').any(|n| n == wanted);
    let chosen: Vec<&Level> =
        LEVELS.iter().filter(|(name, _)| level.is_none_or(|wanted| is(name, wanted))).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = levels().collect();
        let found = level.unwrap_or_default();
        let reason = format!("expected one of {}; found {found}", names.join(", "));
        return Err(trefoil_core::Error::config("level", reason).into());
    }
    let mut checks = Vec::new();
    for (_, check) in chosen {
        for found in check()? {
            done(&found);
            checks.push(found);
        }
    }
    Ok(checks)
}

/// The table as Markdown.
pub fn to_markdown(checks: &[Check]) -> String {
    let mut text = String::from("| level | what | error | limit | |\n|---|---|---:|---:|---|\n");
    for check in checks {
        let Check { level, what, error, limit } = check;
        let mark = if check.passes() { "passes" } else { "**fails**" };
        let _ = writeln!(text, "| {level} | {what} | {error:.1e} | {limit:.1e} | {mark} |");
    }
    text
}

/// Largest difference, relative to the larger of `|b|` and `floor`.
fn relative(a: &[f64], b: &[f64], floor: f64) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let errors = a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs().max(floor));
    errors.fold(0.0, |worst, e| if e.is_nan() { f64::INFINITY } else { e.max(worst) })
}

/// Largest difference relative to the norm of `b`.
fn relative_norm(a: &[f64], b: &[f64]) -> f64 {
    let norm = b.iter().map(|b| b * b).sum::<f64>().sqrt();
    relative(a, b, norm.max(1e-12))
}
