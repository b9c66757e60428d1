//! `trefoil serve`: everything over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use trefoil_core::fs;
use trefoil_server::auth::Token;
use trefoil_server::{Config, Limits, ServeError, Sheet};

use super::state::Place;
use crate::Answer;
use crate::args::{ModelArgs, at_least_one};
use crate::hints::hinted;
use crate::model;
use crate::output::{self, Talk};

/// The recommender that comes with the repository, and its pictures.
const SHOP: &str = "models/openmoji-shop";
const SHOP_ITEMS: &str = "examples/openmoji-shop/items.jsonl";
const SHOP_SHEET: &str = "examples/openmoji-shop/pictures.png";
/// Side of each of these pictures.
const SHOP_SIDE: usize = 32;
/// Tokens in the environment.
const TOKENS: &str = "TREFOIL_TOKENS";

/// Draw, caption, search and recommend over HTTP
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  trefoil serve
  trefoil serve --bind 0.0.0.0:8080 --tokens tokens.txt
  trefoil serve --model runs/my-model --recommender runs/shop/model --state /var/lib/trefoil
  trefoil serve --recommender runs/a/model --recommender-b runs/b/model --split 0.1
  trefoil serve --state postgres://trefoil:secret@db/trefoil --name east-1

It prints its address when it is ready; /docs there says what it can be asked. A line of the file with tokens is
NAME SCOPE SECRET, with the scope `read` or `read-write`; so is TREFOIL_TOKENS. SIGHUP loads the models of the same
folders again, SIGTERM finishes what has begun.")]
pub(crate) struct ServeArgs {
    /// Address and port; port 0 is any that is free
    #[arg(long, env = "TREFOIL_BIND", default_value = "127.0.0.1:8080", value_name = "ADDR:PORT")]
    bind: SocketAddr,
    #[command(flatten)]
    place: Place,
    /// Name of this server among those of one database
    #[arg(long, env = "TREFOIL_NAME", default_value = "main", value_name = "NAME")]
    name: String,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    models: ServedModels,
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    bounds: Bounds,
}

/// Models beside the one that draws.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
struct ServedModels {
    /// One-step generator for requests with `one_step` [default: that of the model, if it has one]
    #[arg(long, value_name = "DIR")]
    one_step: Option<PathBuf>,
    /// Recommender that `trefoil train uditsr` made [default: that of the shop that comes with Trefoil]
    #[arg(long, env = "TREFOIL_RECOMMENDER", hide_env_values = true, value_name = "DIR")]
    recommender: Option<PathBuf>,
    /// Second recommender, for a part of the users
    #[arg(long, value_name = "DIR", requires = "split")]
    recommender_b: Option<PathBuf>,
    /// Share of the users whom the second recommender answers
    #[arg(long, value_name = "SHARE", value_parser = share, requires = "recommender_b")]
    split: Option<f64>,
    /// Folder below which models may be that are loaded by request
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Folder with runs of trainings, for the page
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
}

/// Who may ask.
#[derive(Debug, Args)]
#[command(next_help_heading = "Access")]
struct Access {
    /// File with tokens
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Requests per second of each token, or of each address where there are no tokens; 0 is no limit
    #[arg(long, default_value = "50", value_name = "N", value_parser = rate)]
    rate: f64,
    /// Serve an address that other machines can reach to everybody
    #[arg(long)]
    allow_everybody: bool,
    /// Origin whose pages may ask, such as `https://shop.example`
    #[arg(long, value_name = "ORIGIN")]
    cors: Vec<String>,
    /// Write prompts and queries to the log (with -v or RUST_LOG=info)
    #[arg(long)]
    log_prompts: bool,
}

/// How much at a time.
#[derive(Debug, Args)]
#[command(next_help_heading = "Bounds")]
struct Bounds {
    /// Requests that may wait for the device; more are answered with 429
    #[arg(long, default_value = "64", value_name = "N", value_parser = at_least_one)]
    queue: usize,
    /// Pictures that go through the network together; changes speed and memory, not the result
    #[arg(long, default_value = "8", value_name = "N", value_parser = at_least_one)]
    batch: usize,
    /// Seconds until a request must be answered
    #[arg(long, default_value = "120", value_name = "S")]
    timeout: u64,
    /// Seconds until the body of a request must be there
    #[arg(long, default_value = "30", value_name = "S")]
    body_timeout: u64,
    /// Seconds that requests which have begun get when the server stops
    #[arg(long, default_value = "20", value_name = "S")]
    grace: u64,
    /// Longest body in MiB
    #[arg(long, default_value = "20", value_name = "MIB", value_parser = at_least_one)]
    body: usize,
    /// Connections at a time
    #[arg(long, default_value = "1024", value_name = "N", value_parser = at_least_one)]
    connections: usize,
    /// Hours that jobs are kept after their end
    #[arg(long, default_value = "24", value_name = "H")]
    keep_jobs: u32,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate >= 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("expected a number that is not negative".into()),
    }
}

