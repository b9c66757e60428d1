//! Pictures as a distillation problem: an EDM teacher, its one-step students.
//!
//! ```text
//! noise ─► student ─► picture ─► + sigma n ─► teacher, critic (fake score and discriminator) ─► gradient
//! ```

mod config;
mod critic;
mod drawn;
mod measure;
mod problem;

pub use config::{PicturePoints, PicturesConfig, Real, TeacherSamples};
pub use critic::Critic;
pub use measure::{PictureFit, PictureMeasure};
pub use problem::{PictureStudent, PicturesProblem};
