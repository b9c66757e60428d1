//! `trefoil`: draw, caption, inspect and train from the command line.
//!
//! Standard output carries data that can be piped, standard error everything else. Exit codes: 0 success, 1 a
//! negative answer, 2 an error, 130 interrupted.

mod answers;
mod args;
mod commands;
mod fetch;
mod hints;
mod interrupt;
mod model;
mod one_step;
mod output;
mod recipes;
mod record;
mod results;
mod safetensors;
mod session;
mod target;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use mimalloc::MiMalloc;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, TalkArgs};
use crate::output::Talk;

// A step of a network allocates and frees the same large buffers again and again; the system's allocator
// returns them to the kernel each time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// How long freed memory is kept for the next step.
const KEPT: Duration = Duration::from_secs(30);

/// How a command ended when nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It did what was asked.
    Yes,
    /// It did, and the answer is no: nothing found, a check that failed.
    No,
    /// The user stopped it.
    Interrupted,
}

impl From<Answer> for ExitCode {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Yes => Self::SUCCESS,
            Answer::No => Self::from(1),
            Answer::Interrupted => Self::from(interrupt::EXIT_CODE),
        }
    }
}

fn main() -> ExitCode {
    trefoil_kernels::keep_freed_memory(KEPT);
    let cli = Cli::parse();
    start_log(&cli.talk);
    // On a thread of the pool: whoever waits for a kernel then takes part in it.
    let talk = Talk::new(&cli.talk);
    let result = if cli.command.is_server() {
        cli.command.run(talk)
    } else {
        rayon::scope(|_| cli.command.run(talk))
    };
    match result {
        Ok(answer) => answer.into(),
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error, hints::hint(&error).as_deref());
            ExitCode::from(2)
        }
    }
}

/// Log lines go to standard error; `RUST_LOG` decides which, else `-v` and `-q`.
fn start_log(talk: &TalkArgs) {
    let level = match (talk.quiet, talk.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let colour = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_target(false);
    // For programs that collect logs.
    if std::env::var("TREFOIL_LOG").is_ok_and(|form| form == "json") {
        lines.json().init();
    } else {
        lines.without_time().init();
    }
}
