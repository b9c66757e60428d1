//! Recipes against each other on several mixtures and seeds: a table and a picture for each recipe.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trefoil_core::rng::Seed;
use trefoil_core::{Error as CoreError, Picture, fs, png};
use trefoil_train::{Outcome, ProgressMode, RunFolder, StopFlag};

use crate::error::{Error, Result};
use crate::recipe::{ProblemConfig, Recipe};
use crate::toy::{Fit, MEASURED, Shape, ToyConfig};

/// Pixels of a panel.
const SIDE: u32 = 160;

/// What is compared.
#[derive(Debug)]
pub struct Comparison {
    /// Recipes under the names of their rows.
    pub recipes: Vec<(String, Recipe)>,
    /// Mixtures, in place of the recipe's; empty: the recipe's own.
    pub mixtures: Vec<Shape>,
    /// Seeds.
    pub seeds: Vec<u64>,
    /// Folder of the runs; what is finished there is not run again.
    pub runs: PathBuf,
}

/// One run of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Name of the recipe.
    pub recipe: String,
    /// Name of the mixture.
    pub mixture: String,
    /// The seed.
    pub seed: u64,
    /// How well the student fits; absent when the run stopped with a reason.
    pub fit: Option<Fit>,
    /// Why it stopped.
    pub reason: Option<String>,
    /// Seconds of training.
    pub seconds: f64,
}

/// A result with what it depends on.
#[derive(Serialize, Deserialize)]
struct Kept {
    conditions: String,
    entry: Entry,
}