impl ServeArgs {
    /// Runs the command.
    pub(crate) fn run(self, talk: Talk) -> anyhow::Result<Answer> {
        let config = self.config(talk)?;
        let result = trefoil_server::serve(config, |address| {
            talk.note(format_args!("ready: /docs says what can be asked"));
            // Whoever started the server may have stopped reading.
            let _ = output::print(format_args!("http://{}", reachable(address)));
        });
        match result {
            Ok(()) => Ok(Answer::Yes),
            Err(error @ ServeError::Open(_)) => Err(hinted(
                error.to_string(),
                "name a file with `--tokens`, or say `--allow-everybody`",
            )),
            Err(error) => Err(error.into()),
        }
    }

    fn config(self, talk: Talk) -> anyhow::Result<Config> {
        let (recommender, is_shipped) = match self.models.recommender {
            Some(folder) => (Some(folder), false),
            None => (model::shipped(SHOP), true),
        };
        let pictures = match (is_shipped, &recommender) {
            (true, Some(shop)) => sheet(shop)?,
            _ => None,
        };
        let mut recommenders: Vec<PathBuf> = recommender.into_iter().collect();
        recommenders.extend(self.models.recommender_b);
        for folder in &recommenders {
            if !folder.is_dir() {
                let message = format!("no such recommender: {}", folder.display());
                return Err(hinted(message, "train one with `trefoil train uditsr`"));
            }
        }
        let limits = Limits {
            body: self.bounds.body << 20,
            request_seconds: self.bounds.timeout,
            body_seconds: self.bounds.body_timeout,
            grace_seconds: self.bounds.grace,
            connections: self.bounds.connections,
            jobs: (Limits::default().jobs.0, i64::from(self.bounds.keep_jobs) * 3600),
            ..Limits::default()
        };
        Ok(Config {
            bind: self.bind,
            state: self.place.place()?,
            name: self.name,
            model: model::find(self.model.model.as_deref(), talk)?,
            one_step: self.models.one_step,
            device: self.model.device.device.device()?,
            recommenders,
            split: self.models.split.unwrap_or(0.0),
            pictures,
            models: self.models.models,
            runs: self.models.runs,
            queue: self.bounds.queue,
            batch: self.bounds.batch,
            limits,
            rate: self.access.rate,
            tokens: tokens(self.access.tokens.as_deref())?,
            is_open: self.access.allow_everybody,
            cors: self.access.cors,
            logs_prompts: self.access.log_prompts,
        })
    }
}

/// An address that a browser on this machine understands.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4([127, 0, 0, 1].into()),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Tokens of a file and of the environment.
fn tokens(file: Option<&Path>) -> anyhow::Result<Vec<Token>> {
    let parse = |text: &str, name: &str| {
        let hint = "a line is NAME SCOPE SECRET, with the scope `read` or `read-write`";
        Token::parse(text).map_err(|error| hinted(format!("{name}: {error}"), hint))
    };
    let mut tokens = Vec::new();
    if let Some(path) = file {
        tokens.extend(parse(&fs::read_to_string(path)?, &path.display().to_string())?);
    }
    if let Ok(text) = std::env::var(TOKENS) {
        tokens.extend(parse(&text, TOKENS)?);
    }
    Ok(tokens)
}

/// The pictures of the shop that comes with Trefoil, found beside its model.
fn sheet(shop: &Path) -> anyhow::Result<Option<Sheet>> {
    let Some(root) = shop.ancestors().nth(2) else { return Ok(None) };
    let (items, path) = (root.join(SHOP_ITEMS), root.join(SHOP_SHEET));
    if !items.is_file() || !path.is_file() {
        return Ok(None);
    }
    let ids = fs::read_to_string(&items)?;
    let id = |line: &str| {
        let item: serde_json::Value = serde_json::from_str(line)?;
        Ok(item["item"].as_str().unwrap_or_default().to_owned())
    };
    let ids = ids.lines().map(id).collect::<serde_json::Result<Vec<_>>>();
    let items = ids.with_context(|| format!("{} is damaged", items.display()))?;
    Ok(Some(Sheet { path, side: SHOP_SIDE, items }))
}
