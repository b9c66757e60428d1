//! Gauss rules, a trapezoid, a lattice: sums that stand for expectations.

/// Points and weights of a rule.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) points: Vec<f64>,
    pub(super) weights: Vec<f64>,
}

impl Rule {
    /// Expectations over a standard normal variable.
    pub(super) fn hermite(n: usize) -> Self {
        Self::gauss(n, |k| (k as f64).sqrt())
    }

    /// Means over `[-1, 1]`.
    fn legendre(n: usize) -> Self {
        Self::gauss(n, |k| {
            let k = k as f64;
            k / (4.0 * k * k - 1.0).sqrt()
        })
    }

    /// Integrals over `[0, last]` after the substitution `u = log(1 + s / 0.3)`, which follows how
    /// densities change along a diffusion.
    pub(super) fn levels(n: usize, last: f64) -> Self {
        const SCALE: f64 = 0.3;
        let top = (last / SCALE).ln_1p();
        let mut rule = Self::legendre(n);
        for (point, weight) in rule.points.iter_mut().zip(&mut rule.weights) {
            let u = top * (*point + 1.0) / 2.0;
            *point = SCALE * u.exp_m1();
            *weight *= top * SCALE * u.exp();
        }
        rule
    }

    /// The Gauss rule of the orthonormal polynomials `b_{k+1} p_{k+1} = x p_k - b_k p_{k-1}`: its points
    /// are the eigenvalues of the Jacobi matrix, found by counting sign changes; its weights are
    /// `1 / sum_k p_k(x)^2`.
    fn gauss(n: usize, b: impl Fn(usize) -> f64) -> Self {
        // Eigenvalues below x: negative pivots of the LDL factorisation of J - x.
        let below = |x: f64| {
            let (mut count, mut pivot) = (0, 1.0);
            for k in 0..n {
                let square = if k == 0 { 0.0 } else { b(k).powi(2) };
                pivot = -x - square / pivot;
                if pivot == 0.0 {
                    pivot = f64::MIN_POSITIVE;
                }
                count += usize::from(pivot < 0.0);
            }
            count
        };
        let bound = 2.0 * b(n) + 1.0;
        let point = |i: usize| {
            let (mut low, mut high) = (-bound, bound);
            for _ in 0..200 {
                let middle = f64::midpoint(low, high);
                if below(middle) > i { high = middle } else { low = middle }
            }
            f64::midpoint(low, high)
        };
        let weight = |x: f64| {
            let (mut before, mut now, mut sum) = (0.0, 1.0, 1.0);
            for k in 0..n - 1 {
                let previous = if k == 0 { 0.0 } else { b(k) * before };
                (before, now) = (now, (x * now - previous) / b(k + 1));
                sum += now * now;
            }
            1.0 / sum
        };
        let points: Vec<f64> = (0..n).map(point).collect();
        let weights = points.iter().map(|x| weight(*x)).collect();
        Self { points, weights }
    }

    /// Points with their weights.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().copied().zip(self.weights.iter().copied())
    }
}

/// Quantile of the standard normal distribution (P. J. Acklam's rational approximation, relative error
/// 1.2e-9).
pub(super) fn normal_quantile(u: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e1,
        2.209460984245205e2,
        -2.759285104469687e2,
        1.38357751867269e2,
        -3.066479806614716e1,
        2.506628277459239,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e1,
        1.615858368580409e2,
        -1.556989798598866e2,
        6.680131188771972e1,
        -1.328068155288572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-3,
        -3.223964580411365e-1,
        -2.400758277161838,
        -2.549732539343734,
        4.374664141464968,
        2.938163982698783,
    ];
    const D: [f64; 5] =
        [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1.0];
    let polynomial = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |u: f64| {
        let q = (-2.0 * u.ln()).sqrt();
        polynomial(&C, q) / polynomial(&D, q)
    };
    if u < 0.02425 {
        tail(u)
    } else if u > 1.0 - 0.02425 {
        -tail(1.0 - u)
    } else {
        let q = u - 0.5;
        q * polynomial(&A, q * q) / polynomial(&B, q * q)
    }
}

/// A rank-1 lattice in three dimensions, moved by a shift: `n` points in the unit cube.
pub(super) fn lattice(n: usize, shift: [f64; 3]) -> impl Iterator<Item = [f64; 3]> {
    // Fractional parts of multiples of powers of the root of x^4 = x + 1.
    const STEP: f64 = 0.819_172_513_396_164_4;
    let steps = [STEP, STEP * STEP, STEP * STEP * STEP];
    (0..n).map(move |i| {
        let mut point = [0.0; 3];
        for (p, (s, offset)) in point.iter_mut().zip(steps.iter().zip(shift)) {
            *p = (i as f64 * s + offset).fract();
        }
        point
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_integrate_polynomials() {
        let rule = Rule::hermite(96);
        let moment = |power: i32| rule.pairs().map(|(x, w)| w * x.powi(power)).sum::<f64>();
        for (power, expected) in [(0, 1.0), (1, 0.0), (2, 1.0), (4, 3.0), (8, 105.0)] {
            assert!((moment(power) - expected).abs() < 1e-10 * expected.max(1.0), "{power}");
        }
        let rule = Rule::levels(40, 20.0);
        let area: f64 = rule.pairs().map(|(s, w)| w * (-s).exp()).sum();
        assert!((area - (1.0 - (-20.0_f64).exp())).abs() < 1e-12);
    }

    /// Values of `scipy.special.ndtri`.
    #[test]
    fn quantiles_are_those_of_scipy() {
        for (u, x) in
            [(0.001, -3.090232306167813), (0.3, -0.5244005127080409), (0.975, 1.959963984540054)]
        {
            assert!((normal_quantile(u) - x).abs() < 5e-9);
        }
    }
}
