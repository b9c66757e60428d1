//! The two published ways to sample the same network.
//!
//! | | [`Procedure::Original`] | [`Procedure::Diffusers`] |
//! |---|---|---|
//! | solver by default | single-step DPM-Solver++ ("fast"), first level 1000 | multistep, first level 999 |
//! | end | level 1 | clean |
//! | picture or text alone | fresh noise for the other at every evaluation | one noise for the whole run |
//! | first noise of a text | normal | normal hidden states, through the prefix encoder: not standard normal |

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use trefoil_diffusion::{SolverConfig, SolverKind};

use crate::mode::{Task, UnknownName};

/// Whose sampling is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Procedure {
    /// The authors' program.
    #[default]
    Original,
    /// The pipeline of diffusers, for comparisons with it.
    Diffusers,
}

impl Procedure {
    /// Every procedure.
    pub const ALL: [Self; 2] = [Self::Original, Self::Diffusers];

    /// The name used in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Diffusers => "diffusers",
        }
    }

    /// The solver that it comes with; any other works too.
    pub fn solver(self, steps: usize) -> SolverConfig {
        let kind = match self {
            Self::Original => SolverKind::DpmSolverPlusPlusSingle,
            Self::Diffusers => SolverKind::DpmSolverPlusPlusMulti,
        };
        SolverConfig::new(kind, steps)
    }

    /// Whether what is marginalised keeps the noise that it starts with.
    pub(super) fn keeps_noise(self, task: Task) -> bool {
        self == Self::Diffusers && matches!(task, Task::Image | Task::Text)
    }
}

impl fmt::Display for Procedure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Procedure {
    type Err = UnknownName;

    fn from_str(found: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|procedure| procedure.name() == found).ok_or_else(|| {
            UnknownName {
                what: "sampling procedure",
                found: found.to_string(),
                expected: "original, diffusers",
            }
        })
    }
}
