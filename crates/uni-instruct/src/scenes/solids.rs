//! Coloured solids, and the things that are made of them: the scenes whose pictures a teacher learns.
//!
//! Coordinates are those of the cube `[-1, 1]^3`, y upwards; a thing looks along +z.

use serde::{Deserialize, Serialize};
use trefoil_core::Stream;

/// Density inside of a solid, per unit of length: a voxel of a grid of 24 lets 4 % through.
const DENSEST: f64 = 40.0;
/// Brightest value of a colour. The background is 1, so that only transparency looks like it.
pub(super) const BRIGHTEST: f64 = 0.8;

/// Forms with closed distances, exact or close to it near the surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A box.
    Block,
    /// An ellipsoid.
    Ball,
    /// A cylinder that stands.
    Post,
    /// A cylinder whose axis is x.
    Wheel,
    /// A cone that stands.
    Cone,
    /// A pyramid over a rectangle.
    Roof,
}

/// A solid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// Its form.
    pub shape: Shape,
    /// Its middle.
    pub centre: [f64; 3],
    /// Half of its extent along each axis.
    pub half: [f64; 3],
    /// Red, green, blue in `[0, 1]`.
    pub colour: [f64; 3],
}

impl Part {
    /// Distance of a point from the surface, negative inside.
    pub fn distance(&self, point: [f64; 3]) -> f64 {
        let [x, y, z] = std::array::from_fn(|i| point[i] - self.centre[i]);
        let [a, b, c] = self.half;
        // Share of the height that is left above the point, for what ends in a tip.
        let left = (0.5 - 0.5 * y / b).max(0.0);
        match self.shape {
            Shape::Block => outside([x.abs() - a, y.abs() - b, z.abs() - c]),
            Shape::Ball => ((x / a).hypot(y / b).hypot(z / c) - 1.0) * a.min(b).min(c),
            Shape::Post => outside([x.hypot(z) - a, y.abs() - b]),
            Shape::Wheel => outside([y.hypot(z) - b, x.abs() - a]),
            Shape::Cone => (x.hypot(z) - a * left).max(y.abs() - b),
            Shape::Roof => (x.abs() - a * left).max(z.abs() - c * left).max(y.abs() - b),
        }
    }
}

/// Distance from a box in the coordinates of the distances from its pairs of faces.
fn outside<const N: usize>(gaps: [f64; N]) -> f64 {
    let beyond = gaps.iter().map(|gap| gap.max(0.0).powi(2)).sum::<f64>().sqrt();
    beyond + gaps.iter().copied().fold(f64::NEG_INFINITY, f64::max).min(0.0)
}

/// A class of scenes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Thing {
    /// A body with a cabin towards its back, on four wheels.
    Car,
    /// A seat with a back on four legs.
    Chair,
    /// A box with a roof, a door and a chimney.
    House,
    /// A trunk with a crown.
    Tree,
}

impl Thing {
    /// All of them, in the order of their labels, which is that of their names.
    pub const ALL: [Self; 4] = [Self::Car, Self::Chair, Self::House, Self::Tree];

    /// The name, which is all that the text of a scene says.
    pub fn name(self) -> &'static str {
        match self {
            Self::Car => "car",
            Self::Chair => "chair",
            Self::House => "house",
            Self::Tree => "tree",
        }
    }

    /// One of the class, its sizes and colours drawn.
    pub fn draw(self, stream: &mut Stream) -> Vec<Part> {
        let mut draw = |low: f64, high: f64| low + (high - low) * f64::from(stream.uniforms(1)[0]);
        let main = vivid(draw(0.0, 1.0), draw(0.6, 1.0));
        let second = vivid(draw(0.0, 1.0), draw(0.5, 1.0));
        let dark = [0.1, 0.1, 0.12];
        let part = |shape, centre, half, colour| Part { shape, centre, half, colour };
        match self {
            Self::Car => {
                let (long, wide) = (draw(0.6, 0.8), draw(0.3, 0.4));
                let (low, cabin) = (draw(0.12, 0.2), draw(0.14, 0.22));
                let mut parts = vec![
                    part(Shape::Block, [0.0, -0.2, 0.0], [wide, low, long], main),
                    part(
                        Shape::Block,
                        [0.0, -0.2 + low + cabin, -0.2 * long],
                        [0.85 * wide, cabin, 0.5 * long],
                        second.map(|v| 0.5 * v),
                    ),
                ];
                for (x, z) in [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)] {
                    let centre = [x * wide, -0.2 - low, z * 0.6 * long];
                    parts.push(part(Shape::Wheel, centre, [0.1, 0.17, 0.17], dark));
                }
                parts
            }
            Self::Chair => {
                let (wide, back, seat) = (draw(0.32, 0.48), draw(0.3, 0.42), draw(-0.2, 0.0));
                let mut parts = vec![
                    part(Shape::Block, [0.0, seat, 0.0], [wide, 0.08, wide], main),
                    part(Shape::Block, [0.0, seat + back, -wide], [wide, back, 0.08], second),
                ];
                for (x, z) in [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)] {
                    let (foot, inset) = (-0.7, wide - 0.06);
                    let centre = [x * inset, 0.5 * (seat + foot), z * inset];
                    parts.push(part(Shape::Block, centre, [0.07, 0.5 * (seat - foot), 0.07], main));
                }
                parts
            }
            Self::House => {
                let (wide, high, deep) = (draw(0.38, 0.58), draw(0.2, 0.34), draw(0.38, 0.52));
                let (roof, floor) = (draw(0.16, 0.3), -0.5);
                let eaves = floor + 2.0 * high;
                vec![
                    part(Shape::Block, [0.0, floor + high, 0.0], [wide, high, deep], main),
                    part(
                        Shape::Roof,
                        [0.0, eaves + roof, 0.0],
                        [wide + 0.1, roof, deep + 0.1],
                        second,
                    ),
                    part(Shape::Block, [0.0, floor + 0.17, deep], [0.12, 0.17, 0.06], dark),
                    part(
                        Shape::Block,
                        [0.55 * wide, eaves + roof, 0.0],
                        [0.09, roof, 0.09],
                        dark.map(|v| 3.0 * v),
                    ),
                ]
            }
            Self::Tree => {
                let (thick, high) = (draw(0.09, 0.15), draw(0.2, 0.32));
                let (wide, crown) = (draw(0.38, 0.55), draw(0.36, 0.5));
                let leaves = vivid(draw(0.05, 0.45), draw(0.6, 1.0));
                let shape = if draw(0.0, 1.0) < 0.5 { Shape::Cone } else { Shape::Ball };
                let (floor, bark) = (-0.75, [0.35, 0.2, 0.1]);
                let top = floor + 2.0 * high + crown - 0.1;
                vec![
                    part(Shape::Post, [0.0, floor + high, 0.0], [thick, high, thick], bark),
                    part(shape, [0.0, top, 0.0], [wide, crown, wide], leaves),
                ]
            }
        }
    }
}

