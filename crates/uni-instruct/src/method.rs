//! The published methods as rows of a table: each is an [`Objective`] and nothing more.

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result};

use crate::divergence::Divergence;
use crate::objective::{
    Adversarial, Bins, Distance, Estimator, Expanded, FakeKind, Guidance, HgMode, Normaliser,
    Objective, TimeLaw,
};

/// What the student is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StudentKind {
    /// A network that turns noise into a sample in one step.
    Network,
    /// Points that are optimised themselves: a picture, a scene, the solution of an inverse problem.
    Points,
}

/// A part of a run with one objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Share of the run's samples.
    pub share: f64,
    /// What is minimised meanwhile.
    pub objective: Objective,
}

/// A method, resolved: what a run does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What the student is.
    pub student: StudentKind,
    /// One stage, or several after one another.
    pub stages: Vec<Stage>,
}

impl Plan {
    fn one(objective: Objective) -> Self {
        Self { student: StudentKind::Network, stages: vec![Stage { share: 1.0, objective }] }
    }

    fn points(objective: Objective) -> Self {
        Self { student: StudentKind::Points, ..Self::one(objective) }
    }

    fn two(first: Objective, second: Objective) -> Self {
        let stages = [first, second].map(|objective| Stage { share: 0.5, objective });
        Self { student: StudentKind::Network, stages: stages.into() }
    }

    /// The stage after a share of the run, in `[0, 1)`.
    pub fn stage(&self, progress: f64) -> usize {
        let mut end = 0.0;
        for (i, stage) in self.stages.iter().enumerate() {
            end += stage.share;
            if progress < end {
                return i;
            }
        }
        self.stages.len().saturating_sub(1)
    }

    /// Rank of the fake score's trained change, where it is of low rank.
    pub fn rank(&self) -> Option<usize> {
        match self.stages.first()?.objective.fake.kind {
            FakeKind::LowRank { rank } => Some(rank),
            FakeKind::Learned | FakeKind::Conditional | FakeKind::Reference => None,
        }
    }

    /// Checks every stage.
    ///
    /// # Errors
    /// [`Error::Config`] naming what is wrong.
    pub fn validate(&self) -> Result<()> {
        let Some(first) = self.stages.first() else {
            return Err(Error::config("plan.stages", "expected at least one, found none"));
        };
        let total: f64 = self.stages.iter().map(|stage| stage.share).sum();
        if self.stages.iter().any(|stage| stage.share <= 0.0) || (total - 1.0).abs() > 1e-9 {
            let reason = format!("expected positive shares with the sum 1, found {total}");
            return Err(Error::config("plan.stages.share", reason));
        }
        for stage in &self.stages {
            stage.objective.validate()?;
            if stage.objective.fake.kind != first.objective.fake.kind {
                let reason = "expected the same kind in all stages";
                return Err(Error::config("objective.fake.kind", reason));
            }
            let regresses = stage.objective.regression != 0.0;
            if regresses && self.student == StudentKind::Points {
                let reason = "expected 0, because points have no noise to be paired with";
                return Err(Error::config("objective.regression", reason));
            }
        }
        Ok(())
    }
}

/// What may be chosen in a row.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Choices {
    /// The divergence, where the method works with any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Divergence>,
    /// SiD's alpha.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Method {
    /// Name in recipes.
    pub name: &'static str,
    /// Title and paper.
    pub paper: &'static str,
    /// The divergence under which the Uni-Instruct paper lists it; the gradient itself is that of the
    /// reverse KL where this says chi-square.
    pub paper_divergence: &'static str,
    /// What is special about it.
    pub summary: &'static str,
    plan: fn(Choices) -> Plan,
    takes: Takes,
}

/// Which choices a row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Divergence,
    Alpha,
}

