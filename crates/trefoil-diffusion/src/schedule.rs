//! Forward processes: the discrete scaled-linear schedule, its continuous view, and EDM sigmas.
//!
//! ```text
//! q(x_n | x_0) = N( sqrt(abar_n) x_0, (1 - abar_n) I ),     abar_n = prod_{k <= n} (1 - beta_k)
//! ```
//!
//! The betas are those of latent diffusion (Rombach et al., <https://arxiv.org/abs/2112.10752>),
//! which UniDiffuser (<https://arxiv.org/abs/2303.06555>) uses for every modality. The continuous
//! view is that of DPM-Solver (Lu et al., <https://arxiv.org/abs/2206.00927>).

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Setting of a scaled-linear schedule; the default is the one of Stable Diffusion and UniDiffuser.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Number of noise levels `N`, without the clean level 0.
    pub num_train_timesteps: usize,
    /// `beta_1`.
    pub beta_start: f64,
    /// `beta_N`.
    pub beta_end: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self { num_train_timesteps: 1000, beta_start: 0.00085, beta_end: 0.012 }
    }
}

impl ScheduleConfig {
    /// Computes the tables of this schedule.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for fewer than two levels or betas outside `0 < start <= end < 1`.
    pub fn init(self) -> Result<DiscreteSchedule> {
        if self.num_train_timesteps < 2 {
            return Err(Error::OutOfRange {
                field: "num_train_timesteps",
                expected: "at least 2",
                found: self.num_train_timesteps as f64,
            });
        }
        if !(self.beta_start > 0.0 && self.beta_start < 1.0) {
            return Err(Error::OutOfRange {
                field: "beta_start",
                expected: "between 0 and 1, exclusive",
                found: self.beta_start,
            });
        }
        if !(self.beta_end >= self.beta_start && self.beta_end < 1.0) {
            return Err(Error::OutOfRange {
                field: "beta_end",
                expected: "at least `beta_start` and below 1",
                found: self.beta_end,
            });
        }
        Ok(DiscreteSchedule::from_valid(self))
    }
}

/// One noise level: the scale of the data, the scale of the noise, and the network's time input.
///
/// ```text
/// x = alpha x_0 + sigma eps
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// What the network is told: `0..=N` for variance-preserving grids, sigma for EDM grids.
    pub n: f64,
    /// Scale of the data.
    pub alpha: f64,
    /// Scale of the noise.
    pub sigma: f64,
}

impl Level {
    /// The EDM level of `sigma`: data of scale one, and the network is told sigma.
    pub fn edm(sigma: f64) -> Self {
        Self { n: sigma, alpha: 1.0, sigma }
    }

    /// Half the logarithm of the signal-to-noise ratio, `lambda = ln(alpha / sigma)`.
    pub fn lambda(self) -> f64 {
        self.alpha.ln() - self.sigma.ln()
    }

    /// The noise scale after division by `alpha`, which is EDM's sigma.
    pub fn edm_sigma(self) -> f64 {
        self.sigma / self.alpha
    }
}

/// The discrete process, levels `0..=N`, in double precision.
///
/// ```text
/// beta_k = ( sqrt(beta_1) + (k - 1) / (N - 1) (sqrt(beta_N) - sqrt(beta_1)) )^2,   abar_0 = 1
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct DiscreteSchedule {
    config: ScheduleConfig,
    betas: Vec<f64>,
    alphas_cumprod: Vec<f64>,
}

impl Default for DiscreteSchedule {
    fn default() -> Self {
        Self::from_valid(ScheduleConfig::default())
    }
}

impl DiscreteSchedule {
    fn from_valid(config: ScheduleConfig) -> Self {
        let (low, high) = (config.beta_start.sqrt(), config.beta_end.sqrt());
        let intervals = (config.num_train_timesteps - 1) as f64;
        let betas: Vec<f64> = (0..config.num_train_timesteps)
            .map(|k| (low + k as f64 / intervals * (high - low)).powi(2))
            .collect();
        let mut alphas_cumprod = vec![1.0];
        let mut product = 1.0;
        for beta in &betas {
            product *= 1.0 - beta;
            alphas_cumprod.push(product);
        }
        Self { config, betas, alphas_cumprod }
    }

