//! How a student's pictures compare with real ones: pixels on their principal axes, a feature space that needs
//! no network. Tables for readers take CLIP as well; this one is for the log of a run.

use serde::{Deserialize, Serialize};
use trefoil_core::Picture;
use trefoil_eval::{
    FeatureNetwork as _, FeaturePrecision, Features, FrechetReport, NEIGHBOURS, PixelPca,
    PrecisionRecall,
};

use crate::error::{Error, Result};

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PictureFit {
    /// Frechet distance of the pixels on the principal axes of the data.
    pub frechet: f64,
    /// Share of the student's pictures that look like real ones.
    pub precision: f64,
    /// Share of the real pictures that look like the student's.
    pub recall: f64,
}

/// Real pictures, ready to be compared with.
#[derive(Debug)]
pub struct PictureMeasure {
    axes: PixelPca,
    real: Vec<f32>,
    side: usize,
}

impl PictureMeasure {
    /// Fits the axes.
    ///
    /// # Errors
    /// Fewer than two pictures, or a decomposition without convergence.
    pub fn new<'a>(
        pictures: impl Iterator<Item = &'a Picture>,
        side: usize,
        components: usize,
    ) -> Result<Self> {
        let pixels: Vec<u8> = pictures.flat_map(|p| p.pixels().iter().copied()).collect();
        let view = trefoil_eval::Pictures::new(&pixels, side, side).map_err(Error::network)?;
        let axes = PixelPca::fit(view, components).map_err(Error::network)?;
        let real = axes.embed(view).map_err(Error::Network)?.features;
        Ok(Self { axes, real, side })
    }

    /// Compares.
    ///
    /// # Errors
    /// Fewer than two pictures.
    pub fn fit(&self, drawn: &[Picture]) -> Result<PictureFit> {
        let pixels: Vec<u8> = drawn.iter().flat_map(|p| p.pixels().iter().copied()).collect();
        let view =
            trefoil_eval::Pictures::new(&pixels, self.side, self.side).map_err(Error::network)?;
        let made = self.axes.embed(view).map_err(Error::Network)?.features;
        let dim = self.axes.dim();
        let real = Features::new("real pictures", &self.real, dim).map_err(Error::network)?;
        let made = Features::new("the student's pictures", &made, dim).map_err(Error::network)?;
        let frechet =
            FrechetReport::from_features("pixels", real, made).map_err(Error::network)?.distance;
        let precision = FeaturePrecision::Single;
        let found = PrecisionRecall::new("pixels", real, made, NEIGHBOURS, precision)
            .map_err(Error::network)?;
        Ok(PictureFit { frechet, precision: found.precision(), recall: found.recall() })
    }
}
