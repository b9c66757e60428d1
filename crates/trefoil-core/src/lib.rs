//! What every model of Trefoil needs before its first forward: errors, devices, replayable random
//! streams, pictures, named parameters, weight files and the layers that the systems share.
//!
//! ```text
//! file ─► weights / image ─► TensorData ─► nn layers on a Device ─► TensorData ─► weights / image ─► file
//! ```
//!
//! Parameters carry the names of the published checkpoints: the path of a field inside a module *is*
//! the key in the weight file, so a loader needs no table of renames.

pub mod device;
pub mod error;
pub mod fs;
pub mod hub;
pub mod image;
pub mod nn;
pub mod params;
pub mod pickle;
pub mod png;
pub mod rng;
pub mod weights;

pub use device::DeviceSpec;
pub use error::{Error, Result};
pub use image::Picture;
pub use rng::{Seed, Stream};
