//! `cargo xtask bench`: Trefoil next to PyTorch, on the same machine, in alternation.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::{Args, value_parser};
use serde::Deserialize;
use serde_json::Value;

use crate::compare::{Comparison, Setting};
use crate::{machine, process};

/// Passes of PyTorch that are not counted.
const WARMUP: &str = "2";

/// Time the networks, next to PyTorch, and write a table
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench --python .venv/bin/python
  cargo xtask bench --filter uvit/forward -o /tmp/uvit.md

Without `--python` only Trefoil is timed. Nothing else should run on the machine meanwhile.
The first run builds the tensor library once more, which takes some minutes.")]
pub(crate) struct BenchArgs {
    /// Python with the packages of reference/requirements.txt
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Only the benchmarks whose name contains this
    #[arg(long, value_name = "NAME")]
    filter: Option<String>,
    /// Repetitions of each benchmark in a round
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = value_parser!(u32).range(10..=1000))]
    runs: u32,
    /// How often Trefoil and PyTorch take turns
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = value_parser!(u32).range(2..=100))]
    rounds: u32,
    /// Threads of both [default: all processors]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Markdown file
    #[arg(short, long, default_value = "docs/results/performance.md", value_name = "FILE")]
    output: PathBuf,
}

/// A benchmark that was run: what `xtask/benches/unidiffuser.rs` says about it.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    /// Its name, and the folder of its estimates.
    pub(crate) id: String,
    /// Its size, for people.
    pub(crate) shape: String,
    /// Parameters of the network.
    pub(crate) parameters: u64,
    /// The same in the terms of `bench_torch.py`.
    torch: Value,
}

/// What criterion writes about a benchmark, in nanoseconds.
#[derive(Debug, Deserialize)]
struct Estimates {
    median: Estimate,
}

/// One of its numbers.
#[derive(Debug, Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// A line of `bench_torch.py`.
#[derive(Debug, Deserialize)]
struct TorchLine {
    median_ms: f64,
    parameters: u64,
    torch: String,
}

impl BenchArgs {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        // An output folder that cannot be made should not cost the whole measurement.
        let folder = self.output.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let home = process::target().join("criterion");
        std::fs::create_dir_all(&home)
            .with_context(|| format!("cannot make {}", home.display()))?;
        let home = std::path::absolute(&home).context("no current folder")?;
        let threads = self.threads.map_or_else(machine::cores, |threads| threads as usize);
        process::run(harness().arg("--no-run"))?;

        let mut comparisons: Vec<Comparison> = Vec::new();
        let mut torch_version = None;
        for round in 1..=self.rounds {
            eprintln!("==> round {round} of {}: Trefoil", self.rounds);
            let cases = self.ours(&home, threads)?;
            if round == 1 {
                comparisons = cases.iter().map(Comparison::new).collect();
            }
            for (comparison, case) in comparisons.iter_mut().zip(&cases) {
                comparison.ours.push(estimate(&home, &case.id)?);
            }
            let Some(python) = &self.python else { continue };
            eprintln!("==> round {round} of {}: PyTorch", self.rounds);
            let lines = self.torch(python, &home, &cases, threads)?;
            for ((comparison, case), line) in comparisons.iter_mut().zip(&cases).zip(lines) {
                let (ours, theirs) = (case.parameters, line.parameters);
                ensure!(
                    ours == theirs,
                    "`{}` is not the same network: {ours} parameters here, {theirs} in PyTorch",
                    case.id
                );
                comparison.torch.push(line.median_ms);
                torch_version = Some(line.torch);
            }
        }
        let setting = Setting { runs: self.runs, rounds: self.rounds, threads, torch_version };
        let table = setting.to_markdown(&comparisons);
        std::fs::write(&self.output, &table)
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        print!("{table}");
        Ok(())
    }

    /// Runs our benchmarks once; returns which they were.
    fn ours(&self, home: &Path, threads: usize) -> anyhow::Result<Vec<Case>> {
        let path = home.join("cases.json");
        let mut command = harness();
        command
            .args(["--", "--noplot", "--sample-size", &self.runs.to_string()])
            .args(&self.filter)
            .env("CRITERION_HOME", home)
            .env("TREFOIL_BENCH_CASES", &path)
            .env("RAYON_NUM_THREADS", threads.to_string());
        process::run(&mut command)?;
        let cases: Vec<Case> = read_json(&path)?;
        ensure!(!cases.is_empty(), "no benchmark has such a name");
        Ok(cases)
    }

    /// Runs the same in PyTorch.
    fn torch(
        &self,
        python: &Path,
        home: &Path,
        cases: &[Case],
        threads: usize,
    ) -> anyhow::Result<Vec<TorchLine>> {
        let path = home.join("torch.json");
        let list: Vec<&Value> = cases.iter().map(|case| &case.torch).collect();
        std::fs::write(&path, serde_json::to_string(&list)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let (threads, runs) = (threads.to_string(), self.runs.to_string());
        let mut command = process::program(python);
        command
            .arg("reference/bench_torch.py")
            .args(["--threads", &threads, "--runs", &runs, "--warmup", WARMUP, "--file"])
            .arg(&path);
        let lines = process::read(&mut command)?
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<Vec<TorchLine>, _>>()
            .context("unexpected output of bench_torch.py")?;
        ensure!(lines.len() == cases.len(), "bench_torch.py left out a case");
        Ok(lines)
    }
}

/// The benchmarks, without arguments. The whole workspace is selected for the sake of its features: fewer
/// dependencies differ from those of the other commands and have to be built again.
fn harness() -> Command {
    let mut command = process::cargo();
    command.args(["bench", "--workspace", "--bench", "unidiffuser"]);
    command
}

/// Median of a benchmark in milliseconds.
fn estimate(home: &Path, id: &str) -> anyhow::Result<f64> {
    let estimates: Estimates = read_json(&home.join(id).join("new/estimates.json"))?;
    Ok(estimates.median.point_estimate / 1e6)
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("unexpected {}", path.display()))
}
