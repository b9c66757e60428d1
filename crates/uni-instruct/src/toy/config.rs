//! What a mixture problem has beside the mixture.

use serde::{Deserialize, Serialize};
use trefoil_core::Error as CoreError;

use super::network::NetworkConfig;
use super::shapes::Shape;
use crate::error::Result;
use crate::mixture::Mixture;

/// A linear reward, `R(x) = direction . x`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reward {
    /// `[D]`
    pub direction: Vec<f64>,
}

/// A noisy linear observation, `y = H x + N(0, deviation^2)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// `H`, `[M, D]`.
    pub matrix: Vec<Vec<f64>>,
    /// `y`, `[M]`.
    pub value: Vec<f64>,
    /// Standard deviation of the noise.
    pub deviation: f64,
}

/// Points that are optimised in place of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Points {
    /// How many.
    pub count: usize,
    /// Class of the samples at which they start, and of the reference of an edit; absent: noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<usize>,
    /// Class that they are to become.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<usize>,
}

impl Default for Points {
    fn default() -> Self {
        Self { count: 256, from: None, to: None }
    }
}

/// What turns noise into samples in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// A network of the size of the fake one, which it starts as.
    #[default]
    Network,
    /// `x_0 = m + z A`: a Gaussian, for which the best fit is known.
    Gaussian,
}

/// What a mixture problem has beside the mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToyConfig {
    /// The mixture: a name or `{ file = "PATH.json" }`.
    pub mixture: Shape,
    /// Whether samples have classes.
    pub conditional: bool,
    /// What turns noise into samples.
    pub generator: Generator,
    /// Noise level at which the student network starts, in deviations of the data; 5 is 2.5 for
    /// pictures.
    pub start_level: f64,
    /// Reward, for methods that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<Reward>,
    /// Observation, for inverse problems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    /// Points, for methods that optimise them and no network; absent: 256 from noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<Points>,
    /// Size of the networks.
    pub network: NetworkConfig,
}

impl Default for ToyConfig {
    fn default() -> Self {
        Self {
            mixture: Shape::EightGaussians,
            conditional: false,
            generator: Generator::Network,
            start_level: 5.0,
            reward: None,
            observation: None,
            points: None,
            network: NetworkConfig::default(),
        }
    }
}

impl ToyConfig {
    /// The points of a method that optimises them.
    pub(super) fn points(&self) -> Points {
        self.points.unwrap_or_default()
    }

    /// Whether everything fits the mixture.
    ///
    /// # Errors
    /// [`CoreError::Config`] naming the field that does not.
    pub(super) fn check(&self, mixture: &Mixture) -> Result<()> {
        let d = mixture.dims();
        let bad = |field: &str, reason: String| {
            Err(CoreError::config(format!("problem.{field}"), reason).into())
        };
        if self.conditional && mixture.classes() == 0 {
            return bad("conditional", "expected a teacher with labels, found none".into());
        }
        for label in self.points.iter().flat_map(|points| [points.from, points.to]).flatten() {
            if label >= mixture.classes() {
                let reason = format!("expected a class below {}, found {label}", mixture.classes());
                return bad("points", reason);
            }
        }
        if self.points().count == 0 {
            return bad("points.count", "expected at least 1, found 0".into());
        }
        if !(self.start_level > 0.0 && self.start_level.is_finite()) {
            let reason = format!("expected a positive number, found {}", self.start_level);
            return bad("start_level", reason);
        }
        if self.network.width == 0 || self.network.depth == 0 {
            return bad("network", "expected a width and a depth of at least 1".into());
        }
        if let Some(Reward { direction }) = &self.reward
            && direction.len() != d
        {
            let reason = format!("expected {d} numbers, found {}", direction.len());
            return bad("reward.direction", reason);
        }
        if let Some(Observation { matrix, value, deviation }) = &self.observation {
            if matrix.len() != value.len() || matrix.iter().any(|row| row.len() != d) {
                let reason = format!("expected {} rows of {d} numbers", value.len());
                return bad("observation.matrix", reason);
            }
            if !(*deviation > 0.0 && deviation.is_finite()) {
                let reason = format!("expected a positive number, found {deviation}");
                return bad("observation.deviation", reason);
            }
        }
        Ok(())
    }
}
