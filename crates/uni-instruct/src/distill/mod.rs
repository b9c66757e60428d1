//! Distillation: fake score and student take turns.

mod losses;
mod problem;

pub use losses::{
    FakeBatch, FakeLoss, RatioReport, Streams, StudentLoss, best_cross_entropy, fake_loss,
    student_loss,
};
pub use problem::{FakeView, Problem, Triptych};
