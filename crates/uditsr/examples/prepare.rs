//! Prepares a log, or generates a large one, and says how long it took and how much memory.
//!
//! ```sh
//! cargo run --release -p uditsr --example prepare -- LOG... [--catalog FILE] [--options JSON] [-o DIR]
//! cargo run --release -p uditsr --example prepare -- generate ROWS FILE.csv
//! ```

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use uditsr::data::Prepare;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().is_some_and(|arg| arg == "generate") {
        let args: Vec<String> = args.skip(1).collect();
        return generate(args[0].parse()?, &args[1]);
    }
    let mut prepare = Prepare::default();
    let mut out = None;
    let mut json = false;
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--catalog" => prepare.catalogue = Some(value()?.into()),
            "--options" => prepare.options = serde_json::from_str(&value()?)?,
            "--json" => json = true,
            "-o" => out = Some(PathBuf::from(value()?)),
            _ => prepare.logs.push(arg.into()),
        }
    }
    let start = Instant::now();
    let report = match out {
        Some(out) => prepare.run(&out)?,
        None => prepare.check()?,
    };
    let seconds = start.elapsed().as_secs_f64();
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    eprintln!(
        "{seconds:.2} s, {:.0} rows per second, peak memory {}",
        report.rows.read as f64 / seconds,
        peak_memory()
    );
    Ok(())
}

/// A log of one user to fifteen rows, 40 000 items, and queries of one to three of 20 000 words,
/// all with long tails; two in five rows are searches.
fn generate(rows: u64, file: &str) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut uniform = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let mut tail = |n: f64| (n * uniform().powi(3)) as u64;
    let mut out = BufWriter::new(std::fs::File::create(file)?);
    writeln!(out, "user_id,item_id,timestamp,query,weight")?;
    for row in 0..rows {
        let user = tail(rows as f64 / 5.0) * 7919 % (rows / 5).max(1);
        let item = tail(40_000.0);
        let time = 1_684_700_000 + row * 864_000 / rows;
        write!(out, "user-{user},item-{item},{time},")?;
        if tail(1000.0) < 64 {
            for word in 0..=tail(3.0) {
                write!(out, "{}w{}", if word > 0 { " " } else { "" }, tail(20_000.0))?;
            }
        }
        writeln!(out, ",1")?;
    }
    Ok(out.flush()?)
}

/// Largest resident memory of this process, as Linux says it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown".into(), |line| line.trim().to_owned())
}
