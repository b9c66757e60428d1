//! From a picture to what the VAE and CLIP's image tower see, in the two published ways.
//!
//! | | VAE input | CLIP input |
//! |---|---|---|
//! | [`Preprocess::Original`] | centre crop to a square, Lanczos to the model's size | bicubic from that picture |
//! | [`Preprocess::Diffusers`] | Lanczos to a multiple of the VAE's factor, no crop | shorter edge bicubic from the raw picture, centre crop |
//!
//! The two agree on square pictures of the model's size only. Both resample 8-bit pixels.

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use trefoil_core::image::Filter;
use trefoil_core::{Error, Picture, Result};

/// Channel means of CLIP's training pictures.
pub const CLIP_MEAN: [f64; 3] = [0.48145466, 0.4578275, 0.40821073];
/// Channel standard deviations of CLIP's training pictures.
pub const CLIP_STD: [f64; 3] = [0.26862954, 0.26130258, 0.27577711];

/// Which published preprocessing to follow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preprocess {
    /// UniDiffuser's own: takes pictures of any size.
    #[default]
    Original,
    /// The port in diffusers: meant for pictures that already have the model's size.
    Diffusers,
}

/// Sizes that the networks ask for, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputSizes {
    /// Side of the model's square pictures (512).
    pub image: usize,
    /// Side of CLIP's input (224).
    pub clip: usize,
    /// Pixels of the picture per latent, to whose multiples diffusers rounds down (8).
    pub vae_scale: usize,
}

impl Default for InputSizes {
    fn default() -> Self {
        Self { image: 512, clip: 224, vae_scale: 8 }
    }
}

/// A picture as the two image encoders see it.
#[derive(Debug, Clone)]
pub struct ImageInputs {
    /// What the VAE sees, as a picture.
    pub picture: Picture,
    /// `[1, 3, H, W]` in `[-1, 1]`.
    pub vae: Tensor<4>,
    /// `[1, 3, C, C]`, normalised with [`CLIP_MEAN`] and [`CLIP_STD`].
    pub clip: Tensor<4>,
}

impl Preprocess {
    /// Prepares one picture for both encoders.
    ///
    /// # Errors
    /// [`Error::Config`] when a size is zero, or when the picture is smaller than one latent.
    pub fn apply(
        self,
        picture: &Picture,
        sizes: InputSizes,
        device: &Device,
    ) -> Result<ImageInputs> {
        let (for_vae, for_clip) = match self {
            Self::Original => {
                let side = sizes.image as u32;
                let crop = picture.center_crop_square().resize(side, side, Filter::Lanczos3)?;
                let clip_side = sizes.clip as u32;
                let clip = crop.resize(clip_side, clip_side, Filter::Bicubic)?;
                (crop, clip)
            }
            Self::Diffusers => {
                let floor = |side: u32| side - side % (sizes.vae_scale.max(1) as u32);
                let (width, height) = (floor(picture.width()), floor(picture.height()));
                let vae = picture.resize(width, height, Filter::Lanczos3)?;
                (vae, shorter_edge_crop(picture, sizes.clip as u32)?)
            }
        };
        let vae = Picture::to_tensor(std::slice::from_ref(&for_vae), device)?;
        Ok(ImageInputs { picture: for_vae, vae, clip: clip_tensor(&for_clip, device) })
    }
}

/// Bicubic resize so that the shorter edge is `side` (the longer rounds down), then the centre.
fn shorter_edge_crop(picture: &Picture, side: u32) -> Result<Picture> {
    let (width, height) = (u64::from(picture.width()), u64::from(picture.height()));
    let long = |edge: u64| (u64::from(side) * edge / width.min(height)) as u32;
    let resized = picture.resize(long(width), long(height), Filter::Bicubic)?;
    if side == 0 {
        return Err(Error::config("clip", "expected at least one pixel, found 0"));
    }
    Ok(resized.center_crop_square())
}

/// `(pixel / 255 - mean) / std` per channel.
///
/// # Shapes
/// - returns: `[1, 3, H, W]`
fn clip_tensor(picture: &Picture, device: &Device) -> Tensor<4> {
    let area = picture.pixels().len() / 3;
    let mut planes = vec![0.0f32; 3 * area];
    for (i, pixel) in picture.pixels().chunks_exact(3).enumerate() {
        for c in 0..3 {
            let value = (f64::from(pixel[c]) / 255.0 - CLIP_MEAN[c]) / CLIP_STD[c];
            planes[c * area + i] = value as f32;
        }
    }
    let shape = [1, 3, picture.height() as usize, picture.width() as usize];
    Tensor::from_data(TensorData::new(planes, shape), device)
}

/// Pictures from the VAE's output: `floor(255 (v + 1) / 2 + 1/2)`, clamped.
///
/// # Shapes
/// - `images`: `[B, 3, H, W]`
///
/// # Errors
/// [`Error::NonFinite`] when a value is not finite.
pub fn to_pictures(images: Tensor<4>) -> Result<Vec<Picture>> {
    Picture::from_tensor(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ways_agree_on_pictures_of_the_models_size() {
        let pixels = (0..16 * 16 * 3).map(|i| (i * 37 % 251) as u8).collect();
        let picture = Picture::new(16, 16, pixels).unwrap();
        let sizes = InputSizes { image: 16, clip: 8, vae_scale: 8 };
        let [a, b] = [Preprocess::Original, Preprocess::Diffusers]
            .map(|way| way.apply(&picture, sizes, &Device::flex()).unwrap());
        assert_eq!(a.picture, picture);
        assert_eq!(a.vae.to_data(), b.vae.to_data());
        assert_eq!(a.clip.to_data(), b.clip.to_data());
        assert_eq!(to_pictures(a.vae).unwrap(), [picture]);
    }

    #[test]
    fn diffusers_rounds_down_and_crops_the_centre() {
        let picture = Picture::filled(21, 10, [255, 0, 51]);
        let sizes = InputSizes { image: 16, clip: 4, vae_scale: 8 };
        let inputs = Preprocess::Diffusers.apply(&picture, sizes, &Device::flex()).unwrap();
        assert_eq!(inputs.vae.dims(), [1, 3, 8, 16]);
        assert_eq!(inputs.clip.dims(), [1, 3, 4, 4]);
        let clip: Vec<f32> = inputs.clip.into_data().iter::<f32>().collect();
        let expected = |c: usize, v: f64| ((v - CLIP_MEAN[c]) / CLIP_STD[c]) as f32;
        assert_eq!(
            [clip[0], clip[16], clip[32]],
            [expected(0, 1.0), expected(1, 0.0), expected(2, 0.2)]
        );
    }

    #[test]
    fn a_picture_smaller_than_a_latent_is_refused() {
        let picture = Picture::filled(7, 64, [0; 3]);
        let error = Preprocess::Diffusers
            .apply(&picture, InputSizes::default(), &Device::flex())
            .unwrap_err()
            .to_string();
        assert!(error.contains("0x64"), "{error}");
    }
}
