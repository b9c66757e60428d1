//! Doubling both sides and a 3x3 convolution, as one transposed convolution.
//!
//! After doubling, the three rows of the kernel fall on two rows of the small picture, so two of
//! its rows can be added up before: which two depends on whether the output's row is even. Seen
//! from a pixel of the small picture, it goes into four rows of the output, with the weights
//! `w2, w1 + w2, w0 + w1, w0`, and so for the columns. That is the transpose of a 4x4 convolution
//! with stride two and padding one, which needs four products per output where the plain way
//! needs nine.

/// The rows of the 3x3 kernel that make up each row of the 4x4 kernel.
const PARTS: [&[usize]; 4] = [&[2], &[1, 2], &[0, 1], &[0]];

/// `[o, c, 3, 3]` to `[c, o, 4, 4]`.
pub(super) fn unfold(weight: &[f32], outputs: usize, inputs: usize) -> Vec<f32> {
    let mut unfolded = vec![0.0; outputs * inputs * 16];
    for (i, from) in weight.chunks_exact(9).enumerate() {
        let (output, input) = (i / inputs, i % inputs);
        let to = &mut unfolded[(input * outputs + output) * 16..][..16];
        let mut rows = [0.0; 12]; // [4, 3]
        for (y, parts) in PARTS.iter().enumerate() {
            for x in 0..3 {
                rows[3 * y + x] = parts.iter().map(|part| from[3 * part + x]).sum();
            }
        }
        for y in 0..4 {
            for (x, parts) in PARTS.iter().enumerate() {
                to[4 * y + x] = parts.iter().map(|part| rows[3 * y + part]).sum();
            }
        }
    }
    unfolded
}

/// The transpose of [`unfold`], for gradients.
pub(super) fn fold(gradient: &[f32], outputs: usize, inputs: usize) -> Vec<f32> {
    let mut folded = vec![0.0; outputs * inputs * 9];
    for (i, to) in folded.chunks_exact_mut(9).enumerate() {
        let (output, input) = (i / inputs, i % inputs);
        let from = &gradient[(input * outputs + output) * 16..][..16];
        let mut rows = [0.0; 12]; // [4, 3]
        for y in 0..4 {
            for (x, parts) in PARTS.iter().enumerate() {
                for part in *parts {
                    rows[3 * y + part] += from[4 * y + x];
                }
            }
        }
        for (y, parts) in PARTS.iter().enumerate() {
            for part in *parts {
                for x in 0..3 {
                    to[3 * part + x] += rows[3 * y + x];
                }
            }
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_of_the_upsampled_convolution_by_hand() {
        let weight: Vec<f32> = (0..9).map(|i| i as f32).collect();
        let expected = [8., 15., 13., 6., 13., 24., 20., 9., 7., 12., 8., 3., 2., 3., 1., 0.];
        assert_eq!(unfold(&weight, 1, 1), expected);
        let gradient: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        assert_eq!(dot(&fold(&gradient, 1, 1), &weight), dot(&gradient, &expected));
    }
}
