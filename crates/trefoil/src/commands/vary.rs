//! `trefoil vary`: something else that means the same.

use std::path::{Path, PathBuf};

use clap::Args;
use unidiffuser::mode::Mode;

use crate::Answer;
use crate::args::{CountArgs, EitherOutputArgs, ModelArgs, SamplingArgs};
use crate::hints::hinted;
use crate::output::Talk;
use crate::record::Record;
use crate::results::{Pictures, prepare_texts, write_texts};
use crate::session::{Session, open_picture};

/// Draw a picture again, or say a text again, in another way
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil vary apple.png -n 4 -o apples/
  trefoil vary --text \"a red apple\" -n 4

A picture goes through text and back, a text through a picture and back.")]
pub(crate) struct VaryArgs {
    /// PNG or JPEG picture
    #[arg(required_unless_present = "text", conflicts_with = "text")]
    image: Option<PathBuf>,
    /// Text
    #[arg(long)]
    text: Option<String>,
    #[command(flatten)]
    count: CountArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: EitherOutputArgs,
}

impl VaryArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        match (&self.image, &self.text) {
            (Some(path), _) => self.picture(path, talk),
            (None, text) => self.words(text.as_deref().unwrap_or_default(), talk),
        }
    }

    fn picture(&self, path: &Path, talk: Talk) -> anyhow::Result<Answer> {
        if !path.exists() && path.extension().is_none() {
            let message = format!("no such picture: {}", path.display());
            return Err(hinted(message, "a text that is to be varied goes after `--text`"));
        }
        let picture = open_picture(path)?;
        let pictures = Pictures::new(&self.output.pictures(), "vary", self.count.count)?;
        let session = Session::open_for(&self.model, &self.sampling, talk)?;
        let mut request = session.request(Mode::ImageVariation, &self.sampling)?;
        request.count = self.count.count;
        request.image = Some(picture);
        let Some(generated) = session.generate(&request, (0, 1))? else {
            return Ok(Answer::Interrupted);
        };
        let id = session.id()?;
        for generated in &generated {
            let record = Record::new(&request, generated, &id);
            let inputs = vec![path.display().to_string()];
            pictures.write(generated, &Record { inputs, ..record })?;
        }
        Ok(Answer::Yes)
    }

    fn words(&self, text: &str, talk: Talk) -> anyhow::Result<Answer> {
        let output = self.output.texts();
        prepare_texts(&output)?;
        let session = Session::open_for(&self.model, &self.sampling, talk)?;
        session.check_prompt(text)?;
        let mut request = session.request(Mode::TextVariation, &self.sampling)?;
        request.count = self.count.count;
        request.prompt = Some(text.into());
        let Some(generated) = session.generate(&request, (0, 1))? else {
            return Ok(Answer::Interrupted);
        };
        let id = session.id()?;
        let records = generated.iter().map(|g| (None, Record::new(&request, g, &id)));
        write_texts(&output, &records.collect::<Vec<_>>())?;
        Ok(Answer::Yes)
    }
}
