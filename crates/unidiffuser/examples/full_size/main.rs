//! The networks of the published UniDiffuser-v1 with random weights: written once, then evaluated one at a time, each
//! in a process of its own. `cargo xtask verify --full` runs this beside `reference/full_size.py`.
//!
//! ```text
//! full_size write FOLDER                                 all weights and inputs
//! full_size run FOLDER NETWORK RUNS OUTPUT [STORAGE]     one network; its outputs go to OUTPUT
//! full_size compare OURS THEIRS                          largest differences of two outputs, as JSON
//! ```
//!
//! Standard output of `run` has two lines of JSON: one when the network is loaded, one with times and memory.

mod memory;
mod network;
mod write;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use mimalloc::MiMalloc;
use trefoil_core::weights::Storage;

// As in the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    // Memory is kept, and this is a thread of the pool, as in the binary.
    trefoil_kernels::keep_freed_memory(Duration::from_secs(30));
    match rayon::scope(|_| run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["write", folder] => write::all(Path::new(folder)),
        ["run", folder, name, runs, output, ref storage @ ..] if storage.len() < 2 => {
            let storage = storage.first().map_or(Ok(Storage::F32), |name| name.parse())?;
            let setting = network::Setting { runs: runs.parse()?, storage };
            network::measure(Path::new(folder), name, Path::new(output), &setting)
        }
        ["compare", ours, theirs] => network::compare(Path::new(ours), Path::new(theirs)),
        _ => Err("expected `write`, `run` or `compare`, as the documentation of this program says"
            .into()),
    }
}
