//! `cargo xtask`: checks, benchmarks, fixtures and the comparison at full size of the workspace.

mod bench;
mod check;
mod compare;
mod fixtures;
mod layers;
mod machine;
mod plot;
mod process;
mod report;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Check, measure and refresh the workspace
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    Check(check::CheckArgs),
    Bench(bench::BenchArgs),
    Fixtures(fixtures::FixturesArgs),
    Verify(verify::VerifyArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Check(args) => args.run(),
        Command::Bench(args) => args.run(),
        Command::Fixtures(args) => args.run(),
        Command::Verify(args) => args.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
