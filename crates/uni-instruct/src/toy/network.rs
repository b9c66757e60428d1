//! Small networks for problems of a few dimensions.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use trefoil_core::nn::{Activation, Bias, Init, Linear, WeightInit};
use trefoil_diffusion::EdmPreconditioner;

use crate::distill::FakeView;
use crate::exact::Labels;
use crate::tensors;

/// Frequencies at which `c_noise` is told.
const FREQUENCIES: [f64; 4] = [1.0, 2.0, 4.0, 8.0];

/// Size of a [`Network`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// Units of a hidden layer.
    pub width: usize,
    /// Hidden layers.
    pub depth: usize,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { width: 128, depth: 3 }
    }
}

/// A layer with an optional low-rank change, `W + B A`.
#[derive(Module, Debug)]
pub struct Adapted {
    /// The layer.
    pub base: Linear,
    /// `A`, `[r, in]`.
    pub down: Option<Param<Tensor<2>>>,
    /// `B`, `[out, r]`, zero at the start.
    pub up: Option<Param<Tensor<2>>>,
}

impl Adapted {
    fn new(init: &mut Init, [d_in, d_out]: [usize; 2], rank: usize) -> Self {
        let base = Linear::new(init, [d_in, d_out], Bias::Yes, WeightInit::FanIn);
        let down = (rank > 0).then(|| init.normal([rank, d_in], (d_in as f64).powf(-0.5)));
        let up = (rank > 0).then(|| init.full([d_out, rank], 0.0));
        Self { base, down, up }
    }

    fn forward(&self, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        match (&self.down, &self.up) {
            (Some(down), Some(up)) => {
                let change = x.clone().matmul(down.val().transpose()).matmul(up.val().transpose());
                activation.apply(self.base.forward(x) + change)
            }
            _ => self.base.forward_activated(x, activation),
        }
    }
}

/// A multilayer perceptron behind EDM preconditioning: denoiser, discriminator and one-step generator.
///
/// ```text
/// input: c_in x, sin and cos of f c_noise 2 pi, one-hot label (all zero: none)
/// ```
///
/// The discriminator is a small head on the features of the last but one layer, as DMD2's is on the encoder.
#[derive(Module, Debug)]
pub struct Network {
    /// Hidden layers.
    pub layers: Vec<Adapted>,
    /// From features to the raw output.
    pub output: Linear,
    /// From features to those of the discriminator.
    pub head_in: Linear,
    /// From those to the logit.
    pub head_out: Linear,
}

/// What a [`Network`] is built for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Number of coordinates.
    pub dims: usize,
    /// Number of classes, or zero.
    pub classes: usize,
    /// Standard deviation of the data.
    pub sigma_data: f64,
    /// Rank of the trainable change of each layer; zero trains the layers themselves.
    pub rank: usize,
}

impl Network {
    /// A fresh network whose denoiser is `c_skip x` and whose logit is 0.
    pub fn new(config: NetworkConfig, shape: Shape, init: &mut Init) -> Self {
        let mut width = shape.dims + 2 * FREQUENCIES.len() + shape.classes;
        let mut layers = Vec::new();
        for _ in 0..config.depth {
            layers.push(Adapted::new(init, [width, config.width], shape.rank));
            width = config.width;
        }
        let output = Linear::new(init, [width, shape.dims], Bias::Yes, WeightInit::Normal(0.0));
        let head_in = Linear::new(init, [width, config.width], Bias::Yes, WeightInit::FanIn);
        let head_out = Linear::new(init, [config.width, 1], Bias::Yes, WeightInit::Normal(0.0));
        Self { layers, output, head_in, head_out }
    }

    /// Denoised rows and logits.
    ///
    /// # Shapes
    /// - `x`: `[B, D]`
    pub fn forward(
        &self,
        shape: Shape,
        x: Tensor<2>,
        sigma: &[f64],
        labels: Option<&Labels>,
    ) -> FakeView {
        let edm = EdmPreconditioner { sigma_data: shape.sigma_data };
        let scales: Vec<_> = sigma.iter().map(|s| edm.at(*s)).collect();
        let column = |values: Vec<f64>| tensors::column(&values, &x);
        let c_in = column(scales.iter().map(|c| c.c_in).collect());
        let mut told = Vec::with_capacity(sigma.len() * (2 * FREQUENCIES.len() + shape.classes));
        for (row, c) in scales.iter().enumerate() {
            told.extend(
                FREQUENCIES.iter().flat_map(|f| <[f64; 2]>::from((f * c.c_noise).sin_cos())),
            );
            let label = labels.and_then(|labels| labels.get(row));
            told.extend((0..shape.classes).map(|k| f64::from(u8::from(label == Some(&k)))));
        }
        let columns = 2 * FREQUENCIES.len() + shape.classes;
        let told = TensorData::new(told, [sigma.len(), columns]);
        let told = Tensor::from_data(told, (&x.device(), x.dtype()));
        let mut y = Tensor::cat(vec![x.clone() * c_in, told], 1);
        let mut features = None;
        for layer in &self.layers {
            features = Some(y.clone());
            y = layer.forward(y, Activation::Silu);
        }
        // With a single hidden layer the features are its own.
        let features = match features {
            Some(features) if self.layers.len() > 1 => features,
            _ => y.clone(),
        };
        let c_skip = column(scales.iter().map(|c| c.c_skip).collect());
        let c_out = column(scales.iter().map(|c| c.c_out).collect());
        let denoised = x * c_skip + self.output.forward(y) * c_out;
        let logits =
            self.head_out.forward(self.head_in.forward_activated(features, Activation::Silu));
        FakeView { denoised, logits: Some(logits) }
    }
}
