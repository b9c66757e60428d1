//! `trefoil distill`: a diffusion teacher becomes a one-step generator.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use trefoil_core::fs;
use trefoil_train::{Outcome, RunFolder};
use uni_instruct::compare::{self, Comparison};
use uni_instruct::method::METHODS;
use uni_instruct::recipe::ProblemConfig;
use uni_instruct::toy::Shape;
use uni_instruct::{Recipe, verify};

use super::train::set;
use crate::Answer;
use crate::hints::hinted;
use crate::interrupt;
use crate::output::{self, Talk};

/// Distil a diffusion teacher into a one-step generator
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  trefoil distill --config configs/uni-instruct/sid.toml --run runs/sid
  trefoil distill --config configs/uni-instruct/sid.toml --mixture mine.json --run runs/mine
  trefoil distill --config r.toml --set train.seed=2 --set alpha=0.5 --dry-run
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
}

/// What else there is.
#[derive(Debug, Subcommand)]
enum What {
    /// List the methods
    Methods,
    /// Check the mathematics and the networks on problems with known answers; exit code 1 when a check fails
    Verify(VerifyArgs),
    /// Run recipes on mixtures in the plane and write a table, with a picture for each recipe
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
    #[arg(long, default_value = "3", value_name = "N")]
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
        if self.dry_run {
            let memory = recipe.memory()?;
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
        let folder = self.resume.as_ref().or(self.run.as_ref()).context("`--run` is missing")?;
        let run = match &self.resume {
            Some(_) => RunFolder::open(folder)?,
            None => RunFolder::open_or_create(folder, &recipe.to_toml()?)?,
        };
        let stop = interrupt::watch()?;
        let (report, ..) = recipe.distill(&run, stop, talk.long_progress())?;
        if report.outcome == Outcome::Interrupted {
            let folder = folder.display();
            talk.note(format_args!(
                "interrupted; everything is saved\n\nhint: `trefoil distill --resume {folder}` continues"
            ));
            return Ok(Answer::Interrupted);
        }
        let fit = report.fit;
        talk.note(format_args!(
            "finished after {:.0} s; energy distance {:.4}, {} of {} modes, {:.0} % of the samples on \
             one; the student is in",
            report.seconds,
            fit.energy_distance,
            fit.modes,
            fit.of_modes,
            100.0 * fit.on_mode
        ));
        output::print(folder.join("model").display())?;
        Ok(Answer::Yes)
    }

    /// The recipe of a file with the changes of the command line.
    fn recipe(&self, path: &Path) -> anyhow::Result<Recipe> {
        let mut changes = self.changes.clone();
        if let Some(mixture) = &self.mixture {
            let path = toml::Value::String(mixture.display().to_string());
            changes.push(format!("problem.mixture={{ file = {path} }}"));
        }
        recipe(path, &changes)
    }
}

/// The recipe of a file with changes.
fn recipe(path: &Path, changes: &[String]) -> anyhow::Result<Recipe> {
    if changes.is_empty() {
        return Ok(Recipe::open(path)?);
    }
    let text = fs::read_to_string(path)?;
    let mut table: toml::Table =
        text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
    for change in changes {
        set(&mut table, change)?;
    }
    let text = toml::to_string(&table)?;
    Recipe::parse(&text).with_context(|| format!("{} with changes", path.display()))
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
        let recipe = recipe(path, &args.changes)?;
        let ProblemConfig::Mixture(_) = &recipe.problem;
        Ok((name.to_string(), recipe))
    };
    let recipes = args.recipes.iter().map(named).collect::<anyhow::Result<Vec<_>>>()?;
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
    let folder = pictures.file_name().and_then(|name| name.to_str()).unwrap_or(".");
    let recipes: Vec<_> = args.recipes.iter().map(|path| path.display().to_string()).collect();
    let changes: Vec<_> = args.changes.iter().map(|change| format!(" --set {change}")).collect();
    let changes = changes.concat();
    let mixture = args.mixture.as_ref().map(|path| format!(" --mixture {}", path.display()));
    let command = format!(
        "trefoil distill compare {} --seeds {}{}{changes} --runs {} -o {}",
        recipes.join(" "),
        args.seeds,
        mixture.unwrap_or_default(),
        args.runs.display(),
        args.output.display()
    );
    let text = compare::report(&entries, folder, &command);
    fs::write_atomic(&args.output, |out| out.write_all(text.as_bytes()))?;
    output::print(args.output.display())?;
    Ok(Answer::Yes)
}
