//! `trefoil caption`: texts for pictures.

use std::path::PathBuf;

use clap::Args;
use unidiffuser::mode::Mode;

use crate::Answer;
use crate::args::{CountArgs, ModelArgs, SamplingArgs, TextOutputArgs};
use crate::output::Talk;
use crate::record::Record;
use crate::results::{prepare_texts, write_texts};
use crate::session::{Session, open_picture};

/// Write captions for pictures
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil caption photo.jpg
  trefoil caption -n 3 photo.jpg
  trefoil caption --json *.png > captions.jsonl

With several pictures or captions each line begins with the file name and a tab.")]
pub(crate) struct CaptionArgs {
    /// PNG or JPEG pictures
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    #[command(flatten)]
    count: CountArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: TextOutputArgs,
}

impl CaptionArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        // All of them before the first is worked on: the last one may be misspelt.
        let pictures = self
            .images
            .iter()
            .map(|path| open_picture(path))
            .collect::<anyhow::Result<Vec<_>>>()?;
        prepare_texts(&self.output)?;
        let session = Session::open_for(&self.model, &self.sampling, talk)?;
        let mut request = session.request(Mode::ImageToText, &self.sampling)?;
        request.count = self.count.count;
        let id = session.id()?;
        let parts = pictures.len();
        let mut records = Vec::new();
        for (part, (path, picture)) in self.images.iter().zip(pictures).enumerate() {
            request.image = Some(picture);
            let Some(generated) = session.generate(&request, (part, parts))? else {
                return Ok(Answer::Interrupted);
            };
            let file = path.display().to_string();
            let label = (parts * request.count > 1).then(|| file.clone());
            for generated in &generated {
                let record = Record::new(&request, generated, &id);
                records.push((label.clone(), Record { inputs: vec![file.clone()], ..record }));
            }
        }
        write_texts(&self.output, &records)?;
        Ok(Answer::Yes)
    }
}
