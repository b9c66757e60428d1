//! `cargo xtask verify --full`: the networks of the published sizes next to diffusers and transformers.

mod page;
mod run;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::{Args, value_parser};
use serde::{Deserialize, Serialize};

use self::run::{Run, measure};
use crate::{machine, process};

/// The networks, by the folders that they are in, and what is done with each.
pub(crate) const NETWORKS: [(&str, &str); 5] = [
    ("unet", "U-ViT, one evaluation at 512x512 (1,105 tokens)"),
    ("vae", "VAE, decoding a latent of 64x64"),
    ("text_encoder", "CLIP text tower, 77 tokens"),
    ("image_encoder", "CLIP image tower, 224x224"),
    ("text_decoder", "caption decoder, ten tokens, five beams"),
];
/// The formats beside f32 in which weights are held.
const FORMATS: [&str; 3] = ["f16", "bf16", "int8"];
/// Largest difference that rounding explains, over the largest magnitude of an output.
const TOLERANCE: f64 = 1e-3;
/// The file that says that all weights are there.
const LAST: &str = "inputs.safetensors";

/// Compare the networks at their published sizes with diffusers and transformers
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cargo xtask verify --full --python .venv/bin/python
  cargo xtask verify --full --python .venv/bin/python --only vae --only unet

The first run writes 1.37 billion random weights (5.5 GB) and needs a minute for them. Networks are loaded one at a time, in
processes of their own; the largest need 5 GB. Nothing else should run on the machine meanwhile. With `--only`, the
other networks keep the figures of the run before.")]
pub(crate) struct VerifyArgs {
    /// The networks of UniDiffuser-v1 at their published sizes, with random weights
    #[arg(long, required = true)]
    full: bool,
    /// Python with the packages of reference/requirements.txt
    #[arg(long, value_name = "PATH")]
    python: PathBuf,
    /// Where the weights are, or are written [default: a folder for temporary files]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Only this network; may be repeated
    #[arg(long, value_name = "NAME", value_parser = NETWORKS.map(|(name, _)| name))]
    only: Vec<String>,
    /// How often Trefoil and PyTorch take turns
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Evaluations that are timed in each turn, after one that is not
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Threads of both [default: all processors]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Markdown file
    #[arg(short, long, default_value = "docs/results/full-size.md", value_name = "FILE")]
    output: PathBuf,
}

/// Everything that was measured of one network.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Network {
    /// In f32, turn by turn.
    pub(crate) ours: Vec<Run>,
    /// PyTorch, turn by turn.
    pub(crate) torch: Vec<Run>,
    /// Once with each other format, with the largest differences from f32.
    pub(crate) formats: BTreeMap<String, Run>,
    /// Timed evaluations of a turn.
    pub(crate) runs: u32,
    /// Threads of both.
    pub(crate) threads: usize,
    /// The commit.
    pub(crate) commit: String,
}

impl VerifyArgs {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        ensure!(self.full, "only `--full` is known");
        process::run(&mut build())?;
        let folder = self.folder.clone();
        let folder = folder.unwrap_or_else(|| std::env::temp_dir().join("trefoil-full-size"));
        if !folder.join(LAST).is_file() {
            eprintln!("==> writing random weights to {}", folder.display());
            process::run(program().arg("write").arg(&folder))?;
        }
        let kept = folder.join("results.json");
        let mut results: BTreeMap<String, Network> = match std::fs::read_to_string(&kept) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("unexpected {}", kept.display()))?,
            Err(_) => BTreeMap::new(),
        };
        let chosen = |name: &str| self.only.is_empty() || self.only.iter().any(|o| o == name);
        for (name, _) in NETWORKS.iter().filter(|(name, _)| chosen(name)) {
            results.insert((*name).to_string(), self.network(&folder, name)?);
            let text = serde_json::to_string(&results)?;
            std::fs::write(&kept, text)
                .with_context(|| format!("cannot write {}", kept.display()))?;
        }
        let text = page::markdown(&results);
        std::fs::write(&self.output, &text)
            .with_context(|| format!("cannot write {}", self.output.display()))?;
        print!("{text}");
        for (name, network) in &results {
            let largest = network.torch.iter().map(Run::difference).fold(0.0, f64::max);
            ensure!(
                largest <= TOLERANCE,
                "{name}: differs by {largest:.1e} from PyTorch, expected at most {TOLERANCE:.0e}"
            );
        }
        Ok(())
    }

    fn network(&self, folder: &Path, name: &str) -> anyhow::Result<Network> {
        let threads = self.threads.map_or_else(machine::cores, |threads| threads as usize);
        let output = |format: &str| folder.join(format!("{name}.{format}.out.safetensors"));
        let ours = |format: &str| {
            let mut command = program();
            command
                .arg("run")
                .arg(folder)
                .args([name, &self.runs.to_string()])
                .arg(output(format))
                .arg(format)
                .env("RAYON_NUM_THREADS", threads.to_string());
            measure(&mut command)
        };
        let mut network =
            Network { runs: self.runs, threads, commit: machine::commit(), ..Network::default() };
        read_once(&folder.join(name))?;
        for round in 1..=self.rounds {
            eprintln!("==> {name}, turn {round} of {}: Trefoil", self.rounds);
            network.ours.push(ours("f32")?);
            eprintln!("==> {name}, turn {round} of {}: PyTorch", self.rounds);
            let mut torch = process::program(&self.python);
            torch
                .arg("reference/full_size.py")
                .arg(folder)
                .args([name, "--runs", &self.runs.to_string()])
                .args(["--threads", &threads.to_string(), "--compare"])
                .arg(output("f32"));
            network.torch.push(measure(&mut torch)?);
            let parameters = |runs: &[Run]| runs.last().map(|run| run.parameters);
            ensure!(
                parameters(&network.ours) == parameters(&network.torch),
                "{name} is not the same network: {:?} parameters here, {:?} in PyTorch",
                parameters(&network.ours),
                parameters(&network.torch),
            );
        }
        for format in FORMATS {
            eprintln!("==> {name}, weights in {format}");
            let mut run = ours(format)?;
            let mut compare = program();
            compare.arg("compare").args([output(format), output("f32")]);
            run.differences = serde_json::from_str(&process::read(&mut compare)?)
                .context("unexpected output of full_size compare")?;
            network.formats.insert(format.to_string(), run);
        }
        Ok(network)
    }
}

/// Builds the example as the tests do, so that nothing else is built for it.
fn build() -> std::process::Command {
    let mut command = process::cargo();
    command.args(["build", "--quiet", "--release", "--example", "full_size"]);
    command
}

fn program() -> std::process::Command {
    process::program(process::target().join("release/examples/full_size"))
}

/// Reads all files of a folder, so that both sides find them in the memory of the system.
fn read_once(folder: &Path) -> anyhow::Result<()> {
    let fail = || format!("cannot read {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(fail)? {
        let mut file = std::fs::File::open(entry.with_context(fail)?.path()).with_context(fail)?;
        std::io::copy(&mut file, &mut std::io::sink()).with_context(fail)?;
    }
    Ok(())
}
