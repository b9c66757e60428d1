//! `trefoil evaluate`: a table of how good a model is: UniDiffuser on pictures that it knows and on ones held
//! out, UDITSR on events that were held out, sets of pictures against each other.

mod fid;
mod uditsr;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use trefoil_core::{Picture, Seed, fs, png};
use trefoil_diffusion::GuidanceScale;
use trefoil_train::data::OnProblem;
use trefoil_train::{Error as TrainError, Progress};
use unidiffuser::evaluate::{
    EvaluateError, EvaluateOptions, Evaluation, Generator, SplitSamples, evaluate,
};
use unidiffuser::mode::Mode;
use unidiffuser::pipeline::GenerateError;
use unidiffuser::train::{DataRecipe, Pairs};

use crate::Answer;
use crate::args::{ModelArgs, SamplingArgs, at_least_one};
use crate::output::{self, Talk};
use crate::session::Session;

/// Splits that are looked for in the data, the first one must be there.
const SPLITS: [&str; 2] = ["train", "held-out"];

/// Measure UniDiffuser on captioned pictures, UDITSR on events that were held out, or any pictures against others
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    subcommand_help_heading = "Other systems",
    after_help = "\
Examples:
  trefoil evaluate --data data/openmoji
  trefoil evaluate --data data/openmoji --count 500 --seed 1 -o evaluation/
  trefoil evaluate --data shards/*.tar --json > evaluation.json
  trefoil evaluate --data data/openmoji --one-step
  trefoil evaluate fid drawn/ data/openmoji --resolution 32
  trefoil evaluate uditsr --model runs/shop/model

The table has, for the rows of the data marked `train` (or not marked) and for those marked `held-out`:
retrieval of captions and pictures by what was drawn, the same for real pictures as the ceiling, captions
against the given ones, Frechet distance in the space of the model's own CLIP, and PSNR of the autoencoder. With
`--one-step` a distilled generator is measured beside the model itself."
)]
pub(crate) struct EvaluateArgs {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    pictures: PictureArgs,
}

/// Systems that are measured on something else.
#[derive(Debug, Subcommand)]
enum Other {
    Fid(Box<fid::FidArgs>),
    Uditsr(uditsr::UditsrArgs),
}

/// UniDiffuser on pictures.
#[derive(Debug, Args)]
struct PictureArgs {
    /// Image folders, WebDataset shards or patterns of shards; may be repeated
    #[arg(long, value_name = "SOURCE", num_args = 1.., required = true)]
    data: Vec<PathBuf>,
    /// Pictures drawn and captions written in each split
    #[arg(short = 'n', long, default_value = "200", value_name = "N", value_parser = at_least_one)]
    count: usize,
    /// Captions among which a drawn picture looks for its own
    #[arg(long, default_value = "1000", value_name = "N", value_parser = at_least_one)]
    candidates: usize,
    /// Guidance of captions, in the common form [default: that of pictures]
    #[arg(long, value_name = "W")]
    caption_guidance: Option<f64>,
    /// Folder for report.md, report.json and, for each split, a grid of real and drawn pictures and the captions
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: ModelArgs,
}

impl EvaluateArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        match self.other {
            Some(Other::Fid(args)) => args.run(talk),
            Some(Other::Uditsr(args)) => args.run(talk),
            None => self.pictures.run(talk),
        }
    }
}

impl PictureArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let session = Session::open_for(&self.model, &self.sampling, talk)?;
        let mut sampling = self.sampling.clone();
        sampling.seed = Some(sampling.seed.unwrap_or(0));
        let request = session.request(Mode::TextToImage, &sampling)?;
        let caption_guidance =
            self.caption_guidance.map(GuidanceScale::new).transpose()?.unwrap_or(request.guidance);
        let mut generators = vec![Generator::ManySteps];
        if request.one_step {
            generators.push(Generator::OneStep);
        }
        let options = EvaluateOptions {
            generators,
            count: self.count,
            candidates: self.candidates,
            seed: Seed(request.seed.0),
            solver: request.solver,
            guidance: request.guidance,
            caption_guidance,
            // A larger batch than for drawing: it changes speed and memory, not the result.
            batch: request.batch.max(EvaluateOptions::default().batch),
        };
        let resolution = session.model.image_size() as u32;
        let splits = load(&self.data, resolution, talk)?;
        let named: Vec<(&str, &Pairs)> =
            splits.iter().map(|(name, pairs)| (*name, pairs)).collect();

        let mut bar: Option<Progress> = None;
        let result = evaluate(&session.model, &named, &options, &mut |done, total| {
            bar.get_or_insert_with(|| Progress::new(talk.progress(), "samples", 0, total as u64))
                .update(done as u64, "");
            if session.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Some(bar) = bar {
            bar.finish();
        }
        let evaluation = match result {
            Ok(evaluation) => evaluation,
            Err(EvaluateError::Generate(GenerateError::Cancelled)) => {
                return Ok(Answer::Interrupted);
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(folder) = &self.output {
            write(folder, &evaluation)?;
        }
        if self.json {
            output::print(evaluation.report.to_json()?)?;
        } else {
            output::print(evaluation.report.to_markdown())?;
        }
        Ok(Answer::Yes)
    }
}

/// The splits that the data has.
fn load(
    sources: &[PathBuf],
    resolution: u32,
    talk: Talk,
) -> anyhow::Result<Vec<(&'static str, Pairs)>> {
    let mut splits = Vec::new();
    for split in SPLITS {
        let recipe = DataRecipe { resolution, split: split.into(), ..DataRecipe::default() };
        match Pairs::load(sources, &recipe, OnProblem::Skip) {
            Ok((pairs, problems)) => {
                if !problems.is_empty() {
                    talk.warn(format_args!(
                        "{} broken samples left out: `trefoil data check` lists them",
                        problems.len()
                    ));
                }
                splits.push((split, pairs));
            }
            // Data without a held-out part is measured on what there is.
            Err(TrainError::NoSamples { .. }) if !splits.is_empty() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(splits)
}

/// Writes the table in both forms and what was drawn and written for it.
fn write(folder: &Path, evaluation: &Evaluation) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let (markdown, json) = (evaluation.report.to_markdown(), evaluation.report.to_json()?);
    fs::write_atomic(&folder.join("report.md"), |out| out.write_all(markdown.as_bytes()))?;
    fs::write_atomic(&folder.join("report.json"), |out| out.write_all(json.as_bytes()))?;
    for split in &evaluation.samples {
        let name = |suffix: &str| folder.join(format!("{}-{suffix}", split.split));
        if let Some(grid) = grid(split) {
            let bytes = png::encode(&grid, &[])?;
            fs::write_atomic(&name("pictures.png"), |out| out.write_all(&bytes))?;
        }
        let mut text = String::from("caption\twritten for the real picture\n");
        for (prompt, written) in split.prompts.iter().zip(&split.written) {
            text.extend([prompt, "\t", written, "\n"]);
        }
        fs::write_atomic(&name("captions.tsv"), |out| out.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// The first 64 real pictures on the left and what was drawn for their captions on the right.
fn grid(split: &SplitSamples) -> Option<Picture> {
    const SIDE: usize = 8;
    let blank = Picture::filled(8, split.real.first()?.height(), [255; 3]);
    let mut cells = Vec::new();
    let rows = split.real.chunks(SIDE).zip(split.drawn.chunks(SIDE)).take(SIDE);
    for (real, drawn) in rows.filter(|(real, _)| real.len() == SIDE) {
        cells.extend_from_slice(real);
        cells.push(blank.clone());
        cells.extend_from_slice(drawn);
    }
    Picture::grid(&cells, 2 * SIDE + 1)
}
