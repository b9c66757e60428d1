//! The sampler of EDM networks: Heun's method, with noise added and taken away on the way
//! (Karras et al., <https://arxiv.org/abs/2206.00364>, algorithm 2).
//!
//! ```text
//! g  = min(S_churn / N, sqrt(2) - 1)     where S_min <= s <= S_max, else 0
//! s^ = s (1 + g),     x^ = x + sqrt(s^^2 - s^2) S_noise eps
//! ```
//!
//! and a step of [`Heun`] from `s^` to the next level. Without churn it is algorithm 1.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    Halt, Heun, Run, Sampler, Solver, edm_levels, grid::check_decreasing, heun::evaluations,
    heun::heun_step,
};
use crate::{Error, Level, Result};

/// How much noise is added on the way, and where.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Churn {
    /// Amount over the whole run, `S_churn`; 0: none.
    pub amount: f64,
    /// Smallest sigma at which noise is added.
    pub min: f64,
    /// Largest sigma at which noise is added.
    pub max: f64,
    /// Deviation of what is added, slightly above one against the loss of detail.
    pub noise: f64,
}

impl Default for Churn {
    fn default() -> Self {
        Self { amount: 0.0, min: 0.0, max: f64::MAX, noise: 1.0 }
    }
}

impl Churn {
    /// The setting that was published for ImageNet at 64x64, with 256 steps.
    pub fn imagenet64() -> Self {
        Self { amount: 40.0, min: 0.05, max: 50.0, noise: 1.003 }
    }

    /// By which part sigma grows at a level, in a run of `steps` steps.
    fn growth(&self, sigma: f64, steps: usize) -> f64 {
        if (self.min..=self.max).contains(&sigma) {
            (self.amount / steps as f64).min(std::f64::consts::SQRT_2 - 1.0)
        } else {
            0.0
        }
    }
}

/// Heun's method with churn.
#[derive(Debug, Clone)]
pub struct HeunChurn {
    levels: Vec<Level>,
    churn: Churn,
}

impl HeunChurn {
    /// A solver on EDM levels.
    ///
    /// # Errors
    /// [`Error::Grid`] unless the noise decreases strictly.
    pub fn new(levels: Vec<Level>, churn: Churn) -> Result<Self> {
        check_decreasing(&levels)?;
        Ok(Self { levels, churn })
    }
}

impl Solver for HeunChurn {
    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn evaluations(&self) -> usize {
        evaluations(&self.levels)
    }

    fn is_stochastic(&self) -> bool {
        let noisy = &self.levels[..self.steps()];
        noisy.iter().any(|level| self.churn.growth(level.sigma, self.steps()) > 0.0)
    }

    fn run(&self, mut x: Tensor<2>, run: &mut Run<'_>) -> std::result::Result<Tensor<2>, Halt> {
        for pair in self.levels.windows(2) {
            let (mut from, to) = (pair[0], pair[1]);
            let growth = self.churn.growth(from.sigma, self.steps());
            if growth > 0.0 {
                let raised = from.sigma * (1.0 + growth);
                let deviation = (raised.powi(2) - from.sigma.powi(2)).sqrt() * self.churn.noise;
                let noise = run.noise(x.dims())?;
                x = x + noise * deviation;
                from = Level::edm(raised);
            }
            let (next, estimate) = heun_step(x, from, to, run)?;
            x = next;
            run.finish_step(to, &x, &estimate.x0)?;
        }
        Ok(x)
    }
}

/// Settings of a run with an EDM network; the default is the published one for CIFAR-10.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdmSolverConfig {
    /// Steps `N`; `2 N - 1` evaluations.
    pub steps: usize,
    /// Smallest noise level before the clean one.
    pub sigma_min: f64,
    /// Largest noise level.
    pub sigma_max: f64,
    /// Exponent of the grid.
    pub rho: f64,
    /// Noise on the way.
    pub churn: Churn,
}

impl Default for EdmSolverConfig {
    fn default() -> Self {
        Self { steps: 18, sigma_min: 0.002, sigma_max: 80.0, rho: 7.0, churn: Churn::default() }
    }
}

impl EdmSolverConfig {
    /// Computes the grid and makes the sampler.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] naming the setting.
    pub fn build(&self) -> Result<Sampler> {
        let range = |good, field, expected, found| {
            if good { Ok(()) } else { Err(Error::OutOfRange { field, expected, found }) }
        };
        let Churn { amount, min, max, noise } = self.churn;
        range(self.steps > 0, "steps", "at least 1", self.steps as f64)?;
        range((0.0..=1e6).contains(&amount), "churn.amount", "at least 0 and finite", amount)?;
        range(min >= 0.0, "churn.min", "at least 0", min)?;
        range(max >= min, "churn.max", "at least `churn.min`", max)?;
        range((0.0..=10.0).contains(&noise), "churn.noise", "between 0 and 10", noise)?;
        let levels = edm_levels(self.steps, self.sigma_min, self.sigma_max, self.rho)?;
        if amount == 0.0 {
            return Ok(Sampler::new(Heun::new(levels)?));
        }
        Ok(Sampler::new(HeunChurn::new(levels, self.churn)?))
    }
}
