//! What every command line has in common: the top, and the groups of options that commands share.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, value_parser};
use trefoil_core::DeviceSpec;
use trefoil_core::weights::Storage;
use trefoil_diffusion::{GuidanceScale, SolverKind};
use unidiffuser::pipeline::Procedure;

use crate::commands::Command;

/// Steps of a run when neither the command line nor the model says how many.
pub(crate) const DEFAULT_STEPS: usize = 50;

/// Draw, caption, inspect and train with one diffusion model of pictures and text
#[derive(Debug, Parser)]
#[command(
    name = "trefoil",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  trefoil generate \"a red apple\" -o apple.png
  trefoil caption apple.png
  trefoil joint -n 4 -o pairs/
  trefoil inspect apple.png

Exit codes: 0 success, 1 negative answer, 2 error, 130 interrupted"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) talk: TalkArgs,
}

/// How much is said on standard error.
#[derive(Debug, Clone, Args)]
pub(crate) struct TalkArgs {
    /// Say more on standard error (-v: info and progress lines, -vv: debug)
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Say nothing but errors on standard error
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Show no progress
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
}

/// Which model, and where it runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelArgs {
    /// Model folder, a `uvit_v*.pth` among the authors' files, or `OWNER/NAME[@REVISION]` in the cache of Hugging Face
    /// [default: the model that comes with Trefoil]
    #[arg(
        short,
        long,
        env = "TREFOIL_MODEL",
        hide_env_values = true,
        value_name = "MODEL",
        help_heading = "Model"
    )]
    pub(crate) model: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Number format in which weights are held in memory; all arithmetic is f32. int8 has a scale for every block of 64
    #[arg(
        long,
        visible_alias = "dtype",
        default_value = "f32",
        value_name = "FORMAT",
        value_parser = storage(),
        help_heading = "Model"
    )]
    pub(crate) precision: Storage,
}

/// Where networks run.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeviceArgs {
    /// auto, cpu, or an accelerator of this build such as vulkan, cuda:1, metal, rocm
    #[arg(
        long,
        env = "TREFOIL_DEVICE",
        hide_env_values = true,
        default_value = "auto",
        value_name = "DEVICE",
        help_heading = "Model"
    )]
    pub(crate) device: DeviceSpec,
}

/// How the diffusion process is run backwards.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct SamplingArgs {
    /// Evaluations or steps of the solver [default: the model's recommendation, or 50]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) steps: Option<u32>,
    /// Guidance w of out = uncond + w (cond - uncond), off at 1; the paper's scale is s = w - 1
    /// [default: the model's recommendation, or 8]
    #[arg(long, value_name = "W", value_parser = guidance, allow_negative_numbers = true)]
    pub(crate) guidance: Option<GuidanceScale>,
    /// Whose sampling is followed: the authors' program, or the pipeline of diffusers, for comparisons with it
    #[arg(long, default_value = "original", value_name = "NAME", value_parser = procedure())]
    pub(crate) sampler: Procedure,
    /// Solver [default: the model's recommendation, or that of the sampler: dpm-fast, dpm-multistep]
    #[arg(long, value_name = "NAME", value_parser = solver())]
    pub(crate) solver: Option<SolverKind>,
    /// Seed; the same seed gives the same result [default: random, printed]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Samples that go through the network together; changes speed and memory, not the result
    #[arg(long, default_value = "4", value_name = "N", value_parser = at_least_one)]
    pub(crate) batch: usize,
    /// One pass of a distilled generator in place of steps: the model's own, or that of a folder
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        conflicts_with_all = ["steps", "guidance", "solver"]
    )]
    #[expect(clippy::option_option, reason = "not given, given, given with a folder")]
    pub(crate) one_step: Option<Option<PathBuf>>,
}

/// How many results.
#[derive(Debug, Clone, Args)]
pub(crate) struct CountArgs {
    /// How many results
    #[arg(short = 'n', long, default_value = "1", value_name = "N", value_parser = at_least_one)]
    pub(crate) count: usize,
}

/// Where pictures go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct PictureOutputArgs {
    /// PNG file, folder, or `-` for standard output; several pictures go into a folder or become
    /// NAME-000.png, NAME-001.png, ...
    #[arg(short, long, default_value = ".", value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// Print one JSON object per result on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where texts go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct TextOutputArgs {
    /// File for the texts, one per line; `-` is standard output
    #[arg(short, long, default_value = "-", value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Print one JSON object per result
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where the results of a command go that makes either pictures or texts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct EitherOutputArgs {
    /// Pictures: PNG file or folder [default: .]; texts: a file, one per line [default: -]; `-` is
    /// standard output
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Print one JSON object per result
    #[arg(long)]
    json: bool,
}

impl EitherOutputArgs {
    /// Where pictures go.
    pub(crate) fn pictures(&self) -> PictureOutputArgs {
        PictureOutputArgs { output: self.output_or("."), json: self.json }
    }

    /// Where texts go.
    pub(crate) fn texts(&self) -> TextOutputArgs {
        TextOutputArgs { output: self.output_or("-"), json: self.json }
    }

    fn output_or(&self, default: &str) -> PathBuf {
        self.output.clone().unwrap_or_else(|| default.into())
    }
}

/// A positive number.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("expected at least 1".into()),
        Ok(n) => Ok(n),
        Err(_) => Err("expected a whole number".into()),
    }
}

fn guidance(text: &str) -> Result<GuidanceScale, String> {
    let w = text.parse().map_err(|_| "expected a number".to_string())?;
    GuidanceScale::new(w).map_err(|e| e.to_string())
}

fn storage() -> impl TypedValueParser<Value = Storage> {
    PossibleValuesParser::new(Storage::ALL.map(Storage::name))
        .try_map(|name| name.parse::<Storage>())
}

fn procedure() -> impl TypedValueParser<Value = Procedure> {
    PossibleValuesParser::new(Procedure::ALL.map(Procedure::name))
        .try_map(|name| name.parse::<Procedure>())
}

fn solver() -> impl TypedValueParser<Value = SolverKind> {
    PossibleValuesParser::new(SolverKind::ALL.map(SolverKind::name))
        .try_map(|name| name.parse::<SolverKind>())
}
