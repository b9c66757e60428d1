//! Cameras around a scene, and the points at which their rays look at its grid.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result, Stream};

use super::solids::Thing;

/// What scenes and cameras of a set of pictures have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct World {
    /// Voxels along an edge of the cube `[-1, 1]^3`.
    pub grid: usize,
    /// Side of the pictures in pixels.
    pub side: usize,
    /// Points on a ray, in the middles of equal pieces of its way through the cube.
    pub samples: usize,
    /// Distance of the camera from the middle of the cube.
    pub distance: f64,
    /// Angle of the picture from side to side, in degrees.
    pub field_of_view: f64,
    /// Least and largest elevation of the camera, in degrees.
    pub elevation: [f64; 2],
    /// Coarse directions that a teacher is told: equal parts of the circle.
    pub directions: usize,
}

impl Default for World {
    fn default() -> Self {
        Self {
            grid: 24,
            side: 16,
            samples: 32,
            distance: 3.2,
            field_of_view: 40.0,
            elevation: [5.0, 45.0],
            directions: 8,
        }
    }
}

/// A direction from which the middle of the cube is looked at, in radians.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Camera {
    /// Around the y axis; 0 looks at the front of a thing, along -z.
    pub azimuth: f64,
    /// Above the ground.
    pub elevation: f64,
}

impl World {
    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        let bad =
            |field: &str, reason: String| Err(Error::config(format!("world.{field}"), reason));
        for (field, value, least) in [
            ("grid", self.grid, 2),
            ("side", self.side, 1),
            ("samples", self.samples, 1),
            ("directions", self.directions, 1),
        ] {
            if !(least..=256).contains(&value) {
                return bad(field, format!("expected {least} to 256, found {value}"));
            }
        }
        // The cube reaches 3^0.5 from its middle.
        if !(self.distance >= 1.8 && self.distance.is_finite()) {
            return bad("distance", format!("expected at least 1.8, found {}", self.distance));
        }
        if !(self.field_of_view > 0.0 && self.field_of_view < 180.0) {
            let reason =
                format!("expected more than 0 and less than 180, found {}", self.field_of_view);
            return bad("field_of_view", reason);
        }
        let [low, high] = self.elevation;
        if !(low > -90.0 && low <= high && high < 90.0) {
            return bad(
                "elevation",
                format!("expected -90 < low <= high < 90, found {low} and {high}"),
            );
        }
        Ok(())
    }

    /// Voxels of a scene.
    pub fn voxels(&self) -> usize {
        self.grid.pow(3)
    }

    /// Draws a camera: any direction around the scene, the elevation within its limits.
    pub fn camera(&self, stream: &mut Stream) -> Camera {
        let draws = stream.uniforms(2);
        let [low, high] = self.elevation.map(f64::to_radians);
        let azimuth = TAU * f64::from(draws[0]);
        Camera { azimuth, elevation: low + (high - low) * f64::from(draws[1]) }
    }

    /// Cameras evenly around the scene, at one elevation in degrees.
    pub fn turn(&self, count: usize, elevation: f64) -> Vec<Camera> {
        let at = |i: usize| (i as f64 + 0.5) / count as f64 * TAU;
        let elevation = elevation.to_radians();
        (0..count).map(|i| Camera { azimuth: at(i), elevation }).collect()
    }

    /// What a teacher is told about a picture: its class and its coarse direction, as one number.
    pub fn label(&self, thing: Thing, camera: Camera) -> usize {
        let turn = (camera.azimuth / TAU).rem_euclid(1.0);
        let direction = ((turn * self.directions as f64) as usize).min(self.directions - 1);
        thing as usize * self.directions + direction
    }

    /// The names of all labels, in their order.
    pub fn labels(&self) -> Vec<String> {
        let of = |thing: Thing| {
            (0..self.directions).map(move |direction| format!("{}-{direction:03}", thing.name()))
        };
        Thing::ALL.into_iter().flat_map(of).collect()
    }
}

/// Where the rays of a picture meet a grid: for each point its eight voxels with their weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Rays {
    /// Voxels, x fastest, `[side * side, samples, 8]`.
    pub corners: Vec<usize>,
    /// Trilinear weights, with a sum of one.
    pub weights: Vec<f32>,
    /// Distance between the points of each ray, `[side * side]`; 0 for one that misses the cube.
    pub steps: Vec<f32>,
}

