//! Choice of a solver and its options.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    Ddim, DpmSolverPlusPlusMulti, DpmSolverPlusPlusSingle, Euler, Heun, Sampler, Thresholding,
    discrete_levels, grid::vp_levels_of,
};
use crate::{Error, Result, VpSchedule};

/// The samplers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SolverKind {
    /// Single-step DPM-Solver++ of mixed order, UniDiffuser's own sampler.
    #[default]
    #[serde(rename = "dpm-fast")]
    DpmSolverPlusPlusSingle,
    /// Multistep DPM-Solver++, the sampler of the diffusers port.
    #[serde(rename = "dpm-multistep")]
    DpmSolverPlusPlusMulti,
    /// Denoising diffusion implicit models.
    #[serde(rename = "ddim")]
    Ddim,
    /// First order in EDM form.
    #[serde(rename = "euler")]
    Euler,
    /// Second order in EDM form.
    #[serde(rename = "heun")]
    Heun,
}

impl SolverKind {
    /// Every solver.
    pub const ALL: [Self; 5] = [
        Self::DpmSolverPlusPlusSingle,
        Self::DpmSolverPlusPlusMulti,
        Self::Ddim,
        Self::Euler,
        Self::Heun,
    ];

    /// The name used in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::DpmSolverPlusPlusSingle => "dpm-fast",
            Self::DpmSolverPlusPlusMulti => "dpm-multistep",
            Self::Ddim => "ddim",
            Self::Euler => "euler",
            Self::Heun => "heun",
        }
    }

    fn is_dpm(self) -> bool {
        matches!(self, Self::DpmSolverPlusPlusSingle | Self::DpmSolverPlusPlusMulti)
    }

    /// Whether the solver lives on integer timesteps, and tells the network the index of a level: its number less one.
    pub fn is_discrete(self) -> bool {
        matches!(self, Self::DpmSolverPlusPlusMulti | Self::Ddim)
    }
}

impl fmt::Display for SolverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SolverKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| Error::UnknownSolver { found: name.to_owned() })
    }
}

/// Where a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinalSigma {
    /// A clean sample: the last update returns the predicted `x_0`.
    Zero,
    /// The smallest noise level of training, without a last denoising.
    Min,
}

/// How integer timesteps are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimestepSpacing {
    /// `round(linspace(0, N - 1, steps + 1))` without the zero.
    #[default]
    Linspace,
    /// Multiples of `N / (steps + 1)` rounded down, plus the offset; never the noisiest level.
    Leading,
    /// From the noisiest level down by `N / steps`.
    Trailing,
}

/// How noise levels are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SigmaGrid {
    /// Evenly in time.
    #[default]
    Uniform,
    /// Evenly in `sigma^(1/7)` (EDM).
    Karras,
}

/// The second-order update of multistep DPM-Solver++.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SolverType {
    /// `-alpha (e^-h - 1) D_1 / 2`.
    #[default]
    Midpoint,
    /// `alpha ((e^-h - 1) / h + 1) D_1`.
    Heun,
}

/// A solver with its options; the default is UniDiffuser's own sampler with 50 evaluations.
///
/// An option that the chosen solver does not have must keep its default, so a setting is never
/// silently ignored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SolverConfig {
    /// The sampler.
    pub kind: SolverKind,
    /// Steps of the grid. For `dpm-fast` these are network evaluations, shared out among steps of
    /// up to three each.
    pub steps: usize,
    /// Where a run starts, as a share of the noise levels: below one for a state that is not all noise.
    pub start: f64,
    /// Highest order, 1 to 3 (`dpm-*`).
    pub order: usize,
    /// Amount of fresh noise, 0 (deterministic) to 1 (ancestral) (`ddim`).
    pub eta: f64,
    /// Where to end; by default `min` for `dpm-fast` and `zero` for the others.
    pub final_sigma: Option<FinalSigma>,
    /// Choice of integer timesteps (`dpm-multistep`, `ddim`).
    pub spacing: TimestepSpacing,
    /// Added to every timestep of the `leading` spacing.
    pub steps_offset: usize,
    /// Spread of the noise levels (all but `dpm-fast`).
    pub sigmas: SigmaGrid,
    /// Lower the order at the end of runs with fewer than 15 steps (`dpm-multistep`).
    pub lower_order_final: bool,
    /// Take the last step with order one, whatever its length (`dpm-multistep`).
    pub euler_at_final: bool,
    /// Form of the second-order update (`dpm-multistep`).
    pub solver_type: SolverType,
    /// Clip every predicted clean sample; off by default.
    pub thresholding: Option<Thresholding>,
}

