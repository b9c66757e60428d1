//! f-divergences by the weights that they give to gradients (Uni-Instruct, arXiv 2505.20755).
//!
//! ```text
//! D_f(q || p) = E_p[f(r)],     r = q / p,  q teacher, p student
//! h(r) = r^2 f''(r)
//! ```
//!
//! Gradients only ever need `h`, `r h'`, `h - r h'` and `r^2 h''`. All are evaluated from `log r`,
//! in forms in which nothing overflows that is bounded and nothing cancels.

use std::f64::consts::LN_2;
use std::fmt;

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result};

/// Largest exponent that is taken: products of two powers stay finite.
const EXPONENT_LIMIT: f64 = 350.0;

/// An f-divergence `D_f(teacher || student)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Divergence {
    /// `KL(p || q)`, `f = -log r`: seeks modes; the only one that needs no density ratio.
    ReverseKl,
    /// `KL(q || p)`, `f = r log r`: covers all of the teacher.
    ForwardKl,
    /// `forward KL(q || p) + reverse KL(p || q)`.
    Jeffreys {
        /// Weight of the forward part.
        forward: f64,
        /// Weight of the reverse part.
        reverse: f64,
    },
    /// Jensen-Shannon as a sum, `f = r log r - (r + 1) log((r + 1) / 2)`.
    JensenShannon,
    /// `f = (r + 1) log((r + 1) / (2 r))`: what a non-saturating adversarial loss minimises.
    SoftenedReverseKl,
    /// Pearson's chi-square, `f = (r - 1)^2`.
    Pearson,
    /// Neyman's chi-square, `f = (r - 1)^2 / r`.
    Neyman,
    /// Squared Hellinger distance, `f = 1 - sqrt r`.
    Hellinger,
    /// Le Cam's distance, `f = (r - 1)^2 / (r + 1)`.
    LeCam,
    /// `f = (r^a - a r + a - 1) / (a (a - 1))`.
    Alpha {
        /// The order `a`, neither 0 nor 1 (those are the two KL divergences).
        order: f64,
    },
    /// `KL(q || l q + (1 - l) p)`: the forward divergence with a bounded weight.
    SkewForwardKl {
        /// The mixing weight `l`, in (0, 1).
        lambda: f64,
    },
    /// `KL(p || l p + (1 - l) q)`.
    SkewReverseKl {
        /// The mixing weight `l`, in (0, 1).
        lambda: f64,
    },
}

/// What a divergence says about one density ratio.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Weights {
    /// `h = r^2 f''`: the weight of the score difference.
    pub h: f64,
    /// `r h'`: how the weight itself moves.
    pub slope: f64,
    /// `h - r h'`, computed without cancellation.
    pub fgm: f64,
    /// `r^2 h''`.
    pub curvature: f64,
}

impl Weights {
    const fn new(h: f64, slope: f64, fgm: f64, curvature: f64) -> Self {
        Self { h, slope, fgm, curvature }
    }

    fn plus(self, other: Self) -> Self {
        Self::new(
            self.h + other.h,
            self.slope + other.slope,
            self.fgm + other.fgm,
            self.curvature + other.curvature,
        )
    }

    pub(crate) fn scaled(self, c: f64) -> Self {
        Self::new(c * self.h, c * self.slope, c * self.fgm, c * self.curvature)
    }
}

/// `e^(a log r)`, at most `e^EXPONENT_LIMIT`.
fn power(log_ratio: f64, a: f64) -> f64 {
    (a * log_ratio).clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT).exp()
}

/// `1 / (1 + e^-x)`.
fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// `log(1 + e^x)`.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

impl Divergence {
    /// The symmetric Jeffreys divergence.
    pub const JEFFREYS: Self = Self::Jeffreys { forward: 1.0, reverse: 1.0 };

