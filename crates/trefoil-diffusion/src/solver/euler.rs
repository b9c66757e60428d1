//! Euler's method in EDM form (Karras et al., <https://arxiv.org/abs/2206.00364>).
//!
//! In `y = x / alpha` and `s = sigma / alpha` the probability flow is
//!
//! ```text
//! dy / ds = eps(alpha y, n),      y <- y + (s' - s) eps
//! ```

use burn::tensor::Tensor;

use super::{Halt, Run, Solver, grid::check_decreasing};
use crate::{Level, Result};

/// The sampler "euler".
#[derive(Debug, Clone)]
pub struct Euler {
    levels: Vec<Level>,
}

impl Euler {
    /// A solver on the given levels, variance-preserving or EDM.
    ///
    /// # Errors
    /// [`Error::Grid`](crate::Error::Grid) unless the noise decreases strictly.
    pub fn new(levels: Vec<Level>) -> Result<Self> {
        check_decreasing(&levels)?;
        Ok(Self { levels })
    }
}

/// `alpha' (x / alpha + (s' - s) slope)`: a step of both methods in EDM form.
pub(super) fn advance(x: Tensor<2>, slope: Tensor<2>, from: Level, to: Level) -> Tensor<2> {
    let width = to.edm_sigma() - from.edm_sigma();
    x * (to.alpha / from.alpha) + slope * (to.alpha * width)
}

impl Solver for Euler {
    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn run(&self, mut x: Tensor<2>, run: &mut Run<'_>) -> Result<Tensor<2>, Halt> {
        for pair in self.levels.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let estimate = run.predict(&x, from)?;
            x = advance(x, estimate.noise, from, to);
            run.finish_step(to, &x, &estimate.x0)?;
        }
        Ok(x)
    }
}
