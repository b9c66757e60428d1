//! The network as a denoiser, and the loss that trains it.
//!
//! ```text
//! D(x, sigma) = c_skip x + c_out F(c_in x, ln(sigma) / 4)                    table 1 of the paper
//! L = lambda(sigma) |D(y + sigma n, sigma) - y|^2,  ln sigma ~ N(mean, deviation^2)
//! ```

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result, Stream};
use trefoil_diffusion::{EdmPreconditioner, Preconditioning};

use super::dropout::Masks;
use super::unet::{Condition, UNet};

/// A denoised batch.
#[derive(Debug, Clone)]
pub struct Denoised {
    /// `D(x, sigma)`, `[B, channels, H, W]`.
    pub picture: Tensor<4>,
    /// Output of the last encoder layer of the network, `[B, C, H', W']`.
    pub encoded: Tensor<4>,
}

impl UNet {
    /// `D(x, sigma)`; gradients flow to the weights and to `x`.
    ///
    /// # Shapes
    /// - `x`: `[B, channels, H, W]`, pictures in `[-1, 1]` plus noise of standard deviation `sigma`
    /// - `sigma`: one for each picture
    pub fn denoise(
        &self,
        x: Tensor<4>,
        sigma: &[f64],
        condition: Condition,
        dropout: Option<&mut Masks>,
        preconditioner: EdmPreconditioner,
    ) -> Denoised {
        let scales: Vec<Preconditioning> = sigma.iter().map(|&s| preconditioner.at(s)).collect();
        let device = x.device();
        let column = |f: fn(&Preconditioning) -> f64| per_picture(scales.iter().map(f), &device);
        let noise: Vec<f64> = scales.iter().map(|scale| scale.c_noise).collect();
        let raw = self.forward(x.clone() * column(|c| c.c_in), &noise, condition, dropout);
        let picture = x * column(|c| c.c_skip) + raw.output * column(|c| c.c_out);
        Denoised { picture, encoded: raw.encoded }
    }
}

/// One number for each picture, `[B, 1, 1, 1]`.
fn per_picture(values: impl Iterator<Item = f64>, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = values.map(|value| value as f32).collect();
    let shape = [values.len(), 1, 1, 1];
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Noise levels of training and their weight.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdmLoss {
    /// Mean of `ln sigma`.
    pub p_mean: f64,
    /// Deviation of `ln sigma`.
    pub p_std: f64,
    /// Standard deviation of the data.
    pub sigma_data: f64,
}

impl Default for EdmLoss {
    fn default() -> Self {
        Self { p_mean: -1.2, p_std: 1.2, sigma_data: 0.5 }
    }
}

/// Clean pictures with the noise that they get.
#[derive(Debug, Clone)]
pub struct NoisyBatch {
    /// `[B, channels, H, W]` in `[-1, 1]`.
    pub clean: Tensor<4>,
    /// Standard normal, of the same shape.
    pub noise: Tensor<4>,
    /// Noise level of each picture.
    pub sigma: Vec<f64>,
    /// Labels and augmentation.
    pub condition: Condition,
}

impl EdmLoss {
    /// The scales around the network.
    pub fn preconditioner(&self) -> EdmPreconditioner {
        EdmPreconditioner { sigma_data: self.sigma_data }
    }

    /// A noise level of training.
    pub fn draw_sigma(&self, stream: &mut Stream) -> f64 {
        (self.p_mean + self.p_std * f64::from(stream.normals(1)[0])).exp()
    }

    /// Mean over pictures and their elements of the weighted squared error. A network that knows Gaussian
    /// data of deviation `sigma_data` and nothing else has loss 1 at every level.
    ///
    /// # Shapes
    /// - returns: `[1]`
    pub fn loss(
        &self,
        network: &UNet,
        batch: NoisyBatch,
        dropout: Option<&mut Masks>,
    ) -> Tensor<1> {
        let NoisyBatch { clean, noise, sigma, condition } = batch;
        let device = clean.device();
        let preconditioner = self.preconditioner();
        let x = clean.clone() + noise * per_picture(sigma.iter().copied(), &device);
        let denoised = network.denoise(x, &sigma, condition, dropout, preconditioner).picture;
        // The root of the weight, so that the square of a large weight never exists.
        let root = sigma.iter().map(|&s| preconditioner.at(s).c_out.recip());
        ((denoised - clean) * per_picture(root, &device)).square().mean()
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let check = |good: bool, field: &str, value: f64| {
            if good { Ok(()) } else { Err(Error::config(field, format!("found {value}"))) }
        };
        let positive = |value: f64| value.is_finite() && value > 0.0;
        check(self.p_mean.is_finite(), "p_mean", self.p_mean)?;
        check(positive(self.p_std), "p_std", self.p_std)?;
        check(positive(self.sigma_data), "sigma_data", self.sigma_data)
    }
}
