//! Stage 4: UniDiffuser (arXiv 2303.06555, algorithm 1).
//!
//! ```text
//! n_x, n_y ~ U{1..N},   u_n = sqrt(abar_n) u_0 + sqrt(1 - abar_n) eps   for u in z, c (level n_x), y (level n_y)
//! L = E |eps_theta(z_n, c_n, y_n, n_x, n_y) - [eps_z, eps_c, eps_y]|^2
//! ```

use burn::tensor::{Device, Tensor, TensorData};
use trefoil_core::{Result, Stream};
use trefoil_diffusion::DiscreteSchedule;
use trefoil_train::{Batch, Losses, Position, RunFolder, Task};

use super::data::Pairs;
use super::features::Features;
use super::recipe::{JointRecipe, LevelShares, Weighting};
use crate::uvit::{Levels, Modalities, UVit};

/// Draws something from the averaged network while it trains.
pub type Preview<'a> = dyn FnMut(&UVit, &RunFolder, Position) -> trefoil_train::Result<()> + 'a;

/// The task of stage 4.
pub struct JointTask<'a> {
    /// Its part of the recipe.
    pub recipe: &'a JointRecipe,
    /// The training set.
    pub pairs: &'a Pairs,
    /// What the frozen networks say about it.
    pub features: &'a Features,
    /// Noise levels, and how much each counts.
    pub weights: LossWeights,
    /// Where the network is.
    pub device: Device,
    /// What is drawn while training.
    pub preview: Box<Preview<'a>>,
}

/// Clean data of a batch with the noise and the levels that it is seen at.
#[derive(Debug, Clone)]
pub struct Noised {
    /// Clean data.
    pub clean: Modalities,
    /// Standard normal noise.
    pub noise: Modalities,
    /// Levels in `0..=N` and data types; what is at level 0 is clean and does not count.
    pub levels: Levels,
}

/// Noise prediction losses of a batch.
#[derive(Debug, Clone)]
pub struct JointLoss {
    /// What is minimised, `[1]`.
    pub total: Tensor<1>,
    /// Mean squared error of the latent's noise, `[1]`.
    pub z: Tensor<1>,
    /// Mean squared error of the CLIP embedding's noise, `[1]`.
    pub clip: Tensor<1>,
    /// Mean squared error of the text code's noise, `[1]`.
    pub text: Tensor<1>,
}

/// The loss of algorithm 1.
///
/// With [`Weighting::Elements`] the three squared errors share one mean over all elements; with
/// [`Weighting::Parts`] each has its own mean and the three are added.
///
/// # Errors
/// [`trefoil_core::Error::Config`] when a level is not one of the schedule.
pub fn joint_loss(network: &UVit, batch: Noised, weights: &LossWeights) -> Result<JointLoss> {
    let LossWeights { schedule, weighting, .. } = weights;
    let Noised { clean, noise, levels } = batch;
    let image = coefficients(&levels.image, schedule, &clean.z.device())?;
    let text = coefficients(&levels.text, schedule, &clean.z.device())?;
    let noisy = Modalities {
        z: mix(clean.z, noise.z.clone(), &image),
        clip: mix(clean.clip, noise.clip.clone(), &image),
        text: mix(clean.text, noise.text.clone(), &text),
    };
    let predicted = network.forward(noisy, &levels);
    let elements = |dims: &[usize]| dims.iter().product::<usize>() as f64;
    let counts = [
        elements(&noise.z.dims()[1..]),
        elements(&noise.clip.dims()[1..]),
        elements(&noise.text.dims()[1..]),
    ];
    let [image, words] = [&levels.image, &levels.text].map(|n| weights.of(n, &noise.z.device()));
    let z = weighted_mean(predicted.z - noise.z, &image);
    let clip = weighted_mean(predicted.clip - noise.clip, &image);
    let text = weighted_mean(predicted.text - noise.text, &words);
    let parts = [z.clone(), clip.clone(), text.clone()];
    let all: f64 = counts.iter().sum();
    let [a, b, c] = match *weighting {
        Weighting::Parts => [1.0; 3],
        Weighting::Elements => counts.map(|n| n / all),
    };
    let [x, y, w] = parts;
    Ok(JointLoss { total: x * a + y * b + w * c, z, clip, text })
}

