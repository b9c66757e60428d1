//! What the benchmarks share: a case, criterion around it, and a file that tells `cargo xtask bench`
//! which cases were run, in the terms of `reference/bench_torch.py`.

pub(crate) mod training;
pub(crate) mod unet;
pub(crate) mod uvit;
pub(crate) mod work;

use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, SamplingMode};
use mimalloc::MiMalloc;
use serde_json::{Value, json};

pub(crate) use work::Work;

// As in the binary.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// What is repeated.
pub(crate) type Step = Box<dyn FnMut()>;

/// One line of a table.
pub(crate) struct Case {
    /// Group and name, which is also the folder of the estimates.
    pub(crate) id: String,
    /// For people.
    pub(crate) shape: String,
    /// What one repetition has to do at least.
    pub(crate) work: Work,
    /// For `bench_torch.py`; null when there is nothing to compare with.
    pub(crate) torch: Value,
    /// Makes the step and says how many parameters it has.
    pub(crate) prepare: Box<dyn Fn() -> (Step, usize)>,
}

/// Times the cases that the command line asks for.
///
/// `TREFOIL_BENCH_CASES` names a folder that gets `BENCH.json`, the list of them. With
/// `TREFOIL_BENCH_MEMORY`, the one case of that name runs twice, unmeasured, and the peak of the
/// process's resident memory is printed in bytes.
pub(crate) fn run(bench: &str, cases: impl FnOnce() -> Vec<Case> + Send) {
    // Memory is kept, and this is a thread of the pool, as in the binary.
    trefoil_kernels::keep_freed_memory(Duration::from_secs(30));
    rayon::scope(|_| run_here(bench, cases()));
}

fn run_here(bench: &str, cases: Vec<Case>) {
    if let Some(wanted) = std::env::var_os("TREFOIL_BENCH_MEMORY") {
        if let Some(case) = cases.iter().find(|case| wanted == *case.id) {
            let (mut step, _) = (case.prepare)();
            step();
            step();
            println!("{}", peak_memory().expect("/proc/self/status tells the peak"));
        }
        return;
    }
    // One repetition is long: few of them, the same number in each sample.
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    let mut measured = Vec::new();
    for case in cases {
        let (group, name) = case.id.split_once('/').expect("group and name");
        let mut group = criterion.benchmark_group(group);
        group.sampling_mode(SamplingMode::Flat);
        let mut prepared = None; // not made when the filter leaves the case out
        group.bench_function(name, |bencher| {
            let (step, _) = prepared.get_or_insert_with(|| (case.prepare)());
            bencher.iter(step);
        });
        group.finish();
        if let Some((_, parameters)) = prepared {
            let Case { id, shape, work, torch, .. } = case;
            let Work { operations, bytes } = work;
            measured.push(json!({
                "id": id,
                "shape": shape,
                "operations": operations,
                "bytes": bytes,
                "parameters": parameters,
                "torch": torch,
            }));
        }
    }
    criterion.final_summary();
    if let Some(folder) = std::env::var_os("TREFOIL_BENCH_CASES") {
        let path = Path::new(&folder).join(bench).with_extension("json");
        std::fs::write(&path, Value::from(measured).to_string()).expect("the file can be written");
    }
}

/// Highest resident memory of this process in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
