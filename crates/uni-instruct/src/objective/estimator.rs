//! The two gradient estimators of a weighted path divergence, as losses of one sample.
//!
//! In EDM coordinates, with `x = x_0 + sigma n`, `delta = D_q - D_p`, `a = D_p - x_0`,
//! `r = q_sigma(x) / p_sigma(x)`, and the factor `2 / sigma^4` left out of the expanded form:
//!
//! ```text
//! integral   < sg[h (D_p - D_q)], x_0 >
//! expanded   h <delta, a>                                      SIM   h held constant
//!          + < sg[(r h') <delta, a> delta / sigma^2], x >      HG    the derivative of h through x
//!          + kappa/2 (h - r h') |delta|^2                      FGM
//!          - < sg[1/2 (r^2 h'') |delta|^2 delta / sigma^2], x >   DI
//! ```
//!
//! `sg` stops gradients. In the expanded form they flow through the *inputs* of both networks; in the
//! integral form nothing flows through a network. Both have the expectation of the gradient of
//! `D_f(q || p)` along the path (Uni-Instruct, arXiv 2505.20755, with the term HG that its theorem
//! needs unless `f` is the reverse KL).

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::divergence::Weights;
use crate::tensors::{column, dot};

/// How the derivatives of the weights are taken: of `h` inside the SIM product, and of `h - r h'` before
/// `|delta|^2`, which is DI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HgMode {
    /// That of `h` not at all: the stop-gradient form of the released code.
    Off,
    /// With `grad log r = delta / sigma^2`, the difference of the two networks.
    Score,
    /// By differentiating the logit of the discriminator: of another discriminator than the best one, the
    /// result is still the derivative of the weight that is used, whose size does not grow with
    /// `|delta| / sigma`.
    Logit,
}

/// The distance between scores in SIM.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Distance {
    /// The square.
    Squared,
    /// `sqrt(|y|^2 + c^2) - c` (SIM, arXiv 2410.16794).
    PseudoHuber {
        /// The constant `c`, in units of `D_q - D_p`.
        c: f64,
    },
}

/// The terms of the expanded form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expanded {
    /// The derivative of `h`.
    pub hg: HgMode,
    /// The factor `kappa` of FGM: 1 is exact, SiD's alpha is `kappa = 2 - 2 alpha`, 0 is SIM alone.
    pub kappa: f64,
    /// Whether DI is there.
    pub di: bool,
    /// The distance in SIM.
    pub distance: Distance,
    /// Largest norm of HG and DI together, as a multiple of `h |delta|`; they grow with the dimension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correction_limit: Option<f64>,
}

impl Expanded {
    /// All four terms: the gradient of the divergence itself.
    pub const EXACT: Self = Self {
        hg: HgMode::Score,
        kappa: 1.0,
        di: true,
        distance: Distance::Squared,
        correction_limit: None,
    };

    /// SIM alone.
    pub const SIM: Self = Self { hg: HgMode::Off, kappa: 0.0, di: false, ..Self::EXACT };

    /// SiD with its alpha, which is exact for the reverse KL at 1/2.
    pub const fn sid(alpha: f64) -> Self {
        Self { kappa: 2.0 - 2.0 * alpha, ..Self::SIM }
    }
}

impl Default for Expanded {
    fn default() -> Self {
        Self::EXACT
    }
}

/// Which of the two forms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Estimator {
    /// The integral form: cheap, of low variance, no gradient through a network.
    Integral,
    /// The expanded form.
    Expanded(Expanded),
}

/// A batch of student samples as teacher and fake score see them.
#[derive(Debug, Clone)]
pub struct Views<'a> {
    /// Samples of the student, tracked, `[B, D]`.
    pub x0: Tensor<2>,
    /// The same with noise, `x0 + sigma n`, `[B, D]`.
    pub x: Tensor<2>,
    /// Noise levels, `[B]`.
    pub sigma: &'a [f64],
    /// `D_q(x, sigma)`, differentiable through `x`, `[B, D]`.
    pub teacher: Tensor<2>,
    /// `D_p(x, sigma)`, differentiable through `x`, `[B, D]`.
    pub fake: Tensor<2>,
    /// The logit `log r`, differentiable through `x`, `[B, 1]`; only for [`HgMode::Logit`].
    pub log_ratio: Option<Tensor<2>>,
}

impl Estimator {
    /// The loss of each sample, whose gradient in the student's parameters is that of the divergence.
    ///
    /// # Shapes
    /// - `weights`: one per sample
    /// - returns: `[B, 1]`
    pub fn loss(&self, views: &Views<'_>, weights: &[Weights]) -> Tensor<2> {
        let of = |pick: fn(&Weights) -> f64| {
            column(&weights.iter().map(pick).collect::<Vec<_>>(), &views.x0)
        };
        let delta = views.teacher.clone() - views.fake.clone();
        let h = of(|w| w.h);
        match self {
            Self::Integral => dot((delta.neg() * h).detach(), views.x0.clone()),
            Self::Expanded(terms) => terms.loss(views, delta, h, &of),
        }
    }

    /// Whether a density ratio is asked for beyond what the divergence needs.
    pub(crate) fn uses_logit(&self) -> bool {
        matches!(self, Self::Expanded(Expanded { hg: HgMode::Logit, .. }))
    }
}

impl Expanded {
    fn loss(
        &self,
        views: &Views<'_>,
        delta: Tensor<2>,
        h: Tensor<2>,
        of: &dyn Fn(fn(&Weights) -> f64) -> Tensor<2>,
    ) -> Tensor<2> {
        let square = dot(delta.clone(), delta.clone());
        let product = dot(delta.clone(), views.fake.clone() - views.x0.clone());
        let sim = match self.distance {
            Distance::Squared => product,
            Distance::PseudoHuber { c } => product / (square.clone() + c * c).sqrt(),
        };
        let mut loss = sim.clone() * h.clone();

        if self.kappa != 0.0 {
            loss = loss + of(|w| w.fgm) * square.clone() * (0.5 * self.kappa);
        }
        // HG and DI are multiples of grad log r.
        let mut along = None;
        if self.hg != HgMode::Off {
            along = Some(of(|w| w.slope) * sim.detach());
        }
        if self.di {
            let term = of(|w| w.curvature) * square.detach() * -0.5;
            along = Some(match along {
                Some(sum) => sum + term,
                None => term,
            });
        }
        if let (HgMode::Logit, Some(logit)) = (self.hg, &views.log_ratio)
            && let Some(along) = along.take()
        {
            loss = loss + along.detach() * logit.clone();
        }
        if let Some(along) = along {
            let inverse: Vec<f64> = views.sigma.iter().map(|s| s.powi(-2)).collect();
            let mut scale = along * column(&inverse, &views.x0);
            if let Some(limit) = self.correction_limit {
                let most = h * limit;
                scale = scale.min_pair(most.clone()).max_pair(most.neg());
            }
            loss = loss + dot((scale * delta).detach(), views.x.clone());
        }
        loss
    }
}
