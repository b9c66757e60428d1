//! Multistep DPM-Solver++ of order 1 to 3, the sampler of the diffusers port of UniDiffuser.
//!
//! Lu et al., <https://arxiv.org/abs/2211.01095>, algorithm 2 and its third-order extension. With
//! the data predictions `m0, m1, m2` of this level and the two before it, their distances
//! `h0, h1` in lambda, `r0 = h0 / h`, `r1 = h1 / h` and `E = e^-h - 1`:
//!
//! ```text
//! order 1:  x <- (sigma' / sigma) x - alpha' E m0
//! order 2:  ... - alpha' E D1 / 2               (midpoint)   D1 = (m0 - m1) / r0
//!           ... + alpha' (E / h + 1) D1         (heun)
//! order 3:  ... + alpha' (E / h + 1) D1 - alpha' ((E + h) / h^2 - 1/2) D2
//!           with D10 = (m0 - m1) / r0, D11 = (m1 - m2) / r1,
//!           D1 = D10 + r0 / (r0 + r1) (D10 - D11), D2 = (D10 - D11) / (r0 + r1)
//! ```

use burn::tensor::Tensor;

use super::{Halt, Run, Solver, SolverConfig, SolverType, grid::check_decreasing};
use crate::{Level, Result};

/// Runs shorter than this lower their order at the end.
const SHORT_RUN: usize = 15;

/// The sampler "dpm-multistep".
#[derive(Debug, Clone)]
pub struct DpmSolverPlusPlusMulti {
    levels: Vec<Level>,
    order: usize,
    lower_order_final: bool,
    euler_at_final: bool,
    solver_type: SolverType,
}

impl DpmSolverPlusPlusMulti {
    /// A solver on the given levels, with the order options of `config`.
    ///
    /// # Errors
    /// [`Error::Grid`](crate::Error::Grid) unless the noise decreases strictly.
    pub fn new(config: &SolverConfig, levels: Vec<Level>) -> Result<Self> {
        check_decreasing(&levels)?;
        Ok(Self {
            levels,
            order: config.order,
            lower_order_final: config.lower_order_final,
            euler_at_final: config.euler_at_final,
            solver_type: config.solver_type,
        })
    }

    /// The order of step `index`: limited by the history, and lowered at the end.
    fn order_at(&self, index: usize) -> usize {
        let remaining = self.steps() - index;
        let lowered = self.lower_order_final && self.steps() < SHORT_RUN;
        let clean_end = self.levels[self.steps()].sigma == 0.0;
        let limit = match remaining {
            1 if lowered || clean_end || self.euler_at_final => 1,
            2 if lowered => 2,
            _ => 3,
        };
        self.order.min(index + 1).min(limit)
    }

    /// The update of step `index` from the state and the data predictions, newest first.
    fn update(&self, index: usize, x: Tensor<2>, history: &[Tensor<2>]) -> Tensor<2> {
        let (from, to) = (self.levels[index], self.levels[index + 1]);
        let lambda = |i: usize| self.levels[i].lambda();
        let h = to.lambda() - from.lambda();
        let e = (-h).exp_m1();
        let m0 = &history[0];
        let first = x * (to.sigma / from.sigma) - m0.clone() * (to.alpha * e);
        let order = self.order_at(index);
        if order == 1 {
            return first;
        }

        let m1 = &history[1];
        let r0 = (lambda(index) - lambda(index - 1)) / h;
        let d10 = (m0.clone() - m1.clone()) / r0;
        let second = to.alpha * (e / h + 1.0);
        if order == 2 {
            return first
                + match self.solver_type {
                    SolverType::Midpoint => d10 * (-0.5 * to.alpha * e),
                    SolverType::Heun => d10 * second,
                };
        }

        let r1 = (lambda(index - 1) - lambda(index - 2)) / h;
        let d11 = (m1.clone() - history[2].clone()) / r1;
        let change = d10.clone() - d11;
        let d1 = d10 + change.clone() * (r0 / (r0 + r1));
        let d2 = change / (r0 + r1);
        first + d1 * second - d2 * (to.alpha * ((e + h) / h.powi(2) - 0.5))
    }
}

impl Solver for DpmSolverPlusPlusMulti {
    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn run(&self, mut x: Tensor<2>, run: &mut Run<'_>) -> Result<Tensor<2>, Halt> {
        let mut history = Vec::with_capacity(self.order + 1);
        for index in 0..self.steps() {
            history.insert(0, run.predict(&x, self.levels[index])?.x0);
            history.truncate(self.order);
            x = self.update(index, x, &history);
            run.finish_step(self.levels[index + 1], &x, &history[0])?;
        }
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DiscreteSchedule,
        solver::{FinalSigma, SolverKind, discrete_levels},
    };

    fn orders(config: SolverConfig, end: FinalSigma) -> Vec<usize> {
        let config = SolverConfig { kind: SolverKind::DpmSolverPlusPlusMulti, ..config };
        let levels = discrete_levels(&config, end, &DiscreteSchedule::default()).expect("valid");
        let solver = DpmSolverPlusPlusMulti::new(&config, levels).expect("valid");
        (0..config.steps).map(|index| solver.order_at(index)).collect()
    }

    #[test]
    fn orders_rise_at_the_start_and_fall_at_the_end() {
        let base = SolverConfig { steps: 6, ..Default::default() };
        let plain = SolverConfig { lower_order_final: false, ..base };
        let euler = SolverConfig { euler_at_final: true, ..plain };
        let long = |steps| SolverConfig { steps, ..base };
        assert_eq!(orders(base, FinalSigma::Zero), [1, 2, 3, 3, 2, 1]);
        assert_eq!(orders(base, FinalSigma::Min), [1, 2, 3, 3, 2, 1]);
        assert_eq!(orders(plain, FinalSigma::Zero), [1, 2, 3, 3, 3, 1]);
        assert_eq!(orders(plain, FinalSigma::Min), [1, 2, 3, 3, 3, 3]);
        assert_eq!(orders(euler, FinalSigma::Min), [1, 2, 3, 3, 3, 1]);
        assert_eq!(orders(SolverConfig { order: 2, ..base }, FinalSigma::Zero), [1, 2, 2, 2, 2, 1]);
        assert_eq!(orders(SolverConfig { order: 1, ..base }, FinalSigma::Zero), [1; 6]);
        assert_eq!(orders(long(14), FinalSigma::Min)[11..], [3, 2, 1]);
        assert_eq!(orders(long(15), FinalSigma::Min)[12..], [3, 3, 3]);
        assert_eq!(orders(long(15), FinalSigma::Zero)[12..], [3, 3, 1]);
        assert_eq!(orders(long(1), FinalSigma::Zero), [1]);
    }
}
