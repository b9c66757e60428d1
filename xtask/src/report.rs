//! The page of results.

use std::fmt::Write as _;

use crate::compare::Comparison;
use crate::machine;
use crate::plot::Plot;

/// The case that measures what the processor can compute at best.
const PEAK: &str = "machine/multiply-add";
/// The case that measures what the memory can move at best.
const COPY: &str = "machine/copy";

/// How everything was measured.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Repetitions in a round.
    pub(crate) runs: u32,
    /// Rounds.
    pub(crate) rounds: u32,
    /// Threads of both.
    pub(crate) threads: usize,
    /// Absent when PyTorch was not run.
    pub(crate) torch_version: Option<String>,
}

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    /// How.
    pub(crate) setting: Setting,
    /// The benchmarks, in their order.
    pub(crate) comparisons: Vec<Comparison>,
    /// Files beside the page.
    pub(crate) plots: Vec<Plot>,
}

impl Report {
    /// The document.
    pub(crate) fn to_markdown(&self) -> String {
        let Setting { runs, rounds, threads, torch_version } = &self.setting;
        let mut text = String::from("# Performance\n\nWritten by `cargo xtask bench`. ");
        let _ = write!(
            text,
            "Each time is the median over {rounds} rounds of the median of {runs} runs, in f32 on the \
             CPU with {threads} threads.",
        );
        text.push_str(match torch_version {
            Some(_) => {
                " Trefoil and PyTorch take turns, round by round. A ratio below 1 means that \
                 Trefoil is faster; beside it stand the lowest and the highest ratio of a round."
            }
            None => " PyTorch was not run: give `--python` to compare.",
        });
        text.push_str(" What lies behind the numbers: [profile.md](profile.md).\n");
        self.summary(&mut text);
        for (bench, title, note) in [
            ("networks", "Networks", NETWORKS),
            ("kernels", "Kernels", KERNELS),
            ("scaling", "Scaling", SCALING),
        ] {
            let mut rows = self.comparisons.iter().filter(|one| one.bench == bench).peekable();
            if rows.peek().is_some() {
                let _ = write!(text, "\n## {title}\n\n{note}\n\n{}", self.header(bench));
                rows.for_each(|one| text.push_str(&self.row(one)));
            }
        }
        for Plot { title, file } in &self.plots {
            let _ = write!(text, "\n![{title}]({file})\n");
        }
        self.machine(&mut text);
        text
    }

    /// How many are not slower than PyTorch.
    fn summary(&self, text: &mut String) {
        let compared: Vec<f64> =
            self.comparisons.iter().map(|one| one.ratios()[1]).filter(|r| r.is_finite()).collect();
        if !compared.is_empty() {
            let faster = compared.iter().filter(|&&ratio| ratio <= 1.0).count();
            let _ = write!(
                text,
                "\n{faster} of {} benchmarks take at most PyTorch's time.\n",
                compared.len()
            );
        }
    }

    fn header(&self, bench: &str) -> String {
        let mut columns = vec![("benchmark", "---"), ("shape", "---"), ("Trefoil, ms", "---:")];
        if self.setting.torch_version.is_some() {
            columns.extend([("PyTorch, ms", "---:"), ("ratio", "---:"), ("spread", "---:")]);
        }
        columns.push(("speed", "---:"));
        if bench == "networks" {
            columns.push(("peak memory", "---:"));
        }
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        line(columns.iter().map(|column| column.0).collect())
            + &line(columns.iter().map(|column| column.1).collect())
    }

    fn row(&self, one: &Comparison) -> String {
        let [ours, torch] = one.medians();
        let mut row =
            format!("| `{}` | {} | {} |", one.case.id, one.case.shape, milliseconds(ours));
        if self.setting.torch_version.is_some() {
            if one.torch.is_empty() {
                row.push_str(" | | |");
            } else {
                let [lowest, middle, highest] = one.ratios();
                let torch = milliseconds(torch);
                let _ = write!(row, " {torch} | **{middle:.2}** | {lowest:.2} to {highest:.2} |");
            }
        }
        let _ = write!(row, " {} |", self.speed(one));
        if let Some(memory) = one.memory {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            let _ = match one.torch_memory {
                Some(torch) => write!(row, " {:.0} MiB (PyTorch {:.0}) |", mib(memory), mib(torch)),
                None => write!(row, " {:.0} MiB |", mib(memory)),
            };
        }
        row.push('\n');
        row
    }

