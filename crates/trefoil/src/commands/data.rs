//! `trefoil data`: datasets are made and checked.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use tracing::subscriber::NoSubscriber;
use trefoil_core::Seed;
use trefoil_train::Error as TrainError;
use trefoil_train::data::{
    DataOptions, Dataset, Existing, OnProblem, OpenMojiOptions, Problems, convert_openmoji,
};
use uni_instruct::scenes::{self, SceneSet, World};

use crate::Answer;
use crate::args::{DeviceArgs, at_least_one};
use crate::output::{self, Talk};

/// Make and check datasets
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil data openmoji openmoji.tar.gz data/openmoji --size 32
  trefoil data scenes data/scenes
  trefoil data check data/openmoji
  trefoil data check 'shards/{000..007}.tar' --strict")]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    Openmoji(OpenMojiArgs),
    Scenes(ScenesArgs),
    Check(CheckArgs),
}

/// Turn an OpenMoji archive into an image folder with captions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil data openmoji openmoji.tar.gz data/openmoji --size 32
  trefoil data openmoji openmoji.tar.gz data/few --limit 200 --background '#000000' --overwrite")]
struct OpenMojiArgs {
    /// Archive with openmoji.json and PNG files: .tar, .tar.gz, .tgz or .tar.zst
    archive: PathBuf,
    /// Folder that is made
    out: PathBuf,
    /// Side of the pictures in pixels [default: that of the archive]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    size: Option<u32>,
    /// What transparent pixels are laid over
    #[arg(long, default_value = "#ffffff", value_name = "COLOUR", value_parser = colour)]
    background: Colour,
    /// Fraction of all pictures that is held out
    #[arg(long, default_value_t = 0.05, value_name = "FRACTION")]
    holdout: f64,
    /// Decides which pictures are held out, and which are taken under a limit
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Take at most this many pictures
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    limit: Option<usize>,
    /// Replace an earlier result
    #[arg(long)]
    overwrite: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Draw coloured solids in three dimensions and take pictures of them, each with class, direction and camera
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil data scenes data/scenes
  trefoil data scenes data/few --scenes 4 --pictures 8 --seed 2

The label of a picture is its class with the coarse direction of its camera, such as car-003. The scenes themselves
follow from scenes.json.")]
struct ScenesArgs {
    /// Folder that is made
    out: PathBuf,
    /// Scenes of each class
    #[arg(long, default_value = "48", value_name = "N", value_parser = at_least_one)]
    scenes: usize,
    /// Pictures of each scene
    #[arg(long, default_value = "24", value_name = "N", value_parser = at_least_one)]
    pictures: usize,
    /// Side of the pictures in pixels
    #[arg(long, default_value = "16", value_name = "N", value_parser = at_least_one)]
    size: usize,
    /// Voxels along an edge of a scene
    #[arg(long, default_value = "24", value_name = "N", value_parser = at_least_one)]
    grid: usize,
    /// Coarse directions of a label
    #[arg(long, default_value = "8", value_name = "N", value_parser = at_least_one)]
    directions: usize,
    /// Decides scenes and cameras
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    device: DeviceArgs,
}

/// List everything that is wrong with a dataset, with file names
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil data check data/openmoji
  trefoil data check 'shards/*.tar.gz' --strict --json")]
struct CheckArgs {
    /// Image folders with metadata.jsonl, WebDataset shards, or patterns of shards
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// End with exit code 1 when there is any problem
    #[arg(long)]
    strict: bool,
    /// Print one JSON object per problem
    #[arg(long)]
    json: bool,
}

/// A colour, red, green and blue.
#[derive(Debug, Clone, Copy)]
struct Colour([u8; 3]);

fn colour(text: &str) -> Result<Colour, String> {
    let digits = text.strip_prefix('#').unwrap_or(text);
    let wrong = || "expected six hexadecimal digits, such as #ffffff".to_string();
    if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let value = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
    let [_, rgb @ ..] = value.to_be_bytes();
    Ok(Colour(rgb))
}

impl DataArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        match self.command {
            DataCommand::Openmoji(args) => args.run(talk),
            DataCommand::Scenes(args) => args.run(talk),
            DataCommand::Check(args) => args.run(talk),
        }
    }
}

impl ScenesArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let world = World {
            grid: self.grid,
            side: self.size,
            directions: self.directions,
            ..World::default()
        };
        let set =
            SceneSet { seed: Seed(self.seed), scenes: self.scenes, pictures: self.pictures, world };
        let count = scenes::write(&set, &self.out, &self.device.device.device()?)?;
        talk.note(format_args!("{count} pictures, {} labels", set.world.labels().len()));
        output::print(self.out.display())?;
        Ok(Answer::Yes)
    }
}

impl OpenMojiArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let options = OpenMojiOptions {
            background: self.background.0,
            size: self.size,
            holdout: self.holdout,
            seed: Seed(self.seed),
            limit: self.limit,
            existing: if self.overwrite { Existing::Replace } else { Existing::Refuse },
        };
        let summary = convert_openmoji(&self.archive, &self.out, &options)?;
        let out = self.out.display();
        for problem in &summary.problems {
            talk.warn(format_args!("left out {problem}"));
        }
        for same in &summary.identical {
            talk.note(format_args!("note: equal pixels: {}", same.join(", ")));
        }
        let (train, held_out) = (summary.train, summary.held_out);
        talk.note(format_args!("{train} pictures for training, {held_out} held out"));
        if self.json {
            output::print_json(&json!({
                "folder": out.to_string(),
                "train": train,
                "held_out": held_out,
                "problems": list(&summary.problems),
                "identical": summary.identical,
            }))?;
        } else {
            output::print(out)?;
        }
        Ok(Answer::Yes)
    }
}

impl CheckArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let options =
            DataOptions { split: None, on_problem: OnProblem::Skip, ..DataOptions::new(32) };
        // The list is our data; the library would log it as well.
        let load = || Dataset::load(&self.sources, &options);
        let (usable, problems) =
            match tracing::subscriber::with_default(NoSubscriber::default(), load) {
                Ok(dataset) => (dataset.samples.len(), dataset.problems),
                Err(TrainError::NoSamples { problems, .. }) => (0, problems),
                Err(error) => return Err(error.into()),
            };
        for (problem, json) in problems.iter().zip(list(&problems)) {
            if self.json {
                output::print_json(&json)?;
            } else {
                output::print(problem)?;
            }
        }
        talk.note(format_args!("{usable} usable samples, {} problems", problems.len()));
        let bad = usable == 0 || (self.strict && !problems.is_empty());
        Ok(if bad { Answer::No } else { Answer::Yes })
    }
}

/// Problems for machines.
fn list(problems: &Problems) -> Vec<serde_json::Value> {
    let one = |p: &trefoil_train::data::Problem| {
        json!({
            "file": p.path.display().to_string(),
            "sample": p.key,
            "reason": p.reason.to_string(),
        })
    };
    problems.iter().map(one).collect()
}
