//! The fake score, which is told the camera.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use trefoil_core::nn::{Bias, Init, Linear, WeightInit};
use trefoil_diffusion::EdmPreconditioner;

use super::camera::{Camera, World};
use crate::distill::FakeView;
use crate::edm::UNet;
use crate::pictures::Critic;

/// Numbers that describe a camera.
const FEATURES: usize = 5;

/// A [`Critic`] whose label is moved by a linear map of the camera. The map begins at zero, so that the fake score
/// begins at the teacher, which knows the coarse direction only.
#[derive(Module, Debug)]
pub struct SceneCritic {
    /// Denoiser and discriminator.
    pub critic: Critic,
    /// From the camera to the label.
    pub camera: Linear,
}

impl SceneCritic {
    /// A critic whose denoiser is `network`; with a rank, only changes of that rank are to be trained.
    pub fn new(network: UNet, rank: Option<usize>, init: &mut Init) -> Self {
        let labels = network.config().label_dim;
        let critic = Critic::new(network, rank, init);
        let camera = Linear::new(init, [FEATURES, labels], Bias::No, WeightInit::Normal(0.0));
        Self { critic, camera }
    }

    /// Whether a parameter is trained.
    pub fn trains(name: &str, rank: Option<usize>) -> bool {
        name.strip_prefix("critic.").is_none_or(|inner| Critic::trains(inner, rank))
    }

    /// # Shapes
    /// - `x`: `[B, 3 * side * side]`
    /// - `label`: `[B, labels]`
    /// - `cameras`: `[B, 5]`, from `camera::describe`
    pub fn forward(
        &self,
        x: Tensor<2>,
        sigma: &[f64],
        (label, cameras): (Option<Tensor<2>>, Tensor<2>),
        preconditioner: EdmPreconditioner,
    ) -> FakeView {
        let label = label.map(|label| label + self.camera.forward(cameras));
        self.critic.forward(x, sigma, label, preconditioner)
    }
}

/// Cameras as the fake score is told them: two waves of the azimuth, and the elevation between its limits.
///
/// # Shapes
/// - returns: `[cameras.len(), 5]`
pub(super) fn describe(world: &World, cameras: &[Camera], device: &Device) -> Tensor<2> {
    let [low, high] = world.elevation.map(f64::to_radians);
    let half = (0.5 * (high - low)).max(1e-3);
    let values: Vec<f32> = cameras
        .iter()
        .flat_map(|Camera { azimuth, elevation }| {
            let (sin, cos) = azimuth.sin_cos();
            let (twice_sin, twice_cos) = (2.0 * azimuth).sin_cos();
            [sin, cos, twice_sin, twice_cos, (elevation - 0.5 * (low + high)) / half]
        })
        .map(|value| value as f32)
        .collect();
    Tensor::from_data(TensorData::new(values, [cameras.len(), FEATURES]), device)
}
