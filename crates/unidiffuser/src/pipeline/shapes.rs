//! Shapes of the modalities, and the flat state that a solver sees.

use burn::tensor::{Device, Tensor, TensorData};
use trefoil_core::Error;

use super::{NoiseKind, NoiseSource};
use crate::mode::Task;
use crate::model::{Codes, ImageCode, UniDiffuser};
use crate::uvit::Modalities;

/// Channels, height and width of the latent of a picture of this size.
pub(super) fn latent_shape(
    model: &UniDiffuser,
    size: Option<[usize; 2]>,
) -> Result<[usize; 3], Error> {
    let native = model.latent_shape();
    let Some(size) = size else { return Ok(native) };
    let scale = model.config.autoencoder.downsampling();
    let unit = scale * model.config.uvit.patch_size;
    if size.iter().any(|&side| side == 0 || !side.is_multiple_of(unit)) {
        let [height, width] = size;
        let reason = format!("expected multiples of {unit}, found {width}x{height}");
        return Err(Error::config("size", reason));
    }
    Ok([native[0], size[0] / scale, size[1] / scale])
}

/// Shapes of the three parts, and which of them make up the state `[B, D]` of a task: the generated
/// ones, flattened and joined in the order `z`, `c`, `y`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shapes {
    pub(super) batch: usize,
    pub(super) latent: [usize; 3],
    pub(super) clip: usize,
    pub(super) text: [usize; 2],
    pub(super) task: Task,
}

impl Shapes {
    pub(super) fn new(model: &UniDiffuser, task: Task, batch: usize) -> Self {
        let uvit = &model.config.uvit;
        let text = [uvit.num_text_tokens, uvit.text_dim];
        Self { batch, latent: model.latent_shape(), clip: uvit.clip_img_dim, text, task }
    }

    /// # Shapes
    /// - returns: `[B, D]`
    pub(super) fn join(&self, parts: Modalities) -> Tensor<2> {
        let mut joined = Vec::new();
        if self.task.makes_image() {
            joined.push(parts.z.flatten::<2>(1, 3));
            joined.push(parts.clip.flatten::<2>(1, 2));
        }
        if self.task.makes_text() {
            joined.push(parts.text.flatten::<2>(1, 2));
        }
        Tensor::cat(joined, 1)
    }

    /// [`Shapes::join`] of what [`Shapes::split`] returned.
    pub(super) fn join_codes(codes: Codes) -> Tensor<2> {
        let image = codes.image.map(|i| [i.z.flatten::<2>(1, 3), i.clip.flatten::<2>(1, 2)]);
        let text = codes.text.map(|y| y.flatten::<2>(1, 2));
        Tensor::cat(image.into_iter().flatten().chain(text).collect(), 1)
    }

    /// # Shapes
    /// - `x`: `[B, D]`
    pub(super) fn split(&self, x: Tensor<2>) -> Codes {
        let (b, [c, h, w], [l, t]) = (self.batch, self.latent, self.text);
        let mut codes = Codes::default();
        let mut start = 0;
        if self.task.makes_image() {
            let z = x.clone().narrow(1, 0, c * h * w).reshape([b, c, h, w]);
            let clip = x.clone().narrow(1, c * h * w, self.clip).reshape([b, 1, self.clip]);
            codes.image = Some(ImageCode { z, clip });
            start = c * h * w + self.clip;
        }
        if self.task.makes_text() {
            codes.text = Some(x.narrow(1, start, l * t).reshape([b, l, t]));
        }
        codes
    }

    pub(super) fn draw_latent(&self, noise: &mut dyn NoiseSource, device: &Device) -> Tensor<4> {
        let [c, h, w] = self.latent;
        let values = noise.draw(NoiseKind::Latent, c * h * w);
        Tensor::from_data(TensorData::new(values, [self.batch, c, h, w]), device)
    }

    pub(super) fn draw_clip(&self, noise: &mut dyn NoiseSource, device: &Device) -> Tensor<3> {
        let values = noise.draw(NoiseKind::Clip, self.clip);
        Tensor::from_data(TensorData::new(values, [self.batch, 1, self.clip]), device)
    }

    pub(super) fn draw_text(&self, noise: &mut dyn NoiseSource, device: &Device) -> Tensor<3> {
        let [l, t] = self.text;
        let values = noise.draw(NoiseKind::Text, l * t);
        Tensor::from_data(TensorData::new(values, [self.batch, l, t]), device)
    }

    /// One row per sample; the first entry of `expected` is not looked at.
    pub(super) fn rows<const D: usize>(
        &self,
        given: &Tensor<D>,
        expected: [usize; D],
    ) -> Result<Tensor<D>, Error> {
        let found = given.dims();
        if found[1..] != expected[1..] || (found[0] != 1 && found[0] != self.batch) {
            let expected = &expected[1..];
            let reason =
                format!("expected 1 or {} rows of {expected:?}, found {found:?}", self.batch);
            return Err(Error::config("condition", reason));
        }
        Ok(match found[0] {
            1 => given.clone().repeat_dim(0, self.batch),
            _ => given.clone(),
        })
    }
}
