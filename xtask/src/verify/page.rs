//! The page of results.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::run::Run;
use super::{NETWORKS, Network};
use crate::compare::median;
use crate::machine;

/// What is aimed at: time, peak of memory and start-up over PyTorch's, and the peak while loading over the weights.
const AIMS: [f64; 4] = [1.0, 0.8, 0.5, 1.15];

const HEAD: &str = "\
# Full size

Written by `cargo xtask verify --full`. The five networks of UniDiffuser-v1 at their published sizes, with random
weights that both sides read from the same folder in the layout of diffusers, in f32 on the CPU. Trefoil and PyTorch
(diffusers, transformers) take turns, each network in a process of its own. Times are medians over turns of medians over
evaluations, after one that is not counted. A ratio below 1 means less than PyTorch.

- **difference**: the largest of an output over the largest magnitude of PyTorch's; the ten tokens are equal.
- **peak**: highest resident memory of the process, libraries included (`VmHWM`).
- **start-up**: from the start of the process until the first evaluation begins, libraries included, and what that one takes
  longer than later ones; the files are in the memory of the system. In brackets: without starting the program and, in Python,
  importing its libraries.
";

/// The document.
pub(crate) fn markdown(results: &BTreeMap<String, Network>) -> String {
    let mut text = String::from(HEAD);
    let [time, peak, start, loading] = AIMS;
    let _ = write!(
        text,
        "\nAims: time at most {time:.1}, peak at most {peak:.1}, start-up at most {start:.1} of PyTorch's.\n"
    );
    let found = || NETWORKS.iter().filter_map(|(name, what)| Some((*what, results.get(*name)?)));
    table(
        &mut text,
        &[
            "network",
            "parameters",
            "difference",
            "Trefoil, s",
            "PyTorch, s",
            "ratio",
            "peak, MiB",
            "PyTorch, MiB",
            "ratio",
            "start-up, s",
            "PyTorch, s",
            "ratio",
        ],
        found().map(|(what, network)| row(what, network)),
    );
    if let Some((name, what)) = NETWORKS.first()
        && let Some(network) = results.get(*name)
    {
        let weights = network.ours.first().map_or(0.0, |run| run.weights as f64);
        let peak = median_of(&network.torch, |run| run.peak as f64);
        let _ = writeln!(
            text,
            "\n{what}: the weights alone take {} MiB in f32, which is {:.2} of PyTorch's peak; [fewer bits](#weights-in-fewer-bits) \
             take less.",
            mib(weights),
            weights / peak
        );
    }
    text.push_str("\n## Loading\n\n");
    let _ = writeln!(
        text,
        "Weight files are mapped: a tensor that the file has in the format in which it is held stays there and comes into \
         memory when it is used, every other is converted once. Aim: the peak until the first evaluation begins is at most \
         {loading} times the weights. Converted weights lie in pages \
         of their own; what is left above them are the libraries, the threads, and the part of the file that is being read."
    );
    table(
        &mut text,
        &["network", "weights in", "weights, MiB", "peak, MiB", "over the weights", "loading, s"],
        found().flat_map(|(what, network)| {
            let f32 = network.ours.iter().take(1).map(|run| ("f32", run));
            let others = network.formats.iter().map(|(format, run)| (format.as_str(), run));
            f32.chain(others).map(move |(format, run)| {
                vec![
                    what.to_string(),
                    format.to_string(),
                    mib(run.weights as f64),
                    mib(run.peak_loading.saturating_sub(run.before) as f64),
                    bold(run.loading()),
                    seconds(run.load),
                ]
            })
        }),
    );
    text.push_str(
        "\n## Weights in fewer bits\n\n\
         Matrices, kernels and tables in 16 bits, or in 8 with a scale for every block of at most 64; everything else, and \
         all arithmetic, is f32. The ratio is the time over that of f32, the difference that from f32.\n",
    );
    let formats = found().flat_map(|(what, network)| {
        let f32_time = median_of(&network.ours, Run::time);
        network.formats.iter().map(move |(format, run)| {
            vec![
                what.to_string(),
                format.clone(),
                mib(run.weights as f64),
                mib(run.peak as f64),
                seconds(run.time()),
                bold(run.time() / f32_time),
                format!("{:.1e}", run.difference()),
            ]
        })
    });
    table(
        &mut text,
        &["network", "weights in", "weights, MiB", "peak, MiB", "time, s", "ratio", "difference"],
        formats,
    );
    machine(&mut text, results);
    text
}

