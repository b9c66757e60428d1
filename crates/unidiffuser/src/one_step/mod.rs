//! One pass instead of many steps: a generator distilled from the joint network, for every task that it was
//! distilled for.
//!
//! ```text
//! x_0 = D_theta(s n, s, given),   n ~ N(0, I),   D(x, s) = x - s eps_theta(alpha x, level of s)
//! ```
//!
//! The generator is a noise predictor of the same shape, called once at a fixed level `s`. What a task is given
//! enters at level 0, as in the teacher; guidance was the teacher's, so one pass is all there is.

mod critic;
mod data;
mod files;
mod rows;

use std::path::Path;

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use trefoil_core::weights::Precision;
use trefoil_core::{Result, fs};
use trefoil_diffusion::VpSchedule;

pub use self::critic::JointCritic;
pub use self::data::{JointData, JointRows};
pub(crate) use self::files::OneStepFiles;
pub use self::rows::{JointDenoiser, Parts, Rows};

use crate::folder::Component;
use crate::mode::Task;
use crate::uvit::{UVit, UVitConfig};

/// Folder of the one-step generator in the folder of its teacher.
pub const FOLDER: &str = "one_step";
/// What the weights do not say.
const CONFIG: &str = "one_step.json";

/// How a one-step generator is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneStepConfig {
    /// Noise level `s`, in EDM's scale: the deviation of the noise beside data of deviation one.
    pub level: f64,
    /// Tasks that it was distilled for.
    pub tasks: Vec<Task>,
}

/// A one-step generator.
#[derive(Debug)]
pub struct OneStep {
    /// The network.
    pub network: UVit,
    /// How it is called.
    pub config: OneStepConfig,
}

impl OneStep {
    /// Opens a folder with `one_step.json` and `unet/`, for a model of these sizes.
    ///
    /// # Errors
    /// Those of reading and strict loading; [`trefoil_core::Error::Format`] for a generator of other sizes.
    pub fn open(folder: &Path, expected: &UVitConfig, device: &Device) -> Result<Self> {
        let files = OneStepFiles::open(folder, expected)?;
        Ok(Self { network: files.network.load(device)?, config: files.config })
    }

    /// Writes the folder.
    ///
    /// # Errors
    /// [`trefoil_core::Error::Write`]; [`trefoil_core::Error::NonFinite`] when a weight does not survive the conversion
    /// to `precision`.
    pub fn save(&self, sizes: &UVitConfig, folder: &Path, precision: Precision) -> Result<()> {
        fs::create_dir_all(folder)?;
        self.network.save(sizes, folder, precision)?;
        fs::write_json(&folder.join(CONFIG), &self.config)
    }

    /// One sample for each row.
    ///
    /// # Shapes
    /// - `noise`: standard normal, `[B, D]`
    /// - returns: `[B, D]`
    pub fn generate(
        &self,
        parts: Parts,
        schedule: &VpSchedule,
        noise: Tensor<2>,
        rows: &Rows,
    ) -> Tensor<2> {
        let network = JointDenoiser::new(&self.network, schedule, parts);
        let (level, count) = (self.config.level, rows.tasks.len());
        network.denoise(noise * level, &vec![level; count], rows)
    }
}
