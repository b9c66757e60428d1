//! Latency of answers and recall of candidates at several sizes of the catalogue, as a page:
//!
//! ```sh
//! cargo run --release -p uditsr --example serving -- 10000 100000 1000000 -o docs/results/uditsr-serving.md
//! ```
//!
//! `--folder DIR` keeps the models (1 GB at a million items), and then `--part make`, `time` and `recall` can
//! be run apart. `--candidates N` and `--dim N` change what is measured. How the vectors are made is in
//! [`world`].

mod world;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use uditsr::recommender::{Access, Bundle, Durability, Event, Recall, RequestOptions};
use uditsr::{Error, Recommender, RecommenderOptions, Result};
use world::{Random, World};

/// Timed requests of each kind, after some that are not timed.
const REQUESTS: usize = 500;
const WARM_UP: usize = 50;
/// Length of the answers.
const K: usize = 20;

/// Median and 99th percentile in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

/// What was measured at one size.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Outcome {
    items: usize,
    dim: usize,
    candidates: usize,
    threads: usize,
    open: f64,
    search: Option<Latency>,
    recommend: Option<Latency>,
    similar: Option<Latency>,
    event: Option<Latency>,
    recall: Option<Recall>,
}

struct Arguments {
    sizes: Vec<usize>,
    folder: Option<PathBuf>,
    output: Option<PathBuf>,
    part: String,
    candidates: usize,
    dim: usize,
}

fn arguments() -> std::result::Result<Arguments, Box<dyn std::error::Error>> {
    let mut found = Arguments {
        sizes: Vec::new(),
        folder: None,
        output: None,
        part: "all".to_owned(),
        candidates: RecommenderOptions::default().candidates,
        dim: 100,
    };
    let mut all = std::env::args().skip(1);
    while let Some(argument) = all.next() {
        let mut value = || all.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--folder" => found.folder = Some(value()?.into()),
            "-o" => found.output = Some(value()?.into()),
            "--part" => found.part = value()?,
            "--candidates" => found.candidates = value()?.parse()?,
            "--dim" => found.dim = value()?.parse()?,
            size => found.sizes.push(size.parse()?),
        }
    }
    if found.sizes.is_empty() {
        found.sizes = vec![10_000, 100_000];
    }
    Ok(found)
}

