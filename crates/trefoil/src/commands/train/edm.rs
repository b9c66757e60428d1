//! `trefoil train edm`: a diffusion teacher from pictures, with classes or without.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use trefoil_train::data::{DataOptions, LabelledSet};
use uni_instruct::edm::{EdmRecipe, Training, keys};

use super::{CommonArgs, tell_end};
use crate::Answer;
use crate::interrupt;
use crate::output::{self, Talk};
use crate::recipes::recipe;

/// Train a diffusion teacher (EDM) from pictures
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil train edm --config configs/uni-instruct/edm-openmoji-16.toml --data data/openmoji --run runs/teacher
  trefoil train edm --config r.toml --data cifar10.tar.gz --run runs/t --set data.labels=true
  trefoil train edm --config r.toml --dry-run

Pictures: folders (with class folders or without), image folders with metadata.jsonl, WebDataset shards, archives of
class folders, and the binary version of CIFAR-10. Ctrl-C saves and exits with 130; the same command continues.")]
pub(crate) struct EdmArgs {
    /// Recipe in TOML
    #[arg(long, value_name = "RECIPE.toml")]
    config: PathBuf,
    /// Folders, archives or patterns of them; may be repeated
    #[arg(long, value_name = "SOURCE", num_args = 1.., required_unless_present = "dry_run")]
    data: Vec<PathBuf>,
    /// Folder of the run; the teacher ends up in its folder `model`
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    run: Option<PathBuf>,
    #[command(flatten)]
    common: CommonArgs,
}

impl EdmArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let recipe = recipe(&self.config, &self.common.changes, EdmRecipe::open, EdmRecipe::parse)?;
        if self.common.dry_run {
            output::print_bytes(recipe.to_toml()?.as_bytes())?;
            return Ok(Answer::Yes);
        }
        let folder = self.run.context("`--run` is missing")?;
        let device = self.common.device.device.device()?;
        let options = DataOptions {
            resolution: recipe.data.resolution,
            background: recipe.data.background,
            on_problem: self.common.on_problem(),
            split: Some(recipe.data.split.clone()),
        };
        let data = LabelledSet::load(&self.data, &options)?;
        let network = recipe.network_for(data.classes.len())?;
        let parameters: usize = keys::published_shapes(&network)?
            .iter()
            .map(|(_, s)| s.iter().product::<usize>())
            .sum();
        let (side, classes) = (recipe.data.resolution, data.classes.len());
        talk.note(format_args!("{} pictures of {side}x{side} pixels", data.pictures.len()));
        if recipe.data.labels {
            talk.note(format_args!("{classes} classes: {}", data.classes.join(", ")));
        }
        talk.note(format_args!(
            "{parameters} parameters; {} samples, {} per update, learning rate {}, seed {}",
            recipe.train.duration,
            recipe.train.batch_size,
            recipe.train.learning_rate,
            recipe.train.seed.0
        ));
        if !data.problems.is_empty() {
            talk.note(format_args!("{} pictures were left out", data.problems.len()));
        }
        let stop = interrupt::watch()?;
        let progress = talk.long_progress();
        let training = Training { folder: &folder, device: &device, stop, progress };
        tell_end(training.run(&recipe, &data)?, &folder.join("model"), talk)
    }
}
