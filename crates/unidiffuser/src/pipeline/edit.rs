//! Pictures that are changed instead of made from nothing.
//!
//! A run begins at the level `strength`, where the state is the picture with that much noise (Meng et al., *SDEdit*,
//! arXiv 2108.01073). With a mask, the network's prediction for what is kept is replaced by the noise that leads there,
//!
//! ```text
//! eps = (x - alpha z_0) / sigma      where the mask is black
//! ```
//!
//! so that the predicted clean latent is the picture's at every step, whatever the solver, and the rest is drawn to fit.

use burn::tensor::{Tensor, TensorData};
use trefoil_core::image::Filter;
use trefoil_core::{Error, Picture, Result};
use trefoil_diffusion::Level;

use super::Generated;
use crate::model::{Codes, EncodedImages, ImageCode, UniDiffuser};
use crate::uvit::Modalities;

/// Darkest grey of a mask that is drawn anew.
const WHITE: u8 = 128;

/// A picture to start from.
#[derive(Debug, Clone)]
pub struct Edit {
    /// The picture; its central square counts.
    pub picture: Picture,
    /// How much is made anew: near 0 nothing, 1 everything.
    pub strength: f64,
    /// What is made anew: white, while black is kept. Without a mask, all of it.
    pub mask: Option<Picture>,
}

/// An edit that a model can begin.
pub(super) struct EncodedEdit {
    encoded: EncodedImages,
    /// `[1, 1, h, w]`, one where the picture is kept.
    kept: Option<Tensor<4>>,
    /// The picture at the model's size, and its mask.
    original: Picture,
    mask: Option<Picture>,
}

/// The codes of the samples of a batch.
pub(super) struct EditedCode {
    image: ImageCode,
    kept: Option<Tensor<4>>,
}

impl Edit {
    /// # Errors
    /// [`Error::Config`] naming the field that is out of range.
    pub(super) fn encode(&self, model: &UniDiffuser) -> Result<EncodedEdit> {
        if !(self.strength > 0.0 && self.strength <= 1.0) {
            let reason = format!("expected a number above 0, at most 1, found {}", self.strength);
            return Err(Error::config("strength", reason));
        }
        let side = model.image_size() as u32;
        let square =
            |picture: &Picture| picture.center_crop_square().resize(side, side, Filter::Lanczos3);
        let mask = self.mask.as_ref().map(square).transpose()?;
        let [_, h, w] = model.latent_shape();
        let kept = mask.as_ref().map(|mask| {
            let values = kept_cells(mask, [h, w]);
            Tensor::from_data(TensorData::new(values, [1, 1, h, w]), model.device())
        });
        let encoded = model.encode_images(std::slice::from_ref(&self.picture))?;
        Ok(EncodedEdit { encoded, kept, original: square(&self.picture)?, mask })
    }
}

/// One for each cell of the latent without a white pixel.
fn kept_cells(mask: &Picture, [h, w]: [usize; 2]) -> Vec<f32> {
    let (rows, columns) = (mask.height() as usize / h, mask.width() as usize / w);
    let white = |x: usize, y: usize| mask.pixels()[3 * (y * mask.width() as usize + x)] >= WHITE;
    let is_kept = |cell: usize| {
        let (top, left) = (cell / w * rows, cell % w * columns);
        !(top..top + rows).any(|y| (left..left + columns).any(|x| white(x, y)))
    };
    (0..h * w).map(|cell| if is_kept(cell) { 1.0 } else { 0.0 }).collect()
}

impl EncodedEdit {
    /// The codes that a batch begins with.
    ///
    /// # Shapes
    /// - `noise`: `[B, C, h, w]`, of the posterior
    pub(super) fn sample(&self, noise: Tensor<4>) -> EditedCode {
        EditedCode { image: self.encoded.sample(noise), kept: self.kept.clone() }
    }

    /// Puts the pixels that the mask keeps back, which the autoencoder has changed a little.
    pub(super) fn keep(&self, generated: Generated) -> Generated {
        let (Some(mask), Some(image)) = (&self.mask, &generated.image) else { return generated };
        let pairs = image.pixels().iter().zip(self.original.pixels()).zip(mask.pixels());
        let pixels = pairs.map(|((new, old), mask)| if *mask >= WHITE { *new } else { *old });
        let pixels: Vec<u8> = pixels.collect();
        let image = Picture::new(image.width(), image.height(), pixels).ok();
        Generated { image: image.or_else(|| generated.image.clone()), ..generated }
    }
}

impl EditedCode {
    /// The picture with the noise of the first level.
    pub(super) fn begin(&self, start: &mut Modalities, level: Level) {
        start.z = self.image.z.clone() * level.alpha + start.z.clone() * level.sigma;
        start.clip = self.image.clip.clone() * level.alpha + start.clip.clone() * level.sigma;
    }

    /// Makes the prediction for what is kept the one that leads to it.
    pub(super) fn hold(&self, state: &Codes, predicted: &mut Codes, level: Level) {
        let (Some(kept), Some(state), Some(predicted)) =
            (&self.kept, &state.image, &mut predicted.image)
        else {
            return;
        };
        let exact = (state.z.clone() - self.image.z.clone() * level.alpha) / level.sigma;
        let new = predicted.z.clone();
        predicted.z = new.clone() + (exact - new) * kept.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_with_a_white_pixel_is_drawn_anew() {
        let mut pixels = vec![0u8; 4 * 4 * 3];
        pixels[3 * (4 + 2)..3 * (4 + 2) + 3].fill(255);
        let mask = Picture::new(4, 4, pixels).unwrap();
        assert_eq!(kept_cells(&mask, [2, 2]), [1.0, 0.0, 1.0, 1.0]);
    }
}