fn time(mut run: impl FnMut(usize) -> Result<()>) -> Result<Option<Latency>> {
    (0..WARM_UP).try_for_each(&mut run)?;
    let mut times = Vec::new();
    for request in WARM_UP..WARM_UP + REQUESTS {
        let start = Instant::now();
        run(request)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(Some(Latency { p50: times[REQUESTS / 2], p99: times[REQUESTS * 99 / 100] }))
}

fn open(folder: &Path, candidates: usize, journal: Option<PathBuf>) -> Result<Recommender> {
    let options = RecommenderOptions {
        candidates,
        journal,
        durability: Durability::Flush,
        access: Access::Append,
        ..RecommenderOptions::default()
    };
    Recommender::open(folder, options)
}

/// Latencies of one size, with events last because they change the rest.
fn times(folder: &Path, candidates: usize, outcome: &mut Outcome) -> Result<()> {
    let start = Instant::now();
    let journal = folder.with_extension("journal");
    let _ = std::fs::remove_file(&journal);
    let mut recommender = open(folder, candidates, Some(journal.clone()))?;
    outcome.open = start.elapsed().as_secs_f64();
    outcome.threads = rayon::current_num_threads();
    let plain = RequestOptions::default();
    let mut random = Random::new(9);
    let requests: Vec<(String, String, String)> = (0..WARM_UP + REQUESTS)
        .map(|_| (random.user(outcome.items), random.query(), random.item(outcome.items)))
        .collect();
    outcome.search = time(|n| {
        let (user, query, _) = &requests[n];
        recommender.search(Some(user), query, K, &plain).map(drop)
    })?;
    outcome.recommend = time(|n| recommender.recommend(Some(&requests[n].0), K, &plain).map(drop))?;
    outcome.similar = time(|n| recommender.similar(&requests[n].2, K, &plain).map(drop))?;
    outcome.event = time(|n| {
        let (user, query, item) = requests[n].clone();
        let query = if n % 2 == 0 { query } else { String::new() };
        recommender.record(Event { user, item, query, time: n as i64, key: None }).map(drop)
    })?;
    drop(recommender);
    std::fs::remove_file(&journal).map_err(|source| Error::Write { path: journal, source })
}

fn measure(arguments: &Arguments, folder: &Path, items: usize) -> Result<Outcome> {
    let model = folder.join(format!("{items}-{}", arguments.dim));
    let file = model.with_extension("json");
    let is_wanted = |part: &str| arguments.part == "all" || arguments.part == part;
    if is_wanted("make") && !model.is_dir() {
        let start = Instant::now();
        let Bundle { scorer, prepared, .. } = World::new(arguments.dim)?.bundle(items)?;
        Bundle::save(&model, &scorer, &prepared)?;
        eprintln!("{items} items made in {:.0} s", start.elapsed().as_secs_f64());
    }
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let mut outcome: Outcome = serde_json::from_str(&text).unwrap_or_default();
    (outcome.items, outcome.dim) = (items, arguments.dim);
    outcome.candidates = arguments.candidates;
    if is_wanted("time") {
        times(&model, arguments.candidates, &mut outcome)?;
        eprintln!("{outcome:?}");
    }
    if is_wanted("recall") {
        let recommender = open(&model, arguments.candidates, None)?;
        // An exact answer at a million items takes seconds.
        let requests = if items > 200_000 { 50 } else { 200 };
        outcome.recall = Some(recommender.candidate_recall(requests, K));
        eprintln!("{:?}", outcome.recall);
    }
    let text = serde_json::to_string(&outcome).unwrap_or_default();
    std::fs::write(&file, text).map_err(|source| Error::Write { path: file, source })?;
    Ok(outcome)
}

fn page(outcomes: &[Outcome]) -> String {
    let mut page = String::from("# UDITSR: time to answer, and what candidates leave out\n\n");
    if let Some(Outcome { dim, candidates, threads, .. }) = outcomes.first() {
        let _ = writeln!(
            page,
            "Vectors of {dim} numbers, {candidates} candidates go through the heads, answers of {K} items, {threads} \
             threads, {REQUESTS} requests of each kind one after the other. Milliseconds are p50 / p99; recall is the \
             share of the exact first {K} that candidates have.\n"
        );
    }
    page.push_str(
        "| items | search | recommend | similar | record an event | recall of search | of recommend | requests | open, s |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let latency = |latency: Option<Latency>| {
        latency.map_or_else(|| "–".to_owned(), |l| format!("{:.2} / {:.2}", l.p50, l.p99))
    };
    let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |s| format!("{s:.4}"));
    for outcome in outcomes {
        let recall = outcome.recall;
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {:.1} |",
            outcome.items,
            latency(outcome.search),
            latency(outcome.recommend),
            latency(outcome.similar),
            latency(outcome.event),
            share(recall.and_then(|recall| recall.search)),
            share(recall.and_then(|recall| recall.recommend)),
            recall.map_or(0, |recall| recall.requests.iter().sum::<usize>()),
            outcome.open
        );
    }
    page.push_str(world::ABOUT);
    page
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arguments = arguments()?;
    let own = std::env::temp_dir().join(format!("uditsr-serving-{}", std::process::id()));
    let folder = arguments.folder.clone().unwrap_or_else(|| own.clone());
    std::fs::create_dir_all(&folder)
        .map_err(|source| Error::Write { path: folder.clone(), source })?;
    let outcomes: Result<Vec<Outcome>> =
        arguments.sizes.iter().map(|&items| measure(&arguments, &folder, items)).collect();
    if arguments.folder.is_none() {
        std::fs::remove_dir_all(&own).map_err(|source| Error::Write { path: own, source })?;
    }
    let page = page(&outcomes?);
    match arguments.output {
        Some(path) => {
            std::fs::write(&path, page).map_err(|source| Error::Write { path, source })?;
        }
        None => print!("{page}"),
    }
    Ok(())
}
