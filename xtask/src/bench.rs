//! `cargo xtask bench`: Trefoil next to PyTorch, on the same machine, in alternation.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::{Args, value_parser};
use serde::Deserialize;
use serde_json::Value;

use crate::compare::Comparison;
use crate::report::{Report, Setting};
use crate::{machine, plot, process};

/// Passes of PyTorch that are not counted.
const WARMUP: &str = "2";
/// The benchmark whose cases run once more, each in a process of its own, for their peak of memory.
const WITH_MEMORY: &str = "networks";
/// The benchmark that is plotted.
const PLOTTED: &str = "scaling";
/// All of them: files in `xtask/benches`.
const BENCHES: [&str; 3] = [WITH_MEMORY, "kernels", PLOTTED];

/// Time kernels and networks, next to PyTorch, and write a page of tables
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
    /// Markdown file; plots are written beside it
    #[arg(short, long, default_value = "docs/results/performance.md", value_name = "FILE")]
    output: PathBuf,
}

/// A benchmark that was run: what `xtask/benches/harness` says about it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Case {
    /// Its name, and the folder of its estimates.
    pub(crate) id: String,
    /// Its size, for people.
    pub(crate) shape: String,
    /// Floating-point operations that it needs, or zero.
    pub(crate) operations: f64,
    /// Bytes that it reads or writes at least, or zero.
    pub(crate) bytes: f64,
    /// Parameters of the network.
    pub(crate) parameters: u64,
    /// The same in the terms of `bench_torch.py`, or null.
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
        let folder = folder.unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let home = process::target().join("criterion");
        std::fs::create_dir_all(&home)
            .with_context(|| format!("cannot make {}", home.display()))?;
        let home = std::path::absolute(&home).context("no current folder")?;
        process::run(harness(&BENCHES).arg("--no-run"))?;

        let mut comparisons: Vec<Comparison> = Vec::new();
        let mut torch_version = None;
        for round in 1..=self.rounds {
            eprintln!("==> round {round} of {}: Trefoil", self.rounds);
            let cases = self.ours(&home)?;
            if round == 1 {
                comparisons =
                    cases.iter().map(|(bench, case)| Comparison::new(bench, case)).collect();
            }
            for (comparison, (_, case)) in comparisons.iter_mut().zip(&cases) {
                comparison.ours.push(estimate(&home, &case.id)?);
            }
            let Some(python) = &self.python else { continue };
            eprintln!("==> round {round} of {}: PyTorch", self.rounds);
            let compared = |(_, case): &&(&str, Case)| !case.torch.is_null();
            let lines = self.torch(python, &home, cases.iter().filter(compared))?;
            let both = comparisons.iter_mut().filter(|comparison| !comparison.case.torch.is_null());
            for (comparison, line) in both.zip(lines) {
                let (ours, theirs) = (comparison.case.parameters, line.parameters);
                ensure!(
                    ours == theirs,
                    "`{}` is not the same network: {ours} parameters here, {theirs} in PyTorch",
                    comparison.case.id
                );
                comparison.torch.push(line.median_ms);
                torch_version = Some(line.torch);
            }
        }
        for comparison in comparisons.iter_mut().filter(|one| one.bench == WITH_MEMORY) {
            eprintln!("==> memory of {}", comparison.case.id);
            self.memory(&home, comparison)?;
        }

        let plots = plot::write(folder, PLOTTED, &comparisons)?;
        let (runs, rounds, threads) = (self.runs, self.rounds, self.threads());
        let setting = Setting { runs, rounds, threads, torch_version };
        let report = Report { setting, comparisons, plots }.to_markdown();
        std::fs::write(&self.output, &report)
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        print!("{report}");
        Ok(())
    }

    fn threads(&self) -> usize {
        self.threads.map_or_else(machine::cores, |threads| threads as usize)
    }

    /// Runs our benchmarks once; returns which they were, and of which file.
    fn ours(&self, home: &Path) -> anyhow::Result<Vec<(&'static str, Case)>> {
        let mut command = harness(&BENCHES);
        command
            .args(["--", "--noplot", "--sample-size", &self.runs.to_string()])
            .args(&self.filter)
            .env("CRITERION_HOME", home)
            .env("TREFOIL_BENCH_CASES", home)
            .env("RAYON_NUM_THREADS", self.threads().to_string());
        process::run(&mut command)?;
        let mut cases = Vec::new();
        for bench in BENCHES {
            let path = home.join(bench).with_extension("json");
            cases.extend(read_json::<Vec<Case>>(&path)?.into_iter().map(|case| (bench, case)));
        }
        ensure!(!cases.is_empty(), "no benchmark has such a name");
        Ok(cases)
    }

    /// Runs the same in PyTorch.
    fn torch<'a>(
        &self,
        python: &Path,
        home: &Path,
        cases: impl Iterator<Item = &'a (&'static str, Case)>,
    ) -> anyhow::Result<Vec<TorchLine>> {
        let list: Vec<&Value> = cases.map(|(_, case)| &case.torch).collect();
        let mut command = self.torch_command(python, home, &list)?;
        let lines = process::read(&mut command)?
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<Vec<TorchLine>, _>>()
            .context("unexpected output of bench_torch.py")?;
        ensure!(lines.len() == list.len(), "bench_torch.py left out a case");
        Ok(lines)
    }

    fn torch_command(
        &self,
        python: &Path,
        home: &Path,
        cases: &[&Value],
    ) -> anyhow::Result<Command> {
        let path = home.join("torch.json");
        std::fs::write(&path, serde_json::to_string(cases)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let (threads, runs) = (self.threads().to_string(), self.runs.to_string());
        let mut command = process::program(python);
        command
            .arg("reference/bench_torch.py")
            .args(["--threads", &threads, "--runs", &runs, "--warmup", WARMUP, "--file"])
            .arg(path);
        Ok(command)
    }

    /// Peak of resident memory of a process that runs one case alone, here and in PyTorch.
    fn memory(&self, home: &Path, comparison: &mut Comparison) -> anyhow::Result<()> {
        let case = &comparison.case;
        let mut ours = harness(&[comparison.bench]);
        ours.env("TREFOIL_BENCH_MEMORY", &case.id)
            .env("RAYON_NUM_THREADS", self.threads().to_string());
        comparison.memory = Some(bytes(&process::read(&mut ours)?)?);
        if let Some(python) = self.python.as_ref().filter(|_| !case.torch.is_null()) {
            let mut torch = self.torch_command(python, home, &[&case.torch])?;
            torch.arg("--memory");
            comparison.torch_memory = Some(bytes(&process::read(&mut torch)?)?);
        }
        Ok(())
    }
}

/// The benchmarks, without arguments. The whole workspace is selected for the sake of its features: fewer
/// dependencies differ from those of the other commands and have to be built again.
fn harness(benches: &[&str]) -> Command {
    let mut command = process::cargo();
    command.args(["bench", "--quiet", "--workspace"]);
    for bench in benches {
        command.args(["--bench", bench]);
    }
    command
}

/// A number alone on the last line.
fn bytes(output: &str) -> anyhow::Result<u64> {
    let line = output.lines().last().unwrap_or_default().trim();
    line.parse().with_context(|| format!("expected a number of bytes, found `{line}`"))
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
