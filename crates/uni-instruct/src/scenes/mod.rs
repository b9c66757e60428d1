//! Text-to-3D in small: voxel scenes that a teacher of their pictures shapes through a differentiable renderer.
//!
//! ```text
//! particles ─► renderer, camera ─► picture ─► + sigma n ─► teacher, critic ─► gradient
//!    ▲                                                                            │
//!    └────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The student is a handful of scenes; a text is the name of a class. The teacher knows class and coarse
//! direction, the fake score the camera itself (VSD, arXiv 2305.16213). There is no Stable Diffusion here.

mod camera;
mod config;
mod critic;
mod data;
mod measure;
mod problem;
mod render;
mod solids;

pub use camera::{Camera, Rays, World};
pub use config::ScenesConfig;
pub use critic::SceneCritic;
pub use data::{SceneSet, write};
pub use measure::{SceneFit, SceneMeasure};
pub use problem::{Particles, ScenesProblem, Shots};
pub use render::{Renderer, View};
pub use solids::{Part, Shape, Thing};