fn row(what: &str, network: &Network) -> Vec<String> {
    let both = |f: fn(&Run) -> f64| [median_of(&network.ours, f), median_of(&network.torch, f)];
    let [time, torch_time] = both(Run::time);
    let [peak, torch_peak] = both(|run| run.peak as f64);
    let [start, torch_start] = both(Run::start_up);
    let [load, torch_load] = both(|run| run.load + run.start_up() - run.ready);
    let difference = network.torch.iter().map(Run::difference).fold(0.0, f64::max);
    let parameters = network.ours.first().map_or(0, |run| run.parameters);
    vec![
        what.to_string(),
        format!("{:.1} M", parameters as f64 / 1e6),
        format!("{difference:.1e}"),
        seconds(time),
        seconds(torch_time),
        bold(time / torch_time),
        mib(peak),
        mib(torch_peak),
        bold(peak / torch_peak),
        format!("{} ({})", seconds(start), seconds(load)),
        format!("{} ({})", seconds(torch_start), seconds(torch_load)),
        format!("{} ({:.2})", bold(start / torch_start), load / torch_load),
    ]
}

fn machine(text: &mut String, results: &BTreeMap<String, Network>) {
    let Some(network) = results.values().next() else { return };
    let torch = network.torch.iter().find_map(|run| run.torch.clone());
    let turns = NETWORKS.iter().filter_map(|(name, _)| {
        let network = results.get(*name)?;
        Some(format!("{name} {} and {}", network.ours.len(), network.runs))
    });
    let turns: Vec<String> = turns.collect();
    let _ = write!(
        text,
        "\n## Machine\n\n- processor: {}, {} threads\n- system: {}\n- {}, Burn {}, PyTorch {}\n- turns, and evaluations of each: {}\n",
        machine::processor(),
        network.threads,
        machine::system(),
        machine::rustc(),
        machine::locked_version("burn").unwrap_or_default(),
        torch.unwrap_or_else(|| "?".into()),
        turns.join(", "),
    );
}

fn table(text: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    text.push('\n');
    text.push_str(&line(head.iter().map(ToString::to_string).collect()));
    let rules = head.iter().enumerate().map(|(i, _)| if i == 0 { "---" } else { "---:" });
    text.push_str(&line(rules.map(String::from).collect()));
    rows.for_each(|cells| text.push_str(&line(cells)));
}

fn median_of(runs: &[Run], f: impl Fn(&Run) -> f64) -> f64 {
    median(&runs.iter().map(f).collect::<Vec<_>>())
}

fn mib(bytes: f64) -> String {
    format!("{:.0}", bytes / f64::from(1 << 20))
}

fn bold(ratio: f64) -> String {
    format!("**{ratio:.2}**")
}

fn seconds(time: f64) -> String {
    if time < 1.0 { format!("{time:.3}") } else { format!("{time:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_a_row_for_each_network_and_each_format() {
        let run = |time: f64, difference: f64| Run {
            parameters: 952_509_520,
            weights: 4000 << 20,
            load: 2.0,
            first: 2.0 * time,
            times: vec![time, time + 1.0, time + 2.0],
            before: 10 << 20,
            peak_loading: 4410 << 20,
            peak: 4500 << 20,
            differences: BTreeMap::from([("z".to_string(), difference)]),
            ready: 4.0,
            torch: None,
        };
        let network = Network {
            ours: vec![run(5.0, 0.0)],
            torch: vec![run(11.0, 2e-6)],
            formats: BTreeMap::from([("bf16".to_string(), run(8.0, 0.01))]),
            ..Network::default()
        };
        let page = markdown(&BTreeMap::from([("unet".to_string(), network)]));
        let row = "| U-ViT, one evaluation at 512x512 (1,105 tokens) | 952.5 M | 2.0e-6 | 6.00 | 12.00 | **0.50** |";
        assert!(page.contains(row), "{page}");
        assert!(page.contains("take 4000 MiB in f32, which is 0.89 of PyTorch's peak"), "{page}");
        assert!(page.contains("| f32 | 4000 | 4400 | **1.10** | 2.00 |"), "{page}");
        assert!(page.contains("| bf16 | 4000 | 4500 | 9.00 | **1.50** |"), "{page}");
    }
}
