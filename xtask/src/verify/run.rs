//! One process that loads and evaluates a network, and what it says.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::compare::median;
use crate::process;

/// What a process measured of itself: seconds and bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Parameters of the network.
    pub(crate) parameters: u64,
    /// Its weights in memory; PyTorch does not say.
    #[serde(default)]
    pub(crate) weights: u64,
    /// Loading alone.
    pub(crate) load: f64,
    /// The first evaluation.
    pub(crate) first: f64,
    /// The timed ones.
    pub(crate) times: Vec<f64>,
    /// Resident before loading.
    pub(crate) before: u64,
    /// Peak until everything was loaded.
    pub(crate) peak_loading: u64,
    /// Peak of all.
    pub(crate) peak: u64,
    /// Largest difference of each output over its largest magnitude.
    #[serde(default)]
    pub(crate) differences: BTreeMap<String, f64>,
    /// From the start of the process until the network was ready, seen from outside.
    #[serde(default)]
    pub(crate) ready: f64,
    /// Version of PyTorch.
    #[serde(default)]
    pub(crate) torch: Option<String>,
}

impl Run {
    /// The middle one of the timed evaluations.
    pub(crate) fn time(&self) -> f64 {
        median(&self.times)
    }

    /// From the start of the process until the first evaluation begins, and what that one takes longer than others:
    /// mapped weights come into memory with it.
    pub(crate) fn start_up(&self) -> f64 {
        self.ready + (self.first - self.time()).max(0.0)
    }

    /// The largest of its differences.
    pub(crate) fn difference(&self) -> f64 {
        // Not a number counts as the largest.
        let or_largest = |value: f64| if value.is_nan() { f64::INFINITY } else { value };
        self.differences.values().copied().map(or_largest).fold(0.0, f64::max)
    }

    /// Peak while loading, without what the process had before, over the weights.
    pub(crate) fn loading(&self) -> f64 {
        self.peak_loading.saturating_sub(self.before) as f64 / self.weights as f64
    }
}

/// Runs a program that prints a line when it is ready and a line with a [`Run`].
pub(crate) fn measure(command: &mut Command) -> anyhow::Result<Run> {
    let line = process::describe(command);
    let start = Instant::now();
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{line}`"))?;
    let output = child.stdout.take().context("standard output is piped")?;
    let mut lines = BufReader::new(output).lines();
    let first = lines.next().transpose()?;
    let ready = start.elapsed().as_secs_f64();
    let rest: Vec<String> = lines.collect::<Result<_, _>>()?;
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    ensure!(status.success() && first.is_some(), "`{line}` failed ({status})");
    let last = rest.last().with_context(|| format!("`{line}` says nothing"))?;
    let run: Run = serde_json::from_str(last)
        .with_context(|| format!("unexpected output of `{line}`: {last}"))?;
    Ok(Run { ready, ..run })
}
