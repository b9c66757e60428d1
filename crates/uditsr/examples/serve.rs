//! Latency of answers and recall of candidates, at several sizes of the catalogue.
//!
//! ```sh
//! cargo run --release --package uditsr --example serve -- 10000 100000 1000000
//! ```
//!
//! Vectors are random with the lengths of trained ones: entries have a standard deviation of 0.1, and
//! items and users lie around 200 topics, or nowhere in particular with `--scattered`. Nothing is
//! trained, so the heads are those of a fresh model with the weight 1 of the translation.
//! `--candidates=1000` sets how many items go through them.

use std::fmt::Write as _;
use std::time::Instant;

use uditsr::data::{Prepare, PrepareOptions, SplitRule};
use uditsr::model::{Graph, ModelConfig, Parameters, Scorer, Sizes, propagate};
use uditsr::recommender::{Bundle, Event, RequestOptions};
use uditsr::{Recommender, RecommenderOptions};

const REQUESTS: usize = 300;
const WORDS: usize = 5000;
const TOPICS: usize = 200;
const DIM: usize = 100;

/// Numbers that look random (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Mean 0, standard deviation `deviation`: a sum of four uniform numbers.
    fn number(&mut self, deviation: f32) -> f32 {
        let uniform = |z: u64| (z >> 40) as f32 / (1_u32 << 24) as f32 - 0.5;
        let sum: f32 = (0..4).map(|_| uniform(self.next())).sum();
        sum * deviation * 3.0_f32.sqrt()
    }
}

fn fill(random: &mut Random, table: &mut [f32], centres: Option<&[f32]>) {
    for row in table.chunks_exact_mut(DIM) {
        let topic = random.below(TOPICS);
        for (k, value) in row.iter_mut().enumerate() {
            *value = match centres {
                Some(centres) => 0.8 * centres[topic * DIM + k] + random.number(0.06),
                None => random.number(0.1),
            };
        }
    }
}

fn bundle(items: usize, is_scattered: bool) -> uditsr::Result<Bundle> {
    let folder = std::env::temp_dir().join(format!("uditsr-serve-{}", std::process::id()));
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, text));
        written.map(|()| path.clone()).map_err(|source| uditsr::Error::Write { path, source })
    };
    let mut random = Random(1);
    let users = (items / 20).clamp(1000, 20_000);
    let mut log = "user,item,time,query\n".to_owned();
    let mut catalogue = "item,title\n".to_owned();
    for event in 0..items + items / 5 {
        let item = if event < items { event } else { random.below(items) };
        let word = random.below(WORDS - 2);
        let query = if event % 3 == 0 { format!("w{word}") } else { String::new() };
        let _ = writeln!(log, "u{},i{item},{event},{query}", random.below(users));
        if event < items {
            let [a, b, c] = [(); 3].map(|()| random.below(WORDS - 2));
            let _ = writeln!(catalogue, "i{item},w{a} w{b} w{c}");
        }
    }
    let mut prepare = Prepare::new([write("log.csv", &log)?]);
    prepare.catalogue = Some(write("items.csv", &catalogue)?);
    prepare.options = PrepareOptions {
        split: Some(SplitRule::Pairs { valid: 0.0, test: 0.0 }),
        core: Some(0),
        ..PrepareOptions::default()
    };
    let prepared = prepare.prepare()?;
    std::fs::remove_dir_all(&folder)
        .map_err(|source| uditsr::Error::Write { path: folder, source })?;
    let data = &prepared.dataset;
    let config = ModelConfig { dim: DIM, ..ModelConfig::corrected() };
    let sizes = Sizes { users: data.users, items: data.items, words: data.words };
    let mut parameters = Parameters::init(&config, sizes, 0);
    let mut centres = vec![0.0; TOPICS * DIM];
    centres.iter_mut().for_each(|value| *value = random.number(0.1));
    let centres = (!is_scattered).then_some(&centres[..]);
    for table in [&mut parameters.users, &mut parameters.items, &mut parameters.words] {
        fill(&mut random, table, centres);
    }
    let graph = Graph::new(&config, data)?;
    let nodes = propagate(&config, &graph, &parameters)?;
    let scorer = Scorer::new(&config, &graph, parameters, nodes);
    Ok(Bundle { scorer, prepared, fingerprint: "random".to_owned() })
}

/// Median and 99th percentile in milliseconds of `run` for many requests.
fn time(mut run: impl FnMut(usize) -> uditsr::Result<()>) -> uditsr::Result<String> {
    (0..20).try_for_each(&mut run)?;
    let mut times = Vec::new();
    for request in 0..REQUESTS {
        let start = Instant::now();
        run(request)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(format!("{:.2} / {:.2}", times[REQUESTS / 2], times[REQUESTS * 99 / 100]))
}

fn main() -> uditsr::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_scattered = arguments.iter().any(|argument| argument == "--scattered");
    let candidates = arguments.iter().find_map(|argument| argument.strip_prefix("--candidates="));
    let candidates = candidates.and_then(|number| number.parse().ok()).unwrap_or(500);
    let mut sizes: Vec<usize> =
        arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![10_000, 100_000];
    }
    println!(
        "threads: {}, vectors: {}",
        rayon::current_num_threads(),
        if is_scattered { "scattered" } else { "topics" }
    );
    println!(
        "| items | candidates | open, s | search, ms p50 / p99 | recommend | event | similar | recall@20 of search | of recommend |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for items in sizes {
        let start = Instant::now();
        let bundle = bundle(items, is_scattered)?;
        eprintln!("{items} items made in {:.1} s", start.elapsed().as_secs_f64());
        let start = Instant::now();
        let options = RecommenderOptions { candidates, ..RecommenderOptions::default() };
        let mut recommender = Recommender::new(bundle, options)?;
        let open = start.elapsed().as_secs_f64();
        let plain = RequestOptions::default();
        let user = |request: usize| format!("u{}", request * 37 % 1000);
        let search = time(|request| {
            let query = format!("w{} w{}", request * 13 % (WORDS - 2), request * 29 % (WORDS - 2));
            recommender.search(Some(&user(request)), &query, 20, &plain).map(drop)
        })?;
        let recommend =
            time(|request| recommender.recommend(Some(&user(request)), 20, &plain).map(drop))?;
        let similar = time(|request| {
            recommender.similar(&format!("i{}", request * 31 % items), 20, &plain).map(drop)
        })?;
        let recall = recommender.candidate_recall(if items > 500_000 { 10 } else { 50 }, 20);
        let event = time(|request| {
            let item = format!("i{}", request * 91 % items);
            let query = if request % 2 == 0 { "w7".to_owned() } else { String::new() };
            recommender
                .record(Event { user: user(request), item, query, time: 1, key: None })
                .map(drop)
        })?;
        println!(
            "| {items} | {} | {open:.1} | {search} | {recommend} | {event} | {similar} | {:.4} | {:.4} |",
            recommender.options().candidates,
            recall.search.unwrap_or(f64::NAN),
            recall.recommend.unwrap_or(f64::NAN),
        );
    }
    Ok(())
}
