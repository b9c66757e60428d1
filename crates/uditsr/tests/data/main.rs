//! From raw logs to prepared folders.

mod authors;
mod checks;
mod folder;
mod formats;
mod properties;
mod splits;
mod synthetic;

use std::fmt::Write as _;
use std::path::PathBuf;

use uditsr::Interactions;
use uditsr::data::{Prepare, PrepareOptions, Prepared};

/// A committed file or folder.
fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/fixtures").join(name)
}

/// Options under which all events are for training and all words are known.
fn everything() -> PrepareOptions {
    PrepareOptions {
        min_weights: Some(Vec::new()),
        min_word_count: 1,
        ..PrepareOptions::for_training()
    }
}

/// A preparation of fixtures.
fn of(format: &str, names: &[&str]) -> Prepare {
    let mut prepare = Prepare::new(names.iter().map(|name| fixture(name)));
    prepare.options = everything();
    prepare.options.format = format.parse().unwrap();
    prepare
}

/// Rows as `user item time: words`.
fn rows(prepared: &Prepared, part: &Interactions) -> Vec<String> {
    (0..part.len())
        .map(|row| {
            let user = prepared.users.get(part.users[row]);
            let item = prepared.items.get(part.items[row]);
            let mut text = format!("{user} {item} {}:", part.times[row]);
            for &word in part.queries.row(row) {
                write!(text, " {}", prepared.words.words()[word as usize]).unwrap();
            }
            text
        })
        .collect()
}

/// A log of events as CSV.
fn csv(events: &[(&str, &str, i64, &str)]) -> String {
    let mut text = "user,item,time,query\n".to_owned();
    for (user, item, time, query) in events {
        writeln!(text, "{user},{item},{time},{query}").unwrap();
    }
    text
}

/// A preparation of a log that is written into a folder.
fn log(folder: &tempfile::TempDir, text: &str) -> Prepare {
    let path = folder.path().join("events.csv");
    std::fs::write(&path, text).unwrap();
    Prepare::new([path])
}