/// How the squared errors of a batch become one number.
#[derive(Debug)]
pub struct LossWeights {
    schedule: DiscreteSchedule,
    weighting: Weighting,
    /// By level, from 0.
    by_level: Vec<f32>,
}

impl LossWeights {
    /// Weights of all levels, `min(1 / abar_n, cap)` over its mean; a level of 0 does not count.
    pub fn new(schedule: DiscreteSchedule, weighting: Weighting, cap: f64) -> Self {
        let raw: Vec<f64> =
            schedule.alphas_cumprod().iter().skip(1).map(|abar| (1.0 / abar).min(cap)).collect();
        let mean = raw.iter().sum::<f64>() / raw.len() as f64;
        let by_level = std::iter::once(0.0).chain(raw.iter().map(|w| (w / mean) as f32)).collect();
        Self { schedule, weighting, by_level }
    }

    /// `[B]`
    fn of(&self, levels: &[f32], device: &Device) -> Tensor<1> {
        let last = self.by_level.len() - 1;
        let weights: Vec<f32> =
            levels.iter().map(|&n| self.by_level[(n as usize).min(last)]).collect();
        Tensor::from_data(TensorData::new(weights, [levels.len()]), device)
    }
}

/// Mean square over samples and elements, samples weighted by `[B]` weights; the mean is over all samples,
/// so that a batch in which few count does not count more.
fn weighted_mean<const D: usize>(error: Tensor<D>, weights: &Tensor<1>) -> Tensor<1> {
    let mut shape = [1; D];
    shape[0] = error.dims()[0];
    (error.square() * weights.clone().reshape(shape)).mean()
}

/// Scale of the data and of the noise for each sample, `[B]` both.
fn coefficients(
    levels: &[f32],
    schedule: &DiscreteSchedule,
    device: &Device,
) -> Result<[Tensor<1>; 2]> {
    let mut alphas = Vec::with_capacity(levels.len());
    let mut sigmas = Vec::with_capacity(levels.len());
    for &n in levels {
        let level = schedule.level(n as usize).ok_or_else(|| {
            let last = schedule.num_train_timesteps();
            trefoil_core::Error::config("level", format!("expected 1..={last}, found {n}"))
        })?;
        alphas.push(level.alpha as f32);
        sigmas.push(level.sigma as f32);
    }
    let shape = [levels.len()];
    Ok([alphas, sigmas].map(|v| Tensor::from_data(TensorData::new(v, shape), device)))
}

/// `alpha clean + sigma noise`, sample by sample.
fn mix<const D: usize>(
    clean: Tensor<D>,
    noise: Tensor<D>,
    [alpha, sigma]: &[Tensor<1>; 2],
) -> Tensor<D> {
    let mut shape = [1; D];
    shape[0] = clean.dims()[0];
    clean * alpha.clone().reshape(shape) + noise * sigma.clone().reshape(shape)
}

/// A pair of levels `(n_image, n_text)` from the part of the square that the shares choose.
fn draw_levels(shares: &LevelShares, steps: u64, stream: &mut Stream) -> [u64; 2] {
    let (n, m) = (1 + stream.below(steps), 1 + stream.below(steps));
    let shares = shares.all();
    if shares[1..].iter().all(|share| *share == 0.0) {
        return [n, m];
    }
    let pairs = [[n, m], [n, 0], [0, m], [n, n], [n, steps], [steps, m]];
    let mut place = f64::from(stream.uniforms(1)[0]) * shares.iter().sum::<f64>();
    for (pair, share) in pairs.into_iter().zip(shares) {
        if place < share {
            return pair;
        }
        place -= share;
    }
    [n, m]
}

