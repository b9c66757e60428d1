//! `trefoil distill`: a diffusion teacher becomes a one-step generator.

mod pictures;
mod runs;
mod scenes;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand, value_parser};
use trefoil_core::fs;
use trefoil_train::{Outcome, RunFolder};
use uni_instruct::compare::{self, Comparison};
use uni_instruct::distill::Problem;
use uni_instruct::method::METHODS;
use uni_instruct::recipe::ProblemConfig;
use uni_instruct::toy::Shape;
use uni_instruct::{Recipe, verify};

use crate::Answer;
use crate::args::{DeviceArgs, at_least_one};
use crate::hints::hinted;
use crate::interrupt;
use crate::model;
use crate::one_step::JointProblem;
use crate::output::{self, Talk};
use crate::recipes::recipe;

/// Distil a diffusion teacher into a one-step generator
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  trefoil distill --config configs/uni-instruct/sid-1.0.toml --run runs/sid
  trefoil distill --config configs/uni-instruct/sid-1.0.toml --mixture mine.json --run runs/mine
  trefoil distill --config r.toml --set train.seed=2 --set alpha=0.5 --dry-run
  trefoil distill --config configs/uni-instruct/unidiffuser-one-step.toml --run runs/one-step
  trefoil distill --resume runs/sid
  trefoil distill methods
  trefoil distill verify

Ctrl-C saves and exits with 130; `--resume` continues the run, with the same result to the last bit."
)]
pub(crate) struct DistillArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// Recipe in TOML
    #[arg(long, value_name = "RECIPE.toml", required_unless_present = "resume")]
    config: Option<PathBuf>,
    /// Folder of the run
    #[arg(long, value_name = "DIR", required_unless_present_any = ["resume", "dry_run"])]
    run: Option<PathBuf>,
    /// Continue the run of this folder, with its own recipe
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "run", "changes", "mixture"])]
    resume: Option<PathBuf>,
    /// Change a value of the recipe, such as train.batch_size=128; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Mixture of Gaussians in place of the recipe's:
    /// {"components": [{"weight": 1, "mean": [0, 0], "deviation": 0.1}, ...]}
    #[arg(long, value_name = "FILE.json")]
    mixture: Option<PathBuf>,
    /// Print the resolved recipe and what it needs in memory, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Pictures of a measurement, unless another number is asked for.
const COUNT: usize = 2000;

/// What else there is.
#[derive(Debug, Subcommand)]
enum What {
    /// List the methods
    Methods,
    /// Check the mathematics and the networks on problems with known answers; exit code 1 when a check fails
    Verify(VerifyArgs),
    /// Run recipes, on mixtures in the plane, on pictures or on scenes, and write a table with a picture for each
    Compare(CompareArgs),
}

/// Options of `verify`.
#[derive(Debug, Args)]
struct VerifyArgs {
    /// Only this level, such as V2
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,
}

/// Options of `compare`.
#[derive(Debug, Args)]
struct CompareArgs {
    /// Recipes; the row of a recipe has the name of its file
    #[arg(value_name = "RECIPE.toml", required = true)]
    recipes: Vec<PathBuf>,
    /// How many seeds, from 1
    #[arg(long, default_value = "3", value_name = "N", value_parser = value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Only this mixture [default: the three that have names]
    #[arg(long, value_name = "FILE.json")]
    mixture: Option<PathBuf>,
    /// Change a value of every recipe; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Folder of the runs; what is finished there is not run again
    #[arg(long, value_name = "DIR")]
    runs: PathBuf,
    /// The table; pictures go into a folder of the same name beside it
    #[arg(short, long, value_name = "FILE.md")]
    output: PathBuf,
    /// Pictures drawn for a measurement of recipes on pictures or on scenes
    #[arg(long, default_value_t = COUNT, value_name = "N", value_parser = at_least_one)]
    count: usize,
    #[command(flatten)]
    device: DeviceArgs,
}

