//! UDITSR, its ablations and corrections, and the baselines on logs with real queries or tags and on a
//! generated one, as one command that writes `docs/results/uditsr.md`:
//!
//! ```sh
//! cargo run --release -p uditsr --example results -- --data DIR
//! ```
//!
//! `DIR` has the folders `lastfm-hetrec`, `ml-latest-small` and `boxgnn-eshop`, each with an `events.tsv`
//! (user, item, query, time, scenario, weight) and an `items.tsv`. Every finished training is a line of
//! `docs/results/uditsr.jsonl` and is not repeated, so the command may be stopped at any time.

mod arms;
mod cells;
mod page;
mod plan;
mod worlds;

use std::path::PathBuf;

use cells::Cells;
use plan::Plan;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::from(2)
        }
    }
}

/// Options of the command.
struct Options {
    data: Option<PathBuf>,
    cells: PathBuf,
    page: PathBuf,
    plan: Plan,
}

fn options() -> Result<Options> {
    let mut options = Options {
        data: None,
        cells: "docs/results/uditsr.jsonl".into(),
        page: "docs/results/uditsr.md".into(),
        plan: Plan::default(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or(format!("{name} needs a value"))?;
        let list = || value.split(',').map(|part| part.trim().to_owned()).collect();
        match name.as_str() {
            "--data" => options.data = Some(value.into()),
            "--cells" => options.cells = value.into(),
            "--page" => options.page = value.into(),
            "--worlds" => options.plan.worlds = list(),
            "--arms" => options.plan.arms = list(),
            "--trials" => options.plan.trials = value.parse()?,
            "--seeds" => options.plan.seeds = value.parse()?,
            _ => return Err(format!("{name} is not known").into()),
        }
    }
    Ok(options)
}

fn run() -> Result<()> {
    let options = options()?;
    let mut cells = Cells::open(&options.cells)?;
    options.plan.run(options.data.as_deref(), &mut cells)?;
    page::write(&options.page, &cells, &options.plan)?;
    eprintln!("{} is written", options.page.display());
    Ok(())
}