impl JointTask<'_> {
    /// The data of a batch with fresh noise: for each sample, from its own stream, the posterior noise,
    /// the two levels and the noise of `z`, `c`, `y`.
    fn noised(&self, batch: &Batch, device: &Device) -> Noised {
        let b = batch.items.len();
        let [nz, nc, ny] = self.features.sizes();
        let steps = self.weights.schedule.num_train_timesteps() as u64;
        let mut clean = [Vec::new(), Vec::new(), Vec::new()];
        let mut noise = [Vec::new(), Vec::new(), Vec::new()];
        let mut levels = Levels {
            image: Vec::new(),
            text: Vec::new(),
            data_type: vec![self.recipe.data_type; b],
        };
        for item in &batch.items {
            let caption = self.pairs.choose(batch, item);
            let mut stream = batch.stream("noise", item);
            let (mean, deviation) = self.features.moments(item.index);
            let posterior = stream.normals(nz);
            clean[0]
                .extend(mean.iter().zip(deviation).zip(&posterior).map(|((m, s), e)| m + s * e));
            clean[1].extend_from_slice(self.features.clip(item.index));
            clean[2].extend_from_slice(self.features.text(item.index, caption));
            let [image, text] = draw_levels(&self.recipe.levels, steps, &mut stream);
            levels.image.push(image as f32);
            levels.text.push(text as f32);
            for (values, count) in noise.iter_mut().zip([nz, nc, ny]) {
                values.extend(stream.normals(count));
            }
        }
        let [z, h, w] = self.features.latent_shape();
        let [l, t] = self.features.code_shape();
        let modalities = |[a, c, y]: [Vec<f32>; 3]| Modalities {
            z: Tensor::from_data(TensorData::new(a, [b, z, h, w]), device),
            clip: Tensor::from_data(TensorData::new(c, [b, 1, nc]), device),
            text: Tensor::from_data(TensorData::new(y, [b, l, t]), device),
        };
        Noised { clean: modalities(clean), noise: modalities(noise), levels }
    }
}

impl Task for JointTask<'_> {
    type Model = UVit;

    fn samples(&self) -> usize {
        self.pairs.len()
    }

    fn loss(&self, model: &UVit, batch: &Batch) -> trefoil_train::Result<Losses> {
        let device = self.device.clone().autodiff();
        let noised = self.noised(batch, &device);
        let JointLoss { total, z, clip, text } = joint_loss(model, noised, &self.weights)?;
        Ok(Losses { total, parts: vec![("z", z), ("clip", clip), ("text", text)] })
    }

    fn on_sample(
        &mut self,
        model: &UVit,
        run: &RunFolder,
        position: Position,
    ) -> trefoil_train::Result<()> {
        (self.preview)(model, run, position)
    }

    fn fingerprint(&self) -> serde_json::Value {
        serde_json::json!({
            "model": self.recipe.model,
            "weighting": self.recipe.weighting,
            "data_type": self.recipe.data_type,
            "pictures": self.pairs.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trefoil_core::Seed;

    #[test]
    fn levels_follow_the_shares() {
        let shares =
            LevelShares { square: 1.0, text_to_image: 2.0, text: 1.0, ..Default::default() };
        let mut counts = [0_u32; 3];
        for i in 0..4000 {
            let [n, m] = draw_levels(&shares, 1000, &mut Seed(1).stream("levels", i));
            assert!(n <= 1000 && m <= 1000 && n > 0);
            counts[match (n, m) {
                (_, 0) => 0,
                (1000, _) => 1,
                _ => 2,
            }] += 1;
        }
        // Shares of 2, 1 and 1 of 4000, within five standard deviations.
        assert!(counts[0].abs_diff(2000) < 160, "{counts:?}");
        assert!(counts[1].abs_diff(1000) < 140 && counts[2].abs_diff(1000) < 140, "{counts:?}");
    }

    #[test]
    fn the_whole_square_is_the_default() {
        let default = LevelShares::default();
        let pairs: Vec<[u64; 2]> = (0..2000)
            .map(|i| draw_levels(&default, 10, &mut Seed(1).stream("levels", i)))
            .collect();
        assert!(pairs.iter().flatten().all(|n| (1..=10).contains(n)));
        let distinct: std::collections::HashSet<_> = pairs.into_iter().collect();
        assert_eq!(distinct.len(), 100);
    }
}