impl Method {
    /// The row of a name.
    ///
    /// # Errors
    /// [`Error::Config`] listing the names that exist.
    pub fn find(name: &str) -> Result<&'static Self> {
        METHODS.iter().find(|method| method.name == name).ok_or_else(|| {
            let names: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
            Error::config("method", format!("expected one of {}; found {name}", names.join(", ")))
        })
    }

    /// What a run of this method does.
    ///
    /// # Errors
    /// [`Error::Config`] for a choice that the method does not have.
    pub fn plan(&self, choices: Choices) -> Result<Plan> {
        let refuse = |field: &str| Err(Error::config(field, format!("{} has none", self.name)));
        if choices.divergence.is_some() && self.takes != Takes::Divergence {
            return refuse("divergence");
        }
        if choices.alpha.is_some() && self.takes != Takes::Alpha {
            return refuse("alpha");
        }
        if let Some(divergence) = choices.divergence {
            divergence.validate()?;
        }
        let plan = (self.plan)(choices);
        plan.validate()?;
        Ok(plan)
    }
}

/// Every method. Adding one is adding a row.
pub const METHODS: &[Method] = &[
    Method {
        name: "diff-instruct",
        paper: "Diff-Instruct (arXiv 2305.18455)",
        paper_divergence: "chi-square",
        summary: "integral reverse KL",
        plan: |_| Plan::one(diff_instruct()),
        takes: Takes::Nothing,
    },
    Method {
        name: "di-plus-plus",
        paper: "Diff-Instruct++ (arXiv 2410.18881)",
        paper_divergence: "chi-square",
        summary: "Diff-Instruct with a reward",
        plan: |_| Plan::one(Objective { reward: 1.0, ..diff_instruct() }),
        takes: Takes::Nothing,
    },
    Method {
        name: "di-star",
        paper: "Diff-Instruct* (arXiv 2410.20898)",
        paper_divergence: "reverse KL",
        summary: "SIM with a pseudo-Huber distance and a reward",
        plan: |_| Plan::one(Objective { reward: 1.0, ..sim() }),
        takes: Takes::Nothing,
    },
    Method {
        name: "sds",
        paper: "Score distillation sampling (DreamFusion, arXiv 2209.14988)",
        paper_divergence: "chi-square",
        summary: "points; the fake score is the conditional score",
        plan: |_| Plan::points(score_distillation(FakeKind::Conditional)),
        takes: Takes::Nothing,
    },
    Method {
        name: "dds",
        paper: "Delta denoising score (arXiv 2304.07090)",
        paper_divergence: "chi-square",
        summary: "points; difference of two SDS gradients with the same noise",
        plan: |_| Plan::points(score_distillation(FakeKind::Reference)),
        takes: Takes::Nothing,
    },
    Method {
        name: "vsd",
        paper: "Variational score distillation (ProlificDreamer, arXiv 2305.16213)",
        paper_divergence: "chi-square",
        summary: "integral reverse KL with a low-rank fake score",
        plan: |_| Plan::one(score_distillation(FakeKind::LowRank { rank: 8 })),
        takes: Takes::Nothing,
    },
    Method {
        name: "dmd",
        paper: "Distribution matching distillation (arXiv 2311.18828)",
        paper_divergence: "chi-square",
        summary: "integral reverse KL and regression on pairs of the teacher",
        plan: |_| Plan::one(Objective { regression: 0.25, ..distribution_matching() }),
        takes: Takes::Nothing,
    },
    Method {
        name: "dmd2",
        paper: "DMD2 (arXiv 2405.14867)",
        paper_divergence: "chi-square",
        summary: "DMD with five fake updates and an adversarial term in place of the regression",
        plan: |_| {
            let mut objective = distribution_matching();
            objective.fake.updates = 5;
            objective.ratio.discriminator_weight = 1e-2;
            objective.adversarial = Some(softplus(3e-3, false));
            Plan::one(objective)
        },
        takes: Takes::Nothing,
    },
    Method {
        name: "red-diff",
        paper: "RED-diff (arXiv 2305.04391)",
        paper_divergence: "chi-square",
        summary: "points; SDS with the likelihood of an observation",
        plan: |_| {
            let mut objective = score_distillation(FakeKind::Conditional);
            objective.normaliser = Normaliser::Power { exponent: 2.0 };
            objective.fidelity = 1.0;
            Plan::points(objective)
        },
        takes: Takes::Nothing,
    },
    Method {
        name: "swift-brush",
        paper: "SwiftBrush (arXiv 2312.05239)",
        paper_divergence: "chi-square",
        summary: "VSD with guidance of the teacher",
        plan: |_| {
            let mut objective = score_distillation(FakeKind::LowRank { rank: 8 });
            objective.guidance.teacher = 4.5;
            Plan::one(objective)
        },
        takes: Takes::Nothing,
    },
    Method {
        name: "sim",
        paper: "Score implicit matching (arXiv 2410.16794)",
        paper_divergence: "reverse KL",
        summary: "expanded form, SIM with a pseudo-Huber distance",
        plan: |_| Plan::one(sim()),
        takes: Takes::Nothing,
    },
    Method {
        name: "sid",
        paper: "Score identity distillation (arXiv 2404.04057)",
        paper_divergence: "reverse KL",
        summary: "SIM + (2 - 2 alpha) FGM; alpha is 1.2 unless chosen",
        plan: |choices| Plan::one(sid(choices.alpha.unwrap_or(1.2))),
        takes: Takes::Alpha,
    },
    Method {
        name: "sida",
        paper: "SiDA (arXiv 2410.14919)",
        paper_divergence: "reverse KL",
        summary: "SiD with an adversarial term on the fake network's encoder",
        plan: |choices| Plan::one(sida(choices.alpha.unwrap_or(1.0))),
        takes: Takes::Alpha,
    },
    Method {
        name: "sid2a",
        paper: "SiD2A (arXiv 2410.14919)",
        paper_divergence: "reverse KL",
        summary: "SiD first, then SiDA",
        plan: |choices| {
            let alpha = choices.alpha.unwrap_or(1.0);
            Plan::two(sid(choices.alpha.unwrap_or(1.2)), sida(alpha))
        },
        takes: Takes::Alpha,
    },
    Method {
        name: "sid-lsg",
        paper: "Long and short guidance (arXiv 2406.01561)",
        paper_divergence: "reverse KL",
        summary: "SiD with guidance of the fake score in its training and of both in the loss",
        plan: |choices| {
            let mut objective = sid(choices.alpha.unwrap_or(1.0));
            objective.guidance = Guidance { teacher: 1.5, fake: 1.5, fake_training: 1.5 };
            Plan::one(objective)
        },
        takes: Takes::Alpha,
    },
    Method {
        name: "f-distill",
        paper: "f-distill (arXiv 2502.15681)",
        paper_divergence: "chi-square",
        summary: "integral form under any divergence; Jensen-Shannon unless chosen",
        plan: |choices| {
            let mut objective = distribution_matching();
            objective.divergence = choices.divergence.unwrap_or(Divergence::JensenShannon);
            objective.ratio.bins = Some(BINS);
            objective.ratio.unit_mean = true;
            objective.adversarial = Some(softplus(1e-3, false));
            Plan::one(objective)
        },
        takes: Takes::Divergence,
    },
    Method {
        name: "uni-instruct",
        paper: "Uni-Instruct (arXiv 2505.20755)",
        paper_divergence: "all",
        summary: "expanded form with its exact gradient; forward KL unless chosen",
        plan: |choices| {
            Plan::one(uni_instruct(choices.divergence.unwrap_or(Divergence::ForwardKl)))
        },
        takes: Takes::Divergence,
    },
    Method {
        name: "uni-instruct-two-stage",
        paper: "Uni-Instruct, long training (arXiv 2505.20755)",
        paper_divergence: "reverse KL, then forward KL",
        summary: "SiD with alpha 1, then Uni-Instruct; skew forward KL unless chosen",
        plan: |choices| {
            let bounded = Divergence::SkewForwardKl { lambda: 0.1 };
            Plan::two(sid(1.0), uni_instruct(choices.divergence.unwrap_or(bounded)))
        },
        takes: Takes::Divergence,
    },
];

