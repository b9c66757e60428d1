//! `trefoil search`: items for a query, for somebody.

use clap::Args;

use crate::Answer;
use crate::answers::QuestionArgs;
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
    #[command(flatten)]
    question: QuestionArgs,
}

impl SearchArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let query = self.words.or(self.query).unwrap_or_default();
        self.question.ask(Some(&query), talk)
    }
}
