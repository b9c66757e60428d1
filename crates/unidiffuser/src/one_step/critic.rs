//! The fake score with the discriminator on its encoder.

use burn::module::Module;
use burn::tensor::Tensor;
use trefoil_core::nn::{Activation, Adapters, Bias, Init, Linear, WeightInit};
use trefoil_diffusion::VpSchedule;

use super::rows::{JointDenoiser, Parts, Rows};
use crate::uvit::{UVit, UVitConfig};

/// A joint network that learns the student's samples, and a small head on the tokens after its middle block that
/// tells them from real ones, one logit for each token. The head begins at logit 0.
#[derive(Module, Debug)]
pub struct JointCritic {
    /// The noise predictor.
    pub network: UVit,
    /// From tokens to features of the discriminator.
    pub head_in: Linear,
    /// From those to the logit.
    pub head_out: Linear,
    /// Changes of the network of low rank, trained in its place.
    pub adapters: Option<Adapters>,
}

impl JointCritic {
    /// A critic whose noise predictor is `network`; with a rank, only changes of that rank are to be trained.
    pub fn new(network: UVit, sizes: &UVitConfig, rank: Option<usize>, init: &mut Init) -> Self {
        let width = sizes.embed_dim;
        let head_in = Linear::new(init, [width; 2], Bias::Yes, WeightInit::FanIn);
        let head_out = Linear::new(init, [width, 1], Bias::Yes, WeightInit::Normal(0.0));
        let adapters = rank.map(|rank| Adapters::new(&network, rank, init));
        Self { network, head_in, head_out, adapters }
    }

    /// Whether a parameter is trained.
    pub fn trains(name: &str, rank: Option<usize>) -> bool {
        rank.is_none() || !name.starts_with("network.")
    }

    /// Denoised rows, `[B, D]`, and logits, `[B, L]`.
    ///
    /// # Shapes
    /// - `x`: `[B, D]`
    pub fn forward(
        &self,
        (schedule, parts): (&VpSchedule, Parts),
        x: Tensor<2>,
        sigma: &[f64],
        rows: &Rows,
    ) -> (Tensor<2>, Option<Tensor<2>>) {
        let mut middle = None;
        let mut see = |name: &str, tokens: &Tensor<3>| {
            if name == "mid_block" {
                middle = Some(tokens.clone());
            }
        };
        let network = match &self.adapters {
            Some(adapters) => &adapters.apply(self.network.clone()),
            None => &self.network,
        };
        let denoiser = JointDenoiser::new(network, schedule, parts);
        let denoised = denoiser.denoise_seen(x, sigma, rows, &mut see);
        let logits = middle.map(|tokens| {
            let [b, l, _] = tokens.dims();
            let hidden = self.head_in.forward_activated(tokens, Activation::Silu);
            self.head_out.forward(hidden).reshape([b, l])
        });
        (denoised, logits)
    }
}
