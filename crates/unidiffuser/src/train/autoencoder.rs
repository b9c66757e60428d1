//! Stage 1: the autoencoder learns pictures.
//!
//! ```text
//! L = |x - x'|^2 + a |x - x'| + e |dx - dx'| + k KL(q(z | x) || N(0, I)),   x' = D(z),  z ~ q(z | x)
//! ```
//!
//! with means over the elements of a picture; `dx` are differences of neighbours.

use burn::tensor::{Device, Tensor, TensorData};
use trefoil_core::{Picture, Result};
use trefoil_eval::{Features, psnr};
use trefoil_train::{Batch, Error, Losses, Position, RunFolder, Task};

use super::data::Pairs;
use super::recipe::AutoencoderRecipe;
use crate::autoencoder::{Autoencoder, AutoencoderConfig};

/// Pictures that the preview shows.
const PREVIEW: usize = 16;
/// Pictures per pass where no gradient is needed.
const CHUNK: usize = 128;

/// The task of stage 1.
#[derive(Debug)]
pub struct AutoencoderTask<'a> {
    /// Its part of the recipe.
    pub recipe: &'a AutoencoderRecipe,
    /// The training set.
    pub pairs: &'a Pairs,
    /// Where the network is.
    pub device: Device,
}

impl AutoencoderTask<'_> {
    fn losses(&self, model: &Autoencoder, batch: &Batch) -> Result<Losses> {
        let device = self.device.clone().autodiff();
        let images = self.pairs.images(batch, &device)?;
        let posterior = model.encode(images.clone());
        let shape = posterior.mean.dims();
        let noise = batch.normals("posterior", shape[1..].iter().product());
        let noise = Tensor::from_data(TensorData::new(noise, shape), &device);
        let decoded = model.decode(posterior.sample(noise));

        let elements: usize = images.dims()[1..].iter().product();
        let error = decoded - images;
        let squared = error.clone().square().mean();
        let absolute = error.clone().abs().mean();
        let kl = posterior.kl().mean() / elements as f64;
        let mut total = squared.clone()
            + absolute.clone() * self.recipe.absolute_weight
            + kl.clone() * self.recipe.kl_weight;
        if self.recipe.edge_weight > 0.0 {
            total = total + edges(error) * self.recipe.edge_weight;
        }
        Ok(Losses { total, parts: vec![("squared", squared), ("absolute", absolute), ("kl", kl)] })
    }
}

/// Mean absolute difference of neighbours in both directions.
fn edges(error: Tensor<4>) -> Tensor<1> {
    let [_, _, h, w] = error.dims();
    let down = error.clone().narrow(2, 1, h - 1) - error.clone().narrow(2, 0, h - 1);
    let right = error.clone().narrow(3, 1, w - 1) - error.narrow(3, 0, w - 1);
    down.abs().mean() + right.abs().mean()
}

impl Task for AutoencoderTask<'_> {
    type Model = Autoencoder;

    fn samples(&self) -> usize {
        self.pairs.len()
    }

    fn loss(&self, model: &Autoencoder, batch: &Batch) -> trefoil_train::Result<Losses> {
        Ok(self.losses(model, batch)?)
    }

    fn on_sample(
        &mut self,
        model: &Autoencoder,
        run: &RunFolder,
        position: Position,
    ) -> trefoil_train::Result<()> {
        let pictures = self.pairs.pictures();
        let stride = pictures.len().div_ceil(PREVIEW);
        let shown: Vec<Picture> = pictures.iter().step_by(stride).cloned().collect();
        let images = Picture::to_tensor(&shown, &self.device)?;
        let decoded = Picture::from_tensor(model.decode(model.encode(images).mean))?;
        let elements = shown[0].pixels().len();
        let unit = |pictures: &[Picture]| -> Vec<f32> {
            pictures.iter().flat_map(|p| p.to_planes([1.0; 3], [0.0; 3])).collect()
        };
        let (real, made) = (unit(&shown), unit(&decoded));
        let measure = || {
            let real = Features::new("pictures", &real, elements)?;
            psnr(Features::new("reconstructions", &made, elements)?, real)
        };
        let report = measure().map_err(Error::task)?;
        run.log_scalars(position.samples, &[("preview/psnr", report.mean.mean)])?;
        let rows: Vec<Picture> = shown.iter().chain(&decoded).cloned().collect();
        match Picture::grid(&rows, shown.len()) {
            Some(grid) => run.log_picture(position.samples, "reconstructions", &grid),
            None => Ok(()),
        }
    }

    fn fingerprint(&self) -> serde_json::Value {
        serde_json::json!({
            "model": self.recipe.model,
            "weights": [self.recipe.absolute_weight, self.recipe.edge_weight, self.recipe.kl_weight],
            "pictures": self.pairs.len(),
        })
    }
}

/// The configuration with the scaling factor that gives the latents of these pictures unit variance, as
/// the diffusion expects.
///
/// # Errors
/// [`Error`] when the latents do not vary.
pub fn measure_scaling(
    model: &Autoencoder,
    config: &AutoencoderConfig,
    pairs: &Pairs,
    device: &Device,
) -> Result<AutoencoderConfig, Error> {
    let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for chunk in pairs.pictures().chunks(CHUNK) {
        let posterior = model.encode(Picture::to_tensor(chunk, device)?);
        // E[z^2] of a sample is mean^2 + variance.
        let second = posterior.mean.clone().square() + posterior.logvar.exp();
        let n = posterior.mean.shape().num_elements() as f64;
        count += n;
        sum += f64::from(posterior.mean.mean().into_scalar::<f32>()) * n;
        squares += f64::from(second.mean().into_scalar::<f32>()) * n;
    }
    let variance = squares / count - (sum / count).powi(2);
    if !(variance.is_finite() && variance > 0.0) {
        let what = format!("the variance of the latents ({variance})");
        return Err(trefoil_core::Error::NonFinite { what }.into());
    }
    Ok(AutoencoderConfig { scaling_factor: variance.sqrt().recip(), ..config.clone() })
}