impl DistillArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        match self.what {
            Some(What::Methods) => methods(),
            Some(What::Verify(args)) => verify(&args, talk),
            Some(What::Compare(args)) => compare(&args, talk),
            None => self.distill(talk),
        }
    }

    fn distill(self, talk: Talk) -> anyhow::Result<Answer> {
        let recipe = match (&self.resume, &self.config) {
            (Some(run), _) => {
                let path = run.join("config.toml");
                if !path.is_file() {
                    let message = format!("{} has no config.toml", run.display());
                    return Err(hinted(
                        message,
                        "give the folder of a run that was started before",
                    ));
                }
                Recipe::open(&path)?
            }
            (None, Some(config)) => self.recipe(config)?,
            (None, None) => anyhow::bail!("`--config` is missing"),
        };
        let device = self.device.device.device()?;
        let job = Job { recipe: &recipe, args: &self, talk };
        match &recipe.problem {
            ProblemConfig::Mixture(_) => job.run(&recipe.mixture()?),
            ProblemConfig::Edm(_) => job.run(&recipe.pictures(&device)?),
            ProblemConfig::Scenes(_) => job.run(&recipe.scenes(&device)?),
            ProblemConfig::Unidiffuser(config) => {
                let folder = model::find(config.model.as_deref(), talk)?;
                let cache = self.folder().map(|run| run.join("features.safetensors"));
                let cache = cache.filter(|_| !self.dry_run);
                if cache.is_some() {
                    // The folder of the run, where the codes of the data are kept.
                    job.run_folder()?;
                }
                let about = (recipe.plan()?.rank(), recipe.train.seed, &device);
                job.run(&JointProblem::open(config, &folder, about, cache.as_deref())?)
            }
        }
    }

    /// The folder of the run.
    fn folder(&self) -> Option<&PathBuf> {
        self.resume.as_ref().or(self.run.as_ref())
    }

    /// The recipe of a file with the changes of the command line.
    fn recipe(&self, path: &Path) -> anyhow::Result<Recipe> {
        let mut changes = self.changes.clone();
        if let Some(mixture) = &self.mixture {
            let path = toml::Value::String(mixture.display().to_string());
            changes.push(format!("problem.mixture={{ file = {path} }}"));
        }
        recipe(path, &changes, Recipe::open, Recipe::parse)
    }
}

/// A recipe and what is to be done with it.
struct Job<'a> {
    recipe: &'a Recipe,
    args: &'a DistillArgs,
    talk: Talk,
}

impl Job<'_> {
    fn run_folder(&self) -> anyhow::Result<RunFolder> {
        let folder = self.args.folder().context("`--run` is missing")?;
        Ok(match &self.args.resume {
            Some(_) => RunFolder::open(folder)?,
            None => RunFolder::open_or_create(folder, &self.recipe.to_toml()?)?,
        })
    }

    fn run<P: Problem>(&self, problem: &P) -> anyhow::Result<Answer> {
        let (recipe, talk) = (self.recipe, self.talk);
        if self.args.dry_run {
            let memory = recipe.memory(problem)?;
            output::print_bytes(recipe.to_toml()?.as_bytes())?;
            let mebibytes = |bytes: usize| bytes as f64 / f64::from(1 << 20);
            talk.note(format_args!(
                "fake network {} parameters, student {}; {:.1} MiB of weights and optimiser state, about \
                 {:.1} MiB of activations",
                memory.fake,
                memory.student,
                mebibytes(memory.state),
                mebibytes(memory.activations)
            ));
            return Ok(Answer::Yes);
        }
        let run = self.run_folder()?;
        let stop = interrupt::watch()?;
        let result = recipe.run(problem, &run, stop, talk.long_progress())?;
        if result.outcome == Outcome::Interrupted {
            let folder = run.path().display();
            talk.note(format_args!(
                "interrupted; everything is saved\n\nhint: `trefoil distill --resume {folder}` continues"
            ));
            return Ok(Answer::Interrupted);
        }
        let measured: Vec<String> =
            result.measured.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        let seconds = result.seconds;
        talk.note(format_args!("finished after {seconds:.0} s; {}", measured.join(", ")));
        talk.note("the student is in");
        output::print(run.model_dir().display())?;
        Ok(Answer::Yes)
    }
}

/// Prints the table of methods.
fn methods() -> anyhow::Result<Answer> {
    output::print("| method | paper | listed there under | what it is |\n|---|---|---|---|")?;
    for method in METHODS {
        let (name, paper) = (method.name, method.paper);
        let (listed, summary) = (method.paper_divergence, method.summary);
        output::print(format_args!("| {name} | {paper} | {listed} | {summary} |"))?;
    }
    Ok(Answer::Yes)
}

/// Prints the table of checks.
fn verify(args: &VerifyArgs, talk: Talk) -> anyhow::Result<Answer> {
    let checks = verify::run(args.level.as_deref(), &mut |check| {
        let mark = if check.passes() { "passes" } else { "FAILS" };
        talk.note(format_args!("{} {}: {mark}", check.level, check.what));
    })?;
    output::print_bytes(verify::to_markdown(&checks).as_bytes())?;
    Ok(if checks.iter().all(verify::Check::passes) { Answer::Yes } else { Answer::No })
}

