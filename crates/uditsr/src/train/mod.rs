//! Training: optimiser, order of the data, checkpoints, the loop, and the folder of a model.

mod ablation;
mod checkpoint;
mod config;
mod folder;
mod optimizer;
mod progress;
mod recipe;
mod sampler;
mod trainer;

pub use ablation::Ablation;
pub use config::{Selection, TrainConfig};
pub use folder::{ModelFile, load_model, save_model};
pub(crate) use optimizer::Dense;
pub use optimizer::{AdamW, AdamWConfig};
pub use progress::{EpochRecord, Event, Listener};
pub use recipe::Recipe;
pub(crate) use sampler::Epoch;
pub use trainer::Trainer;
