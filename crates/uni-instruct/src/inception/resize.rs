//! The bilinear rule of TensorFlow 1, on which published numbers depend.

/// Planes of a picture at another size: output place `i` looks at `i * in / out`, between the pixel there and
/// the next one, which at the border is the last. There is no half pixel and no smoothing.
///
/// # Shapes
/// - `pixels`: `[height, width, 3]`
/// - returns: `[3, side, side]`, values as the bytes
pub fn legacy_bilinear(pixels: &[u8], [height, width]: [usize; 2], side: usize) -> Vec<f32> {
    let places = |length: usize| -> Vec<(usize, usize, f32)> {
        (0..side)
            .map(|i| {
                let at = i as f32 * (length as f32 / side as f32);
                let first = (at as usize).min(length - 1);
                (first, (first + 1).min(length - 1), at - first as f32)
            })
            .collect()
    };
    let (rows, columns) = (places(height), places(width));
    let mut planes = Vec::with_capacity(3 * side * side);
    for channel in 0..3 {
        let value = |y: usize, x: usize| f32::from(pixels[(y * width + x) * 3 + channel]);
        for &(top, bottom, down) in &rows {
            for &(left, right, across) in &columns {
                let upper = value(top, left) + (value(top, right) - value(top, left)) * across;
                let lower =
                    value(bottom, left) + (value(bottom, right) - value(bottom, left)) * across;
                planes.push(upper + (lower - upper) * down);
            }
        }
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pixels to four: places 0, 1/2, 1, 3/2, and the last pixel is repeated.
    #[test]
    fn there_is_no_half_pixel() {
        let pixels: Vec<u8> = [10_u8, 30, 50, 70].into_iter().flat_map(|v| [v, 0, 255]).collect();
        let found = legacy_bilinear(&pixels, [2, 2], 4);
        assert_eq!(found[..4], [10.0, 20.0, 30.0, 30.0]);
        assert_eq!(found[4..8], [30.0, 40.0, 50.0, 50.0]);
        assert_eq!(found[8..12], [50.0, 60.0, 70.0, 70.0]);
        assert_eq!((found[16], found[47]), (0.0, 255.0));
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let pixels: Vec<u8> = (0..75).map(|i| (i * 37 % 256) as u8).collect();
        let found = legacy_bilinear(&pixels, [5, 5], 5);
        let expected: Vec<f32> = (0..75).map(|i| f32::from(pixels[i % 25 * 3 + i / 25])).collect();
        assert_eq!(found, expected);
    }
}
