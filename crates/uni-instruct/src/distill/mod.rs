//! Distillation: fake score and student take turns.

mod config;
mod losses;
mod problem;
mod run;

pub use config::{DistillConfig, OptimizerConfig};
pub use losses::{
    FakeBatch, FakeLoss, RatioReport, Streams, StudentBatch, StudentLoss, best_cross_entropy,
    fake_loss, student_loss,
};
pub use problem::{FakeView, Pairs, Problem, Triptych};
pub use run::{Distilled, Distiller};
