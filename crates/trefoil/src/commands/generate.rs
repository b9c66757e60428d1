//! `trefoil generate`: pictures from a prompt.

use std::path::{Path, PathBuf};

use clap::Args;
use trefoil_core::Seed;
use trefoil_diffusion::SolverConfig;
use unidiffuser::mode::Mode;
use unidiffuser::pipeline::{Edit, Request};

use crate::Answer;
use crate::args::{ModelArgs, PictureOutputArgs, SamplingArgs, at_least_one};
use crate::hints::hinted;
use crate::output::Talk;
use crate::record::Record;
use crate::results::Pictures;
use crate::session::{Session, open_picture};

/// Share of a picture that is made anew when none is named.
const USUAL_STRENGTH: f64 = 0.7;

/// Draw pictures from a prompt
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil generate \"a red apple\"
  trefoil generate \"a red apple\" -n 4 --seed 7 -o apples/
  trefoil generate \"a red apple\" -o - | display
  trefoil generate \"a red apple\" --one-step
  trefoil generate \"a red apple\" --negative \"a leaf\" --size 48x32
  trefoil generate \"a green apple\" --image apple.png --strength 0.6
  trefoil generate \"a worm\" --image apple.png --mask hole.png
  trefoil generate --from apple.png --steps 100 -o finer.png")]
pub(crate) struct GenerateArgs {
    /// What to draw
    #[arg(required_unless_present = "from")]
    prompt: Option<String>,
    /// Take prompt, seed and settings from a PNG file that trefoil wrote; other options override them
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// How many pictures [default: 1, or the one of `--from`]
    #[arg(short = 'n', long, value_name = "N", value_parser = at_least_one)]
    count: Option<usize>,
    /// What not to draw: guidance leads away from this text
    #[arg(long, value_name = "TEXT")]
    negative: Option<String>,
    /// Size of the picture in pixels [default: the model's own]
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = size, conflicts_with = "image")]
    size: Option<[usize; 2]>,
    /// Picture to start from, instead of from noise
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    image: Option<PathBuf>,
    /// How much of `--image` is made anew, above 0 and at most 1 [default: 0.7, or 1 with `--mask`]
    #[arg(long, value_name = "SHARE", value_parser = strength, requires = "image")]
    strength: Option<f64>,
    /// Picture that is white where `--image` is drawn anew and black where it is kept
    #[arg(long, value_name = "FILE", requires = "image")]
    mask: Option<PathBuf>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: PictureOutputArgs,
}

/// `WIDTHxHEIGHT` to height and width.
fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once('x').and_then(|(w, h)| Some([h.parse().ok()?, w.parse().ok()?]));
    sides.ok_or_else(|| "expected WIDTHxHEIGHT, such as 48x32".into())
}

fn strength(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a number above 0, at most 1".into()),
    }
}