    /// The four weights at `log r`.
    pub fn weights(self, log_ratio: f64) -> Weights {
        let l = log_ratio;
        let (s, t) = (sigmoid(l), sigmoid(-l));
        match self {
            Self::ReverseKl => Weights::new(1.0, 0.0, 1.0, 0.0),
            Self::ForwardKl => {
                let r = power(l, 1.0);
                Weights::new(r, r, 0.0, 0.0)
            }
            Self::Jeffreys { forward, reverse } => Self::ForwardKl
                .weights(l)
                .scaled(forward)
                .plus(Self::ReverseKl.weights(l).scaled(reverse)),
            Self::JensenShannon => Weights::new(s, s * t, s * s, -2.0 * s * s * t),
            Self::SoftenedReverseKl => Weights::new(t, -s * t, t * (t + 2.0 * s), 2.0 * s * s * t),
            Self::Pearson => {
                let square = power(l, 2.0);
                Weights::new(2.0 * square, 4.0 * square, -2.0 * square, 4.0 * square)
            }
            Self::Neyman => {
                let inverse = power(l, -1.0);
                Weights::new(2.0 * inverse, -2.0 * inverse, 4.0 * inverse, 4.0 * inverse)
            }
            Self::Hellinger => {
                let root = power(l, 0.5);
                Weights::new(root / 4.0, root / 8.0, root / 8.0, -root / 16.0)
            }
            Self::LeCam => {
                let c = 8.0 * s * s * t;
                let bend = s * s - 4.0 * s * t + t * t;
                Weights::new(c, c * (2.0 * t - s), c * (2.0 * s - t), 2.0 * c * bend)
            }
            Self::Alpha { order: a } => {
                let c = power(l, a);
                Weights::new(c, a * c, (1.0 - a) * c, a * (a - 1.0) * c)
            }
            Self::SkewForwardKl { lambda } => {
                let (u, v) = skew(l, lambda);
                let h = (1.0 - lambda) / lambda * u * v;
                Weights::new(h, h * (v - u), 2.0 * h * u, 2.0 * h * u * (u - 2.0 * v))
            }
            Self::SkewReverseKl { lambda } => {
                let (v, u) = skew(l, 1.0 - lambda);
                let h = v * v;
                Weights::new(h, 2.0 * h * u, h * (v - u), 2.0 * h * u * (u - 2.0 * v))
            }
        }
    }

    /// The weights of the divergence whose `h` is this one's at the softly bounded ratio,
    /// `h(e^(c tanh(log r / c)))`.
    ///
    /// Since `h` stays positive, that is an f-divergence too, and these are the weights of its exact gradient: where `r`
    /// is far from 1 they turn into a constant times those of the reverse KL, so that they neither explode
    /// nor vanish where teacher and student do not overlap.
    pub fn weights_within(self, log_ratio: f64, c: f64) -> Weights {
        let tanh = (log_ratio / c).tanh();
        // First and second derivative of the bounded logarithm.
        let inner = 1.0 - tanh * tanh;
        let bend = -2.0 / c * tanh * inner;
        let base = self.weights(c * tanh);
        let slope = base.slope * inner;
        let second = (base.slope + base.curvature) * inner * inner + base.slope * bend;
        Weights::new(base.h, slope, base.h - slope, second - slope)
    }

    /// `f(r)`, with the multiple of `r - 1` that makes it smallest at `r = 1` where that is short; skew
    /// forward KL has none.
    pub fn value(self, log_ratio: f64) -> f64 {
        let l = log_ratio;
        let r = power(l, 1.0);
        match self {
            Self::ReverseKl => r - 1.0 - l,
            Self::ForwardKl => r * l - r + 1.0,
            Self::Jeffreys { forward, reverse } => {
                forward * Self::ForwardKl.value(l) + reverse * Self::ReverseKl.value(l)
            }
            Self::JensenShannon => r * (LN_2 - softplus(-l)) + LN_2 - softplus(l),
            Self::SoftenedReverseKl => (r + 1.0) * (softplus(-l) - LN_2) + r - 1.0,
            Self::Pearson => (r - 1.0).powi(2),
            Self::Neyman => r - 2.0 + power(l, -1.0),
            Self::Hellinger => 0.5 * (power(l, 0.5) - 1.0).powi(2),
            Self::LeCam => (r - 1.0) * (l / 2.0).tanh(),
            Self::Alpha { order: a } => (power(l, a) - a * r + a - 1.0) / (a * (a - 1.0)),
            Self::SkewForwardKl { lambda } => r * (l - log_mix(l, lambda)),
            Self::SkewReverseKl { lambda } => (1.0 - lambda) * (r - 1.0) - log_mix(l, 1.0 - lambda),
        }
    }

