//! Distillation: fake score and student take turns.

mod config;
mod losses;
mod problem;
mod run;

pub use config::{DistillConfig, OptimizerConfig};
pub use losses::{
    FakeBatch, FakeLoss, RatioReport, Streams, StudentLoss, best_cross_entropy, fake_loss,
    student_loss,
};
pub use problem::{FakeView, Problem, Triptych};
pub use run::{Distilled, Distiller};