    /// Rate of work and its share of what the machine can do at best.
    fn speed(&self, one: &Comparison) -> String {
        let best = |id: &str, rate: fn(&Comparison) -> f64| {
            let case = self.comparisons.iter().find(|one| one.case.id == id)?;
            Some(rate(case))
        };
        let (rate, unit, best) = if one.case.operations > 0.0 {
            (one.gflops(), "GFLOP/s", best(PEAK, Comparison::gflops))
        } else if one.case.bytes > 0.0 {
            (one.bandwidth(), "GB/s", best(COPY, Comparison::bandwidth))
        } else {
            return String::new();
        };
        match best {
            Some(best) => format!("{rate:.0} {unit}, {:.0} %", 100.0 * rate / best),
            None => format!("{rate:.0} {unit}"),
        }
    }

    fn machine(&self, text: &mut String) {
        let version = |package| machine::locked_version(package).unwrap_or_else(|| "?".into());
        let (cores, commit) = (machine::cores(), machine::commit());
        text.push_str("\n## Machine\n\n");
        let _ = writeln!(text, "- processor: {}, {cores} cores available", machine::processor());
        let _ = writeln!(text, "- system: {}", machine::system());
        let _ = writeln!(text, "- {}, Burn {}", machine::rustc(), version("burn"));
        if let Some(torch) = &self.setting.torch_version {
            let _ = writeln!(text, "- PyTorch {torch}");
        }
        let _ = writeln!(text, "- Trefoil at commit {commit}");
    }
}

const NETWORKS: &str = "\
`train` is one step: loss, gradients, AdamW. Trefoil's step also clips the gradients and updates the
moving average of the weights, PyTorch's does not. `block` is a U-ViT that has only its middle block,
with the projections around it. `sample` draws pictures from a sentence, from the tokens to the
pixels; PyTorch's figure is its passes of the network and one of the decoder. The speed counts matrix
products and convolutions, and a step with gradients as three passes. Peak memory is that of a process
that does nothing else, libraries included.";

const KERNELS: &str = "\
`forward-backward` is the output and the gradients of its sum with respect to all inputs. The speed
counts the arithmetic that a matrix product or convolution needs, or the bytes of every tensor that
has to be read or written once; the share is that of the two `machine` lines.";

const SCALING: &str =
    "One block, 256 wide: sequences of 64 to 4,096 tokens, and batches of 1 to 64.";

/// Three significant digits are enough for a time.
fn milliseconds(value: f64) -> String {
    match value {
        value if value < 1.0 => format!("{value:.3}"),
        value if value < 100.0 => format!("{value:.2}"),
        value => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::comparison;

    fn report(torch: &[f64], torch_version: Option<&str>) -> Report {
        let torch_version = torch_version.map(str::to_owned);
        let setting = Setting { runs: 10, rounds: 2, threads: 2, torch_version };
        Report { setting, comparisons: vec![comparison(torch)], plots: Vec::new() }
    }

    #[test]
    fn a_row_has_medians_spread_speed_and_memory() {
        let mut report = report(&[2.0, 3.0, 8.0], Some("2"));
        report.comparisons[0].memory = Some(3 << 20);
        let text = report.to_markdown();
        let row = "| `uvit/train` | batch 2 | 2.00 | 3.00 | **0.50** | 0.25 to 1.00 | 2000 GFLOP/s | 3 MiB |\n";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("1 of 1 benchmarks"), "{text}");
    }

    #[test]
    fn the_document_says_when_pytorch_is_missing() {
        let text = report(&[], None).to_markdown();
        assert!(text.contains("PyTorch was not run") && !text.contains("ratio |"), "{text}");
    }

    #[test]
    fn shares_are_those_of_the_measured_peak() {
        let mut report = report(&[], None);
        report.comparisons.push(comparison(&[]));
        report.comparisons[1].case.id = PEAK.into();
        report.comparisons[1].case.operations = 8e9;
        assert!(report.to_markdown().contains("| 2000 GFLOP/s, 50 % |"));
    }
}
