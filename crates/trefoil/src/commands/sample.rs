//! `trefoil sample`: pictures of anything, or texts about anything.

mod edm;

use clap::{Args, Subcommand};
use unidiffuser::mode::Mode;

use crate::Answer;
use crate::args::{CountArgs, EitherOutputArgs, ModelArgs, SamplingArgs};
use crate::output::Talk;
use crate::record::Record;
use crate::results::{Pictures, prepare_texts, write_texts};
use crate::session::Session;

/// Draw pictures of anything, or write texts about anything
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    subcommand_help_heading = "Other systems",
    after_help = "\
Examples:
  trefoil sample --image -n 16 -o pictures/
  trefoil sample --text -n 10
  trefoil sample edm runs/teacher/model -n 16 -o pictures/"
)]
pub(crate) struct SampleArgs {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    anything: AnythingArgs,
}

/// Systems that draw in another way.
#[derive(Debug, Subcommand)]
enum Other {
    Edm(Box<edm::EdmArgs>),
}

/// UniDiffuser.
#[derive(Debug, Args)]
struct AnythingArgs {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    count: CountArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: EitherOutputArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Draw pictures
    #[arg(long)]
    image: bool,
    /// Write texts
    #[arg(long)]
    text: bool,
}

impl SampleArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        match self.other {
            Some(Other::Edm(args)) => args.run(talk),
            None => self.anything.run(talk),
        }
    }
}

impl AnythingArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        if self.what.image { self.pictures(talk) } else { self.texts(talk) }
    }

    fn pictures(self, talk: Talk) -> anyhow::Result<Answer> {
        let pictures = Pictures::new(&self.output.pictures(), "sample", self.count.count)?;
        let session = Session::open_for(&self.model, &self.sampling, talk)?;
        let mut request = session.request(Mode::Image, &self.sampling)?;
        request.count = self.count.count;
        let Some(generated) = session.generate(&request, (0, 1))? else {
            return Ok(Answer::Interrupted);
        };
        pictures.write_all(&request, &generated, &session.id()?)?;
        Ok(Answer::Yes)
    }

    fn texts(self, talk: Talk) -> anyhow::Result<Answer> {
        let output = self.output.texts();
        prepare_texts(&output)?;
        let session = Session::open_for(&self.model, &self.sampling, talk)?;
        let mut request = session.request(Mode::Text, &self.sampling)?;
        request.count = self.count.count;
        let Some(generated) = session.generate(&request, (0, 1))? else {
            return Ok(Answer::Interrupted);
        };
        let id = session.id()?;
        let records = generated.iter().map(|g| (None, Record::new(&request, g, &id)));
        write_texts(&output, &records.collect::<Vec<_>>())?;
        Ok(Answer::Yes)
    }
}
