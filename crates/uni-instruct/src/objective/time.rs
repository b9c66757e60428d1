//! Which noise levels are visited.

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result, Stream};
use trefoil_diffusion::VpSchedule;

/// A distribution of sigma.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum TimeLaw {
    /// `u` uniform in `[0, last]`, and
    /// `sigma = (max^(1/rho) + (1 - u) (min^(1/rho) - max^(1/rho)))^rho`, but at least `floor`: the
    /// student's law in SiD, SiDA and Uni-Instruct.
    Rho {
        /// Largest `u`; 0.8 in the papers, which is sigma 24.4.
        last: f64,
        /// Sigma at `u = 0`.
        min: f64,
        /// Sigma at `u = 1`.
        max: f64,
        /// Exponent.
        rho: f64,
        /// Smallest sigma that is used.
        floor: f64,
    },
    /// `log sigma` normal: the law of EDM training.
    LogNormal {
        /// Mean of `log sigma`.
        mean: f64,
        /// Standard deviation of `log sigma`.
        deviation: f64,
    },
    /// `log sigma` uniform.
    LogUniform {
        /// Smallest sigma.
        min: f64,
        /// Largest sigma.
        max: f64,
    },
    /// The time of a variance-preserving process uniform in `[first, last]`, `sigma = sigma_t / alpha_t`.
    VariancePreserving {
        /// First time, in (0, 1].
        first: f64,
        /// Last time, in (0, 1].
        last: f64,
    },
    /// Uniform among a few levels.
    Levels {
        /// The levels.
        sigmas: Vec<f64>,
    },
}

impl TimeLaw {
    /// The student's law of SiD with a floor on sigma.
    pub const fn sid(floor: f64) -> Self {
        Self::Rho { last: 0.8, min: 0.002, max: 80.0, rho: 7.0, floor }
    }

    /// The law of EDM training.
    pub const fn edm() -> Self {
        Self::LogNormal { mean: -1.2, deviation: 1.2 }
    }

    /// Sigma at a quantile of the law, `u` in `[0, 1)`; the log-normal law takes `normal` instead.
    fn sigma(&self, u: f64, normal: f64) -> f64 {
        match self {
            Self::Rho { last, .. } => self.at_time(u * last),
            Self::LogNormal { mean, deviation } => (mean + deviation * normal).exp(),
            Self::LogUniform { min, max } => min * (max / min).powf(u),
            Self::VariancePreserving { first, last } => {
                VpSchedule::default().level(first + u * (last - first)).edm_sigma()
            }
            Self::Levels { sigmas } => {
                sigmas[((u * sigmas.len() as f64) as usize).min(sigmas.len() - 1)]
            }
        }
    }

    /// Sigma at a time `u` in `[0, 1]` of [`TimeLaw::Rho`]; other laws take `u` as their quantile.
    pub fn at_time(&self, u: f64) -> f64 {
        match *self {
            Self::Rho { min, max, rho, floor, .. } => {
                let (low, high) = (min.powf(1.0 / rho), max.powf(1.0 / rho));
                (high + (1.0 - u) * (low - high)).powf(rho).max(floor)
            }
            _ => self.sigma(u, 0.0),
        }
    }

    /// Draws `n` levels.
    pub fn draw(&self, stream: &mut Stream, n: usize) -> Vec<f64> {
        match self {
            Self::LogNormal { .. } => {
                stream.normals(n).into_iter().map(|z| self.sigma(0.0, f64::from(z))).collect()
            }
            Self::VariancePreserving { first, last } => {
                let schedule = VpSchedule::default();
                let time = |u: f32| first + f64::from(u) * (last - first);
                stream
                    .uniforms(n)
                    .into_iter()
                    .map(|u| schedule.level(time(u)).edm_sigma())
                    .collect()
            }
            _ => stream.uniforms(n).into_iter().map(|u| self.sigma(f64::from(u), 0.0)).collect(),
        }
    }

    /// Checks the parameters.
    ///
    /// # Errors
    /// [`Error::Config`] with `field` and what is wrong.
    pub fn validate(&self, field: &str) -> Result<()> {
        let (good, expected) = match self {
            Self::Rho { last, min, max, rho, floor } => (
                *last > 0.0
                    && *last <= 1.0
                    && *min > 0.0
                    && max > min
                    && *rho > 0.0
                    && *floor >= 0.0
                    && (max + rho + floor).is_finite(),
                "0 < last <= 1, 0 < min < max, rho > 0, floor >= 0",
            ),
            Self::LogNormal { mean, deviation } => {
                (mean.is_finite() && *deviation > 0.0 && deviation.is_finite(), "deviation > 0")
            }
            Self::LogUniform { min, max } => {
                (*min > 0.0 && max > min && max.is_finite(), "0 < min < max")
            }
            Self::VariancePreserving { first, last } => {
                (*first > 0.0 && last > first && *last <= 1.0, "0 < first < last <= 1")
            }
            Self::Levels { sigmas } => (
                !sigmas.is_empty() && sigmas.iter().all(|s| *s > 0.0 && s.is_finite()),
                "at least one positive level",
            ),
        };
        if good {
            return Ok(());
        }
        Err(Error::config(field, format!("expected {expected}, found {self:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trefoil_core::Seed;

    /// Spec values of the rho map (seven, 0.002 to 80), computed with numpy.
    #[test]
    fn the_rho_map_passes_through_the_published_levels() {
        let law = TimeLaw::sid(0.0);
        for (u, sigma) in [(0.0, 0.002), (0.5, 2.515218976147), (0.8, 24.40834178658)] {
            assert!((law.at_time(u) / sigma - 1.0).abs() < 1e-9, "{u}: {}", law.at_time(u));
        }
        assert_eq!(TimeLaw::sid(0.02).at_time(0.0), 0.02);
    }

    #[test]
    fn draws_stay_in_range_and_have_the_median() {
        let median = |law: TimeLaw| {
            let mut draws = law.draw(&mut Seed(3).stream("time", 0), 4001);
            draws.sort_by(f64::total_cmp);
            (draws[0], draws[2000], draws[4000])
        };
        let (low, middle, high) = median(TimeLaw::LogUniform { min: 0.1, max: 10.0 });
        assert!(low >= 0.1 && high <= 10.0 && (middle.ln()).abs() < 0.1);
        let (_, middle, _) = median(TimeLaw::edm());
        assert!((middle.ln() + 1.2).abs() < 0.07);
        let (low, _, high) = median(TimeLaw::Levels { sigmas: vec![0.5, 2.0] });
        assert_eq!((low, high), (0.5, 2.0));
        let (low, _, high) = median(TimeLaw::VariancePreserving { first: 0.02, last: 0.98 });
        let [least, most] = [0.02, 0.98].map(|t| VpSchedule::default().level(t).edm_sigma());
        assert!(low >= least && low < 1.02 * least, "{low} {least}");
        assert!(high <= most && high > 0.98 * most, "{high} {most}");
    }

    #[test]
    fn bad_laws_are_named() {
        let law = TimeLaw::LogUniform { min: 2.0, max: 1.0 };
        let error = law.validate("objective.time").unwrap_err().to_string();
        assert!(error.contains("objective.time") && error.contains("0 < min < max"), "{error}");
    }
}
