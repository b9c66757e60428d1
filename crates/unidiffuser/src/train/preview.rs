//! What stage 4 shows while it trains: pictures for prompts and captions for pictures.

use std::ops::ControlFlow;

use trefoil_core::{Picture, Seed, fs};
use trefoil_diffusion::{GuidanceScale, SolverConfig, SolverKind};
use trefoil_train::{Error, Position, Result, RunFolder};

use super::data::Pairs;
use super::recipe::PreviewRecipe;
use crate::mode::Mode;
use crate::model::UniDiffuser;
use crate::pipeline::Request;

/// Samples that go through the network together.
const BATCH: usize = 32;

/// Draws the preview into `samples/` and the event file. The same noise is used every time, so that two
/// grids differ by the training alone.
///
/// # Errors
/// Those of drawing and writing.
pub(super) fn draw(
    model: &UniDiffuser,
    recipe: &PreviewRecipe,
    pairs: &Pairs,
    (run, position): (&RunFolder, Position),
) -> Result<()> {
    if recipe.count == 0 {
        return Ok(());
    }
    let stride = pairs.len().div_ceil(recipe.count);
    let shown: Vec<usize> = (0..pairs.len()).step_by(stride).collect();
    let prompts: Vec<String> = if recipe.prompts.is_empty() {
        shown.iter().map(|&i| pairs.captions()[i][0].clone()).collect()
    } else {
        recipe.prompts.clone()
    };
    let guidance = GuidanceScale::new(recipe.guidance).map_err(Error::task)?;
    let request = |mode| Request {
        solver: SolverConfig::new(SolverKind::default(), recipe.steps),
        guidance,
        seed: Seed(0),
        batch: BATCH,
        ..Request::new(mode)
    };
    let pictures = model
        .draw_each(&prompts, &request(Mode::TextToImage), &mut |_| ControlFlow::Continue(()))
        .map_err(Error::task)?;
    let columns = (pictures.len() as f64).sqrt().ceil() as usize;
    if let Some(grid) = Picture::grid(&pictures, columns) {
        run.log_picture(position.samples, "pictures", &grid)?;
    }
    let real: Vec<Picture> = shown.iter().map(|&i| pairs.pictures()[i].clone()).collect();
    let written = model
        .describe_each(&real, &request(Mode::ImageToText), &mut |_| ControlFlow::Continue(()))
        .map_err(Error::task)?;
    let truth = shown.iter().map(|&i| &pairs.captions()[i][0]);
    let lines: Vec<String> = truth.zip(&written).map(|(a, b)| format!("{a}\t{b}")).collect();
    let path = run.samples_dir().join(format!("captions-{:09}.txt", position.samples));
    fs::write_atomic(&path, |out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))?;
    Ok(())
}