/// Writes the table of recipes.
fn compare(args: &CompareArgs, talk: Talk) -> anyhow::Result<Answer> {
    let named = |path: &PathBuf| -> anyhow::Result<(String, Recipe)> {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or("recipe");
        let recipe = recipe(path, &args.changes, Recipe::open, Recipe::parse)?;
        Ok((name.to_string(), recipe))
    };
    let recipes = args.recipes.iter().map(named).collect::<anyhow::Result<Vec<_>>>()?;
    let is_mixture = |recipe: &Recipe| matches!(recipe.problem, ProblemConfig::Mixture(_));
    let is_scenes = |recipe: &Recipe| matches!(recipe.problem, ProblemConfig::Scenes(_));
    let on_scenes = recipes.iter().any(|(_, recipe)| is_scenes(recipe));
    let kind = |recipe: &Recipe| (is_mixture(recipe), is_scenes(recipe));
    if let [(first, of_first), rest @ ..] = recipes.as_slice()
        && let Some((other, _)) = rest.iter().find(|(_, r)| kind(r) != kind(of_first))
    {
        let message = format!("`{first}` and `{other}` have problems of different kinds");
        return Err(hinted(message, "compare recipes of one `problem.kind` at a time"));
    }
    if on_scenes || !recipes.iter().any(|(_, recipe)| is_mixture(recipe)) {
        return compare_runs(args, recipes, on_scenes, talk);
    }
    let mixtures = match &args.mixture {
        Some(path) => vec![Shape::File(path.clone())],
        None => Shape::ALL.to_vec(),
    };
    let seeds = (1..=args.seeds).collect();
    let comparison = Comparison { recipes, mixtures, seeds, runs: args.runs.clone() };
    let stop = interrupt::watch()?;
    let (mut count, total) = (0, comparison.len());
    let pictures = args.output.with_extension("");
    let entries = comparison.run(&pictures, &stop, &mut |entry| {
        count += 1;
        let (recipe, mixture, seed) = (&entry.recipe, &entry.mixture, entry.seed);
        let result = match (&entry.fit, &entry.reason) {
            (Some(fit), _) => format!("energy distance {:.4}", fit.energy_distance),
            (None, Some(reason)) => reason.clone(),
            (None, None) => "no result".into(),
        };
        talk.note(format_args!("{count}/{total} {recipe} {mixture} {seed}: {result}"));
    })?;
    let Some(entries) = entries else { return Ok(Answer::Interrupted) };
    write_table(args, &compare::report(&entries, &folder_name(&pictures), &args.command()))
}

/// Writes the table of recipes on pictures or on scenes.
fn compare_runs(
    args: &CompareArgs,
    recipes: Vec<(String, Recipe)>,
    is_scenes: bool,
    talk: Talk,
) -> anyhow::Result<Answer> {
    if args.mixture.is_some() {
        let of = if is_scenes { "scenes" } else { "pictures" };
        let message = format!("`--mixture` has no meaning for recipes on {of}");
        return Err(hinted(message, "leave it out"));
    }
    let device = args.device.device.device()?;
    let folder = args.output.with_extension("");
    let runs = runs::Runs {
        recipes,
        seeds: (1..=args.seeds).collect(),
        count: args.count,
        folder: &args.runs,
        pictures: &folder,
        device: &device,
        stop: interrupt::watch()?,
        talk,
    };
    let (beside, command) = (folder_name(&folder), args.command());
    let text = if is_scenes {
        scenes::Comparison(runs)
            .run()?
            .map(|(entries, about)| scenes::report(&entries, &about, &beside, &command))
    } else {
        let clip = model::find(None, talk)?;
        pictures::Comparison { runs, clip }
            .run()?
            .map(|(entries, about)| pictures::report(&entries, &about, &beside, &command))
    };
    let Some(text) = text else { return Ok(Answer::Interrupted) };
    write_table(args, &text)
}

/// Writes the page and says where it is.
fn write_table(args: &CompareArgs, text: &str) -> anyhow::Result<Answer> {
    fs::write_atomic(&args.output, |out| out.write_all(text.as_bytes()))?;
    output::print(args.output.display())?;
    Ok(Answer::Yes)
}

/// The last part of a path, as a page beside it names it.
fn folder_name(folder: &Path) -> String {
    folder.file_name().map_or_else(|| ".".into(), |name| name.to_string_lossy().into_owned())
}

impl CompareArgs {
    /// The command line that writes the same.
    fn command(&self) -> String {
        let recipes: Vec<_> = self.recipes.iter().map(|path| path.display().to_string()).collect();
        let changes: Vec<_> =
            self.changes.iter().map(|change| format!(" --set {change}")).collect();
        let mixture = self.mixture.as_ref().map(|path| format!(" --mixture {}", path.display()));
        format!(
            "trefoil distill compare {} --seeds {}{}{}{} --runs {} -o {}",
            recipes.join(" "),
            self.seeds,
            if self.count == COUNT { String::new() } else { format!(" --count {}", self.count) },
            mixture.unwrap_or_default(),
            changes.concat(),
            self.runs.display(),
            self.output.display()
        )
    }
}