    /// `phi(log r) = f(r) - r f'(r)`, up to a constant: the loss of a generator against a discriminator
    /// with logit `log r` whose gradient is that of the divergence, `d phi / d log r = -h`.
    ///
    /// With [`Divergence::SoftenedReverseKl`] it is the non-saturating loss `softplus(-l)`, with
    /// [`Divergence::JensenShannon`] the saturating one.
    pub fn adversarial(self, log_ratio: f64) -> f64 {
        let l = log_ratio;
        match self {
            Self::ReverseKl => -l,
            Self::ForwardKl => -power(l, 1.0),
            Self::Jeffreys { forward, reverse } => -forward * power(l, 1.0) - reverse * l,
            Self::JensenShannon => -softplus(l),
            Self::SoftenedReverseKl => softplus(-l),
            Self::Pearson => -power(l, 2.0),
            Self::Neyman => 2.0 * power(l, -1.0),
            Self::Hellinger => -0.5 * power(l, 0.5),
            Self::LeCam => {
                let (s, t) = (sigmoid(l), sigmoid(-l));
                (t - s) * (t + 3.0 * s)
            }
            Self::Alpha { order: a } => -power(l, a) / a,
            Self::SkewForwardKl { lambda } => -(1.0 - lambda) / lambda * skew(l, lambda).0,
            Self::SkewReverseKl { lambda } => skew(l, 1.0 - lambda).0 - log_mix(l, 1.0 - lambda),
        }
    }