    /// The setting this schedule was made from.
    pub fn config(&self) -> ScheduleConfig {
        self.config
    }

    /// Number of noise levels `N`, without the clean level.
    pub fn num_train_timesteps(&self) -> usize {
        self.config.num_train_timesteps
    }

    /// `beta_1 ..= beta_N`: entry `k` is `beta_{k+1}`.
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// `abar_0 ..= abar_N`: entry `n` is `abar_n`, and entry 0 is one.
    pub fn alphas_cumprod(&self) -> &[f64] {
        &self.alphas_cumprod
    }

    /// Level `n` of `0..=N`, or `None` beyond it.
    pub fn level(&self, n: usize) -> Option<Level> {
        let abar = *self.alphas_cumprod.get(n)?;
        Some(Level { n: n as f64, alpha: abar.sqrt(), sigma: (1.0 - abar).sqrt() })
    }
}

/// The continuous view of a discrete schedule, `t = n / N` in `(0, 1]`.
///
/// ```text
/// log alpha(t_n) = 1/2 sum_{k <= n} log(1 - beta_k)   at t_n = n / N, n = 1..=N; linear between
/// sigma = sqrt(1 - alpha^2),   lambda = log alpha - log sigma
/// ```
///
/// There is no knot at `t = 0`; outside the knots the first and last segments are continued.
#[derive(Debug, Clone, PartialEq)]
pub struct VpSchedule {
    discrete: DiscreteSchedule,
    log_alphas: Vec<f64>,
}

impl Default for VpSchedule {
    fn default() -> Self {
        Self::new(DiscreteSchedule::default())
    }
}

impl VpSchedule {
    /// Interpolates the given process.
    pub fn new(discrete: DiscreteSchedule) -> Self {
        let mut sum = 0.0;
        let mut log_alphas = Vec::with_capacity(discrete.betas.len());
        for beta in &discrete.betas {
            sum += 0.5 * (-beta).ln_1p();
            log_alphas.push(sum);
        }
        Self { discrete, log_alphas }
    }

    /// The process that is interpolated.
    pub fn discrete(&self) -> &DiscreteSchedule {
        &self.discrete
    }

    /// The first knot, `1 / N`: the end of the original sampler.
    pub fn t_min(&self) -> f64 {
        1.0 / self.log_alphas.len() as f64
    }

    /// `log alpha(t)`.
    pub fn log_alpha(&self, t: f64) -> f64 {
        let position = t * self.log_alphas.len() as f64 - 1.0;
        let left = (position.max(0.0) as usize).min(self.log_alphas.len() - 2);
        let (a, b) = (self.log_alphas[left], self.log_alphas[left + 1]);
        a + (position - left as f64) * (b - a)
    }

    /// Scale of the data at time `t`.
    pub fn alpha(&self, t: f64) -> f64 {
        self.log_alpha(t).exp()
    }

    /// Scale of the noise at time `t`; zero where the continued line has passed `alpha = 1`.
    pub fn sigma(&self, t: f64) -> f64 {
        (-(2.0 * self.log_alpha(t)).exp_m1()).max(0.0).sqrt()
    }

    /// Half the logarithm of the signal-to-noise ratio at time `t`.
    pub fn lambda(&self, t: f64) -> f64 {
        self.log_alpha(t) - self.sigma(t).ln()
    }

    /// All scales at time `t`, with the network's level `n = N t`.
    pub fn level(&self, t: f64) -> Level {
        let n = t * self.log_alphas.len() as f64;
        Level { n, alpha: self.alpha(t), sigma: self.sigma(t) }
    }