impl GenerateArgs {
    /// Runs the command.
    pub(crate) fn run(mut self, talk: Talk) -> anyhow::Result<Answer> {
        let record = self.from.as_deref().map(read).transpose()?;
        let new_series = self.count.is_some() || self.sampling.seed.is_some();
        if let Some(record) = &record {
            self.sampling.seed.get_or_insert(record.seed);
        }
        let count = self.count.unwrap_or(1);
        let pictures = Pictures::new(&self.output, "generate", count)?;
        let prompt = self.prompt.clone().or_else(|| record.as_ref().and_then(|r| r.prompt.clone()));
        let edit = self.edit()?;
        if record.as_ref().is_some_and(|record| record.settings.one_step) {
            // Made by the model's own generator, unless another is named.
            self.sampling.one_step.get_or_insert(None);
        }
        let session = Session::open_for(&self.model, &self.sampling, talk)?;
        if let Some(prompt) = &prompt {
            session.check_prompt(prompt)?;
        }
        let mut request = match &record {
            None => session.request(Mode::TextToImage, &self.sampling)?,
            Some(record) => self.again(&session, record)?,
        };
        request.prompt = prompt;
        request.negative = self.negative.clone().or(request.negative);
        request.size = self.size.or(request.size);
        request.edit = edit;
        if request.negative.is_some() && !request.guidance.is_active() {
            talk.warn("`--negative` has no effect without guidance");
        }
        let id = session.id()?;
        if let Some(record) = record.as_ref().filter(|record| record.model.sha256 == id.sha256)
            && record.model.precision != id.precision
        {
            let (theirs, ours) = (record.model.precision, id.precision);
            talk.warn(format_args!(
                "the picture was drawn with weights in {theirs}, these are in {ours}: the result will differ a \
                 little; choose `--precision {theirs}`"
            ));
        }
        if let Some(record) = &record
            && record.model.sha256 != id.sha256
        {
            talk.warn(format_args!(
                "the picture was drawn by {} ({:.10}), this model is {} ({:.10}): the result will differ; \
                 choose the same model with `--model`",
                record.model.name, record.model.sha256, id.name, id.sha256
            ));
        }
        // Samples of a seed are counted from zero; of a single one to be drawn again, only it is kept.
        let first = record.as_ref().filter(|_| !new_series).map_or(0, |record| record.index);
        request.count = first + count;
        let Some(generated) = session.generate(&request, (0, 1))? else {
            return Ok(Answer::Interrupted);
        };
        if self.image.is_none() {
            pictures.write_all(&request, &generated[first..], &id)?;
            return Ok(Answer::Yes);
        }
        let inputs = self.image.iter().chain(&self.mask).map(|path| path.display().to_string());
        let inputs: Vec<String> = inputs.collect();
        for generated in &generated[first..] {
            let record = Record::new(&request, generated, &id);
            pictures.write(generated, &Record { inputs: inputs.clone(), ..record })?;
        }
        Ok(Answer::Yes)
    }

    /// The picture to start from, when one is given.
    fn edit(&self) -> anyhow::Result<Option<Edit>> {
        let Some(image) = &self.image else { return Ok(None) };
        let mask = self.mask.as_deref().map(open_picture).transpose()?;
        let usual = if mask.is_some() { 1.0 } else { USUAL_STRENGTH };
        let strength = self.strength.unwrap_or(usual);
        Ok(Some(Edit { picture: open_picture(image)?, strength, mask }))
    }

    /// The request of a record, where the command line says nothing else.
    fn again(&self, session: &Session, record: &Record) -> anyhow::Result<Request> {
        let mode = if self.prompt.is_some() { Mode::TextToImage } else { record.mode };
        let mut sampling = self.sampling.clone();
        if sampling.guidance.is_none() && mode.is_guided() {
            sampling.guidance = Some(record.settings.guidance);
        }
        let mut request = session.request(mode, &sampling)?;
        request.procedure = record.settings.procedure;
        request.size = record.settings.size;
        request.negative.clone_from(&record.negative);
        let steps = sampling.steps.map_or(record.settings.steps, |steps| steps as usize);
        request.solver = match sampling.solver {
            Some(kind) if kind != record.settings.solver.kind => SolverConfig::new(kind, steps),
            _ => SolverConfig { steps, ..record.settings.solver },
        };
        request.seed = Seed(sampling.seed.unwrap_or(record.seed));
        Ok(request)
    }
}

/// Reads the record of a picture that can be drawn again from it alone.
fn read(path: &Path) -> anyhow::Result<Record> {
    let record = Record::read(path)?;
    let from_pictures = record.mode.needs_image() || !record.inputs.is_empty();
    if from_pictures || record.weight.is_some() || !record.mode.makes_image() {
        let message =
            format!("{} was made from other pictures, which it does not hold", path.display());
        let hint =
            "`trefoil inspect` shows how; use `trefoil vary` or `trefoil blend` with the same seed";
        return Err(hinted(message, hint));
    }
    Ok(record)
}
