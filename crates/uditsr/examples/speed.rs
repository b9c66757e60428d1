//! Seconds per training step on a generated or a prepared log, beside `reference/uditsr_torch.py` on the
//! same log, and how time and memory grow with the log.
//!
//! ```sh
//! cargo run --release -p uditsr --example speed -- --write /tmp/speed     # log for PyTorch, then times
//! python reference/uditsr_torch.py --log /tmp/speed/log.json
//! cargo run --release -p uditsr --example speed -- --prepared DIR         # a folder of `prepare`
//! cargo run --release -p uditsr --example speed -- --scaling 100000,1000000 --batch 8192 --dim 32
//! ```

use std::path::PathBuf;
use std::time::Instant;

use uditsr::model::{Batch, Factored, Gradients, Graph, ModelConfig, Parameters, Sizes, Step};
use uditsr::train::{AdamW, AdamWConfig};
use uditsr::{Csr, Dataset, Interactions};

/// What is generated and timed.
struct Options {
    sizes: Sizes,
    rows: usize,
    batch: usize,
    dim: usize,
    steps: usize,
    refresh: usize,
    write: Option<PathBuf>,
    /// A prepared folder instead of a generated log.
    prepared: Option<PathBuf>,
    /// Sizes of logs, each in a process of its own so that peak memory is its own.
    scaling: Vec<usize>,
    /// One row of a table instead of a line for each step.
    row: bool,
}

fn options() -> Result<Options, String> {
    let sizes = Sizes { users: 56_887, items: 4_059, words: 5_000 };
    let mut options = Options {
        sizes,
        rows: 300_000,
        batch: 256,
        dim: 100,
        steps: 20,
        refresh: 1,
        write: None,
        prepared: None,
        scaling: Vec::new(),
        row: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or(format!("{name} needs a value"))?;
        let number = || value.parse::<usize>().map_err(|error| format!("{name}: {error}"));
        match name.as_str() {
            "--users" => options.sizes.users = number()?,
            "--items" => options.sizes.items = number()?,
            "--words" => options.sizes.words = number()?,
            "--rows" => options.rows = number()?,
            "--batch" => options.batch = number()?,
            "--dim" => options.dim = number()?,
            "--steps" => options.steps = number()?,
            "--refresh" => options.refresh = number()?.max(1),
            "--write" => options.write = Some(value.into()),
            "--prepared" => options.prepared = Some(value.into()),
            "--row" => options.row = value == "yes",
            "--scaling" => {
                let sizes = value.split(',').map(str::parse).collect::<Result<_, _>>();
                options.scaling = sizes.map_err(|error| format!("{name}: {error}"))?;
            }
            _ => return Err(format!("{name} is not known")),
        }
    }
    Ok(options)
}

/// A small generator of random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> u32 {
        (self.unit() * n as f64) as u32
    }

    /// A skewed choice: the first of `n` are drawn far more often than the last.
    fn popular(&mut self, n: usize) -> u32 {
        (self.unit().powf(2.0) * n as f64) as u32
    }
}

/// Half of the rows are searches of one to three words.
fn generate(options: &Options) -> Interactions {
    let mut random = Random(7);
    let mut log = Interactions::default();
    let mut queries = Vec::new();
    for _ in 0..options.rows {
        log.users.push(random.below(options.sizes.users));
        log.items.push(random.popular(options.sizes.items));
        let length = if random.unit() < 0.5 { 1 + random.below(3) } else { 0 };
        let words: Vec<u32> =
            (0..length).map(|_| 1 + random.popular(options.sizes.words - 1)).collect();
        queries.push(words);
        log.times.push(-1);
    }
    log.queries = queries.iter().collect::<Csr>();
    log
}

/// A table of sizes. A log has a user for each five rows and an item for each twenty up to 40 000.
fn scaling(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    println!(
        "| interactions | batches timed | seconds per batch | batches of an epoch | seconds per epoch | peak \
         memory |\n| ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    for &rows in &options.scaling {
        let numbers = [
            ("--rows", rows),
            ("--users", (rows / 5).max(1)),
            ("--items", (rows / 20).clamp(1, 40_000)),
            ("--words", 20_000),
            ("--batch", options.batch),
            ("--dim", options.dim),
            ("--refresh", options.refresh),
            ("--steps", options.steps),
        ];
        let mut process = std::process::Command::new(std::env::current_exe()?);
        process.args(["--row", "yes"]);
        for (name, number) in numbers {
            process.args([name, &number.to_string()]);
        }
        if !process.status()?.success() {
            return Err(format!("{rows} rows failed").into());
        }
    }
    Ok(())
}

