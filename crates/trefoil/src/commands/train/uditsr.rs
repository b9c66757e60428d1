//! `trefoil train uditsr`: a recommender from a prepared log.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use trefoil_core::fs;
use trefoil_train::Progress;
use uditsr::data::Prepared;
use uditsr::recommender::Bundle;
use uditsr::train::{EpochRecord, Event, Recipe, Trainer};

use crate::Answer;
use crate::hints::hinted;
use crate::interrupt;
use crate::output::{self, Talk};
use crate::recipes::{set, table};

/// Train a recommender from a prepared log
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil prepare events.csv --catalog items.csv -o data/shop
  trefoil train uditsr --data data/shop --run runs/shop
  trefoil train uditsr --data data/shop --run runs/small --set model.dim=32 --set train.epochs=10
  trefoil train uditsr --config configs/uditsr/published.toml --dry-run

The run folder has a checkpoint, metrics.jsonl, and at the end `model`, which `trefoil search` and `trefoil
recommend` read. Ctrl-C saves the last whole epoch and exits with 130; the same command continues the run.")]
pub(super) struct UditsrArgs {
    /// Folder that `trefoil prepare` made
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    data: Option<PathBuf>,
    /// Folder of the run
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    run: Option<PathBuf>,
    /// Recipe in TOML; what it does not say is as recommended [default: as recommended]
    #[arg(long, value_name = "RECIPE.toml")]
    config: Option<PathBuf>,
    /// Change a value of the recipe, such as train.epochs=10; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    changes: Vec<String>,
    /// Print the resolved recipe and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// File of the run folder with the recipe.
const RECIPE: &str = "recipe.toml";
/// Folder of the run folder with the result.
const MODEL: &str = "model";

impl UditsrArgs {
    /// Runs the command.
    pub(super) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let recipe = recipe(self.config.as_deref(), &self.changes)?;
        if self.dry_run {
            output::print_bytes(toml::to_string(&recipe)?.as_bytes())?;
            return Ok(Answer::Yes);
        }
        let data = self.data.context("`--data` is missing")?;
        let run = self.run.context("`--run` is missing")?;
        let prepared = Prepared::load(&data)
            .with_context(|| format!("{} is not a prepared log", data.display()))?;
        let set = &prepared.dataset;
        let mut trainer = Trainer::open(&run, &recipe.model, &recipe.train, set)?;
        talk.note(format_args!(
            "{} events of {} users and {} items, {} words; {} epochs of {} rows at most, seed {}",
            set.train.len(),
            set.users,
            set.items,
            set.words,
            recipe.train.epochs,
            recipe.train.batch_size,
            recipe.train.seed
        ));
        fs::create_dir_all(&run)?;
        let text = toml::to_string(&recipe)?;
        fs::write_atomic(&run.join(RECIPE), |out| out.write_all(text.as_bytes()))?;
        let stop = interrupt::watch()?;
        let rows = (recipe.train.epochs * set.train.len()) as u64;
        let mut done = (trainer.epoch() * set.train.len()) as u64;
        let mut bar = Progress::new(talk.long_progress(), "rows", done, rows);
        trainer.run(Some(&run), &mut |event| {
            match event {
                Event::Step { batches: (_, batches), losses, .. } => {
                    done += (set.train.len() / batches) as u64;
                    bar.update(done, &format!("loss {:.4}", losses.total()));
                }
                Event::Epoch(record) => bar.say(&line(record)),
            }
            if stop.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        bar.finish();
        if stop.is_requested() {
            talk.note(
                "interrupted; whole epochs are saved\n\nhint: the same command continues the run",
            );
            return Ok(Answer::Interrupted);
        }
        if let Some(best) = trainer.best() {
            talk.note(format_args!("the best epoch was {}", line(best)));
        }
        let scorer = trainer.scorer()?;
        drop(trainer);
        let model = run.join(MODEL);
        Bundle::save(&model, &scorer, &prepared)?;
        talk.note("finished; the result is in");
        output::print(model.display())?;
        Ok(Answer::Yes)
    }
}

/// An epoch in a line.
fn line(record: &EpochRecord) -> String {
    let mut text = format!("{}: loss {:.4}", record.epoch, record.losses.total());
    if let Some(valid) = &record.valid {
        for (name, report) in [("search", &valid.search), ("recommendation", &valid.recommend)] {
            if let Some(ndcg) = report.as_ref().and_then(|report| report.ndcg(5)) {
                let _ = write!(text, ", ndcg@5 of {name} {ndcg:.4}"); // writing to memory cannot fail
            }
        }
    }
    text
}

/// The recommended recipe with what a file and the command line change.
fn recipe(path: Option<&Path>, changes: &[String]) -> anyhow::Result<Recipe> {
    let mut recipe = toml::Table::try_from(Recipe::default())?;
    let mut source = "`--set`".to_owned();
    if let Some(path) = path {
        lay_over(&mut recipe, table(path, &fs::read_to_string(path)?)?);
        source = path.display().to_string();
    }
    for change in changes {
        set(&mut recipe, change)?;
    }
    recipe.try_into().map_err(|error: toml::de::Error| {
        let message = format!("{source}: {}", error.message());
        hinted(message, "`trefoil train uditsr --dry-run` prints every key with its value")
    })
}

/// Replaces the values of a table by those of another one, tables inside one by one.
fn lay_over(below: &mut toml::Table, above: toml::Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_changes_what_it_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        std::fs::write(&path, "[model]\ndim = 8\n[train.optimizer]\nlearning_rate = 0.5").unwrap();
        let changed = recipe(Some(&path), &["train.seed=3".into()]).unwrap();
        let mut expected = Recipe::default();
        expected.model.dim = 8;
        expected.train.optimizer.learning_rate = 0.5;
        expected.train.seed = 3;
        assert_eq!(changed, expected);
        let published =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/uditsr/published.toml");
        let published = recipe(Some(&published), &[]).unwrap();
        assert_eq!((published.model, published.train), Default::default());
        let error = recipe(None, &["model.deep=3".into()]).unwrap_err().to_string();
        assert!(error.starts_with("`--set`: unknown field `deep`"), "{error}");
    }
}
