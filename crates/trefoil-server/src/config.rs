//! Settings of a server.

use std::net::SocketAddr;
use std::path::PathBuf;

use burn::tensor::Device;

use crate::auth::Token;

/// Everything that a server is told when it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Folder of the embedded database, or address of PostgreSQL.
    pub state: String,
    /// Name of this server among those of one database.
    pub name: String,
    /// Folder of the model that draws.
    pub model: PathBuf,
    /// Folder of a one-step generator, in the place of the one that the model may have.
    pub one_step: Option<PathBuf>,
    /// Where the networks run.
    pub device: Device,
    /// Folders of the recommenders: one, or two side by side.
    pub recommenders: Vec<PathBuf>,
    /// Share of the users who are answered by the second recommender.
    pub split: f64,
    /// Pictures of the items of the recommender.
    pub pictures: Option<Sheet>,
    /// Folder below which models may be that are loaded by request.
    pub models: Option<PathBuf>,
    /// Folder with runs of trainings, which the studio shows.
    pub runs: Option<PathBuf>,
    /// Requests that may wait for the device.
    pub queue: usize,
    /// Samples that go through the network together.
    pub batch: usize,
    /// Bounds of requests.
    pub limits: Limits,
    /// Requests per second of a token, or of an address where there are no tokens; 0 is no limit.
    pub rate: f64,
    /// Tokens of the command line; those of the database come on top.
    pub tokens: Vec<Token>,
    /// Whether an address that others can reach may be served without tokens.
    pub is_open: bool,
    /// Origins whose pages may ask.
    pub cors: Vec<String>,
    /// Whether the log has prompts and queries.
    pub logs_prompts: bool,
}

/// Bounds of requests.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Length of a body in bytes.
    pub body: usize,
    /// Seconds until the head of a request is there.
    pub head_seconds: u64,
    /// Seconds until its body is there.
    pub body_seconds: u64,
    /// Seconds until it is answered.
    pub request_seconds: u64,
    /// Seconds that running requests get when the server stops.
    pub grace_seconds: u64,
    /// Connections at a time.
    pub connections: usize,
    /// Pixels of a picture that is sent.
    pub pixels: u64,
    /// Pictures or captions of a request.
    pub count: usize,
    /// Steps of the solver.
    pub steps: usize,
    /// Items of an answer.
    pub items: usize,
    /// Events or items of a request.
    pub events: usize,
    /// Jobs that are kept after their end, and for how many seconds.
    pub jobs: (usize, i64),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 20 << 20,
            head_seconds: 10,
            body_seconds: 30,
            request_seconds: 120,
            grace_seconds: 20,
            connections: 1024,
            pixels: 16 << 20,
            count: 10,
            steps: 250,
            items: 1000,
            events: 10_000,
            jobs: (1000, 24 * 3600),
        }
    }
}

/// Pictures of a catalogue, side by side in one picture.
#[derive(Debug, Clone)]
pub struct Sheet {
    /// The picture.
    pub path: PathBuf,
    /// Side of each in pixels.
    pub side: usize,
    /// Ids of the items, row by row.
    pub items: Vec<String>,
}
