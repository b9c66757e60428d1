//! Single-step DPM-Solver++ with mixed orders ("fast"), UniDiffuser's own sampler.
//!
//! Lu et al., *DPM-Solver++*, <https://arxiv.org/abs/2211.01095>, and for the sharing of
//! evaluations among orders *DPM-Solver*, <https://arxiv.org/abs/2206.00927>. With the data
//! prediction `D(x, t)`, a step from `s` to `t` with `h = lambda_t - lambda_s` is
//!
//! ```text
//! phi(h) = e^-h - 1
//! order 1:  x_t = (sigma_t / sigma_s) x_s - alpha_t phi(h) D_s
//! order 2:  ... - alpha_t phi(h) / (2 r1) (D_s1 - D_s)
//! order 3:  x_s2 = (sigma_s2 / sigma_s) x_s - alpha_s2 phi(r2 h) D_s
//!                  + (r2 / r1) alpha_s2 (phi(r2 h) / (r2 h) + 1) (D_s1 - D_s)
//!           ... + (1 / r2) alpha_t (phi(h) / h + 1) (D_s2 - D_s)
//! ```
//!
//! where `s1` and `s2` are the next two points of the uniform time grid, `r h` is their distance
//! from `s` in lambda, and `x_s1` is the order-1 step to `s1`.

use burn::tensor::Tensor;

use super::{FinalSigma, Halt, Run, Solver, SolverConfig, grid::check_decreasing};
use crate::{Error, Level, Result, VpSchedule};

/// The sampler "dpm-fast"; the network is evaluated on a grid uniform in time.
#[derive(Debug, Clone)]
pub struct DpmSolverPlusPlusSingle {
    levels: Vec<Level>,
    orders: Vec<usize>,
    end: FinalSigma,
}

impl DpmSolverPlusPlusSingle {
    /// Shares the steps of `config`, evaluations of the network, among steps of at most its order, on the times
    /// `t_i = t_0 + i (1/N - t_0) / steps` from its start `t_0`.
    ///
    /// With [`FinalSigma::Zero`] one more evaluation, at `t = 1/N`, denoises the result.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for no evaluations or an order outside 1 to 3, [`Error::Grid`] for a start at or below
    /// `1/N`.
    pub fn new(config: &SolverConfig, end: FinalSigma, schedule: &VpSchedule) -> Result<Self> {
        let &SolverConfig { steps, order, start, .. } = config;
        let orders = orders(steps, order)?;
        let width = (schedule.t_min() - start) / steps as f64;
        let levels: Vec<Level> =
            (0..=steps).map(|i| schedule.level(start + i as f64 * width)).collect();
        check_decreasing(&levels)?;
        Ok(Self { levels, orders, end })
    }

    /// Order of each step.
    pub fn orders(&self) -> &[usize] {
        &self.orders
    }
}

/// The orders of the steps, which sum to the number of evaluations. The remainder of a division by
/// the highest order is spent at the end; order 3 never ends on a 3.
fn orders(evaluations: usize, order: usize) -> Result<Vec<usize>> {
    if evaluations == 0 {
        return Err(Error::OutOfRange { field: "steps", expected: "at least 1", found: 0.0 });
    }
    let rest = evaluations % order.max(1);
    match (order, rest) {
        (1, _) => Ok(vec![1; evaluations]),
        (3, 0) => Ok([vec![3; evaluations / 3 - 1], vec![2, 1]].concat()),
        (2, 0) => Ok(vec![2; evaluations / 2]),
        (2 | 3, rest) => Ok([vec![order; evaluations / order], vec![rest]].concat()),
        _ => Err(Error::OutOfRange { field: "order", expected: "1, 2 or 3", found: order as f64 }),
    }
}

/// `e^-h - 1`.
fn phi(h: f64) -> f64 {
    (-h).exp_m1()
}

impl Solver for DpmSolverPlusPlusSingle {
    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn steps(&self) -> usize {
        self.orders.len() + usize::from(self.end == FinalSigma::Zero)
    }

