//! Denoising diffusion implicit models (Song et al., <https://arxiv.org/abs/2010.02502>).
//!
//! From a level to the next one (primed), equations 12 and 16 of the paper:
//!
//! ```text
//! s  = eta (sigma' / sigma) sqrt(1 - (alpha / alpha')^2)
//! x <- alpha' x_0 + sqrt(sigma'^2 - s^2) eps + s z,     z ~ N(0, I)
//! ```

use burn::tensor::Tensor;

use super::{Halt, Run, Solver, grid::check_decreasing};
use crate::{Error, Level, Result};

/// The sampler "ddim"; deterministic at `eta = 0`, ancestral sampling at `eta = 1`.
#[derive(Debug, Clone)]
pub struct Ddim {
    levels: Vec<Level>,
    eta: f64,
}

impl Ddim {
    /// A solver on the given variance-preserving levels.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for `eta` outside 0 to 1, [`Error::Grid`] unless the noise decreases
    /// strictly.
    pub fn new(eta: f64, levels: Vec<Level>) -> Result<Self> {
        if !(0.0..=1.0).contains(&eta) {
            return Err(Error::OutOfRange {
                field: "eta",
                expected: "between 0 and 1",
                found: eta,
            });
        }
        check_decreasing(&levels)?;
        Ok(Self { levels, eta })
    }

    /// Standard deviation of the fresh noise of a step.
    fn deviation(&self, from: Level, to: Level) -> f64 {
        let lost = (1.0 - (from.alpha / to.alpha).powi(2)).max(0.0).sqrt();
        self.eta * to.sigma / from.sigma * lost
    }
}

impl Solver for Ddim {
    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn is_stochastic(&self) -> bool {
        self.eta > 0.0
    }

    fn run(&self, mut x: Tensor<2>, run: &mut Run<'_>) -> Result<Tensor<2>, Halt> {
        for pair in self.levels.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let estimate = run.predict(&x, from)?;
            let s = self.deviation(from, to);
            let kept = (to.sigma.powi(2) - s.powi(2)).max(0.0).sqrt();
            let dims = x.dims();
            x = estimate.x0.clone() * to.alpha + estimate.noise * kept;
            if s > 0.0 {
                x = x + run.noise(dims)? * s;
            }
            run.finish_step(to, &x, &estimate.x0)?;
        }
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VpSchedule;

    /// At eta = 1 the variance is the posterior variance of the forward process.
    #[test]
    fn full_noise_is_the_ancestral_variance() {
        let schedule = VpSchedule::default();
        let level = |n| schedule.discrete().level(n).expect("a level of the process");
        let ddim = Ddim::new(1.0, vec![level(500), level(499)]).expect("valid");
        let abar = schedule.discrete().alphas_cumprod();
        let beta = schedule.discrete().betas()[499];
        let posterior = (1.0 - abar[499]) / (1.0 - abar[500]) * beta;
        let found = ddim.deviation(level(500), level(499)).powi(2);
        assert!((found / posterior - 1.0).abs() < 1e-9, "{found} {posterior}");
        assert!(Ddim::new(-0.1, vec![level(2), level(1)]).is_err());
        assert!(Ddim::new(0.0, vec![level(1), level(1)]).is_err());
        assert!(Ddim::new(0.0, vec![level(1)]).is_err());
    }
}