    /// The time at which [`lambda`](Self::lambda) has the given value:
    /// `log alpha = -1/2 log(1 + e^(-2 lambda))`, then `t` is interpolated over `log alpha`.
    pub fn time_of_lambda(&self, lambda: f64) -> f64 {
        let u = -2.0 * lambda;
        let log_alpha = -0.5 * (u.max(0.0) + (-u.abs()).exp().ln_1p());
        let right = self.log_alphas.partition_point(|&knot| knot > log_alpha);
        let left = right.saturating_sub(1).min(self.log_alphas.len() - 2);
        let (a, b) = (self.log_alphas[left], self.log_alphas[left + 1]);
        (left as f64 + 1.0 + (log_alpha - a) / (b - a)) / self.log_alphas.len() as f64
    }

    /// The level whose state, divided by alpha, has noise of scale `sigma` (EDM's sigma):
    /// `alpha = 1 / sqrt(1 + sigma^2)`.
    pub fn level_of_edm_sigma(&self, sigma: f64) -> Level {
        let alpha = sigma.hypot(1.0).recip();
        let t = self.time_of_lambda(-sigma.ln()).max(0.0);
        Level { n: t * self.log_alphas.len() as f64, alpha, sigma: sigma * alpha }
    }
}

/// The decreasing sigmas of EDM (Karras et al., <https://arxiv.org/abs/2206.00364>, equation 5).
///
/// ```text
/// sigma_i = ( sigma_max^(1/rho) + i / (n - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)) )^rho
/// ```
///
/// Zero is not appended. With `n = 1` the only entry is `sigma_max`.
///
/// # Errors
/// [`Error::OutOfRange`] unless `n >= 1`, `0 < sigma_min < sigma_max < inf` and `rho > 0`.
pub fn karras_sigmas(n: usize, sigma_min: f64, sigma_max: f64, rho: f64) -> Result<Vec<f64>> {
    let out_of_range = |field, expected, found| Err(Error::OutOfRange { field, expected, found });
    if n == 0 {
        return out_of_range("n", "at least 1", 0.0);
    }
    if !(sigma_min > 0.0 && sigma_min.is_finite()) {
        return out_of_range("sigma_min", "positive and finite", sigma_min);
    }
    if !(sigma_max > sigma_min && sigma_max.is_finite()) {
        return out_of_range("sigma_max", "above `sigma_min` and finite", sigma_max);
    }
    if !(rho > 0.0 && rho.is_finite()) {
        return out_of_range("rho", "positive and finite", rho);
    }
    let (high, low) = (sigma_max.powf(rho.recip()), sigma_min.powf(rho.recip()));
    let intervals = (n - 1).max(1) as f64;
    Ok((0..n).map(|i| (high + i as f64 / intervals * (low - high)).powf(rho)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "found {found:.12}, expected {expected}");
    }

    #[test]
    fn discrete_tables_have_the_published_values() {
        let schedule = DiscreteSchedule::default();
        close(schedule.betas()[0], 0.00085, 1e-12);
        close(schedule.betas()[1], 0.000854698655, 1e-12);
        close(schedule.betas()[999], 0.012, 1e-12);
        for (n, abar) in [
            (0, 1.0),
            (1, 0.999150000000),
            (2, 0.998296027838),
            (100, 0.895462773495),
            (500, 0.277669650456),
            (999, 0.004716698900),
            (1000, 0.004660098513),
        ] {
            close(schedule.alphas_cumprod()[n], abar, 1e-12);
            let level = schedule.level(n).expect("a level of the process");
            close(level.alpha.powi(2) + level.sigma.powi(2), 1.0, 1e-12);
        }
        assert!(schedule.level(1001).is_none());
    }

    #[test]
    fn continuous_view_has_the_published_values() {
        let schedule = VpSchedule::default();
        close(schedule.log_alpha(1.0), -2.6843593455, 1e-9);
        close(schedule.sigma(1.0), 0.9976672298, 1e-9);
        close(schedule.lambda(1.0), -2.6820238501, 1e-9);
        close(schedule.log_alpha(0.98002), -2.5654378099, 1e-9);
        close(schedule.lambda(0.98002), -2.5624733482, 1e-9);
        close(schedule.lambda(0.5), -0.4780252414, 1e-9);
        close(schedule.alpha(0.001), 0.9995749096, 1e-9);
        close(schedule.sigma(0.001), 0.0291547595, 1e-9);
        close(schedule.lambda(0.001), 3.5347119235, 1e-9);
        close(schedule.time_of_lambda(0.0), 0.3548902478, 1e-9);
    }

    #[test]
    fn continuous_and_discrete_views_agree_at_the_knots() {
        let schedule = VpSchedule::default();
        for n in 1..=1000 {
            let discrete = schedule.discrete().level(n).expect("a level of the process");
            let continuous = schedule.level(n as f64 / 1000.0);
            close(continuous.n, discrete.n, 1e-9);
            close(continuous.alpha, discrete.alpha, 1e-12);
            close(continuous.sigma, discrete.sigma, 1e-12);
        }
    }

    #[test]
    fn edm_sigmas_follow_the_paper() {
        let sigmas = karras_sigmas(18, 0.002, 80.0, 7.0).expect("valid");
        assert_eq!(sigmas.len(), 18);
        close(sigmas[0], 80.0, 1e-10);
        close(sigmas[17], 0.002, 1e-12);
        // (80^(1/7) + (0.002^(1/7) - 80^(1/7)) / 17)^7, evaluated independently.
        close(sigmas[1], 57.58598472, 1e-6);
        assert!(sigmas.is_sorted_by(|a, b| a > b));
        assert_eq!(karras_sigmas(1, 0.002, 80.0, 1.0), Ok(vec![80.0]));
        assert!(karras_sigmas(0, 0.002, 80.0, 7.0).is_err());
        assert!(karras_sigmas(4, 0.0, 80.0, 7.0).is_err());
        assert!(karras_sigmas(4, 1.0, 1.0, 7.0).is_err());
        assert!(karras_sigmas(4, 1.0, 2.0, f64::NAN).is_err());
    }

    #[test]
    fn clean_level_is_reached_from_sigma_zero() {
        let level = VpSchedule::default().level_of_edm_sigma(0.0);
        assert_eq!((level.alpha, level.sigma), (1.0, 0.0));
        assert!(level.n >= 0.0 && level.n < 0.01, "{}", level.n);
    }

    #[test]
    fn invalid_settings_are_named() {
        let base = ScheduleConfig::default();
        for (config, name) in [
            (ScheduleConfig { num_train_timesteps: 1, ..base }, "num_train_timesteps"),
            (ScheduleConfig { beta_start: 0.0, ..base }, "beta_start"),
            (ScheduleConfig { beta_start: f64::NAN, ..base }, "beta_start"),
            (ScheduleConfig { beta_end: 1.0, ..base }, "beta_end"),
            (ScheduleConfig { beta_end: 0.0001, ..base }, "beta_end"),
        ] {
            let Err(Error::OutOfRange { field, .. }) = config.init() else {
                panic!("{config:?} was accepted");
            };
            assert_eq!(field, name);
        }
        assert!(serde_json::from_str::<ScheduleConfig>(r#"{"beta": 1}"#).is_err());
        let short: ScheduleConfig =
            serde_json::from_str(r#"{"num_train_timesteps": 10}"#).expect("a partial setting");
        assert_eq!(short.init().expect("valid").alphas_cumprod().len(), 11);
    }

    proptest! {
        #[test]
        fn time_and_lambda_are_inverse(t in 0.0005_f64..1.05) {
            let schedule = VpSchedule::default();
            prop_assert!((schedule.time_of_lambda(schedule.lambda(t)) - t).abs() < 1e-9);
        }

        #[test]
        fn edm_sigma_and_level_are_inverse(t in 0.001_f64..1.0) {
            let schedule = VpSchedule::default();
            let level = schedule.level(t);
            let back = schedule.level_of_edm_sigma(level.edm_sigma());
            prop_assert!((back.n - level.n).abs() < 1e-6);
            prop_assert!((back.alpha - level.alpha).abs() < 1e-12);
            prop_assert!((back.sigma - level.sigma).abs() < 1e-12);
        }
    }
}