/// A saturated colour of a hue in `[0, 1)`.
fn vivid(hue: f64, value: f64) -> [f64; 3] {
    // Red, green and blue are the same wave, a third of the circle apart.
    [0.0, 4.0, 2.0].map(|shift| {
        let wave = ((hue * 6.0 + shift) % 6.0 - 3.0).abs() - 1.0;
        BRIGHTEST * value * (0.15 + 0.85 * wave.clamp(0.0, 1.0))
    })
}

/// Parts as a grid: density, red, green and blue of each voxel, x fastest, then y, then z. Surfaces are one voxel
/// wide, and empty voxels have the colour of the nearest part.
///
/// # Shapes
/// - returns: `[side^3, 4]`, row-major
pub(super) fn voxels(parts: &[Part], side: usize) -> Vec<f32> {
    let cell = 2.0 / side as f64;
    let at = |i: usize| (i as f64 + 0.5) * cell - 1.0;
    let mut values = Vec::with_capacity(4 * side.pow(3));
    for voxel in 0..side.pow(3) {
        let point = [voxel % side, voxel / side % side, voxel / side / side].map(at);
        let (mut gap, mut colour) = (f64::INFINITY, [0.0; 3]);
        for part in parts {
            let distance = part.distance(point);
            if distance < gap {
                (gap, colour) = (distance, part.colour);
            }
        }
        values.push((DENSEST * (0.5 - gap / cell).clamp(0.0, 1.0)) as f32);
        values.extend(colour.map(|v| v as f32));
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use trefoil_core::Seed;

    #[test]
    fn distances_by_hand() {
        let part =
            |shape| Part { shape, centre: [1.0, 0.0, 0.0], half: [0.5; 3], colour: [0.0; 3] };
        for (shape, point, expected) in [
            (Shape::Block, [1.0, 0.0, 0.0], -0.5),
            (Shape::Block, [1.8, 0.9, 0.5], 0.5),
            (Shape::Ball, [1.0, 2.0, 0.0], 1.5),
            (Shape::Post, [1.0, 0.0, 1.0], 0.5),
            (Shape::Wheel, [2.0, 0.0, 0.0], 0.5),
            (Shape::Cone, [1.25, 0.0, 0.0], 0.0),
            (Shape::Roof, [1.0, 0.0, 0.5], 0.25),
        ] {
            let found = part(shape).distance(point);
            assert!((found - expected).abs() < 1e-12, "{shape:?}: {found}");
        }
    }

    #[test]
    fn things_fit_into_the_cube_and_differ() {
        for thing in Thing::ALL {
            let draw = |index| thing.draw(&mut Seed(1).stream(thing.name(), index));
            assert_ne!(draw(0), draw(1));
            for part in (0..50).flat_map(draw) {
                let reach = |i: usize| part.centre[i].abs() + part.half[i];
                assert!((0..3).all(|i| reach(i) < 0.95), "{thing:?}: {part:?}");
                assert!(part.colour.iter().all(|v| (0.0..=BRIGHTEST).contains(v)), "{part:?}");
            }
        }
        let names = Thing::ALL.map(Thing::name);
        assert!(names.is_sorted());
    }

    #[test]
    fn a_ball_has_its_volume() {
        let ball = Part { shape: Shape::Ball, centre: [0.0; 3], half: [0.7; 3], colour: [0.5; 3] };
        let values = voxels(&[ball], 24);
        let full: f64 = values.chunks_exact(4).map(|v| f64::from(v[0]) / DENSEST).sum();
        let volume = full * (2.0_f64 / 24.0).powi(3);
        let expected = 4.0 / 3.0 * std::f64::consts::PI * 0.7_f64.powi(3);
        assert!((volume / expected - 1.0).abs() < 0.01, "{volume} {expected}");
    }
}
