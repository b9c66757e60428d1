//! Pictures of voxel grids, differentiable in density and colour.
//!
//! ```text
//! alpha_i = 1 - exp(-density_i step),  w_i = alpha_i prod_(j < i) (1 - alpha_j)
//! colour = sum_i w_i colour_i + (1 - sum_i w_i) background
//! ```
//!
//! Emission and absorption along a ray (Max, <https://doi.org/10.1109/2945.468400>), as in NeRF (arXiv 2003.08934);
//! a field without gradient costs none.

use burn::tensor::{Int, Tensor, TensorData};
use trefoil_kernels::gather_rows;

use super::camera::{Camera, Rays, World};

/// Pictures that are rendered together: what they keep of memory grows with it.
const TOGETHER: usize = 32;

/// Pictures and their silhouettes.
#[derive(Debug, Clone)]
pub struct View {
    /// Colours in `[-1, 1]` on white, `[B, 3 * side * side]`.
    pub picture: Tensor<2>,
    /// Share of light that the scene keeps back, `[B, side * side]`.
    pub opacity: Tensor<2>,
}

/// Renders scenes of a world.
#[derive(Debug, Clone)]
pub struct Renderer {
    world: World,
}

impl Renderer {
    /// For scenes and pictures of these sizes.
    pub fn new(world: World) -> Self {
        Self { world }
    }

    /// One picture for each camera, of the scene with the number beside it.
    ///
    /// # Shapes
    /// - `fields`: `[scenes * grid^3, 4]`, density of at least 0, then red, green and blue in `[0, 1]`
    pub fn render(&self, fields: &Tensor<2>, shots: &[(usize, Camera)]) -> View {
        let views: Vec<View> =
            shots.chunks(TOGETHER).map(|shots| self.together(fields, shots)).collect();
        let of = |pick: fn(&View) -> &Tensor<2>| {
            Tensor::cat(views.iter().map(|view| pick(view).clone()).collect(), 0)
        };
        View { picture: of(|view| &view.picture), opacity: of(|view| &view.opacity) }
    }

    fn together(&self, fields: &Tensor<2>, shots: &[(usize, Camera)]) -> View {
        let (device, dtype) = (fields.device(), fields.dtype());
        let (samples, pixels) = (self.world.samples, self.world.side.pow(2));
        let rows = shots.len() * pixels;
        let points = rows * samples;
        let mut corners: Vec<i64> = Vec::with_capacity(8 * points);
        let (mut weights, mut steps) = (Vec::with_capacity(8 * points), Vec::with_capacity(rows));
        for (scene, camera) in shots {
            let rays = Rays::new(&self.world, *camera);
            let first = scene * self.world.voxels();
            corners.extend(rays.corners.into_iter().map(|corner| (first + corner) as i64));
            weights.extend(rays.weights);
            steps.extend(rays.steps);
        }
        let corners: Tensor<1, Int> =
            Tensor::from_data(TensorData::new(corners, [8 * points]), &device);
        let weights = TensorData::new(weights, [8 * points, 1]);
        let weights: Tensor<2> = Tensor::from_data(weights, (&device, dtype));
        let steps: Tensor<2> =
            Tensor::from_data(TensorData::new(steps, [rows, 1]), (&device, dtype));

        let values = gather_rows(fields.clone(), corners) * weights;
        let values: Tensor<3> =
            values.reshape([points, 8, 4]).sum_dim(1).reshape([rows, samples, 4]);
        let depth: Tensor<2> = values.clone().narrow(2, 0, 1).reshape([rows, samples]) * steps;
        // What lies in front of each point: the sum over the points before it.
        let before: Vec<f32> = (0..samples * samples)
            .map(|i| f32::from(u8::from(i / samples < i % samples)))
            .collect();
        let before = TensorData::new(before, [samples, samples]);
        let before: Tensor<2> = Tensor::from_data(before, (&device, dtype));
        let front = depth.clone().matmul(before);
        let share = front.neg().exp() * (depth.neg().exp().neg() + 1.0);
        let opacity = share.clone().sum_dim(1);
        let colours = values.narrow(2, 1, 3) * share.reshape([rows, samples, 1]);
        let colour: Tensor<2> = colours.sum_dim(1).reshape([rows, 3]);
        let colour = colour - opacity.clone() + 1.0;
        let planes = colour.reshape([shots.len(), pixels, 3]).swap_dims(1, 2);
        View {
            picture: planes.reshape([shots.len(), 3 * pixels]) * 2.0 - 1.0,
            opacity: opacity.reshape([shots.len(), pixels]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors;
    use burn::tensor::Device;

    /// A cube of constant density keeps back `1 - exp(-density L)` of a ray whose way through it is `L`, whatever
    /// the number of points.
    #[test]
    fn a_constant_slab_absorbs_as_the_closed_form_says() {
        let camera = Camera { azimuth: 0.7, elevation: 0.4 };
        for (density, samples) in [(0.3, 1), (1.7, 7), (0.05, 32)] {
            let world =
                World { grid: 3, side: 9, samples, field_of_view: 60.0, ..World::default() };
            let rays = Rays::new(&world, camera);
            let field = [density, 0.2, 0.4, 0.6].repeat(world.voxels());
            let field: Vec<f32> = field.into_iter().map(|v: f64| v as f32).collect();
            let field = TensorData::new(field, [world.voxels(), 4]);
            let field = Tensor::from_data(field, &Device::flex());
            let view = Renderer::new(world).render(&field, &[(0, camera)]);
            let (opacity, picture) = (tensors::values(view.opacity), tensors::values(view.picture));
            for (pixel, step) in rays.steps.iter().enumerate() {
                let expected = 1.0 - (-density * f64::from(*step) * samples as f64).exp();
                assert!((opacity[pixel] - expected).abs() < 1e-5, "{pixel}: {}", opacity[pixel]);
                let green = 2.0 * (0.4 * expected + 1.0 - expected) - 1.0;
                assert!((picture[81 + pixel] - green).abs() < 1e-5);
            }
            // The middle ray: the way through a turned cube, from the plane that it enters by.
            let way = [0.4_f64.cos() * 0.7_f64.sin(), 0.4_f64.sin(), 0.4_f64.cos() * 0.7_f64.cos()];
            let longest = way.into_iter().fold(0.0, f64::max);
            let expected = 1.0 - (-density * 2.0 / longest).exp();
            assert!((opacity[40] - expected).abs() < 1e-5, "{} {expected}", opacity[40]);
        }
    }
}
