//! What a distillation into scenes is told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result};

use super::solids::Thing;
use crate::method::Plan;
use crate::objective::FakeKind;

/// A teacher of pictures of scenes, and the scenes that it is to shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenesConfig {
    /// Model folder of `trefoil train edm` on the pictures of `data`, with labels.
    pub teacher: PathBuf,
    /// Folder of `trefoil data scenes`.
    pub data: PathBuf,
    /// What the scenes are to be.
    pub class: Thing,
    /// How many scenes are shaped together.
    #[serde(default = "particles")]
    pub particles: usize,
    /// Cameras of a measurement, which no picture of the data was taken with.
    #[serde(default = "views")]
    pub views: usize,
}

fn particles() -> usize {
    6
}

fn views() -> usize {
    12
}

impl ScenesConfig {
    /// Checks every field, and that the plan asks for what scenes have. No file is looked at.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self, plan: &Plan) -> Result<()> {
        let bad = |field: &str, reason: String| Err(Error::config(field, reason));
        for (field, value) in [("problem.particles", self.particles), ("problem.views", self.views)]
        {
            if !(1..=256).contains(&value) {
                return bad(field, format!("expected 1 to 256, found {value}"));
            }
        }
        for stage in &plan.stages {
            let objective = &stage.objective;
            if objective.guidance.is_on() {
                let reason = "expected none, because the teacher of scenes knows no picture without \
                              a class";
                return bad("objective.guidance", reason.into());
            }
            let reference = objective.fake.kind == FakeKind::Reference;
            for (field, needed, what) in [
                ("objective.reward", objective.reward != 0.0, "reward"),
                ("objective.fidelity", objective.fidelity != 0.0, "observation"),
                ("objective.fake.kind", reference, "reference to be edited"),
            ] {
                if needed {
                    return bad(field, format!("scenes have no {what}"));
                }
            }
        }
        Ok(())
    }
}
