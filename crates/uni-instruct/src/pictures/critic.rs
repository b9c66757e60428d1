//! The fake score with the discriminator on its encoder.

use burn::module::Module;
use burn::tensor::Tensor;
use trefoil_core::nn::{Activation, Adapters, Bias, Init, Linear, WeightInit};
use trefoil_diffusion::EdmPreconditioner;

use crate::distill::FakeView;
use crate::edm::{Condition, UNet, denoise_flat};

/// A U-Net that denoises the student's samples, and a small head on the output of its last encoder layer that
/// tells them from real ones, one logit for each location.
///
/// The head begins at logit 0. Its features come from the network that is told the noise level, so it needs
/// no level of its own.
#[derive(Module, Debug)]
pub struct Critic {
    /// The denoiser.
    pub network: UNet,
    /// From channels to those of the discriminator.
    pub head_in: Linear,
    /// From those to the logit.
    pub head_out: Linear,
    /// Changes of the denoiser of low rank, trained in its place.
    pub adapters: Option<Adapters>,
}

impl Critic {
    /// A critic whose denoiser is `network`; with a rank, only changes of that rank are to be trained.
    pub fn new(network: UNet, rank: Option<usize>, init: &mut Init) -> Self {
        let size = network.config();
        let width = size.width(size.channel_mult.len() - 1);
        let head_in = Linear::new(init, [width; 2], Bias::Yes, WeightInit::FanIn);
        let head_out = Linear::new(init, [width, 1], Bias::Yes, WeightInit::Normal(0.0));
        let adapters = rank.map(|rank| Adapters::new(&network, rank, init));
        Self { network, head_in, head_out, adapters }
    }

    /// Whether a parameter is trained.
    pub fn trains(name: &str, rank: Option<usize>) -> bool {
        rank.is_none() || !name.starts_with("network.")
    }

    /// # Shapes
    /// - `x`: `[B, channels * H * W]`
    pub fn forward(
        &self,
        x: Tensor<2>,
        sigma: &[f64],
        label: Option<Tensor<2>>,
        preconditioner: EdmPreconditioner,
    ) -> FakeView {
        let rows = sigma.len();
        let condition = Condition { label, augment: None };
        let network = match &self.adapters {
            Some(adapters) => &adapters.apply(self.network.clone()),
            None => &self.network,
        };
        let (denoised, encoded) = denoise_flat(network, x, sigma, condition, preconditioner);
        let locations = encoded.flatten::<3>(2, 3).swap_dims(1, 2); // [B, HW, C]
        let hidden = self.head_in.forward_activated(locations, Activation::Silu);
        let logits = self.head_out.forward(hidden); // [B, HW, 1]
        let count = logits.dims()[1];
        FakeView { denoised, logits: Some(logits.reshape([rows, count])) }
    }
}
