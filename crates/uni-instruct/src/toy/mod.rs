//! Problems of a few dimensions, on which every method runs in seconds.

mod measure;
mod network;
mod plot;
mod problem;
mod shapes;

pub use measure::{Fit, energy_distance};
pub use network::{Adapted, Network, NetworkConfig, Shape as NetworkShape};
pub use plot::Panel;
pub use problem::{
    Affine, Generator, MEASURED, Observation, Points, Reward, ToyConfig, ToyProblem, ToyStudent,
};
pub use shapes::Shape;
