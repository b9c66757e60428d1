//! What is minimised: one description that covers every method of the family.
//!
//! An [`Objective`] says which divergence of the noised distributions is followed
//! ([`Divergence`]), with which gradient ([`Estimator`]), at which noise levels ([`TimeLaw`]) and
//! weights ([`Normaliser`]), where the density ratio comes from ([`RatioSettings`]), what the fake score
//! is ([`FakeSettings`]), and which terms are added. The training loop knows nothing else.

mod estimator;
mod ratio;
mod time;
mod weight;

pub use estimator::{Distance, Estimator, Expanded, HgMode, Views};
pub use ratio::{Bins, Calibration, RatioSettings};
pub use time::TimeLaw;
pub use weight::Normaliser;

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result};

use crate::divergence::Divergence;

/// What stands for the score of the student.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FakeKind {
    /// A network that starts at the teacher and is trained on samples of the student.
    Learned,
    /// The same with only a low-rank change of each layer trained (VSD).
    LowRank {
        /// The rank.
        rank: usize,
    },
    /// The conditional score of a point, `D_p = x_0` (SDS): the student is what it generates.
    Conditional,
    /// `D_p = x_0 + D_q(x_ref) - x_ref0` with the same noise: the difference of two SDS gradients (DDS).
    Reference,
}

impl FakeKind {
    /// Whether there is a network to train.
    pub fn is_network(self) -> bool {
        matches!(self, Self::Learned | Self::LowRank { .. })
    }
}

/// The fake score and how it keeps up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FakeSettings {
    /// What it is.
    pub kind: FakeKind,
    /// Noise levels of its training.
    pub time: TimeLaw,
    /// Share of its levels that come from the student's law instead. A discriminator is only as good as
    /// the levels that it has seen.
    pub student_share: f64,
    /// Updates of the fake score for each of the student.
    pub updates: usize,
}

/// The adversarial term `E_p[phi(l)]` on noised samples, itself an integral-form divergence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adversarial {
    /// Which divergence; `softened-reverse-kl` is the usual non-saturating loss.
    pub divergence: Divergence,
    /// Weight beside the score terms.
    pub weight: f64,
    /// Whether the factor `c` and the number of coordinates multiply it too, as in SiDA.
    pub normalised: bool,
}

/// Scales of classifier-free guidance, `D(null) + w (D(c) - D(null))`; 1 is none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guidance {
    /// Of the teacher.
    pub teacher: f64,
    /// Of the fake score in the student's loss.
    pub fake: f64,
    /// Of the fake score in its own training (long-short guidance, SiD-LSG).
    pub fake_training: f64,
}

impl Default for Guidance {
    fn default() -> Self {
        Self { teacher: 1.0, fake: 1.0, fake_training: 1.0 }
    }
}

impl Guidance {
    /// Whether conditions matter.
    pub fn is_on(self) -> bool {
        self != Self::default()
    }
}

/// A distillation objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Which divergence, `f`.
    pub divergence: Divergence,
    /// Which form of its gradient.
    pub estimator: Estimator,
    /// Noise levels of the student's loss.
    pub time: TimeLaw,
    /// Factor of each sample, `c`.
    pub normaliser: Normaliser,
    /// Weight of the score terms.
    pub score_weight: f64,
    /// Density ratio, `r`.
    pub ratio: RatioSettings,
    /// Fake score, `D_p`.
    pub fake: FakeSettings,
    /// Adversarial term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adversarial: Option<Adversarial>,
    /// Weight of the regression on pairs of noise and the teacher's own sample (DMD).
    #[serde(default)]
    pub regression: f64,
    /// Weight of the reward, `lambda`, in `-lambda R(x_0)` (Diff-Instruct++).
    #[serde(default)]
    pub reward: f64,
    /// Weight of the negative log-likelihood of an observation (RED-diff).
    #[serde(default)]
    pub fidelity: f64,
    /// Guidance.
    #[serde(default)]
    pub guidance: Guidance,
}

impl Objective {
    /// The exact gradient of a divergence in one of the two forms, with SiD's noise levels above a floor.
    pub fn of(divergence: Divergence, estimator: Estimator) -> Self {
        Self {
            divergence,
            estimator,
            time: TimeLaw::sid(0.02),
            normaliser: Normaliser::L1ToTeacher,
            score_weight: 1.0,
            ratio: RatioSettings::default(),
            fake: FakeSettings {
                kind: FakeKind::Learned,
                time: TimeLaw::edm(),
                student_share: 0.5,
                updates: 1,
            },
            adversarial: None,
            regression: 0.0,
            reward: 0.0,
            fidelity: 0.0,
            guidance: Guidance::default(),
        }
    }

    /// Whether a discriminator is trained.
    pub fn needs_discriminator(&self) -> bool {
        self.needs_ratio() || self.adversarial.is_some()
    }

    /// Whether the score terms need a density ratio.
    pub fn needs_ratio(&self) -> bool {
        self.score_weight != 0.0 && (self.divergence.needs_ratio() || self.estimator.uses_logit())
    }

