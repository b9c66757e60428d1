//! Training: data in, checkpoints out.
//!
//! A system describes its data and its loss once, as a [`Task`]; [`Trainer::fit`] does the rest: it draws
//! shuffled batches whose position is one number, sums micro-batches, clips, applies AdamW, keeps the
//! exponential moving average, writes the log and the checkpoints, and stops on request. A run that was
//! killed and resumed gives the same bits as one that was not.
//!
//! ```text
//! data::Dataset ─► Sampler ─► Task::loss ─► Optimizer ─► RunFolder { metrics, events, samples, state }
//! ```

pub mod checkpoint;
pub mod config;
pub mod data;
pub mod error;
pub mod optim;
pub mod progress;
pub mod run;
pub mod sampler;
pub mod snapshot;
pub mod tensorboard;
pub mod trainer;

mod metrics;
mod state_file;

pub use config::{Decay, TrainConfig};
pub use error::{Error, Result};
pub use metrics::{Interval, Metrics};
pub use optim::{Losses, Task};
pub use progress::{Progress, ProgressMode};
pub use run::RunFolder;
pub use sampler::{Batch, Item, Position, Sampler};
pub use trainer::{Outcome, StopFlag, Trained, Trainer};
