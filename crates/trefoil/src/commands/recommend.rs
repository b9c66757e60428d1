//! `trefoil recommend`: what somebody may like.

use clap::Args;

use crate::Answer;
use crate::answers::QuestionArgs;
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
    #[command(flatten)]
    question: QuestionArgs,
}

impl RecommendArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        self.question.ask(None, talk)
    }
}
