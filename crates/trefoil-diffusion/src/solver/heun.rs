//! Heun's method in EDM form (Karras et al., <https://arxiv.org/abs/2206.00364>, algorithm 1).
//!
//! ```text
//! y' = y + (s' - s) eps,     y <- y + (s' - s) (eps + eps') / 2    unless s' = 0
//! ```
//!
//! in the variables of [`Euler`](super::Euler).

use burn::tensor::Tensor;

use super::{Estimate, Halt, Run, Solver, euler::advance, grid::check_decreasing};
use crate::{Level, Result};

/// The sampler "heun": two evaluations a step, one for a last step to a clean state.
#[derive(Debug, Clone)]
pub struct Heun {
    levels: Vec<Level>,
}

impl Heun {
    /// A solver on the given levels, variance-preserving or EDM.
    ///
    /// # Errors
    /// [`Error::Grid`](crate::Error::Grid) unless the noise decreases strictly.
    pub fn new(levels: Vec<Level>) -> Result<Self> {
        check_decreasing(&levels)?;
        Ok(Self { levels })
    }
}

impl Solver for Heun {
    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn evaluations(&self) -> usize {
        evaluations(&self.levels)
    }

    fn run(&self, mut x: Tensor<2>, run: &mut Run<'_>) -> Result<Tensor<2>, Halt> {
        for pair in self.levels.windows(2) {
            let (next, estimate) = heun_step(x, pair[0], pair[1], run)?;
            x = next;
            run.finish_step(pair[1], &x, &estimate.x0)?;
        }
        Ok(x)
    }
}

/// Two a step, one for a last step to a clean state.
pub(super) fn evaluations(levels: &[Level]) -> usize {
    levels[1..].iter().map(|to| if to.sigma == 0.0 { 1 } else { 2 }).sum()
}

/// One step, and the latest estimate of the clean sample.
pub(super) fn heun_step(
    x: Tensor<2>,
    from: Level,
    to: Level,
    run: &mut Run<'_>,
) -> Result<(Tensor<2>, Estimate), Halt> {
    let estimate = run.predict(&x, from)?;
    let next = advance(x.clone(), estimate.noise.clone(), from, to);
    if to.sigma == 0.0 {
        return Ok((next, estimate));
    }
    let corrected = run.predict(&next, to)?;
    let slope = (estimate.noise + corrected.noise.clone()) * 0.5;
    Ok((advance(x, slope, from, to), corrected))
}
