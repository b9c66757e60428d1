//! `trefoil-large`: prepares logs that are larger than memory, or than a machine.
//!
//! Standard output carries the report, standard error everything else. Exit codes: 0 success, 2 an
//! error.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use mimalloc::MiMalloc;
use tracing_subscriber::EnvFilter;
use uditsr::data::{Format, Prepare, PrepareOptions, SplitRule};
use uditsr_large::{Engine, LocalOptions, Preparation};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Prepare logs that are larger than memory
///
/// The folder is the one that the preparation in memory writes, bit for bit.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Prepare(PrepareArgs),
    #[cfg(feature = "cluster")]
    Scheduler(SchedulerArgs),
    #[cfg(feature = "cluster")]
    Executor(ExecutorArgs),
}

/// Read, check and split a log, and write it as a folder
#[derive(Debug, Args)]
struct PrepareArgs {
    /// Files of the log, or folders with them
    #[arg(required = true)]
    logs: Vec<PathBuf>,
    /// Items with titles, tags and pictures
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Folder to write
    #[arg(short, long, value_name = "DIR", required_unless_present = "check")]
    out: Option<PathBuf>,
    /// Say what is in the log and what is wrong with it, and write nothing
    #[arg(long)]
    check: bool,
    /// How to read the files
    #[arg(long)]
    format: Option<Format>,
    /// Which events are held out, for example `leave-one-out` or `days:1,1`
    #[arg(long)]
    split: Option<SplitRule>,
    /// Items that its user never touched, for each event that is held out
    #[arg(long)]
    negatives: Option<usize>,
    /// All random choices follow from it
    #[arg(long)]
    seed: Option<u64>,
    /// All other options as a JSON object, as in `prepare.json` of a prepared folder
    #[arg(long, value_name = "JSON", default_value = "{}")]
    options: String,
    /// The report as JSON
    #[arg(long)]
    json: bool,
    /// Memory of queries; reading files, the catalogue and the vocabulary come on top
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = size)]
    memory: u64,
    /// Disk space for what does not fit into memory
    #[arg(long, value_name = "SIZE", default_value = "1TiB", value_parser = size)]
    disk: u64,
    /// Parts of a query at a time; all cores if not given
    #[arg(long)]
    threads: Option<usize>,
    /// Folder for intermediate files, about as large as the log; machines of a cluster share it
    #[arg(long, value_name = "DIR", default_value = ".")]
    work: PathBuf,
    /// Scheduler of a cluster that does the work
    #[cfg(feature = "cluster")]
    #[arg(long, value_name = "http://HOST:PORT")]
    cluster: Option<String>,
}

/// Run the scheduler of a cluster
#[cfg(feature = "cluster")]
#[derive(Debug, Args)]
struct SchedulerArgs {
    /// Address to listen at
    #[arg(long, default_value = "127.0.0.1:50050")]
    bind: std::net::SocketAddr,
    /// Name under which executors reach this machine
    #[arg(long, default_value = "localhost")]
    host: String,
}

/// Run an executor of a cluster
#[cfg(feature = "cluster")]
#[derive(Debug, Args)]
struct ExecutorArgs {
    /// Host and port of the scheduler
    #[arg(long, default_value = "localhost:50050", value_parser = host_and_port)]
    scheduler: (String, u16),
    /// Address to listen at
    #[arg(long, default_value = "127.0.0.1")]
    bind: String,
    /// Name under which others reach this machine
    #[arg(long, default_value = "localhost")]
    host: String,
    /// Port from which others fetch results
    #[arg(long, default_value_t = 50051)]
    port: u16,
    /// Port at which the scheduler gives orders
    #[arg(long, default_value_t = 50052)]
    control_port: u16,
    /// Folder for results of stages and for what does not fit into memory
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
    /// Tasks at a time
    #[arg(long, default_value_t = 2)]
    tasks: usize,
    /// Memory of all tasks together
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = size)]
    memory: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Log lines go to standard error; `RUST_LOG` decides which.
fn start_log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colour = std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .init();
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Plans of many joins are deep.
        .thread_stack_size(8 << 20)
        .build()
        .context("cannot start threads")?;
    runtime.block_on(async {
        match cli.command {
            Command::Prepare(args) => {
                // A task has the stack of its thread; this one would have that of `main`.
                tokio::spawn(args.run()).await.context("the preparation ended too early")?
            }
            #[cfg(feature = "cluster")]
            Command::Scheduler(args) => {
                Ok(uditsr_large::cluster::scheduler(args.bind, &args.host).await?)
            }
            #[cfg(feature = "cluster")]
            Command::Executor(args) => Ok(uditsr_large::cluster::executor(&args.into()).await?),
        }
    })
}

impl PrepareArgs {
    async fn run(self) -> anyhow::Result<()> {
        let begin = Instant::now();
        let mut options: PrepareOptions =
            serde_json::from_str(&self.options).context("--options")?;
        options.format = self.format.unwrap_or(options.format);
        options.split = self.split.or(options.split);
        options.negatives = self.negatives.unwrap_or(options.negatives);
        options.seed = self.seed.unwrap_or(options.seed);
        let engine = self.engine().await?;
        let prepare = Prepare { logs: self.logs, catalogue: self.catalog, options };
        let preparation = Preparation::new(&prepare, engine);
        let (report, spilled) = match &self.out {
            Some(out) if !self.check => preparation.run(out).await?,
            _ => preparation.check().await?,
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
        } else {
            print!("{report}");
        }
        let seconds = begin.elapsed().as_secs_f64();
        eprintln!(
            "{} rows in {seconds:.1} s, {:.0} rows per second; {:.1} GiB spilled; peak memory {}",
            report.rows.read,
            report.rows.read as f64 / seconds,
            spilled as f64 / f64::from(1 << 30),
            peak_memory()
        );
        Ok(())
    }

    async fn engine(&self) -> anyhow::Result<Engine> {
        let mut options = LocalOptions::default();
        options.threads = self.threads.unwrap_or(options.threads);
        #[cfg(feature = "cluster")]
        if let Some(scheduler) = &self.cluster {
            return Ok(Engine::cluster(&self.work, scheduler, options.threads).await?);
        }
        options.memory = usize::try_from(self.memory).context("--memory")?;
        options.disk = self.disk;
        Ok(Engine::local(&self.work, &options)?)
    }
}

#[cfg(feature = "cluster")]
impl From<ExecutorArgs> for uditsr_large::cluster::ExecutorOptions {
    fn from(args: ExecutorArgs) -> Self {
        let ExecutorArgs { scheduler, bind, host, port, control_port, work, tasks, memory } = args;
        Self { scheduler, bind, host, port, control_port, work, tasks, memory }
    }
}

/// A number of bytes like `512MiB`.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        "TiB" | "T" => 40,
        unit => return Err(format!("expected B, KiB, MiB, GiB or TiB, found `{unit}`")),
    };
    let number: u64 =
        digits.trim().parse().map_err(|_| format!("expected a size like 2GiB, found `{text}`"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("`{text}` is too large"))
}

/// A host and a port like `localhost:50050`.
#[cfg(feature = "cluster")]
fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let pair = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = pair.ok_or_else(|| format!("expected HOST:PORT, found `{text}`"))?;
    Ok((host.to_owned(), port))
}

/// Largest resident memory of this process, as Linux says it.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown".into(), |line| line.trim().to_owned())
}
