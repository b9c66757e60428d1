//! The only seam between solver and network.
//!
//! A [`NoisePredictor`] answers "which noise is in this state"; a [`Denoiser`] is the same network
//! in EDM form, "which clean sample is in this state", where the state is `x_0 + sigma eps`:
//!
//! ```text
//! D(y, sigma) = y - sigma eps(alpha y, n),     alpha = 1 / sqrt(1 + sigma^2)
//! ```

use std::convert::Infallible;

use burn::tensor::Tensor;

use crate::VpSchedule;

/// A network that predicts the noise in a state.
///
/// A closure `FnMut(Tensor<2>, f64) -> Result<Tensor<2>, E>` is one; see [`from_fn`].
pub trait NoisePredictor {
    /// What can go wrong in a prediction; [`Infallible`] when nothing can.
    type Error;

    /// Predicts the noise in `x` at noise level `n`.
    ///
    /// `n` lies in `0..=1000` for variance-preserving grids and may be fractional; it is sigma for
    /// EDM grids.
    ///
    /// # Shapes
    /// - `x`: `[B, D]`
    /// - returns: `[B, D]`
    ///
    /// # Errors
    /// Whatever the network reports; it ends the sampling run.
    fn predict_noise(&mut self, x: Tensor<2>, n: f64) -> Result<Tensor<2>, Self::Error>;
}

impl<F, E> NoisePredictor for F
where
    F: FnMut(Tensor<2>, f64) -> Result<Tensor<2>, E>,
{
    type Error = E;

    fn predict_noise(&mut self, x: Tensor<2>, n: f64) -> Result<Tensor<2>, E> {
        self(x, n)
    }
}

/// Lets the compiler infer the argument types of a closure that is a [`NoisePredictor`].
pub fn from_fn<F, E>(predict: F) -> F
where
    F: FnMut(Tensor<2>, f64) -> Result<Tensor<2>, E>,
{
    predict
}

/// A network that predicts the clean sample in `x_0 + sigma eps`.
pub trait Denoiser {
    /// What can go wrong in a prediction; [`Infallible`] when nothing can.
    type Error;

    /// Predicts the clean sample.
    ///
    /// # Shapes
    /// - `x`: `[B, D]`, with noise of standard deviation `sigma`
    /// - returns: `[B, D]`
    ///
    /// # Errors
    /// Whatever the network reports.
    fn denoise(&mut self, x: Tensor<2>, sigma: f64) -> Result<Tensor<2>, Self::Error>;
}

impl<F, E> Denoiser for F
where
    F: FnMut(Tensor<2>, f64) -> Result<Tensor<2>, E>,
{
    type Error = E;

    fn denoise(&mut self, x: Tensor<2>, sigma: f64) -> Result<Tensor<2>, E> {
        self(x, sigma)
    }
}

/// A network that predicts clean samples in a batch whose rows have noise levels of their own, and
/// through which gradients reach the rows: what distillation asks of a teacher.
///
/// A process with `x_t = alpha x_0 + sigma n` enters with `sigma / alpha` and `x_t / alpha`.
pub trait RowDenoiser {
    /// What the rows are to be: labels, prompts.
    type Condition;
    /// What can go wrong in a prediction.
    type Error;

    /// Predicts the clean sample of each row.
    ///
    /// # Shapes
    /// - `x`: `[B, D]`, row `i` with noise of standard deviation `sigma[i]`
    /// - `condition`: of all rows; absent: the unconditional prediction
    /// - returns: `[B, D]`
    ///
    /// # Errors
    /// Whatever the network reports.
    fn denoise_rows(
        &self,
        x: Tensor<2>,
        sigma: &[f64],
        condition: Option<&Self::Condition>,
    ) -> Result<Tensor<2>, Self::Error>;
}

/// A variance-preserving noise predictor seen as a [`Denoiser`].
#[derive(Debug)]
pub struct VpDenoiser<'a, M> {
    model: M,
    schedule: &'a VpSchedule,
}

