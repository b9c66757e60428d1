//! `trefoil chain`: pictures and captions that draw each other in turn.

use std::path::{Path, PathBuf};

use clap::Args;
use unidiffuser::mode::Mode;

use crate::Answer;
use crate::args::{ModelArgs, PictureOutputArgs, SamplingArgs, at_least_one};
use crate::hints::hinted;
use crate::output::{self, Talk};
use crate::record::Record;
use crate::results::{Pictures, one_line};
use crate::session::{Session, open_picture};

/// Let pictures and captions draw each other in turn
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil chain \"a red apple\" --rounds 4 -o chain/
  trefoil chain --image apple.png -o chain/

Each picture is drawn from the code of the caption before it, and each caption from the codes of the picture before it:
blocked Gibbs sampling. Captions are printed on standard output. Without a prompt and a picture the chain begins with a
picture of anything.")]
pub(crate) struct ChainArgs {
    /// Prompt to begin with
    #[arg(conflicts_with = "image")]
    prompt: Option<String>,
    /// Picture to begin with
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// How many pictures, and how many captions
    #[arg(long, default_value = "3", value_name = "N", value_parser = at_least_one)]
    rounds: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: PictureOutputArgs,
}

impl ChainArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        if self.output.output == Path::new("-") {
            let hint = "write the pictures into a folder: `--output chain/`";
            return Err(hinted("pictures and captions both want standard output", hint));
        }
        let picture = self.image.as_deref().map(open_picture).transpose()?;
        let pictures = Pictures::new(&self.output, "chain", self.rounds)?;
        let session = Session::open_for(&self.model, &self.sampling, talk)?;
        if let Some(prompt) = &self.prompt {
            session.check_prompt(prompt)?;
        }
        // Both directions are guided, as in a variation.
        let mut request = session.request(Mode::ImageVariation, &self.sampling)?;
        request.prompt = self.prompt;
        request.image = picture;
        let Some(chain) = session.gibbs(&request, self.rounds)? else {
            return Ok(Answer::Interrupted);
        };
        let id = session.id()?;
        let inputs: Vec<String> = self.image.iter().map(|p| p.display().to_string()).collect();
        for generated in &chain {
            if generated.image.is_some() {
                let record = Record::new(&request, generated, &id);
                pictures.write(generated, &Record { inputs: inputs.clone(), ..record })?;
            } else if let Some(text) = generated.text.as_ref().filter(|_| !self.output.json) {
                output::print(one_line(text))?;
            } else {
                output::print_json(&Record::new(&request, generated, &id))?;
            }
        }
        Ok(Answer::Yes)
    }
}