    /// Whether the weights depend on the density ratio, so that one must be estimated.
    pub fn needs_ratio(self) -> bool {
        match self {
            Self::ReverseKl => false,
            Self::Jeffreys { forward, .. } => forward != 0.0,
            _ => true,
        }
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Config`] when one is out of range.
    pub fn validate(self) -> Result<()> {
        let bad =
            |field: &str, reason: String| Err(Error::config(format!("divergence.{field}"), reason));
        match self {
            Self::Jeffreys { forward, reverse }
                if !(forward >= 0.0
                    && reverse >= 0.0
                    && (forward + reverse).is_finite()
                    && forward + reverse > 0.0) =>
            {
                let found = format!("found {forward} and {reverse}");
                bad("jeffreys", format!("expected two weights of at least 0, not both 0; {found}"))
            }
            Self::Alpha { order } if !order.is_finite() || order == 0.0 || order == 1.0 => {
                bad("alpha.order", format!("expected a number other than 0 and 1, found {order}"))
            }
            Self::SkewForwardKl { lambda } | Self::SkewReverseKl { lambda }
                if !(lambda > 0.0 && lambda < 1.0) =>
            {
                bad("lambda", format!("expected a number between 0 and 1, found {lambda}"))
            }
            _ => Ok(()),
        }
    }
}

/// The two shares of the mixture `m = l r + 1 - l`: `(l r / m, (1 - l) / m)`.
fn skew(log_ratio: f64, lambda: f64) -> (f64, f64) {
    let x = log_ratio + lambda.ln() - (1.0 - lambda).ln();
    (sigmoid(x), sigmoid(-x))
}

/// `log(l r + 1 - l)`.
fn log_mix(log_ratio: f64, lambda: f64) -> f64 {
    softplus(log_ratio + lambda.ln() - (1.0 - lambda).ln()) + (1.0 - lambda).ln()
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReverseKl => f.write_str("reverse KL"),
            Self::ForwardKl => f.write_str("forward KL"),
            Self::Jeffreys { forward, reverse } => write!(f, "Jeffreys {forward}/{reverse}"),
            Self::JensenShannon => f.write_str("Jensen-Shannon"),
            Self::SoftenedReverseKl => f.write_str("softened reverse KL"),
            Self::Pearson => f.write_str("Pearson chi-square"),
            Self::Neyman => f.write_str("Neyman chi-square"),
            Self::Hellinger => f.write_str("squared Hellinger"),
            Self::LeCam => f.write_str("Le Cam"),
            Self::Alpha { order } => write!(f, "alpha {order}"),
            Self::SkewForwardKl { lambda } => write!(f, "skew forward KL {lambda}"),
            Self::SkewReverseKl { lambda } => write!(f, "skew reverse KL {lambda}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Divergence; 13] = [
        Divergence::ReverseKl,
        Divergence::ForwardKl,
        Divergence::JEFFREYS,
        Divergence::Jeffreys { forward: 0.4, reverse: 0.6 },
        Divergence::JensenShannon,
        Divergence::SoftenedReverseKl,
        Divergence::Pearson,
        Divergence::Neyman,
        Divergence::Hellinger,
        Divergence::LeCam,
        Divergence::Alpha { order: 1.5 },
        Divergence::SkewForwardKl { lambda: 0.1 },
        Divergence::SkewReverseKl { lambda: 0.3 },
    ];

    /// `e^(+-300)` is where ratios of densities without overlap end up.
    #[test]
    fn weights_are_finite_and_consistent_at_extreme_ratios() {
        for divergence in ALL {
            for l in [-1e4, -300.0, -30.0, 0.0, 30.0, 300.0, 1e4] {
                let w = divergence.weights(l);
                for value in [w.h, w.slope, w.fgm, w.curvature, divergence.adversarial(l)] {
                    assert!(value.is_finite(), "{divergence} at {l}: {w:?}");
                }
                assert!(w.h >= 0.0, "{divergence} at {l}");
                let gap = (w.h - w.slope - w.fgm).abs();
                assert!(gap <= 1e-12 * (1.0 + w.h.abs() + w.slope.abs()), "{divergence} {l} {gap}");
            }
        }
        let js = Divergence::JensenShannon.weights(1e4);
        assert_eq!((js.h, js.fgm, js.slope), (1.0, 1.0, 0.0));
    }

    #[test]
    fn bounded_weights_are_derivatives_of_the_bounded_h() {
        for (divergence, c) in ALL.into_iter().flat_map(|f| [(f, 0.7), (f, 3.0)]) {
            let h = |l: f64| divergence.weights(c * (l / c).tanh()).h;
            for l in [-4.0, -1.0, -0.2, 0.0, 0.5, 2.0] {
                let w = divergence.weights_within(l, c);
                let step = 1e-4;
                let first = (h(l + step) - h(l - step)) / (2.0 * step);
                let second = (h(l + step) - 2.0 * h(l) + h(l - step)) / (step * step);
                // In `log r`, `r h'` is the first derivative and `r^2 h''` the second less the first.
                let expected = [h(l), first, h(l) - first, second - first];
                let scale = 1.0 + h(l).abs() + first.abs() + second.abs();
                for (found, expected) in
                    [w.h, w.slope, w.fgm, w.curvature].into_iter().zip(expected)
                {
                    assert!((found - expected).abs() < 1e-6 * scale, "{divergence} {c} {l}: {w:?}");
                }
            }
            let far = divergence.weights_within(-300.0, c);
            assert!(far.h > 0.0 && (far.slope, far.fgm) == (0.0, far.h), "{divergence}: {far:?}");
        }
        let unbounded = Divergence::LeCam.weights(1.0);
        assert!(
            (Divergence::LeCam.weights_within(1.0, 1e6).curvature - unbounded.curvature).abs()
                < 1e-9
        );
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        for (bad, field) in [
            (Divergence::Alpha { order: 1.0 }, "divergence.alpha.order"),
            (Divergence::SkewForwardKl { lambda: 1.0 }, "divergence.lambda"),
            (Divergence::Jeffreys { forward: 0.0, reverse: 0.0 }, "divergence.jeffreys"),
        ] {
            assert!(bad.validate().unwrap_err().to_string().contains(field));
        }
        assert!(ALL.iter().all(|divergence| divergence.validate().is_ok()));
    }
}
