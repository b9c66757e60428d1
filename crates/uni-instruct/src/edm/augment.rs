//! Augmentation that the network is told about, so that it does not leak into what it draws
//! (Karras et al., <https://arxiv.org/abs/2206.00364>, appendix F.2).
//!
//! Done here: mirroring left and right, upside down, and translation by whole pixels with mirrored borders.
//! The published pipeline also scales, rotates and stretches; their places in the description stay zero.
//!
//! | place | means | here |
//! |---|---|---|
//! | 0 | mirrored left and right | 0 or 1, even chances |
//! | 1 | upside down | 0 or 1 |
//! | 2, 3 - 4, 5 - 6 | scale, rotation, stretching | 0 |
//! | 7, 8 | translation to the right, downwards, in sides of the picture | |

use serde::{Deserialize, Serialize};
use trefoil_core::{Error, Result, Stream};

/// Numbers in a description.
pub const DESCRIPTION: usize = 9;

/// How pictures are changed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Chance of turning upside down (each is an even coin when it happens) and of a translation.
    pub probability: f64,
    /// Whether pictures are mirrored left and right, with even chances whatever `probability` is.
    pub mirror: bool,
    /// Whether pictures may be turned upside down.
    pub upside_down: bool,
    /// Deviation of translations, in sides of the picture; 0: none.
    pub translation: f64,
}

impl Default for Augmentation {
    fn default() -> Self {
        Self { probability: 0.12, mirror: true, upside_down: true, translation: 0.125 }
    }
}

/// What happens to one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// Mirrored left and right.
    pub mirrored: bool,
    /// Turned upside down, after mirroring.
    pub upside_down: bool,
    /// Then moved to the right by this many pixels.
    pub right: isize,
    /// And downwards.
    pub down: isize,
}

impl Augmentation {
    /// No change at all.
    pub fn none() -> Self {
        Self { probability: 0.0, mirror: false, upside_down: false, translation: 0.0 }
    }

    /// Draws a change for pictures of `side` pixels.
    pub fn draw(&self, stream: &mut Stream, side: usize) -> Change {
        let chances = stream.uniforms(4);
        let steps = stream.normals(2);
        let happens = |chance: f32| f64::from(chance) < self.probability;
        let step = |normal: f32| {
            let pixels = f64::from(normal) * self.translation * side as f64;
            // A mirrored border is at most as wide as the picture.
            let most = side as f64 - 1.0;
            if happens(chances[3]) { pixels.round().clamp(-most, most) as isize } else { 0 }
        };
        Change {
            mirrored: self.mirror && chances[0] < 0.5,
            upside_down: self.upside_down && happens(chances[1]) && chances[2] < 0.5,
            right: step(steps[0]),
            down: step(steps[1]),
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.probability) {
            let reason = format!("expected a number in [0, 1], found {}", self.probability);
            return Err(Error::config("probability", reason));
        }
        if !(0.0..=1.0).contains(&self.translation) {
            let reason = format!("expected a number in [0, 1], found {}", self.translation);
            return Err(Error::config("translation", reason));
        }
        Ok(())
    }
}

impl Change {
    /// Applies it to the planes of a picture.
    ///
    /// # Shapes
    /// - `planes`: `[C, side, side]`
    pub fn apply(self, planes: &[f32], side: usize) -> Vec<f32> {
        if self == Self::default() {
            return planes.to_vec();
        }
        let place = |at: usize, step: isize, flipped: bool| {
            let from = mirrored_index(at as isize - step, side);
            if flipped { side - 1 - from } else { from }
        };
        let columns: Vec<usize> = (0..side).map(|x| place(x, self.right, self.mirrored)).collect();
        let mut out = Vec::with_capacity(planes.len());
        for plane in planes.chunks_exact(side * side) {
            for y in 0..side {
                let row = place(y, self.down, self.upside_down) * side;
                out.extend(columns.iter().map(|x| plane[row + x]));
            }
        }
        out
    }

    /// What the network is told.
    pub fn describe(self, side: usize) -> [f32; DESCRIPTION] {
        let mut description = [0.0; DESCRIPTION];
        description[0] = f32::from(u8::from(self.mirrored));
        description[1] = f32::from(u8::from(self.upside_down));
        description[7] = self.right as f32 / side as f32;
        description[8] = self.down as f32 / side as f32;
        description
    }
}

/// An index reflected at the borders, which are not repeated: -1 is 1, `side` is `side - 2`.
fn mirrored_index(at: isize, side: usize) -> usize {
    let last = side as isize - 1;
    if last == 0 {
        return 0;
    }
    let folded = at.rem_euclid(2 * last);
    folded.min(2 * last - folded) as usize
}

#[cfg(test)]
mod tests {
    use trefoil_core::Seed;

    use super::*;

    const PICTURE: [f32; 9] = [1., 2., 3., 4., 5., 6., 7., 8., 9.];

    #[test]
    fn changes_by_hand() {
        let with =
            |mirrored, upside_down, right, down| Change { mirrored, upside_down, right, down };
        let cases = [
            (with(true, false, 0, 0), [3., 2., 1., 6., 5., 4., 9., 8., 7.]),
            (with(false, true, 0, 0), [7., 8., 9., 4., 5., 6., 1., 2., 3.]),
            (with(false, false, 1, 0), [2., 1., 2., 5., 4., 5., 8., 7., 8.]),
            (with(false, false, 0, -2), [7., 8., 9., 4., 5., 6., 1., 2., 3.]),
            (with(true, false, 1, 0), [2., 3., 2., 5., 6., 5., 8., 9., 8.]),
        ];
        for (change, expected) in cases {
            assert_eq!(change.apply(&PICTURE, 3), expected, "{change:?}");
        }
        let description = with(true, false, 1, -2).describe(4);
        assert_eq!(description, [1., 0., 0., 0., 0., 0., 0., 0.25, -0.5]);
    }

    #[test]
    fn chances_are_those_of_the_settings() {
        let settings = Augmentation::default();
        let n = 20_000;
        let draw = |i| settings.draw(&mut Seed(1).stream("augment", i), 16);
        let changes: Vec<Change> = (0..n).map(draw).collect();
        let share =
            |f: fn(&Change) -> bool| changes.iter().filter(|c| f(c)).count() as f64 / n as f64;
        assert!((share(|c| c.mirrored) - 0.5).abs() < 0.02);
        assert!((share(|c| c.upside_down) - 0.06).abs() < 0.01);
        // round(2 z) is zero for |z| < 1/4: 0.1974 of the time.
        assert!((share(|c| c.right != 0) - 0.12 * 0.8026).abs() < 0.01);
        assert!(changes.iter().all(|c| c.right.abs() < 16));
        assert_eq!(Augmentation::none().draw(&mut Seed(1).stream("a", 0), 8), Change::default());
    }
}
