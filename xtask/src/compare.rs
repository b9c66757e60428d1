//! Two columns of times and what they say.

use std::fmt::Write as _;

use crate::bench::Case;
use crate::machine;

/// One benchmark over all rounds.
#[derive(Debug)]
pub(crate) struct Comparison {
    id: String,
    shape: String,
    parameters: u64,
    /// Median of each round in milliseconds.
    pub(crate) ours: Vec<f64>,
    /// The same for PyTorch; empty when it was not run.
    pub(crate) torch: Vec<f64>,
}

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

impl Comparison {
    /// Before the first round.
    pub(crate) fn new(case: &Case) -> Self {
        Self {
            id: case.id.clone(),
            shape: case.shape.clone(),
            parameters: case.parameters,
            ours: Vec::new(),
            torch: Vec::new(),
        }
    }

    /// Lowest, median and highest ratio of the rounds.
    fn ratios(&self) -> [f64; 3] {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.torch).map(|(a, b)| a / b).collect();
        let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        [lowest, median(&ratios), highest]
    }

    fn row(&self) -> String {
        let Self { id, shape, parameters, .. } = self;
        let ours = median(&self.ours);
        let start = format!("| `{id}` | {shape} | {parameters} | {ours:.2} |");
        if self.torch.is_empty() {
            return start;
        }
        let torch = median(&self.torch);
        let [lowest, middle, highest] = self.ratios();
        format!("{start} {torch:.2} | **{middle:.2}** | {lowest:.2} to {highest:.2} |")
    }
}

impl Setting {
    /// The document.
    pub(crate) fn to_markdown(&self, comparisons: &[Comparison]) -> String {
        let Self { runs, rounds, threads, torch_version } = self;
        let mut text = String::from("# Performance\n\nWritten by `cargo xtask bench`. ");
        let _ = write!(
            text,
            "Each time is the median over {rounds} rounds of the median of {runs} runs, in f32 on the \
             CPU with {threads} threads.",
        );
        text.push_str(match torch_version {
            Some(_) => {
                " Trefoil and PyTorch take turns, round by round. A ratio below 1 means that \
                 Trefoil is faster; beside it stand the lowest and the highest ratio of a round.\n\n\
                 | benchmark | shape | parameters | Trefoil, ms | PyTorch, ms | ratio | spread |\n\
                 |---|---|---:|---:|---:|---:|---:|\n"
            }
            None => {
                " PyTorch was not run: give `--python` to compare.\n\n\
                 | benchmark | shape | parameters | Trefoil, ms |\n|---|---|---:|---:|\n"
            }
        });
        for comparison in comparisons {
            text.push_str(&comparison.row());
            text.push('\n');
        }
        text.push_str(
            "\n`train` is one step: loss, gradients, AdamW. Trefoil's step also clips the gradients and \
             updates the moving average of the weights, PyTorch's does not. `block` is a U-ViT that has \
             only its middle block, with the projections around it.\n\n",
        );
        let version = |package| machine::locked_version(package).unwrap_or_else(|| "?".into());
        let (cores, commit) = (machine::cores(), machine::commit());
        let _ = writeln!(text, "- processor: {}, {cores} cores available", machine::processor());
        let _ = writeln!(text, "- system: {}", machine::system());
        let _ = writeln!(text, "- {}, Burn {}", machine::rustc(), version("burn"));
        if let Some(torch) = torch_version {
            let _ = writeln!(text, "- PyTorch {torch}");
        }
        let _ = writeln!(text, "- Trefoil at commit {commit}");
        text
    }
}

/// The middle value, or the mean of the middle two.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (n, middle) if n % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(torch: &[f64]) -> Comparison {
        Comparison {
            id: "uvit/train".into(),
            shape: "batch 2".into(),
            parameters: 7,
            ours: vec![1.0, 3.0, 2.0],
            torch: torch.to_vec(),
        }
    }

    #[test]
    fn a_row_has_medians_and_the_spread_of_the_ratio() {
        let row = comparison(&[2.0, 3.0, 8.0]).row();
        assert_eq!(row, "| `uvit/train` | batch 2 | 7 | 2.00 | 3.00 | **0.50** | 0.25 to 1.00 |");
        assert_eq!(comparison(&[]).row(), "| `uvit/train` | batch 2 | 7 | 2.00 |");
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[5.0]), 5.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_document_says_when_pytorch_is_missing() {
        let setting = Setting { runs: 10, rounds: 2, threads: 2, torch_version: None };
        let text = setting.to_markdown(&[comparison(&[])]);
        assert!(text.contains("PyTorch was not run") && !text.contains("ratio"), "{text}");
    }
}
