//! `trefoil generate`: pictures from a prompt.

use std::path::{Path, PathBuf};

use clap::Args;
use trefoil_core::Seed;
use trefoil_diffusion::SolverConfig;
use unidiffuser::mode::Mode;
use unidiffuser::pipeline::Request;

use crate::Answer;
use crate::args::{ModelArgs, PictureOutputArgs, SamplingArgs, at_least_one};
use crate::hints::hinted;
use crate::output::Talk;
use crate::record::Record;
use crate::results::Pictures;
use crate::session::Session;

/// Draw pictures from a prompt
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil generate \"a red apple\"
  trefoil generate \"a red apple\" -n 4 --seed 7 -o apples/
  trefoil generate \"a red apple\" -o - | display
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
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: PictureOutputArgs,
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
        let session = Session::open(&self.model, talk)?;
        if let Some(prompt) = &prompt {
            session.check_prompt(prompt)?;
        }
        let mut request = match &record {
            None => session.request(Mode::TextToImage, &self.sampling)?,
            Some(record) => self.again(&session, record)?,
        };
        request.prompt = prompt;
        let id = session.id()?;
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
        pictures.write_all(&request, &generated[first..], &id)?;
        Ok(Answer::Yes)
    }

    /// The request of a record, where the command line says nothing else.
    fn again(&self, session: &Session, record: &Record) -> anyhow::Result<Request> {
        let mode = if self.prompt.is_some() { Mode::TextToImage } else { record.mode };
        let mut sampling = self.sampling.clone();
        if sampling.guidance.is_none() && mode.is_guided() {
            sampling.guidance = Some(record.settings.guidance);
        }
        let mut request = session.request(mode, &sampling)?;
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
    if record.mode.needs_image() || record.weight.is_some() || !record.mode.makes_image() {
        let message =
            format!("{} was made from other pictures, which it does not hold", path.display());
        let hint =
            "`trefoil inspect` shows how; use `trefoil vary` or `trefoil blend` with the same seed";
        return Err(hinted(message, hint));
    }
    Ok(record)
}
