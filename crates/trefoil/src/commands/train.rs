//! `trefoil train`: all networks of UniDiffuser from captioned pictures, diffusion teachers from pictures, and UDITSR
//! from a prepared log.

mod edm;
mod uditsr;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use trefoil_train::Outcome;
use trefoil_train::data::OnProblem;
use unidiffuser::train::{Pairs, Recipe, Stage, Workshop};

use crate::Answer;
use crate::args::DeviceArgs;
use crate::hints::hinted;
use crate::interrupt;
use crate::output::{self, Talk};
use crate::recipes::recipe;

/// Train UniDiffuser from captioned pictures, a diffusion teacher, or UDITSR from a log
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    subcommand_help_heading = "Other systems",
    after_help = "\
Examples:
  trefoil train all --config configs/unidiffuser/openmoji-32.toml --data data/openmoji --run runs/first
  trefoil train unidiffuser --config r.toml --data d --run runs/first --set unidiffuser.train.seed=1
  trefoil train all --config r.toml --data d --run runs/more --from models/openmoji-32
  trefoil train all --config configs/unidiffuser/openmoji-32.toml --dry-run
  trefoil train edm --config configs/uni-instruct/edm-openmoji-16.toml --data data/openmoji --run runs/teacher
  trefoil train uditsr --data data/shop --run runs/shop

Stages depend on those before them: autoencoder, clip, caption, unidiffuser.
Ctrl-C saves and exits with 130; the same command continues the run."
)]
pub(crate) struct TrainArgs {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    stages: StageArgs,
}

/// Systems whose training has other options.
#[derive(Debug, Subcommand)]
enum Other {
    Edm(Box<edm::EdmArgs>),
    Uditsr(uditsr::UditsrArgs),
}

/// Networks of UniDiffuser.
#[derive(Debug, Args)]
struct StageArgs {
    /// Which stage, or all of them and the complete model folder
    // Required, but not beside a subcommand.
    #[arg(value_parser = what(), required = true)]
    what: Option<What>,
    /// Recipe in TOML
    #[arg(long, value_name = "RECIPE.toml", required = true)]
    config: Option<PathBuf>,
    /// Image folders, WebDataset shards or patterns of shards; may be repeated
    #[arg(long, value_name = "SOURCE", num_args = 1.., required_unless_present = "dry_run")]
    data: Vec<PathBuf>,
    /// Folder of the run; each stage has its own inside
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    run: Option<PathBuf>,
    /// Train the noise predictor of this model folder further, with its own encoders; only with `unidiffuser`
    /// (the network) and `all` (the network, and then the complete model folder). Where the recipe has more `num_layers`, the network gets them first
    #[arg(long, value_name = "MODEL")]
    from: Option<PathBuf>,
    #[command(flatten)]
    common: CommonArgs,
}

/// Options of every training on pictures.
#[derive(Debug, Args)]
struct CommonArgs {
    /// Change a value of the recipe, such as data.resolution=16; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Stop at broken samples instead of leaving them out
    #[arg(long)]
    strict: bool,
    /// Print the resolved recipe and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

impl CommonArgs {
    /// What to do with samples that are broken.
    fn on_problem(&self) -> OnProblem {
        if self.strict { OnProblem::Stop } else { OnProblem::Skip }
    }
}

/// Says how a training ended, and where its result is.
fn tell_end(outcome: Outcome, result: &Path, talk: Talk) -> anyhow::Result<Answer> {
    if outcome == Outcome::Interrupted {
        talk.note("interrupted; everything is saved\n\nhint: the same command continues the run");
        return Ok(Answer::Interrupted);
    }
    talk.note("finished; the result is in");
    output::print(result.display())?;
    Ok(Answer::Yes)
}

/// A stage or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    All,
    One(Stage),
}

impl What {
    fn stages(self) -> Vec<Stage> {
        match self {
            Self::All => Stage::ALL.to_vec(),
            Self::One(stage) => vec![stage],
        }
    }
}

