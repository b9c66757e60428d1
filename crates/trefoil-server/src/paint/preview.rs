//! What a picture will look like, from its latent and without the autoencoder.
//!
//! ```text
//! rgb = A z + b      for each cell of the latent
//! ```
//!
//! fitted once, when a model is loaded, to latents of known pictures: a product of small matrices instead of a network
//! at every step.

use burn::tensor::{Tensor, TensorData};
use trefoil_core::image::Filter;
use trefoil_core::{Picture, Result, Seed};
use unidiffuser::model::UniDiffuser;

/// Pictures that the map is fitted to.
const PICTURES: u64 = 8;
/// Cells of colour on a side of each.
const CELLS: u32 = 4;
/// Weight of the squared map, for latents that do not vary.
const RIDGE: f64 = 1e-3;

/// The map.
#[derive(Debug, Clone)]
pub(crate) struct Preview {
    /// `[3, C + 1]`, the constants last.
    weight: Vec<[f64; 3]>,
}

impl Preview {
    /// Fits the map of a model.
    pub(crate) fn fit(model: &UniDiffuser) -> Result<Self> {
        let [c, h, w] = model.latent_shape();
        let side = model.image_size() as u32;
        let pictures = (0..PICTURES).map(|index| {
            let mut stream = Seed(0).stream("preview", index);
            let bytes = stream.uniforms(3 * (CELLS * CELLS) as usize);
            let pixels = bytes.into_iter().map(|v| (v * 255.0) as u8).collect();
            Picture::new(CELLS, CELLS, pixels)?.resize(side, side, Filter::Bicubic)
        });
        let pictures = pictures.collect::<Result<Vec<Picture>>>()?;
        let encoded = model.encode_images(&pictures)?;
        let zeros = TensorData::zeros::<f32, _>([pictures.len(), c, h, w]);
        let z = encoded.sample(Tensor::from_data(zeros, model.device())).z;
        let z: Vec<f32> = z.into_data().convert::<f32>().iter::<f32>().collect();
        let n = c + 1;
        let (mut gram, mut right) = (vec![0.0; n * n], vec![[0.0; 3]; n]);
        for (picture, z) in pictures.iter().zip(z.chunks_exact(c * h * w)) {
            let small = picture.resize(w as u32, h as u32, Filter::Bicubic)?;
            for (cell, rgb) in small.pixels().chunks_exact(3).enumerate() {
                let x: Vec<f64> =
                    (0..c).map(|k| f64::from(z[k * h * w + cell])).chain([1.0]).collect();
                for (i, a) in x.iter().enumerate() {
                    x.iter().enumerate().for_each(|(j, b)| gram[i * n + j] += a * b);
                    (0..3).for_each(|k| right[i][k] += a * f64::from(rgb[k]));
                }
            }
        }
        (0..n).for_each(|i| gram[i * n + i] += RIDGE * (1.0 + gram[i * n + i]));
        solve(&mut gram, &mut right);
        Ok(Self { weight: right })
    }

    /// One small picture for each latent, a pixel for each of its cells.
    ///
    /// # Shapes
    /// - `z`: `[B, C, h, w]`
    pub(crate) fn pictures(&self, z: Tensor<4>) -> Vec<Picture> {
        let [_, c, h, w] = z.dims();
        let z: Vec<f32> = z.into_data().convert::<f32>().iter::<f32>().collect();
        let picture = |z: &[f32]| {
            let pixels = (0..h * w).flat_map(|cell| {
                [0, 1, 2].map(|k| {
                    let linear: f64 =
                        (0..c).map(|i| self.weight[i][k] * f64::from(z[i * h * w + cell])).sum();
                    (linear + self.weight[c][k]).clamp(0.0, 255.0) as u8
                })
            });
            Picture::new(w as u32, h as u32, pixels.collect()).ok()
        };
        z.chunks_exact(c * h * w).filter_map(picture).collect()
    }
}

/// Solves `a x = b` in place by Gaussian elimination, for positive definite `a`.
fn solve(a: &mut [f64], b: &mut [[f64; 3]]) {
    let n = b.len();
    for k in 0..n {
        for i in (0..n).filter(|&i| i != k) {
            let factor = a[i * n + k] / a[k * n + k];
            (0..n).for_each(|j| a[i * n + j] -= factor * a[k * n + j]);
            let row = b[k];
            (0..3).for_each(|j| b[i][j] -= factor * row[j]);
        }
    }
    for k in 0..n {
        b[k].iter_mut().for_each(|v| *v /= a[k * n + k]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_solved() {
        let mut a = vec![4.0, 1.0, 1.0, 3.0];
        let mut b = vec![[1.0, 5.0, 0.0], [2.0, 4.0, 0.0]];
        solve(&mut a, &mut b);
        for (found, expected) in
            b.iter().flatten().zip([1.0 / 11.0, 1.0, 0.0, 7.0 / 11.0, 1.0, 0.0])
        {
            assert!((found - expected).abs() < 1e-12, "{b:?}");
        }
    }
}