impl Comparison {
    /// Number of runs.
    pub fn len(&self) -> usize {
        self.recipes.len() * self.mixtures.len().max(1) * self.seeds.len()
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs everything that is not there yet, and writes one picture per recipe into `pictures`; `done`
    /// hears each run. `None` when a stop was requested.
    ///
    /// # Errors
    /// Those of reading and writing. A run that stops with a reason is a result, not an error.
    pub fn run(
        &self,
        pictures: &Path,
        stop: &StopFlag,
        done: &mut dyn FnMut(&Entry),
    ) -> Result<Option<Vec<Entry>>> {
        // Before the first run, which may take hours.
        for (name, recipe) in &self.recipes {
            let ProblemConfig::Mixture(own) = &recipe.problem else {
                let reason = format!("{name}: expected `mixture`");
                return Err(CoreError::config("problem.kind", reason).into());
            };
            for mixture in self.mixtures_of(own) {
                mixture.mixture()?;
            }
        }
        fs::create_dir_all(pictures)?;
        let mut entries = Vec::new();
        for (name, recipe) in &self.recipes {
            let mut panels = Vec::new();
            let ProblemConfig::Mixture(own) = &recipe.problem else {
                let reason = format!("{name}: expected `mixture`");
                return Err(CoreError::config("problem.kind", reason).into());
            };
            for mixture in self.mixtures_of(own) {
                for &seed in &self.seeds {
                    let problem = ToyConfig { mixture: mixture.clone(), ..own.clone() };
                    let mut recipe =
                        Recipe { problem: ProblemConfig::Mixture(problem), ..recipe.clone() };
                    recipe.train.seed = Seed(seed);
                    let place = format!("{name}-{}-{seed}", stem(&mixture));
                    let run = self.runs.join(place);
                    let label = (name.clone(), stem(&mixture), seed);
                    let Some((entry, panel)) = one(&recipe, &run, label, stop)? else {
                        return Ok(None);
                    };
                    done(&entry);
                    entries.push(entry);
                    if seed == self.seeds[0] {
                        panels.push(panel);
                    }
                }
            }
            if let Some(grid) = Picture::grid(&panels, panels.len()) {
                let bytes = png::encode(&grid, &[])?;
                let path = pictures.join(format!("{name}.png"));
                fs::write_atomic(&path, |out| out.write_all(&bytes))?;
            }
        }
        Ok(Some(entries))
    }

    fn mixtures_of(&self, own: &ToyConfig) -> Vec<Shape> {
        if self.mixtures.is_empty() {
            return vec![own.mixture.clone()];
        }
        self.mixtures.clone()
    }
}

fn stem(mixture: &Shape) -> String {
    let name = mixture.name();
    Path::new(&name).file_stem().and_then(|s| s.to_str()).unwrap_or(&name).to_string()
}

/// A run, or its result when it is there.
fn one(
    recipe: &Recipe,
    folder: &Path,
    (name, mixture, seed): (String, String, u64),
    stop: &StopFlag,
) -> Result<Option<(Entry, Picture)>> {
    let (result, panel) = (folder.join("model/entry.json"), folder.join("model/panel.png"));
    let conditions = {
        let ProblemConfig::Mixture(ToyConfig { mixture, .. }) = &recipe.problem else {
            return Err(CoreError::config("problem.kind", "expected `mixture`").into());
        };
        format!("mixture {:08x}\n{}", mixture.mixture()?.checksum(), recipe.to_toml()?)
    };
    if result.is_file() && panel.is_file() {
        let kept: Kept = fs::read_json(&result)?;
        if kept.conditions != conditions {
            let reason = format!(
                "{} has a result of another recipe or another mixture: expected a folder without, \
                 or that run removed",
                folder.display()
            );
            return Err(CoreError::config("runs", reason).into());
        }
        return Ok(Some((kept.entry, Picture::open(&panel)?)));
    }
    let run = RunFolder::open_or_create(folder, &recipe.to_toml()?)?;
    let mut entry = Entry { recipe: name, mixture, seed, fit: None, reason: None, seconds: 0.0 };
    let problem = recipe.mixture()?;
    let mut front = Vec::new();
    let mut back = Vec::new();
    match recipe.distill(&run, stop.clone(), ProgressMode::Quiet) {
        Ok((report, ..)) if report.outcome == Outcome::Interrupted => return Ok(None),
        Ok((report, _, student)) => {
            [front, back] = problem.samples(&student)?;
            entry.fit = Some(report.fit);
            entry.seconds = report.seconds;
        }
        // Not a result, but a run of something else.
        Err(error @ Error::Train(trefoil_train::Error::ConfigChanged { .. })) => return Err(error),
        Err(error) => entry.reason = Some(error.to_string()),
    }
    let picture = problem.panel(SIDE).draw(&back, &front, problem.mixture().dims())?;
    let bytes = png::encode(&picture, &[])?;
    fs::write_atomic(&panel, |out| out.write_all(&bytes))?;
    let kept = Kept { conditions, entry };
    fs::write_json(&result, &kept)?;
    Ok(Some((kept.entry, picture)))
}

/// The table with what it means: mean and spread of each measurement over the seeds, and why runs
/// stopped. `pictures` is the folder of the pictures as the reader sees it.
pub fn report(entries: &[Entry], pictures: &str, command: &str) -> String {
    let mut seeds: Vec<u64> = entries.iter().map(|entry| entry.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let mut text = format!(
        "# One-step students of mixtures in the plane\n\n\
         Written by\n\n```sh\n{command}\n```\n\n\
         Teacher: the exact denoiser of the mixture. Fake score, discriminator and student are learned \
         networks. Mean ± standard deviation over {} seeds, {MEASURED} samples each. The energy distance \
         is unbiased, so that a perfect student is at 0 and may be below. A mode counts when it has a \
         quarter of its share of the samples; *on mode* is the share of samples within three deviations \
         of the nearest component. *s* is seconds of training. Students of `swift-brush`, `sid-lsg`, \
         `dds`, `sds`, `red-diff`, `di-plus-plus` and `di-star` are not meant to have the teacher's \
         distribution: guidance, edits, single points and rewards change it.\n\n",
        seeds.len(),
    );
    text.push_str(&to_markdown(entries));
    let stopped: Vec<&Entry> = entries.iter().filter(|entry| entry.reason.is_some()).collect();
    if !stopped.is_empty() {
        text.push_str("\nRuns that stopped:\n\n");
        for Entry { recipe, mixture, seed, reason, .. } in stopped {
            let reason = reason.as_deref().unwrap_or_default();
            let _ = writeln!(text, "- {recipe}, {mixture}, seed {seed}: {reason}");
        }
    }
    text.push_str("\n## Samples of the first seed\n\nStudent in blue, mixture in grey.\n\n");
    let mut shown: Vec<&str> = Vec::new();
    for Entry { recipe, .. } in entries {
        if !shown.contains(&recipe.as_str()) {
            shown.push(recipe);
            let _ = writeln!(text, "{recipe}\n\n![{recipe}]({pictures}/{recipe}.png)\n");
        }
    }
    text
}

/// The table alone.
fn to_markdown(entries: &[Entry]) -> String {
    let mut mixtures: Vec<&str> = Vec::new();
    let mut recipes: Vec<&str> = Vec::new();
    for Entry { recipe, mixture, .. } in entries {
        for (list, name) in [(&mut mixtures, mixture), (&mut recipes, recipe)] {
            if !list.contains(&name.as_str()) {
                list.push(name);
            }
        }
    }
    let mut text = String::from("| recipe |");
    for mixture in &mixtures {
        let _ = write!(text, " {mixture}: energy distance | modes | on mode |");
    }
    text.push_str(" s |\n|---|");
    text.push_str(&"---:|---:|---:|".repeat(mixtures.len()));
    text.push_str("---:|\n");
    for recipe in recipes {
        let _ = write!(text, "| {recipe} |");
        let mut seconds = Vec::new();
        for mixture in &mixtures {
            let of = entries.iter().filter(|e| e.recipe == recipe && e.mixture == *mixture);
            let runs: Vec<&Entry> = of.collect();
            let fits: Vec<Fit> = runs.iter().filter_map(|e| e.fit).collect();
            seconds.extend(runs.iter().filter(|e| e.fit.is_some()).map(|e| e.seconds));
            if fits.is_empty() {
                text.push_str(" stopped | | |");
                continue;
            }
            let column = |pick: fn(&Fit) -> f64| fits.iter().map(pick).collect::<Vec<_>>();
            let (distance, spread) = mean_spread(&column(|fit| fit.energy_distance));
            let (modes, modes_spread) = mean_spread(&column(|fit| fit.modes as f64));
            let (on, _) = mean_spread(&column(|fit| fit.on_mode));
            let stopped = runs.len() - fits.len();
            let note = if stopped > 0 { format!(" ({stopped} stopped)") } else { String::new() };
            let of_modes = fits[0].of_modes;
            let _ = write!(
                text,
                " {distance:.4} ± {spread:.4}{note} | {modes:.1} ± {modes_spread:.1} of {of_modes} | {:.0} % |",
                100.0 * on
            );
        }
        let _ = writeln!(text, " {:.0} |", mean_spread(&seconds).0);
    }
    text
}

/// Mean and standard deviation (N - 1).
pub fn mean_spread(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, (square / (n - 1.0).max(1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_per_recipe_and_says_what_stopped() {
        let entry = |recipe: &str, seed, energy_distance: Option<f64>| Entry {
            recipe: recipe.into(),
            mixture: "moons".into(),
            seed,
            fit: energy_distance.map(|energy_distance| Fit {
                energy_distance,
                modes: 7,
                of_modes: 8,
                on_mode: 0.5,
            }),
            reason: None,
            seconds: 2.0,
        };
        let text = to_markdown(&[
            entry("sid", 1, Some(0.1)),
            entry("sid", 2, Some(0.3)),
            entry("sim", 1, None),
        ]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "| sid | 0.2000 ± 0.1414 | 7.0 ± 0.0 of 8 | 50 % | 2 |");
        assert!(lines[3].starts_with("| sim | stopped |"));
    }
}