impl Default for SolverConfig {
    fn default() -> Self {
        Self {
            kind: SolverKind::default(),
            steps: 50,
            start: 1.0,
            order: 3,
            eta: 0.0,
            final_sigma: None,
            spacing: TimestepSpacing::default(),
            steps_offset: 0,
            sigmas: SigmaGrid::default(),
            lower_order_final: true,
            euler_at_final: false,
            solver_type: SolverType::default(),
            thresholding: None,
        }
    }
}

impl SolverConfig {
    /// The default options of a solver.
    pub fn new(kind: SolverKind, steps: usize) -> Self {
        Self { kind, steps, ..Self::default() }
    }

    /// Where a run ends: the given [`final_sigma`](Self::final_sigma) or the solver's own habit.
    pub fn end(&self) -> FinalSigma {
        self.final_sigma.unwrap_or(match self.kind {
            SolverKind::DpmSolverPlusPlusSingle => FinalSigma::Min,
            _ => FinalSigma::Zero,
        })
    }

    /// Computes the grid and makes the sampler.
    ///
    /// # Errors
    /// [`Error::OutOfRange`], [`Error::NotApplicable`] or [`Error::Timesteps`], each naming the
    /// option.
    pub fn build(&self, schedule: &VpSchedule) -> Result<Sampler> {
        self.validate()?;
        let end = self.end();
        let sampler = match self.kind {
            SolverKind::DpmSolverPlusPlusSingle => {
                Sampler::new(DpmSolverPlusPlusSingle::new(self, end, schedule)?)
            }
            SolverKind::DpmSolverPlusPlusMulti => Sampler::new(DpmSolverPlusPlusMulti::new(
                self,
                discrete_levels(self, end, schedule.discrete())?,
            )?),
            SolverKind::Ddim => {
                Sampler::new(Ddim::new(self.eta, discrete_levels(self, end, schedule.discrete())?)?)
            }
            SolverKind::Euler => Sampler::new(Euler::new(vp_levels_of(self, end, schedule)?)?),
            SolverKind::Heun => Sampler::new(Heun::new(vp_levels_of(self, end, schedule)?)?),
        };
        Ok(sampler.with_thresholding(self.thresholding))
    }

    fn validate(&self) -> Result<()> {
        let kind = self.kind;
        let range = |ok, field, expected, found| {
            if ok { Ok(()) } else { Err(Error::OutOfRange { field, expected, found }) }
        };
        let applies = |unchanged, applicable, field| {
            if unchanged || applicable { Ok(()) } else { Err(Error::NotApplicable { field, kind }) }
        };
        range(self.steps > 0, "steps", "at least 1", self.steps as f64)?;
        range(self.start > 0.0 && self.start <= 1.0, "start", "above 0, at most 1", self.start)?;
        range((1..=3).contains(&self.order), "order", "1, 2 or 3", self.order as f64)?;
        range((0.0..=1.0).contains(&self.eta), "eta", "between 0 and 1", self.eta)?;
        if let Some(thresholding) = self.thresholding {
            thresholding.validate()?;
        }
        let default = Self::default();
        let multistep = kind == SolverKind::DpmSolverPlusPlusMulti;
        let leading = kind.is_discrete() && self.spacing == TimestepSpacing::Leading;
        let single = kind == SolverKind::DpmSolverPlusPlusSingle;
        let karras_free = self.sigmas == SigmaGrid::Uniform;
        applies(self.order == default.order, kind.is_dpm(), "order")?;
        applies(self.eta == default.eta, kind == SolverKind::Ddim, "eta")?;
        applies(self.spacing == default.spacing, kind.is_discrete() && karras_free, "spacing")?;
        applies(self.steps_offset == default.steps_offset, leading, "steps_offset")?;
        applies(karras_free, !single, "sigmas")?;
        applies(
            self.lower_order_final == default.lower_order_final,
            multistep,
            "lower_order_final",
        )?;
        applies(self.euler_at_final == default.euler_at_final, multistep, "euler_at_final")?;
        applies(self.solver_type == default.solver_type, multistep, "solver_type")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_through_text_and_json() {
        for kind in SolverKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            let json = serde_json::to_string(&kind).expect("a string");
            assert_eq!(json, format!("\"{kind}\""));
        }
        assert!("dpm".parse::<SolverKind>().is_err());
    }