impl<'a, M: NoisePredictor> VpDenoiser<'a, M> {
    /// Wraps a network trained on `schedule`.
    pub fn new(model: M, schedule: &'a VpSchedule) -> Self {
        Self { model, schedule }
    }
}

impl<M: NoisePredictor> Denoiser for VpDenoiser<'_, M> {
    type Error = M::Error;

    fn denoise(&mut self, x: Tensor<2>, sigma: f64) -> Result<Tensor<2>, M::Error> {
        let level = self.schedule.level_of_edm_sigma(sigma);
        let noise = self.model.predict_noise(x.clone() * level.alpha, level.n)?;
        Ok(x - noise * sigma)
    }
}

/// A [`Denoiser`] seen as the noise predictor of an EDM grid, where `n` is sigma:
/// `eps = (x - D(x, sigma)) / sigma`.
#[derive(Debug)]
pub struct EdmNoise<M>(pub M);

impl<M: Denoiser> NoisePredictor for EdmNoise<M> {
    type Error = M::Error;

    fn predict_noise(&mut self, x: Tensor<2>, n: f64) -> Result<Tensor<2>, M::Error> {
        let denoised = self.0.denoise(x.clone(), n)?;
        Ok((x - denoised) / n)
    }
}

/// Data `N(mean, deviation^2)` per coordinate: the exact denoiser, a network without weights.
///
/// ```text
/// D(x, sigma) = mean + deviation^2 / (deviation^2 + sigma^2) (x - mean)
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GaussianDenoiser {
    /// Mean of every coordinate.
    pub mean: f64,
    /// Standard deviation of every coordinate.
    pub deviation: f64,
}

impl Denoiser for GaussianDenoiser {
    type Error = Infallible;

    fn denoise(&mut self, x: Tensor<2>, sigma: f64) -> Result<Tensor<2>, Infallible> {
        let kept = self.deviation.powi(2) / (self.deviation.powi(2) + sigma.powi(2));
        Ok(x * kept + self.mean * (1.0 - kept))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};

    use super::*;

    fn row(values: [f64; 3]) -> Tensor<2> {
        Tensor::from_data([values], (&Device::flex(), DType::F64))
    }

    fn values(tensor: Tensor<2>) -> Vec<f64> {
        tensor.into_data().try_to_vec().expect("f64 data")
    }

    /// The optimal noise prediction for Gaussian data, through the adapter, is the optimal
    /// denoiser: eps = sigma (x - alpha mean) / (alpha^2 sd^2 + sigma^2).
    #[test]
    fn adapters_agree_with_the_gaussian_denoiser() {
        let schedule = VpSchedule::default();
        let gaussian = GaussianDenoiser { mean: 0.3, deviation: 0.5 };
        for t in [0.01, 0.3, 0.77, 1.0] {
            let level = schedule.level(t);
            let mut told = 0.0;
            let noise = |x: Tensor<2>, n: f64| {
                told = n;
                let scale = level.sigma / (0.25 * level.alpha.powi(2) + level.sigma.powi(2));
                Ok::<_, Infallible>((x - 0.3 * level.alpha) * scale)
            };
            let x = row([-2.0, 0.1, 4.0]);
            let sigma = level.edm_sigma();
            let Ok(found) = VpDenoiser::new(noise, &schedule).denoise(x.clone(), sigma);
            assert!((told - 1000.0 * t).abs() < 1e-6, "{told} at {t}");
            let mut gaussian = gaussian;
            let Ok(expected) = gaussian.denoise(x.clone(), sigma);
            let Ok(eps) = EdmNoise(gaussian).predict_noise(x.clone(), sigma);
            let rebuilt = x - eps * sigma;
            let (found, expected) = (values(found), values(expected));
            for ((a, b), c) in found.iter().zip(&expected).zip(values(rebuilt)) {
                assert!((a - b).abs() < 1e-9, "{a} {b}");
                assert!((c - b).abs() < 1e-9, "{c} {b}");
            }
        }
    }
}
