//! How scenes compare with those of the data, seen through cameras of which there are no pictures.

use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};
use trefoil_core::Seed;

use super::camera::Camera;
use super::data::SceneSet;
use super::render::Renderer;
use super::solids::Thing;
use crate::tensors;

/// A measurement, means over the scenes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SceneFit {
    /// Peak signal-to-noise ratio to the nearest scene of the data, over all views, in dB.
    pub psnr: f64,
    /// Intersection over union of the silhouettes with those of that scene.
    pub iou: f64,
    /// Root mean square distance between pictures of two scenes from the same camera, colours in `[0, 1]`; 0 for one
    /// scene.
    pub diversity: f64,
}

/// Views of a scene on the host.
#[derive(Debug, Clone)]
struct Seen {
    /// Colours in `[0, 1]`, all views.
    colours: Vec<f64>,
    /// Whether a pixel shows the scene.
    solid: Vec<bool>,
}

/// The scenes of a class, ready to be compared with.
#[derive(Debug)]
pub struct SceneMeasure {
    renderer: Renderer,
    cameras: Vec<Camera>,
    known: Vec<Seen>,
}

impl SceneMeasure {
    /// Looks at all scenes of a class through `views` cameras.
    pub fn new(set: &SceneSet, thing: Thing, views: usize, device: &Device) -> Self {
        let mut stream = Seed(0).stream("held-out-cameras", 0);
        let cameras = (0..views).map(|_| set.world.camera(&mut stream)).collect();
        let renderer = Renderer::new(set.world.clone());
        let mut measure = Self { renderer, cameras, known: Vec::new() };
        let fields = set.fields(thing, 0..set.scenes, device);
        measure.known = measure.look(&fields, set.scenes);
        measure
    }

    /// # Shapes
    /// - `fields`: `[count * grid^3, 4]`, as for [`Renderer::render`]
    fn look(&self, fields: &Tensor<2>, count: usize) -> Vec<Seen> {
        let one = |scene: usize| {
            let shots: Vec<(usize, Camera)> = self.cameras.iter().map(|c| (scene, *c)).collect();
            let view = self.renderer.render(fields, &shots);
            let colours = tensors::values(view.picture).iter().map(|v| 0.5 * v + 0.5).collect();
            let solid = tensors::values(view.opacity).iter().map(|v| *v > 0.5).collect();
            Seen { colours, solid }
        };
        (0..count).map(one).collect()
    }

    /// Compares.
    ///
    /// # Shapes
    /// - `fields`: `[count * grid^3, 4]`
    pub fn fit(&self, fields: &Tensor<2>, count: usize) -> SceneFit {
        let seen = self.look(fields, count);
        let (mut psnr, mut iou) = (0.0, 0.0);
        for scene in &seen {
            let nearest = self
                .known
                .iter()
                .map(|known| (square(scene, known), overlap(scene, known)))
                .min_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((square, overlap)) = nearest {
                psnr -= 10.0 * square.max(1e-10).log10() / count as f64;
                iou += overlap / count as f64;
            }
        }
        let pairs = (0..count).flat_map(|i| (0..i).map(move |j| (i, j)));
        let distances: Vec<f64> = pairs.map(|(i, j)| square(&seen[i], &seen[j]).sqrt()).collect();
        let diversity = distances.iter().sum::<f64>() / distances.len().max(1) as f64;
        SceneFit { psnr, iou, diversity }
    }
}

/// Mean square distance.
fn square(a: &Seen, b: &Seen) -> f64 {
    let sum: f64 = a.colours.iter().zip(&b.colours).map(|(a, b)| (a - b).powi(2)).sum();
    sum / a.colours.len().max(1) as f64
}

/// Intersection over union; 1 for two that show nothing.
fn overlap(a: &Seen, b: &Seen) -> f64 {
    let count = |f: fn(bool, bool) -> bool| {
        a.solid.iter().zip(&b.solid).filter(|(a, b)| f(**a, **b)).count() as f64
    };
    let either = count(|a, b| a || b);
    if either == 0.0 { 1.0 } else { count(|a, b| a && b) / either }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::World;

    #[test]
    fn a_scene_of_the_data_is_its_own_nearest_and_copies_have_no_diversity() {
        let world = World { grid: 8, side: 6, samples: 8, ..World::default() };
        let set = SceneSet { scenes: 3, world, ..SceneSet::default() };
        let device = Device::flex();
        let measure = SceneMeasure::new(&set, Thing::House, 4, &device);
        let own = set.fields(Thing::House, 1..2, &device);
        let twice = Tensor::cat(vec![own.clone(), own], 0);
        assert_eq!(measure.fit(&twice, 2), SceneFit { psnr: 100.0, iou: 1.0, diversity: 0.0 });
        let other = measure.fit(&set.fields(Thing::House, 3..5, &device), 2);
        assert!(other.psnr < 40.0 && other.iou < 1.0 && other.diversity > 0.0, "{other:?}");
        // Nothing at all: white pictures, no silhouette.
        let empty = Tensor::zeros([set.world.voxels(), 4], &device);
        let nothing = measure.fit(&empty, 1);
        assert_eq!((nothing.iou, nothing.diversity), (0.0, 0.0));
    }
}