    #[test]
    fn configuration_round_trips_and_rejects_unknown_fields() {
        let config: SolverConfig = serde_json::from_str(
            r#"{"kind": "dpm-multistep", "steps": 20, "final_sigma": "min", "sigmas": "karras",
                "solver_type": "heun", "order": 2, "thresholding": {"ratio": 0.9}}"#,
        )
        .expect("known fields");
        assert_eq!(config.kind, SolverKind::DpmSolverPlusPlusMulti);
        assert_eq!(config.thresholding.map(|t| (t.ratio, t.max_value)), Some((0.9, 1.0)));
        let text = serde_json::to_string(&config).expect("plain data");
        assert_eq!(serde_json::from_str::<SolverConfig>(&text).expect("own output"), config);
        assert!(serde_json::from_str::<SolverConfig>(r#"{"stpes": 3}"#).is_err());
    }

    #[test]
    fn each_bad_option_is_named() {
        use SolverKind::{Ddim, DpmSolverPlusPlusMulti, DpmSolverPlusPlusSingle, Euler, Heun};
        let with = |kind| SolverConfig::new(kind, 10);
        let single = with(DpmSolverPlusPlusSingle);
        let cases = [
            (SolverConfig { steps: 0, ..single }, "steps"),
            (SolverConfig { order: 0, ..single }, "order"),
            (SolverConfig { order: 4, ..single }, "order"),
            (SolverConfig { eta: 1.5, ..with(Ddim) }, "eta"),
            (SolverConfig { eta: f64::NAN, ..with(Ddim) }, "eta"),
            (SolverConfig { eta: 0.5, ..with(Heun) }, "eta"),
            (SolverConfig { order: 2, ..with(Euler) }, "order"),
            (SolverConfig { sigmas: SigmaGrid::Karras, ..single }, "sigmas"),
            (SolverConfig { spacing: TimestepSpacing::Leading, ..single }, "spacing"),
            (SolverConfig { steps_offset: 1, ..with(Ddim) }, "steps_offset"),
            (SolverConfig { euler_at_final: true, ..with(Ddim) }, "euler_at_final"),
            (SolverConfig { lower_order_final: false, ..single }, "lower_order_final"),
            (SolverConfig { solver_type: SolverType::Heun, ..with(Heun) }, "solver_type"),
            (
                SolverConfig {
                    thresholding: Some(Thresholding { ratio: 2.0, max_value: 1.0 }),
                    ..with(DpmSolverPlusPlusMulti)
                },
                "thresholding.ratio",
            ),
        ];
        for (config, name) in cases {
            match config.build(&VpSchedule::default()) {
                Err(Error::OutOfRange { field, .. } | Error::NotApplicable { field, .. }) => {
                    assert_eq!(field, name);
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        let too_many = with(DpmSolverPlusPlusMulti);
        let too_many = SolverConfig { steps: 5000, ..too_many }.build(&VpSchedule::default());
        assert!(matches!(too_many, Err(Error::Timesteps { steps: 5000, .. })));
    }

    #[test]
    fn evaluations_are_counted() {
        let schedule = VpSchedule::default();
        let zero = Some(FinalSigma::Zero);
        let min = Some(FinalSigma::Min);
        for (kind, final_sigma, steps, evaluations) in [
            (SolverKind::DpmSolverPlusPlusSingle, None, 4, 10),
            (SolverKind::DpmSolverPlusPlusSingle, zero, 5, 11),
            (SolverKind::DpmSolverPlusPlusMulti, None, 10, 10),
            (SolverKind::Ddim, min, 10, 10),
            (SolverKind::Euler, None, 10, 10),
            (SolverKind::Heun, None, 10, 19),
            (SolverKind::Heun, min, 10, 20),
        ] {
            let config = SolverConfig { final_sigma, ..SolverConfig::new(kind, 10) };
            let sampler = config.build(&schedule).expect("valid");
            assert_eq!((sampler.steps(), sampler.evaluations()), (steps, evaluations), "{kind}");
            assert!((sampler.start().sigma - 0.99766723).abs() < 1e-7);
        }
    }
}
