//! What a distillation of UniDiffuser is told; the model itself is in a crate of its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result};

use crate::method::{Plan, StudentKind};

/// How often each task is trained, in any unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskShares {
    /// A picture for a text.
    pub text_to_image: f64,
    /// A text for a picture.
    pub image_to_text: f64,
    /// Both together.
    pub joint: f64,
    /// A picture of anything.
    pub image: f64,
    /// A text about anything.
    pub text: f64,
}

impl Default for TaskShares {
    fn default() -> Self {
        Self { text_to_image: 0.5, image_to_text: 0.25, joint: 0.25, image: 0.0, text: 0.0 }
    }
}

impl TaskShares {
    /// In the order of the fields.
    pub fn all(self) -> [f64; 5] {
        [self.text_to_image, self.image_to_text, self.joint, self.image, self.text]
    }
}

/// A UniDiffuser and captioned pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointConfig {
    /// Model folder; absent: the model that comes with Trefoil.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// Captioned pictures.
    pub data: Vec<PathBuf>,
    /// Split of them.
    #[serde(default = "train")]
    pub split: String,
    /// Chance that a caption is the first of its picture.
    #[serde(default = "first_caption")]
    pub first_caption: f64,
    /// Tasks of the student.
    #[serde(default)]
    pub tasks: TaskShares,
    /// Guidance with which the teacher is used, in the common form; the student needs none.
    #[serde(default = "guidance")]
    pub guidance: f64,
    /// Noise level at which the student is called.
    #[serde(default = "start_level")]
    pub start_level: f64,
    /// Pictures drawn and captions written for a measurement; 0: none.
    #[serde(default = "measured")]
    pub measured: usize,
}

fn train() -> String {
    "train".into()
}

fn first_caption() -> f64 {
    0.5
}

fn guidance() -> f64 {
    3.0
}

fn start_level() -> f64 {
    5.0
}

fn measured() -> usize {
    64
}

impl JointConfig {
    /// Checks every field, and that the plan asks for what the problem has. No file is looked at.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self, plan: &Plan) -> Result<()> {
        let bad = |field: &str, reason: String| Err(Error::config(field, reason));
        if self.data.is_empty() {
            return bad("problem.data", "expected at least one source, found none".into());
        }
        let shares = self.tasks.all();
        let sum: f64 = shares.iter().sum();
        if shares.iter().any(|share| share.is_nan() || *share < 0.0)
            || sum <= 0.0
            || !sum.is_finite()
        {
            let reason =
                format!("expected shares of at least 0 with a positive sum, found {shares:?}");
            return bad("problem.tasks", reason);
        }
        if !(0.0..=1.0).contains(&self.first_caption) {
            let reason = format!("expected 0 to 1, found {}", self.first_caption);
            return bad("problem.first_caption", reason);
        }
        for (field, value) in
            [("problem.start_level", self.start_level), ("problem.guidance", self.guidance)]
        {
            if !(value > 0.0 && value.is_finite()) {
                return bad(field, format!("expected a positive number, found {value}"));
            }
        }
        if plan.student == StudentKind::Points {
            let reason = "expected a method whose student is a network; this one optimises points";
            return bad("method", reason.into());
        }
        for stage in &plan.stages {
            let objective = &stage.objective;
            if !objective.fake.kind.is_network() {
                let reason = "expected `learned` or `low-rank`: the student is a network";
                return bad("objective.fake.kind", reason.into());
            }
            if objective.guidance.is_on() {
                let reason = "expected none: `problem.guidance` says how the teacher is guided";
                return bad("objective.guidance", reason.into());
            }
            let needs = [
                ("objective.reward", objective.reward != 0.0),
                ("objective.fidelity", objective.fidelity != 0.0),
            ];
            if let Some((field, _)) = needs.iter().find(|(_, needed)| *needed) {
                return bad(field, "expected 0, which is all that this problem has".into());
            }
        }
        Ok(())
    }
}
