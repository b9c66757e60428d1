//! `trefoil state`: backups of what a server keeps, and its tokens.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use trefoil_core::fs;
use trefoil_server::auth::{Scope, Token};
use trefoil_server::store::tokens::TokenBook;
use trefoil_server::store::{self, Backend, StoreError, dump};

use crate::Answer;
use crate::hints::hinted;
use crate::output::{self, Talk};

/// Back up and restore what a server keeps; make tokens
#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    #[command(subcommand)]
    command: StateCommand,
}

/// Which state.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// Folder of what is kept, or address of a PostgreSQL database, which several servers can share
    /// [default: trefoil in the folder of the user's state]
    #[arg(
        long,
        visible_alias = "database",
        env = "TREFOIL_STATE",
        hide_env_values = true,
        value_name = "DIR|URL"
    )]
    state: Option<String>,
}

impl Place {
    /// The folder or the address.
    pub(super) fn place(&self) -> anyhow::Result<String> {
        self.state.clone().map_or_else(default_state, Ok)
    }

    fn open(&self) -> anyhow::Result<Arc<dyn Backend>> {
        store::open(&self.place()?).map_err(|error| {
            let hint = match &error {
                StoreError::Open { reason, .. } if reason.contains("in use") => {
                    "a running server has it: `curl http://ADDRESS/v1/backup -o FILE` backs it up, or stop it first"
                }
                StoreError::Open { reason, .. } if reason.contains("damage") => {
                    "move the file away and restore a backup with `trefoil state restore`"
                }
                _ => "check the folder or the address after `--state`",
            };
            hinted(error.to_string(), hint)
        })
    }
}

/// The folder of the user's state, after the XDG specification.
fn default_state() -> anyhow::Result<String> {
    let variable =
        |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder =
        variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
    let folder = folder.ok_or_else(|| {
        hinted("no folder to keep the state in", "name one with `--state DIR` or in TREFOIL_STATE")
    })?;
    let folder = folder.join("trefoil");
    folder.into_os_string().into_string().map_err(|_| {
        hinted("the folder of the state is not UTF-8", "name another with `--state DIR`")
    })
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    Backup(BackupArgs),
    Restore(RestoreArgs),
    Token(TokenArgs),
}

/// Write everything that is kept to a file
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil state backup monday.backup --state /var/lib/trefoil
  trefoil state backup - --state postgres://trefoil:secret@db/trefoil > monday.backup
  curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8080/v1/backup -o monday.backup

A folder can be backed up while no server uses it; a running server backs itself up at /v1/backup. A PostgreSQL database
can be backed up at any time.")]
struct BackupArgs {
    /// File that is written; `-` is standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Read a backup into an empty state
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil state restore monday.backup --state /var/lib/trefoil
  trefoil state restore monday.backup --state postgres://trefoil:secret@db/trefoil

All of the file is checked before anything is kept. A backup of one kind of database can be restored to the other.")]
struct RestoreArgs {
    /// File that `trefoil state backup` or /v1/backup wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Make, list and revoke tokens
#[derive(Debug, Args)]
struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print its secret, which is not kept
    Add {
        /// What it is called
        name: String,
        /// What it allows: read or read-write
        #[arg(long, default_value = "read", value_name = "SCOPE")]
        scope: Scope,
        /// Requests per second, if they differ from those of the server
        #[arg(long, value_name = "N")]
        rate: Option<f64>,
        #[command(flatten)]
        place: Place,
    },
    /// Print names and scopes
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Revoke a token; a running server of a PostgreSQL database needs SIGHUP to learn of it
    Remove {
        /// What it is called
        name: String,
        #[command(flatten)]
        place: Place,
    },
}

impl StateArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        match self.command {
            StateCommand::Backup(args) => args.run(talk),
            StateCommand::Restore(args) => args.run(talk),
            StateCommand::Token(args) => args.run(talk),
        }
    }
}

impl BackupArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let backend = self.place.open()?;
        let count = if self.file.as_os_str() == "-" {
            let mut bytes = Vec::new();
            let count = dump::write(&*backend, &mut bytes)?;
            output::print_bytes(&bytes)?;
            count
        } else {
            let mut count = 0;
            fs::write_atomic(&self.file, |out| {
                count = dump::write(&*backend, out).map_err(std::io::Error::other)?;
                Ok(())
            })?;
            count
        };
        talk.note(format_args!("{count} entries"));
        Ok(Answer::Yes)
    }
}

impl RestoreArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let backend = self.place.open()?;
        match dump::restore(&*backend, &self.file) {
            Ok(count) => talk.note(format_args!("{count} entries")),
            Err(error @ StoreError::NotEmpty(_)) => {
                let hint = "name an empty folder or database with `--state`";
                return Err(hinted(error.to_string(), hint));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Answer::Yes)
    }
}

impl TokenArgs {
    fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        match self.command {
            TokenCommand::Add { name, scope, rate, place } => {
                let book = TokenBook::new(place.open()?);
                let (token, secret) = Token::generate(&name, scope).map_err(anyhow::Error::msg)?;
                book.put(&Token { rate, ..token })?;
                output::print(secret)?;
                talk.note("the secret is not kept: this is the only time that it is shown");
                Ok(Answer::Yes)
            }
            TokenCommand::List { place } => {
                for token in TokenBook::new(place.open()?).all()? {
                    let scope = if token.scope == Scope::Read { "read" } else { "read-write" };
                    output::print(format_args!("{}\t{scope}", token.name))?;
                }
                Ok(Answer::Yes)
            }
            TokenCommand::Remove { name, place } => {
                let was_there = TokenBook::new(place.open()?).delete(&name)?;
                if !was_there {
                    talk.note(format_args!("there was no token `{name}`"));
                }
                Ok(if was_there { Answer::Yes } else { Answer::No })
            }
        }
    }
}