/// Largest resident memory of this process, as Linux says it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kilobytes
        .map_or("unknown".into(), |kilobytes| format!("{:.2} GiB", kilobytes / 1024.0 / 1024.0))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut options = options()?;
    if !options.scaling.is_empty() {
        return scaling(&options);
    }
    let log = match &options.prepared {
        None => generate(&options),
        Some(folder) => {
            let Dataset { users, items, words, train, .. } = Dataset::load(folder)?;
            options.sizes = Sizes { users, items, words };
            options.rows = train.len();
            train
        }
    };
    let config = ModelConfig { dim: options.dim, ..ModelConfig::default() };
    let adamw = AdamWConfig::default();
    let start = Instant::now();
    let graph = Graph::from_log(&config, options.sizes, &log)?;
    let mut parameters = Parameters::<f32>::init(&config, options.sizes, 0);
    let mut random = Random(11);
    let batches: Vec<(Vec<u32>, Vec<u32>)> = (0..=options.steps)
        .map(|_| {
            let rows = (0..options.batch).map(|_| random.below(options.rows)).collect();
            (rows, (0..options.batch).map(|_| random.below(options.sizes.items)).collect())
        })
        .collect();
    if !options.row {
        println!("graph of {} rows: {:.2} s", options.rows, start.elapsed().as_secs_f64());
    }
    if let Some(folder) = &options.write {
        std::fs::create_dir_all(folder)?;
        let weights = folder.join("parameters.safetensors");
        parameters.save(&weights)?;
        let rows: Vec<_> = (0..log.len())
            .map(|row| serde_json::json!([log.users[row], log.items[row], log.queries.row(row)]))
            .collect();
        let batches: Vec<_> = batches
            .iter()
            .map(|(rows, negatives)| serde_json::json!({"rows": rows, "negatives": negatives}))
            .collect();
        let Sizes { users, items, words } = options.sizes;
        let json = serde_json::json!({
            "users": users, "items": items, "words": words, "rows": rows, "batches": batches,
            "config": {"dim": options.dim}, "lr": adamw.learning_rate,
            "weight_decay": adamw.weight_decay, "parameters": weights,
        });
        std::fs::write(folder.join("log.json"), serde_json::to_vec(&json)?)?;
    }

    let mut step = Factored::new(&config, &graph)?;
    let mut optimizer = AdamW::new(adamw, &parameters);
    let mut gradients = Gradients::zeros(&config, options.sizes);
    let mut seconds = Vec::new();
    for (index, (rows, negatives)) in batches.iter().enumerate() {
        let start = Instant::now();
        let batch = Batch::new(&graph, rows, negatives);
        if options.refresh > 1 && index % options.refresh == 0 {
            optimizer.finish(&mut parameters);
            step.keep_intents(&graph, &parameters);
        }
        let slots = step.reach(&graph, &batch);
        let reached = slots.map(|slots| slots.iter().filter(|slot| **slot != u32::MAX).count());
        optimizer.catch_up(&mut parameters, slots);
        let losses = step.step(&graph, &parameters, &batch, &mut gradients)?;
        optimizer.step(&mut parameters, &gradients);
        seconds.push(start.elapsed().as_secs_f64());
        if options.row {
            continue;
        }
        println!(
            "step {}: bpr, sg, cst = {:.7} {:.7} {:.7}; {reached:?} nodes; {:.3} s",
            index + 1,
            losses.bpr,
            losses.sg,
            losses.cst,
            seconds[index]
        );
    }
    // The first step also pays for memory and threads.
    let mean = seconds[1..].iter().sum::<f64>() / options.steps as f64;
    let batches = options.rows.div_ceil(options.batch);
    let epoch = mean * batches as f64;
    if options.row {
        let (rows, steps) = (options.rows, options.steps);
        println!("| {rows} | {steps} | {mean:.4} | {batches} | {epoch:.1} | {} |", peak_memory());
    } else {
        println!(
            "{mean:.4} s per batch; {batches} batches: {epoch:.1} s per epoch; {}",
            peak_memory()
        );
    }
    Ok(())
}
