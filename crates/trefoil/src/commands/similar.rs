//! `trefoil similar`: items like an item.

use clap::Args;
use uditsr::recommender::Access;

use crate::Answer;
use crate::answers::{RecommenderArgs, RequestArgs, print_answer};
use crate::output::Talk;

/// Find items like an item
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil similar --item i7 --model runs/shop/model
  trefoil similar --item i7 -k 20 --tag red --json

Similar are items that the same users want for the same reasons. Each line has item, title, cosine and source.
Exit code 1: nothing was found.")]
pub(crate) struct SimilarArgs {
    /// The shop's id of the item
    #[arg(short, long, value_name = "ID")]
    item: String,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    recommender: RecommenderArgs,
}

impl SimilarArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let recommender = self.recommender.open(Access::Read)?;
        let answer =
            recommender.similar(&self.item, self.request.count, &self.request.options())?;
        print_answer(&answer, self.request.json, talk, None)
    }
}
