//! `trefoil explain`: where the score of an item comes from.

use clap::Args;
use uditsr::recommender::Access;

use crate::Answer;
use crate::answers::{RecommenderArgs, explanation};
use crate::output::{self, Talk};

/// Explain the score of an item for a user
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil explain --user u42 --item i7 --model runs/shop/model
  trefoil explain --user u42 --item i7 --query \"running shoes\" --json

The inherent intent is what the user likes in general. The demand intent is what is wanted now: the query, or in
recommendations what the model generates, told by the words nearest to it. Events of the user follow that speak
most for the item or against it.")]
pub(crate) struct ExplainArgs {
    /// The shop's id of the user [default: nobody in particular]
    #[arg(short, long, value_name = "ID")]
    user: Option<String>,
    /// The shop's id of the item
    #[arg(short, long, value_name = "ID")]
    item: String,
    /// The query, if it is about a search
    #[arg(long, value_name = "QUERY")]
    query: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    recommender: RecommenderArgs,
}

impl ExplainArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let recommender = self.recommender.open(Access::Read)?;
        let why = recommender.explain(self.user.as_deref(), &self.item, self.query.as_deref())?;
        if self.json {
            output::print_json(&why)?;
        } else {
            output::print_bytes(explanation(&why, "").as_bytes())?;
            talk.note(format_args!("user: {}", why.user));
        }
        if !why.unmatched_terms.is_empty() {
            let words = why.unmatched_terms.join(", ");
            talk.warn(format_args!("the model does not look at these words: {words}"));
        }
        Ok(Answer::Yes)
    }
}
