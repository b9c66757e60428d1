//! V0 and V1: weights of the divergences, and the expansion along the diffusion.

use super::problem::{DIVERGENCES, Oracle};
use super::quadrature::Rule;
use super::{Check, relative};
use crate::divergence::Divergence;
use crate::error::Result;
use crate::mixture::Mixture;

/// V0: weights against the oracle, conjugacy, and the derivative of the adversarial loss.
pub(super) fn weights() -> Result<Vec<Check>> {
    const STEP: f64 = 1e-4;
    let oracle = Oracle::open()?;
    let mut worst = 0.0_f64;
    let mut slope = 0.0_f64;
    for (name, divergence) in DIVERGENCES {
        let of = |key| oracle.numbers(&["divergences", name, key]);
        let logs: Vec<f64> = of("r")?.into_iter().map(f64::ln).collect();
        let weights: Vec<_> = logs.iter().map(|l| divergence.weights(*l)).collect();
        let values: Vec<f64> = logs.iter().map(|l| divergence.value(*l)).collect();
        let columns = [
            ("h", weights.iter().map(|w| w.h).collect::<Vec<_>>()),
            ("rh1", weights.iter().map(|w| w.slope).collect()),
            ("c_fgm", weights.iter().map(|w| w.fgm).collect()),
            ("r2h2", weights.iter().map(|w| w.curvature).collect()),
            ("f", values),
        ];
        for (key, found) in columns {
            worst = worst.max(relative(&found, &of(key)?, 1e-6));
        }
        for (l, w) in logs.iter().zip(&weights) {
            let side = |k: f64| divergence.adversarial(l + k * STEP);
            let derivative =
                (8.0 * (side(1.0) - side(-1.0)) - side(2.0) + side(-2.0)) / (12.0 * STEP);
            slope = slope.max((derivative + w.h).abs() / w.h.max(1e-3));
        }
    }
    let pairs = [
        (Divergence::ForwardKl, Divergence::ReverseKl),
        (Divergence::Pearson, Divergence::Neyman),
        (Divergence::JensenShannon, Divergence::JensenShannon),
        (Divergence::JEFFREYS, Divergence::JEFFREYS),
        (Divergence::Hellinger, Divergence::Hellinger),
        (Divergence::LeCam, Divergence::LeCam),
        (Divergence::SkewForwardKl { lambda: 0.3 }, Divergence::SkewReverseKl { lambda: 0.3 }),
    ];
    let mut conjugate = 0.0_f64;
    for (f, dual) in pairs {
        for l in [-4.0_f64, -1.0, 0.0, 0.7, 3.0] {
            let (found, expected) = (l.exp() * f.weights(-l).h, dual.weights(l).h);
            conjugate = conjugate.max((found / expected - 1.0).abs());
        }
    }
    Ok(vec![
        Check::new("V0", "f, h, r h', h - r h', r^2 h'' of 17 divergences", worst, 1e-6),
        Check::new("V0", "conjugacy h*(r) = r h(1/r) of 7 pairs", conjugate, 1e-10),
        Check::new("V0", "d(f - r f')/d log r = -h of 17 divergences", slope, 1e-6),
    ])
}

/// Densities and score differences of a pair on a fine grid at one sigma.
pub(super) struct Grid {
    step: f64,
    student: Vec<f64>,
    log_ratio: Vec<f64>,
    difference: Vec<f64>,
}

impl Grid {
    /// The grid of the oracle: 13 deviations around every mean, `count` points.
    pub(super) fn new(q: &Mixture, p: &Mixture, sigma: f64, count: usize) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for gaussian in q.gaussians.iter().chain(&p.gaussians) {
            let reach = 13.0 * (gaussian.axes.values[0] + sigma * sigma).sqrt();
            low = low.min(gaussian.mean[0] - reach);
            high = high.max(gaussian.mean[0] + reach);
        }
        let step = (high - low) / (count - 1) as f64;
        let mut grid = Self {
            step,
            student: Vec::with_capacity(count),
            log_ratio: Vec::with_capacity(count),
            difference: Vec::with_capacity(count),
        };
        for i in 0..count {
            let x = [low + step * i as f64];
            let (teacher, student) = (q.at(&x, sigma), p.at(&x, sigma));
            grid.student.push(student.log_density.exp());
            grid.log_ratio.push((teacher.log_density - student.log_density).clamp(-300.0, 300.0));
            grid.difference.push(student.score[0] - teacher.score[0]);
        }
        grid
    }

    fn sum(&self, value: impl Fn(f64, f64) -> f64) -> f64 {
        let terms = self.student.iter().zip(&self.log_ratio).zip(&self.difference);
        let terms = terms.map(|((p, l), delta)| p * value(*l, *delta));
        self.step * terms.filter(|term| term.is_finite()).sum::<f64>()
    }

    /// `D_f(q || p)`.
    pub(super) fn divergence(&self, f: Divergence) -> f64 {
        self.sum(|l, _| f.value(l))
    }

    /// `E_p[h |s_p - s_q|^2]`.
    pub(super) fn fisher(&self, f: Divergence) -> f64 {
        self.sum(|l, delta| f.weights(l).h * delta * delta)
    }
}

/// V1: `D_f(0) - D_f(T) = int sigma E_p[h |Delta|^2] d sigma`.
pub(super) fn expansion() -> Result<Vec<Check>> {
    const LAST: f64 = 20.0;
    const POINTS: usize = 3001;
    let oracle = Oracle::open()?;
    let rule = Rule::levels(64, LAST);
    let mut checks = Vec::new();
    for problem in ["gauss", "mix"] {
        let (mut identity, mut table) = (0.0_f64, 0.0_f64);
        // Neyman's divergence has the roles exchanged.
        for roles in ["RKL", "NCHI2"] {
            let [q, p] = oracle.pair(problem, roles)?;
            let grid = |sigma| Grid::new(&q, &p, sigma, POINTS);
            let (start, end) = (grid(0.0), grid(LAST));
            let along: Vec<_> = rule.pairs().map(|(s, w)| (w * s, grid(s))).collect();
            for (name, f) in
                DIVERGENCES.into_iter().filter(|(n, _)| (*n == "NCHI2") == (roles == "NCHI2"))
            {
                let path: f64 = along.iter().map(|(w, grid)| w * grid.fisher(f)).sum();
                let (d0, dt) = (start.divergence(f), end.divergence(f));
                identity = identity.max(((path + dt) / d0 - 1.0).abs());
                let of = |key| oracle.number(&["expansion", problem, name, key]);
                let expected = [of("D0")?, of("integral")?];
                table = table.max(relative(&[d0, path], &expected, 1e-9));
            }
        }
        checks.push(Check::new(
            "V1",
            format!("expansion of 17 divergences, {problem}"),
            identity,
            1e-5,
        ));
        checks.push(Check::new("V1", format!("values of both sides, {problem}"), table, 1e-5));
    }
    Ok(checks)
}