    /// Checks that the parts are in range and fit together.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field that is wrong.
    pub fn validate(&self) -> Result<()> {
        let bad =
            |field: &str, reason: String| Err(Error::config(format!("objective.{field}"), reason));
        self.divergence.validate()?;
        self.time.validate("objective.time")?;
        self.fake.time.validate("objective.fake.time")?;
        self.ratio.validate()?;
        let weights = [
            ("score_weight", self.score_weight),
            ("regression", self.regression),
            ("fidelity", self.fidelity),
            ("adversarial.weight", self.adversarial.map_or(0.0, |term| term.weight)),
        ];
        for (field, weight) in weights {
            if !(weight >= 0.0 && weight.is_finite()) {
                return bad(field, format!("expected a number of at least 0, found {weight}"));
            }
        }
        if !self.reward.is_finite() {
            return bad("reward", format!("expected a number, found {}", self.reward));
        }
        if !(0.0..=1.0).contains(&self.fake.student_share) {
            let found = self.fake.student_share;
            return bad("fake.student_share", format!("expected 0 to 1, found {found}"));
        }
        if self.fake.updates == 0 {
            return bad("fake.updates", "expected at least 1, found 0".into());
        }
        if let Some(adversarial) = self.adversarial {
            adversarial.divergence.validate()?;
        }
        match self.normaliser {
            Normaliser::Analytic { deviation } if !(deviation > 0.0 && deviation.is_finite()) => {
                let reason = format!("expected a positive number, found {deviation}");
                return bad("normaliser.analytic.deviation", reason);
            }
            Normaliser::Power { exponent } if !exponent.is_finite() => {
                let reason = format!("expected a number, found {exponent}");
                return bad("normaliser.power.exponent", reason);
            }
            _ => {}
        }
        self.validate_estimator()
    }

    /// Estimator, fake score and discriminator must go together.
    fn validate_estimator(&self) -> Result<()> {
        let bad =
            |field: &str, reason: String| Err(Error::config(format!("objective.{field}"), reason));
        let kind = self.fake.kind;
        if let FakeKind::LowRank { rank: 0 } = kind {
            return bad("fake.kind.low-rank.rank", "expected at least 1, found 0".into());
        }
        if !kind.is_network() {
            if let Estimator::Expanded(_) = self.estimator {
                let reason = "the expanded form vanishes unless the fake score is a network \
                              (`learned` or `low-rank`); expected `integral`, found `expanded`";
                return bad("estimator", reason.into());
            }
            if self.needs_discriminator() {
                let reason = format!(
                    "expected `reverse-kl` without an adversarial term, because a fake score \
                     without a network has no density ratio; found {}",
                    self.divergence
                );
                return bad("divergence", reason);
            }
        }
        let Estimator::Expanded(terms) = &self.estimator else { return Ok(()) };
        if !terms.kappa.is_finite() {
            let reason = format!("expected a number, found {}", terms.kappa);
            return bad("estimator.expanded.kappa", reason);
        }
        if terms.correction_limit.is_some_and(|limit| !(limit > 0.0 && limit.is_finite())) {
            let reason = "expected a positive number".into();
            return bad("estimator.expanded.correction_limit", reason);
        }
        if let Distance::PseudoHuber { c } = terms.distance {
            if !(c > 0.0 && c.is_finite()) {
                let reason = format!("expected a positive number, found {c}");
                return bad("estimator.expanded.distance.pseudo-huber.c", reason);
            }
            if terms.kappa != 0.0 || terms.di || terms.hg != HgMode::Off {
                let reason = "pseudo-huber belongs to SIM alone: expected kappa = 0, di = false \
                              and hg = \"off\"";
                return bad("estimator.expanded.distance", reason.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_together_is_one_clear_line() {
        let exact = Objective::of(Divergence::ForwardKl, Estimator::Expanded(Expanded::EXACT));
        assert!(exact.validate().is_ok() && exact.needs_ratio());
        let mut conditional = exact.clone();
        conditional.fake.kind = FakeKind::Conditional;
        let mut ratio = conditional.clone();
        ratio.estimator = Estimator::Integral;
        let mut huber = exact.clone();
        huber.estimator = Estimator::Expanded(Expanded {
            distance: Distance::PseudoHuber { c: 0.1 },
            ..Expanded::EXACT
        });
        let mut updates = exact.clone();
        updates.fake.updates = 0;
        let cases = [
            (conditional, "objective.estimator"),
            (ratio, "objective.divergence"),
            (huber, "objective.estimator.expanded.distance"),
            (updates, "objective.fake.updates"),
        ];
        for (objective, field) in cases {
            let error = objective.validate().unwrap_err().to_string();
            assert!(error.contains(&format!("`{field}`")) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn toml_has_every_field() {
        let exact = Objective::of(Divergence::JEFFREYS, Estimator::Expanded(Expanded::EXACT));
        let text = toml::to_string(&exact).unwrap();
        assert_eq!(toml::from_str::<Objective>(&text).unwrap(), exact, "{text}");
        let error = toml::from_str::<Objective>(&format!("gamma = 1\n{text}")).unwrap_err();
        assert!(error.to_string().contains("unknown field `gamma`"), "{error}");
    }
}