    fn evaluations(&self) -> usize {
        self.levels.len() - 1 + usize::from(self.end == FinalSigma::Zero)
    }

    fn run(&self, mut x: Tensor<2>, run: &mut Run<'_>) -> Result<Tensor<2>, Halt> {
        let mut from = 0;
        for &order in &self.orders {
            let to = from + order;
            let x0;
            (x, x0) = step(&self.levels[from..=to], x, run)?;
            run.finish_step(self.levels[to], &x, &x0)?;
            from = to;
        }
        if self.end == FinalSigma::Zero {
            x = run.predict(&x, self.levels[from])?.x0;
            run.finish_step(Level { n: 0.0, alpha: 1.0, sigma: 0.0 }, &x, &x)?;
        }
        Ok(x)
    }
}

/// One step of order `levels.len() - 1` from the first level to the last; returns the new state
/// and the latest data prediction.
fn step(levels: &[Level], x: Tensor<2>, run: &mut Run<'_>) -> Result<(Tensor<2>, Tensor<2>), Halt> {
    let (s, t) = (levels[0], levels[levels.len() - 1]);
    let distance = |level: Level| level.lambda() - s.lambda();
    let first_order = |to: Level, d_s: &Tensor<2>| {
        x.clone() * (to.sigma / s.sigma) - d_s.clone() * (to.alpha * phi(distance(to)))
    };

    let h = distance(t);
    let d_s = run.predict(&x, s)?.x0;
    let x_t = first_order(t, &d_s);
    if levels.len() == 2 {
        return Ok((x_t, d_s));
    }

    let s1 = levels[1];
    let r1 = distance(s1) / h;
    let d_s1 = run.predict(&first_order(s1, &d_s), s1)?.x0;
    let difference = d_s1.clone() - d_s.clone();
    if levels.len() == 3 {
        return Ok((x_t - difference * (0.5 / r1 * t.alpha * phi(h)), d_s1));
    }

    let s2 = levels[2];
    let r2h = distance(s2);
    let r2 = r2h / h;
    let x_s2 = first_order(s2, &d_s) + difference * (r2 / r1 * s2.alpha * (phi(r2h) / r2h + 1.0));
    let d_s2 = run.predict(&x_s2, s2)?.x0;
    let x_t = x_t + (d_s2.clone() - d_s) * (t.alpha / r2 * (phi(h) / h + 1.0));
    Ok((x_t, d_s2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_share_out_the_evaluations() {
        let expected = |threes: usize, tail: &[usize]| [vec![3; threes], tail.to_vec()].concat();
        assert_eq!(orders(50, 3), Ok(expected(16, &[2])));
        assert_eq!(orders(20, 3), Ok(expected(6, &[2])));
        assert_eq!(orders(9, 3), Ok(vec![3, 3, 2, 1]));
        assert_eq!(orders(7, 3), Ok(vec![3, 3, 1]));
        assert_eq!(orders(3, 3), Ok(vec![2, 1]));
        assert_eq!((orders(2, 3), orders(1, 3)), (Ok(vec![2]), Ok(vec![1])));
        assert_eq!((orders(4, 2), orders(5, 2)), (Ok(vec![2, 2]), Ok(vec![2, 2, 1])));
        assert_eq!(orders(3, 1), Ok(vec![1, 1, 1]));
        for order in 1..=3 {
            for evaluations in 1..200 {
                let sum: usize = orders(evaluations, order).expect("valid").into_iter().sum();
                assert_eq!(sum, evaluations);
            }
        }
        assert!(orders(0, 3).is_err() && orders(5, 0).is_err() && orders(5, 4).is_err());
    }

    #[test]
    fn the_grid_is_uniform_in_time_and_ends_at_one() {
        let config = SolverConfig::default();
        let solver = DpmSolverPlusPlusSingle::new(&config, FinalSigma::Min, &VpSchedule::default())
            .expect("valid");
        for (index, n) in [(0, 1000.0), (1, 980.02), (2, 960.04), (49, 20.98), (50, 1.0)] {
            assert!((solver.levels[index].n - n).abs() < 1e-9, "{index}");
        }
    }
}