fn what() -> impl TypedValueParser<Value = What> {
    let names = Stage::ALL.map(Stage::name).into_iter().chain(["all"]);
    PossibleValuesParser::new(names).try_map(|name| match name.as_str() {
        "all" => Ok(What::All),
        name => name.parse::<Stage>().map(What::One),
    })
}

impl TrainArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        match self.other {
            Some(Other::Edm(args)) => args.run(talk),
            Some(Other::Uditsr(args)) => args.run(talk),
            None => self.stages.run(talk),
        }
    }
}

impl StageArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let what = self.what.context("the stage is missing")?;
        let config = self.config.context("`--config` is missing")?;
        let recipe = recipe(&config, &self.common.changes, Recipe::open, Recipe::parse)?;
        if self.common.dry_run {
            output::print_bytes(recipe.to_toml()?.as_bytes())?;
            return Ok(Answer::Yes);
        }
        let folder = self.run.context("`--run` is missing")?;
        match (&self.from, what) {
            (Some(_), What::One(stage)) if stage != Stage::UniDiffuser => {
                let message = format!("`--from` has no meaning for the stage {stage}");
                return Err(hinted(message, "use it with `unidiffuser` or `all`"));
            }
            (None, What::One(stage)) => check_order(stage, &folder)?,
            _ => {}
        }
        let device = self.common.device.device.device()?;
        let (pairs, problems) = Pairs::load(&self.data, &recipe.data, self.common.on_problem())?;
        let stages = match self.from {
            Some(_) => vec![Stage::UniDiffuser],
            None => what.stages(),
        };
        plan(talk, &stages, &recipe, &pairs);
        if !problems.is_empty() {
            talk.note(format_args!("{} samples were left out", problems.len()));
        }
        let stop = interrupt::watch()?;
        let workshop = Workshop {
            recipe: &recipe,
            pairs: &pairs,
            folder: &folder,
            start: self.from.as_deref(),
            device: &device,
            stop,
            progress: talk.long_progress(),
        };
        let outcome = match what {
            What::All => workshop.run_all()?,
            What::One(stage) => workshop.run(stage)?,
        };
        let result = match what {
            What::All => folder.join("model"),
            What::One(stage) => folder.join(stage.name()).join("model"),
        };
        tell_end(outcome, &result, talk)
    }
}

/// Makes sure that the stages whose networks a stage reads are finished.
fn check_order(stage: Stage, run: &Path) -> anyhow::Result<()> {
    let needed: &[Stage] = match stage {
        Stage::Autoencoder | Stage::Clip => &[],
        Stage::Caption => &[Stage::Clip],
        Stage::UniDiffuser => &[Stage::Autoencoder, Stage::Clip, Stage::Caption],
    };
    for earlier in needed {
        // The folder is there from the start; the networks come last.
        let model = run.join(earlier.name()).join("model");
        if !std::fs::read_dir(&model).is_ok_and(|mut entries| entries.next().is_some()) {
            let run = run.display();
            let message = format!("{stage} needs {earlier}, which is not finished in {run}");
            let hint =
                format!("run `trefoil train {earlier}` with the same `--run` first, or `all`");
            return Err(hinted(message, hint));
        }
    }
    Ok(())
}

/// Says what is going to happen.
fn plan(talk: Talk, stages: &[Stage], recipe: &Recipe, pairs: &Pairs) {
    let side = recipe.data.resolution;
    talk.note(format_args!("{} pictures of {side}x{side} pixels", pairs.len()));
    for &stage in stages {
        let train = match stage {
            Stage::Autoencoder => &recipe.autoencoder.train,
            Stage::Clip => &recipe.clip.train,
            Stage::Caption => &recipe.caption.train,
            Stage::UniDiffuser => &recipe.unidiffuser.train,
        };
        talk.note(format_args!(
            "{:<12} {} samples, {} per update, learning rate {}, seed {}",
            stage.name(),
            train.duration,
            train.batch_size,
            train.learning_rate,
            train.seed.0
        ));
    }
}
