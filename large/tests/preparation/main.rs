//! The preparation on an engine gives the same folder as the one in memory, bit for bit: the
//! references here are the files that `Prepare::run` writes.

mod cluster;
mod command;
mod errors;
mod logs;
mod options;
mod spilling;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use uditsr::data::{Prepare, Report};
use uditsr_large::{Engine, LocalOptions, Preparation};

/// The small logs of the tests of `uditsr`.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/uditsr/tests/data/fixtures")
}

/// Content of all files of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let read = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    };
    entries.map(read).collect()
}

/// Asserts that two folders have the same files.
fn assert_same(expected: &Path, found: &Path, what: &str) {
    let [expected, found] = [files(expected), files(found)];
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&expected), names(&found), "{what}");
    // The report first: it says most about what is different.
    if expected["report.json"] != found["report.json"] {
        let text = |files: &BTreeMap<String, Vec<u8>>| {
            String::from_utf8(files["report.json"].clone()).unwrap()
        };
        assert_eq!(text(&expected), text(&found), "{what}");
    }
    for (name, bytes) in &expected {
        assert!(*bytes == found[name], "{what}: {name} differs");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()
        .unwrap()
}

/// Prepares a log in memory and on an engine with so many bytes, and compares the folders. Returns
/// the report and how much was spilled.
fn assert_equal(prepare: &Prepare, memory: usize, what: &str) -> (Report, usize) {
    let folder = tempfile::tempdir().unwrap();
    let [expected, found] = ["memory", "engine"].map(|name| folder.path().join(name));
    let report = prepare.run(&expected).unwrap_or_else(|error| panic!("{what}: {error}"));
    let options = LocalOptions { memory, threads: 2, ..LocalOptions::default() };
    let (found_report, spilled) = runtime().block_on(async {
        let engine = Engine::local(folder.path(), &options).unwrap();
        let run = Preparation::new(prepare, engine);
        run.run(&found).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    });
    assert_same(&expected, &found, what);
    assert_eq!(report, found_report, "{what}");
    let left: Vec<_> = files_and_folders(folder.path());
    assert_eq!(left, ["engine", "memory"], "{what}: intermediate files are left");
    (report, spilled)
}

fn files_and_folders(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