/// Ten bins over the levels of the student.
const BINS: Bins = Bins { count: 10, min: 0.02, max: 25.0, rate: 0.0 };

fn diff_instruct() -> Objective {
    Objective {
        time: TimeLaw::edm(),
        normaliser: Normaliser::None,
        ..Objective::of(Divergence::ReverseKl, Estimator::Integral)
    }
}

fn score_distillation(kind: FakeKind) -> Objective {
    let time = TimeLaw::VariancePreserving { first: 0.02, last: 0.98 };
    let mut objective = Objective {
        time: time.clone(),
        normaliser: Normaliser::ScoreDistillation,
        ..Objective::of(Divergence::ReverseKl, Estimator::Integral)
    };
    objective.fake.kind = kind;
    objective.fake.time = TimeLaw::VariancePreserving { first: 1e-3, last: 1.0 };
    objective.fake.student_share = 0.0;
    objective
}

fn distribution_matching() -> Objective {
    let time = TimeLaw::Rho { last: 0.98, min: 0.02, max: 80.0, rho: 7.0, floor: 0.0 };
    Objective { time, ..Objective::of(Divergence::ReverseKl, Estimator::Integral) }
}

fn sim() -> Objective {
    let distance = Distance::PseudoHuber { c: 0.1 };
    let terms = Expanded { distance, ..Expanded::SIM };
    Objective::of(Divergence::ReverseKl, Estimator::Expanded(terms))
}

