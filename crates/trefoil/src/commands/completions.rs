//! `trefoil completions`: completion scripts.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::Answer;
use crate::args::Cli;
use crate::output::{self, Talk};

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil completions bash > ~/.local/share/bash-completion/completions/trefoil
  trefoil completions zsh > ~/.zfunc/_trefoil
  trefoil completions fish > ~/.config/fish/completions/trefoil.fish")]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

impl CompletionsArgs {
    /// Runs the command.
    pub(crate) fn run(self, _: Talk) -> anyhow::Result<Answer> {
        // Through memory: the generator panics when its output is closed early.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "trefoil", &mut script);
        output::print_bytes(&script)?;
        Ok(Answer::Yes)
    }
}