impl Rays {
    /// The rays of a camera through the middles of its pixels, row by row from the upper left.
    pub fn new(world: &World, camera: Camera) -> Self {
        let (side, samples) = (world.side, world.samples);
        let (sin, cos) = camera.azimuth.sin_cos();
        let (rise, flat) = camera.elevation.sin_cos();
        let back = [flat * sin, rise, flat * cos];
        let eye = back.map(|v| v * world.distance);
        let (right, up) = ([cos, 0.0, -sin], [-rise * sin, flat, -rise * cos]);
        let half = (world.field_of_view.to_radians() / 2.0).tan();
        let place = |i: usize| (2.0 * (i as f64 + 0.5) / side as f64 - 1.0) * half;
        let points = side * side * samples;
        let mut rays = Self {
            corners: Vec::with_capacity(8 * points),
            weights: Vec::with_capacity(8 * points),
            steps: Vec::with_capacity(side * side),
        };
        for pixel in 0..side * side {
            let (x, y) = (place(pixel % side), -place(pixel / side));
            let way: [f64; 3] = std::array::from_fn(|i| x * right[i] + y * up[i] - back[i]);
            let norm = (1.0 + x * x + y * y).sqrt();
            let way = way.map(|v| v / norm);
            let (near, far) = crossing(eye, way);
            let step = (far - near).max(0.0) / samples as f64;
            rays.steps.push(step as f32);
            for i in 0..samples {
                let t = near + (i as f64 + 0.5) * step;
                rays.look(std::array::from_fn(|axis| eye[axis] + t * way[axis]), world.grid);
            }
        }
        rays
    }

    /// Adds the voxels around a point; beyond the middles of the outer voxels the grid is constant.
    fn look(&mut self, point: [f64; 3], grid: usize) {
        let (last, half) = ((grid - 1) as f64, 0.5 * grid as f64);
        let place = point.map(|v| ((v + 1.0) * half - 0.5).clamp(0.0, last));
        let low = place.map(|v| (v as usize).min(grid - 2));
        for corner in 0..8 {
            let bit = |axis: usize| corner >> axis & 1;
            let weight: f64 = (0..3)
                .map(|axis| {
                    let above = place[axis] - low[axis] as f64;
                    if bit(axis) == 1 { above } else { 1.0 - above }
                })
                .product();
            let at = |axis: usize| low[axis] + bit(axis);
            self.corners.push((at(2) * grid + at(1)) * grid + at(0));
            self.weights.push(weight as f32);
        }
    }
}

/// Where a ray enters and leaves the cube; the first is larger when it misses.
fn crossing(eye: [f64; 3], way: [f64; 3]) -> (f64, f64) {
    let (mut near, mut far) = (0.0_f64, f64::INFINITY);
    for (from, along) in eye.into_iter().zip(way) {
        if along == 0.0 {
            if from.abs() > 1.0 {
                return (1.0, 0.0);
            }
            continue;
        }
        let (a, b) = ((-1.0 - from) / along, (1.0 - from) / along);
        near = near.max(a.min(b));
        far = far.min(a.max(b));
    }
    (near, far)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trefoil_core::Seed;

    #[test]
    fn labels_are_class_and_direction_in_the_order_of_their_names() {
        let world = World::default();
        let labels = world.labels();
        assert!(labels.is_sorted() && labels.len() == 32);
        let camera = |turn: f64| Camera { azimuth: turn * TAU, elevation: 0.3 };
        assert_eq!(labels[world.label(Thing::Chair, camera(0.13))], "chair-001");
        assert_eq!(world.label(Thing::Tree, camera(-0.01)), 31);
        for camera in world.turn(8, 20.0) {
            let place = world.label(Thing::Car, camera) as f64;
            assert!(((place + 0.5) / 8.0 * TAU - camera.azimuth).abs() < 1e-12);
        }
    }

    /// The middle ray of an odd picture goes through the middle of the cube.
    #[test]
    fn rays_cross_the_cube() {
        let world = World { grid: 4, side: 3, samples: 5, ..World::default() };
        let rays = Rays::new(&world, Camera { azimuth: 0.0, elevation: 0.0 });
        assert_eq!((rays.steps.len(), rays.corners.len()), (9, 9 * 5 * 8));
        assert!((rays.steps[4] - 2.0 / 5.0).abs() < 1e-6, "{}", rays.steps[4]);
        assert!(rays.corners.iter().all(|&corner| corner < 64));
        for weights in rays.weights.chunks_exact(8) {
            assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
        // A wide picture has rays that miss.
        let wide = World { field_of_view: 120.0, side: 4, ..world };
        assert_eq!(Rays::new(&wide, Camera { azimuth: 0.4, elevation: 0.2 }).steps[0], 0.0);
    }

    #[test]
    fn bad_worlds_are_named() {
        for (world, field) in [
            (World { grid: 1, ..World::default() }, "world.grid"),
            (World { distance: 1.0, ..World::default() }, "world.distance"),
            (World { field_of_view: 180.0, ..World::default() }, "world.field_of_view"),
            (World { elevation: [50.0, 40.0], ..World::default() }, "world.elevation"),
            (World { directions: 0, ..World::default() }, "world.directions"),
        ] {
            let error = world.validate().unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
        let camera = World::default().camera(&mut Seed(1).stream("camera", 0));
        assert!((5.0..=45.0).contains(&camera.elevation.to_degrees()));
    }
}