fn sid(alpha: f64) -> Objective {
    Objective::of(Divergence::ReverseKl, Estimator::Expanded(Expanded::sid(alpha)))
}

fn sida(alpha: f64) -> Objective {
    Objective { score_weight: 1.0, adversarial: Some(softplus(1e-4, true)), ..sid(alpha) }
}

/// The exact gradient, in the form that an imperfect discriminator allows: the weights are differentiated
/// through the logits that they are computed from, and the ratio is softly bounded. With the scores in place
/// of the logits, HG and DI grow with `|delta| / sigma` and carry the student away from pictures.
fn uni_instruct(divergence: Divergence) -> Objective {
    let mut terms = Expanded::EXACT;
    if divergence.needs_ratio() {
        terms.hg = HgMode::Logit;
    }
    let mut objective = Objective::of(divergence, Estimator::Expanded(terms));
    objective.adversarial = Some(softplus(1e-4, true));
    if divergence.needs_ratio() {
        objective.ratio.bins = Some(BINS);
        objective.ratio.soft_limit = Some(2.0);
        objective.ratio.unit_mean = true;
    }
    objective
}

fn softplus(weight: f64, normalised: bool) -> Adversarial {
    Adversarial { divergence: Divergence::SoftenedReverseKl, weight, normalised }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_valid_and_has_a_name_of_its_own() {
        let mut names: Vec<&str> = METHODS.iter().map(|method| method.name).collect();
        for name in &names {
            let plan = Method::find(name).unwrap().plan(Choices::default()).unwrap();
            let text = toml::to_string(&plan).unwrap();
            assert_eq!(toml::from_str::<Plan>(&text).unwrap(), plan, "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), METHODS.len()), (18, 18));
    }

    #[test]
    fn choices_reach_the_objective_or_are_refused() {
        let choices = Choices { alpha: Some(0.5), ..Choices::default() };
        let plan = Method::find("sid").unwrap().plan(choices).unwrap();
        let expected = Estimator::Expanded(Expanded { kappa: 1.0, ..Expanded::SIM });
        assert_eq!(plan.stages[0].objective.estimator, expected);
        let error = Method::find("dmd").unwrap().plan(choices).unwrap_err().to_string();
        assert_eq!(error, "invalid configuration `alpha`: dmd has none");
        let error = Method::find("did").unwrap_err().to_string();
        assert!(error.contains("expected one of diff-instruct,") && error.ends_with("found did"));
    }

    #[test]
    fn stages_follow_one_another() {
        let plan = Method::find("uni-instruct-two-stage").unwrap().plan(Choices::default());
        let plan = plan.unwrap();
        assert_eq!([0.0, 0.49, 0.5, 0.99, 1.0].map(|p| plan.stage(p)), [0, 0, 1, 1, 1]);
        assert!(!plan.stages[0].objective.needs_ratio() && plan.stages[1].objective.needs_ratio());
    }
}
