//! The noise levels a solver visits.

use super::{FinalSigma, SigmaGrid, SolverConfig, TimestepSpacing};
use crate::{DiscreteSchedule, Error, Level, Result, VpSchedule, karras_sigmas};

/// Exponent of EDM's sigma grid.
const RHO: f64 = 7.0;

/// The clean end of a variance-preserving grid.
const CLEAN: Level = Level { n: 0.0, alpha: 1.0, sigma: 0.0 };

/// The `steps + 1` levels of solvers on integer timesteps (multistep, DDIM).
///
/// The network is told the zero-based index `k` while the state has the scales of `abar_{k+1}`,
/// which is the convention of diffusers.
///
/// # Errors
/// [`Error::Timesteps`] when the spacing does not give distinct, existing timesteps.
pub fn discrete_levels(
    config: &SolverConfig,
    end: FinalSigma,
    schedule: &DiscreteSchedule,
) -> Result<Vec<Level>> {
    let total = schedule.num_train_timesteps();
    let at = |k: usize| schedule.level(k + 1).map(|level| Level { n: k as f64, ..level });
    let missing = || Error::Timesteps { steps: config.steps, num_train_timesteps: total };
    let mut levels = match config.sigmas {
        SigmaGrid::Uniform => timesteps(config, total)?
            .into_iter()
            .map(|k| at(k).ok_or_else(missing))
            .collect::<Result<Vec<Level>>>()?,
        SigmaGrid::Karras => {
            let all: Vec<f64> = (0..total).filter_map(at).map(Level::edm_sigma).collect();
            let count = config.steps + usize::from(end == FinalSigma::Min);
            let sigmas = karras_sigmas(count, all[0], all[first_of(config, total) - 1], RHO)?;
            sigmas.into_iter().map(|sigma| karras_level(sigma, &all)).collect()
        }
    };
    if end == FinalSigma::Zero {
        levels.push(CLEAN);
    } else if config.sigmas == SigmaGrid::Uniform {
        levels.push(at(0).ok_or_else(missing)?);
    }
    check_decreasing(&levels).map(|()| levels).map_err(|_| missing())
}

/// Number of the noise levels that a run passes through.
fn first_of(config: &SolverConfig, total: usize) -> usize {
    ((total as f64 * config.start).round() as usize).clamp(1, total)
}

/// Integer timesteps, largest first; all distinct. A run that starts later has those of a shorter process.
fn timesteps(config: &SolverConfig, all: usize) -> Result<Vec<usize>> {
    let (steps, total) = (config.steps, first_of(config, all));
    let step = |i: usize| -> f64 {
        match config.spacing {
            TimestepSpacing::Linspace => {
                ((total - 1) as f64 * ((steps - i) as f64 / steps as f64)).round_ties_even()
            }
            TimestepSpacing::Leading => {
                ((steps - i) * (total / (steps + 1)) + config.steps_offset) as f64
            }
            TimestepSpacing::Trailing => {
                (total as f64 - i as f64 * (total as f64 / steps as f64)).round_ties_even() - 1.0
            }
        }
    };
    let values: Vec<f64> = (0..steps).map(step).collect();
    let distinct = values.is_sorted_by(|a, b| a > b);
    let exist = values.iter().all(|&k| k >= 0.0 && k < total as f64);
    if distinct && exist {
        Ok(values.into_iter().map(|k| k as usize).collect())
    } else {
        Err(Error::Timesteps { steps, num_train_timesteps: all })
    }
}

/// The level of `sigma`, told to the network as the nearest integer of the index that is
/// interpolated over `ln sigma` (all sigmas increase with the index).
fn karras_level(sigma: f64, all: &[f64]) -> Level {
    let right = all.partition_point(|&known| known < sigma).clamp(1, all.len() - 1);
    let (low, high) = (all[right - 1].ln(), all[right].ln());
    let fraction = ((sigma.ln() - low) / (high - low)).clamp(0.0, 1.0);
    let n = ((right - 1) as f64 + fraction).round_ties_even();
    let alpha = sigma.hypot(1.0).recip();
    Level { n, alpha, sigma: sigma * alpha }
}

/// The `steps + 1` levels of Euler and Heun on the continuous schedule, from `t = 1` to `t = 1/N`,
/// or to a clean state that follows it.
///
/// # Errors
/// [`Error::OutOfRange`] for zero steps.
pub fn vp_levels(
    steps: usize,
    sigmas: SigmaGrid,
    end: FinalSigma,
    schedule: &VpSchedule,
) -> Result<Vec<Level>> {
    vp_levels_of(&SolverConfig { steps, sigmas, ..SolverConfig::default() }, end, schedule)
}

/// As [`vp_levels`], from the start of a configuration.
pub(super) fn vp_levels_of(
    config: &SolverConfig,
    end: FinalSigma,
    schedule: &VpSchedule,
) -> Result<Vec<Level>> {
    let &SolverConfig { steps, sigmas, start, .. } = config;
    let count = match end {
        FinalSigma::Zero => steps,
        FinalSigma::Min => steps + 1,
    };
    let (first, last) = (schedule.level(start), schedule.level(schedule.t_min()));
    let mut levels: Vec<Level> = match sigmas {
        SigmaGrid::Uniform => {
            let intervals = count.saturating_sub(1).max(1) as f64;
            let time = |i: usize| start + i as f64 / intervals * (schedule.t_min() - start);
            (0..count).map(|i| schedule.level(time(i))).collect()
        }
        SigmaGrid::Karras => karras_sigmas(count, last.edm_sigma(), first.edm_sigma(), RHO)?
            .into_iter()
            .map(|sigma| schedule.level_of_edm_sigma(sigma))
            .collect(),
    };
    if end == FinalSigma::Zero {
        levels.push(CLEAN);
    }
    check_decreasing(&levels)?;
    Ok(levels)
}

