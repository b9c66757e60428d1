//! `trefoil joint`: pictures and texts that belong together.

use clap::Args;
use unidiffuser::mode::Mode;

use crate::Answer;
use crate::args::{CountArgs, ModelArgs, PictureOutputArgs, SamplingArgs};
use crate::output::Talk;
use crate::results::Pictures;
use crate::session::Session;

/// Invent pictures together with their captions
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil joint
  trefoil joint -n 8 --seed 1 -o pairs/
  trefoil joint -n 8 --json -o pairs/ > pairs.jsonl

Each line of standard output is a file name, a tab and the caption.")]
pub(crate) struct JointArgs {
    #[command(flatten)]
    count: CountArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: PictureOutputArgs,
}

impl JointArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let pictures = Pictures::new(&self.output, "joint", self.count.count)?;
        let session = Session::open_for(&self.model, &self.sampling, talk)?;
        let mut request = session.request(Mode::Joint, &self.sampling)?;
        request.count = self.count.count;
        let Some(generated) = session.generate(&request, (0, 1))? else {
            return Ok(Answer::Interrupted);
        };
        pictures.write_all(&request, &generated, &session.id()?)?;
        Ok(Answer::Yes)
    }
}
