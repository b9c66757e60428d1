//! Scatter plots as small pictures.

use trefoil_core::Picture;
use trefoil_core::Result;

/// A square panel of points over the points of the teacher.
#[derive(Debug, Clone, Copy)]
pub struct Panel {
    /// Pixels of a side.
    pub side: u32,
    /// The panel shows `[-reach, reach]` in both directions.
    pub reach: f64,
}

impl Panel {
    /// Draws the first two coordinates of rows: `back` in grey, `front` in blue.
    ///
    /// # Errors
    /// [`trefoil_core::Error::Image`] when the side is zero.
    pub fn draw(self, back: &[f64], front: &[f64], d: usize) -> Result<Picture> {
        let side = self.side as usize;
        let mut pixels = vec![255_u8; side * side * 3];
        let mut dot = |x: f64, y: f64, colour: [f64; 3]| {
            let place = |v: f64| 0.5 * (v / self.reach + 1.0) * side as f64;
            let (column, row) = (place(x), place(-y));
            if !(0.0..side as f64).contains(&column) || !(0.0..side as f64).contains(&row) {
                return;
            }
            let at = 3 * (row as usize * side + column as usize);
            for (pixel, colour) in pixels[at..at + 3].iter_mut().zip(colour) {
                // Each point takes away a part of the light, so that density shows.
                *pixel = (f64::from(*pixel) * (1.0 - 0.5 * (1.0 - colour))) as u8;
            }
        };
        for (rows, colour) in [(back, [0.5, 0.5, 0.5]), (front, [0.1, 0.3, 0.9])] {
            for row in rows.chunks_exact(d.max(1)) {
                dot(row[0], row.get(1).copied().unwrap_or_default(), colour);
            }
        }
        Picture::new(self.side, self.side, pixels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_fall_on_their_pixel() {
        let panel = Panel { side: 4, reach: 2.0 };
        let picture = panel.draw(&[], &[1.5, 1.5, 9.0, 9.0], 2).unwrap();
        let dark: Vec<usize> = picture
            .pixels()
            .chunks_exact(3)
            .enumerate()
            .filter(|(_, p)| p[0] < 255)
            .map(|(i, _)| i)
            .collect();
        assert_eq!(dark, [3]);
    }
}
