//! `trefoil blend`: pictures between two pictures.

use std::path::PathBuf;

use clap::Args;
use unidiffuser::mode::Mode;

use crate::Answer;
use crate::args::{ModelArgs, PictureOutputArgs, SamplingArgs};
use crate::output::Talk;
use crate::record::Record;
use crate::results::Pictures;
use crate::session::{Session, open_picture};

/// Draw the pictures between two pictures
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil blend cat.png dog.png -o between/
  trefoil blend cat.png dog.png --weights 0,0.1,0.2,0.3 --seed 3 -o steps.png")]
pub(crate) struct BlendArgs {
    /// Picture at weight 0
    a: PathBuf,
    /// Picture at weight 1
    b: PathBuf,
    /// Shares of the second picture, each between 0 and 1
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0,0.25,0.5,0.75,1",
        value_name = "W,W,...",
        value_parser = weight
    )]
    weights: Vec<f64>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    output: PictureOutputArgs,
}

fn weight(text: &str) -> Result<f64, String> {
    match text.trim().parse() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => Ok(weight),
        _ => Err("expected a number between 0 and 1".into()),
    }
}

impl BlendArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let inputs = [&self.a, &self.b];
        let [a, b] = inputs.map(|path| open_picture(path));
        let (a, b) = (a?, b?);
        let inputs = inputs.map(|path| path.display().to_string());
        let pictures = Pictures::new(&self.output, "blend", self.weights.len())?;
        let session = Session::open_for(&self.model, &self.sampling, talk)?;
        let request = session.request(Mode::ImageVariation, &self.sampling)?;
        let Some(generated) = session.blend([&a, &b], &self.weights, &request)? else {
            return Ok(Answer::Interrupted);
        };
        let id = session.id()?;
        for (generated, weight) in generated.iter().zip(&self.weights) {
            let record = Record::new(&request, generated, &id);
            let inputs = inputs.to_vec();
            pictures.write(generated, &Record { inputs, weight: Some(*weight), ..record })?;
        }
        Ok(Answer::Yes)
    }
}
