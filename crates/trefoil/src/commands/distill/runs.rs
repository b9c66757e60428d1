//! What the comparisons of recipes on pictures and on scenes share: runs that are made once, and parts of the page.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use burn::tensor::Device;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use trefoil_core::{Picture, Seed, fs, png};
use trefoil_train::{Outcome, RunFolder, StopFlag};
use uni_instruct::Recipe;
use uni_instruct::compare::mean_spread;
use uni_instruct::distill::{Distilled, Problem};
use uni_instruct::recipe::ProblemConfig;

use crate::output::Talk;

/// Recipes with their seeds, and where everything is.
pub(super) struct Runs<'a> {
    /// Recipes under the names of their rows.
    pub(super) recipes: Vec<(String, Recipe)>,
    pub(super) seeds: Vec<u64>,
    /// Pictures drawn for a measurement.
    pub(super) count: usize,
    /// Folder of the runs; what is finished there is not run again.
    pub(super) folder: &'a Path,
    /// Folder of the pictures.
    pub(super) pictures: &'a Path,
    pub(super) device: &'a Device,
    pub(super) stop: StopFlag,
    pub(super) talk: Talk,
}

/// How the run of a recipe ended.
pub(super) enum Ended<P: Problem> {
    /// The user interrupted it.
    Interrupted,
    /// It stopped with a reason.
    Stopped(String),
    /// It has a student.
    Finished { problem: P, run: RunFolder, result: Box<Distilled<P::Fake, P::Student>> },
}

impl Runs<'_> {
    /// The problem that all recipes share: `pick` finds the `kind` that is compared, `is_same` compares two of them.
    pub(super) fn problem<C: Clone>(
        &self,
        kind: &str,
        pick: impl Fn(&ProblemConfig) -> Option<&C>,
        is_same: impl Fn(&C, &C) -> bool,
        expected: &str,
    ) -> anyhow::Result<C> {
        let mut found: Option<&C> = None;
        for (name, recipe) in &self.recipes {
            let Some(config) = pick(&recipe.problem) else {
                anyhow::bail!("{name}: `problem.kind`: expected `{kind}`, as in the other recipes");
            };
            if !is_same(found.get_or_insert(config), config) {
                anyhow::bail!("{name}: `problem`: expected {expected}");
            }
        }
        found.cloned().context("no recipe")
    }

    /// Makes the folders.
    pub(super) fn begin(&self) -> anyhow::Result<()> {
        fs::create_dir_all(self.pictures)?;
        Ok(fs::create_dir_all(self.folder)?)
    }

    /// Runs a recipe with a seed, or continues the run.
    pub(super) fn run<P: Problem>(
        &self,
        (name, recipe): (&str, &Recipe),
        seed: u64,
        open: impl FnOnce(&Recipe) -> uni_instruct::Result<P>,
    ) -> anyhow::Result<Ended<P>> {
        let mut recipe = recipe.clone();
        recipe.train.seed = Seed(seed);
        let problem = open(&recipe)?;
        let run = RunFolder::open_or_create(&self.folder_of(name, seed), &recipe.to_toml()?)?;
        let progress = self.talk.long_progress();
        Ok(match recipe.run(&problem, &run, self.stop.clone(), progress) {
            Ok(result) if result.outcome == Outcome::Interrupted => Ended::Interrupted,
            Ok(result) => Ended::Finished { problem, run, result: Box::new(result) },
            Err(error) => {
                self.talk.note(format_args!("{name} {seed}: {error}"));
                fs::create_dir_all(&run.model_dir())?;
                Ended::Stopped(error.to_string())
            }
        })
    }

    fn folder_of(&self, name: &str, seed: u64) -> PathBuf {
        self.folder.join(format!("{name}-{seed}"))
    }

    /// Where the measurement of a run is kept.
    pub(super) fn entry_file(&self, name: &str, seed: u64) -> PathBuf {
        self.folder_of(name, seed).join("model/entry.json")
    }

    /// Writes a picture, if there is one.
    pub(super) fn write(&self, file: &str, picture: Option<Picture>) -> anyhow::Result<()> {
        if let Some(picture) = picture {
            let bytes = png::encode(&picture, &[])?;
            fs::write_atomic(&self.pictures.join(file), |out| out.write_all(&bytes))?;
        }
        Ok(())
    }
}

/// What the measurement of a run depends on: its recipe and seed, and how it is measured.
pub(super) fn conditions(recipe: &Recipe, seed: u64, measured: &str) -> anyhow::Result<String> {
    let mut recipe = recipe.clone();
    recipe.train.seed = Seed(seed);
    Ok(format!("{measured}\n{}", recipe.to_toml()?))
}

/// A measurement in a file, with what it depends on.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept<T> {
    conditions: String,
    entry: T,
}

/// The measurement that was kept, if it was made under the same conditions.
pub(super) fn kept<T: DeserializeOwned>(
    file: &Path,
    conditions: &str,
) -> anyhow::Result<Option<T>> {
    if !file.is_file() {
        return Ok(None);
    }
    let kept: Kept<T> = fs::read_json(file)?;
    Ok(Some(kept).filter(|kept| kept.conditions == conditions).map(|kept| kept.entry))
}

/// Keeps a measurement.
pub(super) fn keep<T: Serialize>(
    file: &Path,
    conditions: &str,
    entry: &T,
) -> trefoil_core::Result<()> {
    fs::write_json(file, &Kept { conditions: conditions.into(), entry })
}

/// What every measurement has.
pub(super) struct Line<'a> {
    /// Name of its row in the table.
    pub(super) row: &'a str,
    pub(super) seed: u64,
    /// Why its run stopped.
    pub(super) reason: Option<&'a str>,
}

/// A measurement.
pub(super) trait Row {
    fn line(&self) -> Line<'_>;
}

/// The names of the rows, in their order.
pub(super) fn rows<R: Row>(entries: &[R]) -> Vec<&str> {
    let mut rows: Vec<&str> = Vec::new();
    for entry in entries {
        let row = entry.line().row;
        if !rows.contains(&row) {
            rows.push(row);
        }
    }
    rows
}

/// The seeds, sorted.
pub(super) fn seeds<R: Row>(entries: &[R]) -> Vec<u64> {
    let mut seeds: Vec<u64> = entries.iter().map(|entry| entry.line().seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    seeds
}

/// Mean and standard deviation; the mean alone of one value, nothing of none.
pub(super) fn cell(values: &[f64], digits: usize) -> String {
    let (mean, spread) = mean_spread(values);
    match values.len() {
        0 => String::new(),
        1 => format!("{mean:.digits$}"),
        _ => format!("{mean:.digits$} ± {spread:.digits$}"),
    }
}

/// Says why runs stopped.
pub(super) fn list_stopped<R: Row>(entries: &[R], text: &mut String) {
    let mut is_first = true;
    for Line { row, seed, reason } in entries.iter().map(Row::line) {
        let Some(reason) = reason else { continue };
        if std::mem::take(&mut is_first) {
            text.push_str("\nRuns that stopped:\n\n");
        }
        let _ = writeln!(text, "- {row}, seed {seed}: {reason}");
    }
}
