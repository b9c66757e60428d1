//! What a distillation of pictures is told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result};

use crate::method::{Plan, StudentKind};
use crate::objective::FakeKind;

/// What stands for the truth in front of the discriminator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Real {
    /// Pictures of the data: the student can become better than its teacher.
    #[default]
    Data,
    /// Samples of the teacher: ratio and scores speak of the same distribution.
    Teacher,
}

/// The teacher's own samples, drawn once where a method needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TeacherSamples {
    /// How many.
    pub count: usize,
    /// Steps of Heun's method.
    pub steps: usize,
}

impl Default for TeacherSamples {
    fn default() -> Self {
        Self { count: 2000, steps: 18 }
    }
}

/// Pictures that are optimised themselves, in place of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PicturePoints {
    /// How many.
    pub count: usize,
}

impl Default for PicturePoints {
    fn default() -> Self {
        Self { count: 64 }
    }
}

/// A teacher of EDM and the pictures that it learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PicturesConfig {
    /// Model folder, weights with the published names, or a published `.pkl`.
    pub teacher: PathBuf,
    /// Sources of pictures, as `trefoil train edm` reads them.
    pub data: Vec<PathBuf>,
    /// Split of them.
    #[serde(default = "train")]
    pub split: String,
    /// What transparent pixels are laid over.
    #[serde(default = "white")]
    pub background: [u8; 3],
    /// What the discriminator takes for real.
    #[serde(default)]
    pub real: Real,
    /// Whether samples have classes; absent: as the teacher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditional: Option<bool>,
    /// Noise level at which the student is called.
    #[serde(default = "start_level")]
    pub start_level: f64,
    /// The teacher's samples, for regression and for `real = "teacher"`.
    #[serde(default)]
    pub teacher_samples: TeacherSamples,
    /// Pictures, for methods that optimise them and no network; absent: 64 of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub points: Option<PicturePoints>,
    /// Pictures of a measurement.
    #[serde(default = "measured")]
    pub measured: usize,
    /// Principal axes of the pixels in which they are measured.
    #[serde(default = "components")]
    pub components: usize,
}

fn train() -> String {
    "train".into()
}

fn white() -> [u8; 3] {
    [255; 3]
}

fn start_level() -> f64 {
    2.5
}

fn measured() -> usize {
    1000
}

fn components() -> usize {
    64
}

impl PicturesConfig {
    /// Checks every field, and that the plan asks for what pictures have. No file is looked at.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self, plan: &Plan) -> Result<()> {
        let bad = |field: &str, reason: String| Err(Error::config(field, reason));
        if !(self.start_level > 0.0 && self.start_level.is_finite()) {
            let reason = format!("expected a positive number, found {}", self.start_level);
            return bad("problem.start_level", reason);
        }
        if self.data.is_empty() {
            return bad("problem.data", "expected at least one source, found none".into());
        }
        for (field, value) in [
            ("problem.teacher_samples.count", self.teacher_samples.count),
            ("problem.teacher_samples.steps", self.teacher_samples.steps),
            ("problem.points.count", self.points.unwrap_or_default().count),
            ("problem.measured", self.measured.saturating_sub(1)),
            ("problem.components", self.components),
        ] {
            if value == 0 {
                return bad(field, "expected more".into());
            }
        }
        for stage in &plan.stages {
            let objective = &stage.objective;
            let needs = [
                ("objective.reward", objective.reward != 0.0, "reward"),
                ("objective.fidelity", objective.fidelity != 0.0, "observation"),
                (
                    "objective.fake.kind",
                    objective.fake.kind == FakeKind::Reference,
                    "reference to be edited",
                ),
            ];
            for (field, needed, what) in needs {
                if needed {
                    return bad(field, format!("pictures have no {what}"));
                }
            }
            let guided = objective.guidance.is_on() && self.conditional == Some(false);
            if guided && plan.student == StudentKind::Network {
                let reason = "expected `problem.conditional = true`, because guidance compares a \
                              class with all of them";
                return bad("objective.guidance", reason.into());
            }
        }
        Ok(())
    }
}
