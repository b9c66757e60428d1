//! Standard output for data, standard error for talk.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal as _, Write as _};

use anyhow::Context as _;
use serde::Serialize;
use trefoil_train::ProgressMode;

use crate::args::TalkArgs;

/// How much is said on standard error. A closed standard error is no reason to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Talk {
    quiet: bool,
    verbose: bool,
    progress: bool,
}

impl Talk {
    /// From the command line.
    pub(crate) fn new(args: &TalkArgs) -> Self {
        Self {
            quiet: args.quiet,
            verbose: args.verbose > 0,
            progress: !args.no_progress && !args.quiet,
        }
    }

    /// Says something that the user wants to know, on a line of its own.
    pub(crate) fn note(self, text: impl Display) {
        if !self.quiet {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Warns of something that the user can act on.
    pub(crate) fn warn(self, text: impl Display) {
        self.note(format_args!("warning: {text}"));
    }

    /// Progress of seconds to minutes: a bar on a terminal, lines with `-v`, else nothing.
    pub(crate) fn progress(self) -> ProgressMode {
        match (self.progress, std::io::stderr().is_terminal(), self.verbose) {
            (false, _, _) | (true, false, false) => ProgressMode::Quiet,
            (true, true, _) => ProgressMode::Bar,
            (true, false, true) => ProgressMode::Lines,
        }
    }

    /// Progress of hours: a bar on a terminal, lines in a log.
    pub(crate) fn long_progress(self) -> ProgressMode {
        if self.progress { ProgressMode::Auto } else { ProgressMode::Quiet }
    }
}

/// Prints a line of data.
pub(crate) fn print(line: impl Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write standard output")
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(serde_json::to_string(value)?)
}

/// Writes bytes of data.
pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("cannot write standard output")
}

/// Whether the reader of our output has gone, which is its right.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
    })
}

/// Says what went wrong and, where it is known, what helps.
pub(crate) fn complain(error: &anyhow::Error, hint: Option<&str>) {
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "error: {error:#}");
    if let Some(hint) = hint {
        let _ = writeln!(err, "\nhint: {hint}");
    }
}
