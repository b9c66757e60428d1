//! Problems of a few dimensions, on which every method runs in seconds.

mod config;
mod measure;
mod network;
mod plot;
mod problem;
mod shapes;
mod student;

pub use config::{Generator, Observation, Points, Reward, ToyConfig};
pub use measure::{Fit, energy_distance};
pub use network::{Adapted, Network, NetworkConfig, Shape as NetworkShape};
pub use plot::Panel;
pub use problem::{MEASURED, ToyProblem};
pub use shapes::Shape;
pub use student::{Affine, ToyStudent};
