//! `trefoil recommend`: what somebody may like.

use clap::Args;
use uditsr::recommender::Access;

use crate::Answer;
use crate::answers::{RecommenderArgs, RequestArgs, print_answer};
use crate::output::Talk;

/// Recommend items to a user
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil recommend --user u42 --model runs/shop/model
  trefoil recommend --user u42 -k 20 --diversity 0.3 --no-tag adult
  trefoil recommend --history i7 --history i9=lamp
  trefoil recommend --user u42 --explain

Each line has item, title, score and who proposed it. A user whom nobody knows gets what is popular, unless
`--history` says what the user just did. Exit code 1: nothing was found.")]
pub(crate) struct RecommendArgs {
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

impl RecommendArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let recommender = self.recommender.open(Access::Read)?;
        let (user, options) = (self.user.as_deref(), self.request.options());
        let answer = recommender.recommend(user, self.request.count, &options)?;
        let explain = |item: &str| recommender.explain_with(user, item, None, &options);
        let explain = self.explain.then_some(&explain as &dyn Fn(&str) -> _);
        print_answer(&answer, self.request.json, talk, explain)
    }
}
