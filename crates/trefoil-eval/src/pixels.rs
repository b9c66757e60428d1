//! Raw pixels on their principal axes: features that need no network, for small pictures.
//!
//! They see colour and coarse layout and no meaning; a distance of zero still means equal means and
//! covariances along the axes.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};

use crate::error::{Error, Result, same_size};
use crate::moments::Moments;
use crate::network::{Embedding, FeatureNetwork, NetworkError, Pictures};

/// The axes of largest variance of a set of pictures.
///
/// `features = (x - mean) V^T` with pixels `x` in `[-1, 1]` and orthonormal rows `V`.
#[derive(Debug, Clone, PartialEq)]
pub struct PixelPca {
    size: [usize; 2],
    mean: Vec<f32>,
    /// `[components, values]`, row-major, by falling variance.
    axes: Vec<f32>,
}

impl PixelPca {
    /// The first `components` axes of some pictures; at most as many as there are values.
    ///
    /// # Errors
    /// Fewer than two pictures, no components, a decomposition without convergence.
    pub fn fit(pictures: Pictures<'_>, components: usize) -> Result<Self> {
        let values = pictures.values();
        let mut moments = Moments::new(values)?;
        for part in pictures.pixels().chunks(values * 512) {
            let rows: Vec<f32> = part.iter().map(|&byte| unit(byte)).collect();
            moments.push_rows(&rows)?;
        }
        let gaussian = moments.finish()?;
        let what = "principal axes of the pixels";
        let components = components.min(values);
        if components == 0 {
            return Err(Error::ZeroDimension { what });
        }
        let covariance = MatRef::from_row_major_slice(&gaussian.covariance, values, values);
        let eigen = covariance
            .self_adjoint_eigen(Side::Lower)
            .map_err(|_| Error::NoConvergence { what })?;
        let vectors = eigen.U(); // columns by rising variance
        let mut axes = Vec::with_capacity(components * values);
        for axis in 0..components {
            let column = vectors.col(values - 1 - axis);
            // A sign that does not depend on the decomposition: the largest entry is positive.
            let largest =
                column.iter().fold(0.0_f64, |m, &v| if v.abs() > m.abs() { v } else { m });
            axes.extend(column.iter().map(|&v| (v * largest.signum()) as f32));
        }
        let mean = gaussian.mean.iter().map(|&v| v as f32).collect();
        Ok(Self { size: pictures.size(), mean, axes })
    }

    /// Axes that were computed before.
    ///
    /// # Errors
    /// Sizes that do not agree.
    pub fn from_parts(size: [usize; 2], mean: Vec<f32>, axes: Vec<f32>) -> Result<Self> {
        let values = size[0] * size[1] * 3;
        same_size("mean of the pixels", values, mean.len())?;
        if axes.is_empty() || !axes.len().is_multiple_of(values) {
            let what = "principal axes of the pixels";
            return Err(Error::RaggedRows { what, length: axes.len(), dim: values });
        }
        Ok(Self { size, mean, axes })
    }

    /// Height and width of the pictures.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Mean picture, `[values]`.
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Axes, `[components, values]`.
    pub fn axes(&self) -> &[f32] {
        &self.axes
    }
}

impl FeatureNetwork for PixelPca {
    fn name(&self) -> String {
        let [height, width] = self.size;
        format!("{height}x{width} pixels, {} principal axes of the reference", self.dim())
    }

    fn dim(&self) -> usize {
        self.axes.len() / self.mean.len()
    }

    fn embed(&self, pictures: Pictures<'_>) -> std::result::Result<Embedding, NetworkError> {
        same_size("height of the pictures", self.size[0], pictures.size()[0])?;
        same_size("width of the pictures", self.size[1], pictures.size()[1])?;
        let (dim, count, values) = (self.dim(), pictures.count(), self.mean.len());
        let centred: Vec<f32> = pictures
            .pixels()
            .chunks_exact(values)
            .flat_map(|row| row.iter().zip(&self.mean).map(|(&byte, mean)| unit(byte) - mean))
            .collect();
        let axes = MatRef::from_row_major_slice(&self.axes, dim, values);
        let rows = MatRef::from_row_major_slice(&centred, count, values);
        let mut features = Mat::<f32>::zeros(dim, count); // column-major: [count, dim] row-major
        let out = features.as_mut();
        matmul(out, Accum::Replace, axes, rows.transpose(), 1.0, Par::Seq);
        let features = features.col_iter().flat_map(|c| c.iter().copied().collect::<Vec<_>>());
        Ok(Embedding { features: features.collect(), probabilities: Vec::new() })
    }
}

/// A byte in `[-1, 1]`.
fn unit(byte: u8) -> f32 {
    f32::from(byte) / 127.5 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures of one pixel on a line: grey levels.
    #[test]
    fn grey_levels_have_one_axis() {
        let pixels: Vec<u8> = [0, 51, 102, 204, 255].into_iter().flat_map(|v| [v; 3]).collect();
        let pictures = Pictures::new(&pixels, 1, 1).unwrap();
        let pca = PixelPca::fit(pictures, 2).unwrap();
        let third = 1.0 / 3.0_f32.sqrt();
        assert!(pca.axes()[..3].iter().all(|v| (v - third).abs() < 1e-6), "{:?}", pca.axes());
        let found = pca.embed(pictures).unwrap().features;
        assert_eq!((pca.dim(), found.len()), (2, 10));
        for (row, level) in found.chunks(2).zip([0.0, 51.0, 102.0, 204.0, 255.0_f32]) {
            let expected = (level - 122.4) / 127.5 * 3.0_f32.sqrt();
            assert!((row[0] - expected).abs() < 1e-5 && row[1].abs() < 1e-5, "{row:?}");
        }
    }

    #[test]
    fn other_sizes_are_refused() {
        let pixels = [0; 12];
        let pca = PixelPca::fit(Pictures::new(&pixels, 1, 2).unwrap(), 1).unwrap();
        let error = pca.embed(Pictures::new(&pixels, 2, 1).unwrap()).unwrap_err().to_string();
        assert_eq!(error, "height of the pictures: expected 1, found 2");
        assert!(Pictures::new(&pixels[..5], 1, 1).is_err());
    }
}
