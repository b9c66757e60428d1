//! `trefoil search`: items for a query, for somebody.

use clap::Args;
use uditsr::recommender::Access;

use crate::Answer;
use crate::answers::{RecommenderArgs, RequestArgs, print_answer};
use crate::output::Talk;

/// Search items, for a user
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil search \"running shoes\" --user u42 --model runs/shop/model
  trefoil search --query \"running shoes\" --tag red -k 5 --json
  trefoil search lamp --user u42 --explain

Each line has item, title, score and who proposed it: the model, the words of titles and tags, or both.
Exit code 1: nothing was found.")]
pub(crate) struct SearchArgs {
    /// What is looked for
    #[arg(value_name = "QUERY", required_unless_present = "query", conflicts_with = "query")]
    words: Option<String>,
    /// The same as an option
    #[arg(long, value_name = "QUERY")]
    query: Option<String>,
    /// The shop's id of the user [default: nobody in particular]
    #[arg(short, long, value_name = "ID")]
    user: Option<String>,
    /// Say for each item why it is there
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    request: RequestArgs,
    #[command(flatten)]
    recommender: RecommenderArgs,
}

impl SearchArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let recommender = self.recommender.open(Access::Read)?;
        let (user, options) = (self.user.as_deref(), self.request.options());
        let query = self.words.or(self.query).unwrap_or_default();
        let answer = recommender.search(user, &query, self.request.count, &options)?;
        let explain = |item: &str| recommender.explain_with(user, item, Some(&query), &options);
        let explain = self.explain.then_some(&explain as &dyn Fn(&str) -> _);
        print_answer(&answer, self.request.json, talk, explain)
    }
}