/// The grid of an EDM network: `steps` Karras sigmas, then zero.
///
/// # Errors
/// As [`karras_sigmas`].
pub fn edm_levels(steps: usize, sigma_min: f64, sigma_max: f64, rho: f64) -> Result<Vec<Level>> {
    let mut sigmas = karras_sigmas(steps, sigma_min, sigma_max, rho)?;
    sigmas.push(0.0);
    Ok(sigmas.into_iter().map(Level::edm).collect())
}

/// A usable grid has at least two levels, and each has less noise than the one before.
pub(super) fn check_decreasing(levels: &[Level]) -> Result<()> {
    if levels.len() < 2 {
        return Err(Error::Grid { index: levels.len() });
    }
    match levels.windows(2).position(|pair| !pair[0].edm_sigma().gt(&pair[1].edm_sigma())) {
        Some(index) => Err(Error::Grid { index: index + 1 }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spaced(steps: usize, spacing: TimestepSpacing, steps_offset: usize) -> Result<Vec<usize>> {
        timesteps(&SolverConfig { steps, spacing, steps_offset, ..Default::default() }, 1000)
    }

    /// Timesteps of diffusers' scheduler.
    #[test]
    fn timesteps_of_each_spacing() {
        let fifty = spaced(50, TimestepSpacing::Linspace, 0).expect("valid");
        assert_eq!((&fifty[..3], &fifty[47..]), (&[999, 979, 959][..], &[60, 40, 20][..]));
        assert_eq!(spaced(3, TimestepSpacing::Linspace, 0), Ok(vec![999, 666, 333]));
        assert_eq!(spaced(20, TimestepSpacing::Linspace, 0).expect("valid")[10..12], [500, 450]);
        assert_eq!(
            spaced(9, TimestepSpacing::Leading, 1),
            Ok(vec![901, 801, 701, 601, 501, 401, 301, 201, 101])
        );
        assert_eq!(
            spaced(9, TimestepSpacing::Trailing, 0),
            Ok(vec![999, 888, 777, 666, 555, 443, 332, 221, 110])
        );
        assert!(spaced(1000, TimestepSpacing::Linspace, 0).is_err());
        assert!(spaced(1000, TimestepSpacing::Leading, 0).is_err());
        assert!(spaced(9, TimestepSpacing::Leading, 200).is_err());
    }

    /// Half of the process: half of the timesteps, and the continuous grids begin at half of the time.
    #[test]
    fn runs_may_start_later() {
        let half = SolverConfig { steps: 5, start: 0.5, ..Default::default() };
        assert_eq!(timesteps(&half, 1000), Ok(vec![499, 399, 299, 200, 100]));
        let schedule = VpSchedule::default();
        let levels = vp_levels_of(&half, FinalSigma::Min, &schedule).expect("valid");
        assert!((levels[0].n - 500.0).abs() < 1e-6 && (levels[5].n - 1.0).abs() < 1e-6);
        assert!(half.build(&schedule).is_ok());
        for start in [0.0, 1.1, f64::NAN] {
            assert!(SolverConfig { start, ..half }.build(&schedule).is_err(), "{start}");
        }
    }

    #[test]
    fn karras_levels_have_rounded_timesteps_and_exact_sigmas() {
        let config = SolverConfig { steps: 9, sigmas: SigmaGrid::Karras, ..Default::default() };
        let schedule = DiscreteSchedule::default();
        let levels = discrete_levels(&config, FinalSigma::Zero, &schedule).expect("valid");
        let told: Vec<usize> = levels.iter().map(|level| level.n as usize).collect();
        assert_eq!(told, [999, 905, 786, 630, 427, 207, 59, 9, 0, 0]);
        for (index, sigma) in [(0, 14.614646911), (1, 8.560018539), (8, 0.029167532)] {
            let found = levels[index].edm_sigma();
            // Single precision there loses digits in 1 - abar_1.
            assert!((found / sigma - 1.0).abs() < 2e-5, "{found} {sigma}");
        }
        let levels = discrete_levels(&config, FinalSigma::Min, &schedule).expect("valid");
        assert_eq!((levels.len(), levels[9].n), (10, 0.0));
        assert!((levels[9].edm_sigma() / 0.029167532 - 1.0).abs() < 2e-5);
    }

    #[test]
    fn continuous_grids_span_the_schedule() {
        let schedule = VpSchedule::default();
        for sigmas in [SigmaGrid::Uniform, SigmaGrid::Karras] {
            let levels = vp_levels(8, sigmas, FinalSigma::Min, &schedule).expect("valid");
            assert_eq!(levels.len(), 9);
            assert!((levels[0].n - 1000.0).abs() < 1e-6);
            assert!((levels[8].n - 1.0).abs() < 1e-6);
            let levels = vp_levels(8, sigmas, FinalSigma::Zero, &schedule).expect("valid");
            assert_eq!((levels.len(), levels[8]), (9, CLEAN));
            assert!((levels[7].n - 1.0).abs() < 1e-6);
            assert_eq!(
                vp_levels(1, sigmas, FinalSigma::Zero, &schedule).map(|levels| levels[1]),
                Ok(CLEAN)
            );
            assert!(vp_levels(0, sigmas, FinalSigma::Zero, &schedule).is_err());
        }
    }
}
