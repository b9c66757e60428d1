//! Pictures: decoding, the resampling that the published preprocessing uses, tensors, grids.

use std::io::Cursor;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{ImageReader, Limits, RgbaImage};

use crate::error::{Error, Result};
use crate::fs;

/// Largest side that we decode: a bound against decompression bombs.
const MAX_SIDE: u32 = 16_384;
/// Largest decoder allocation in bytes, for the same reason.
const MAX_ALLOCATION: u64 = 1 << 30;

/// An RGB picture with 8 bits per channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

/// Resampling filter with the support of Pillow's; results differ by one level, two on white noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Lanczos with three lobes.
    Lanczos3,
    /// Catmull-Rom cubic (a = -0.5).
    Bicubic,
    /// Repeats the nearest pixel.
    Nearest,
}

impl Picture {
    /// A picture from its pixels.
    ///
    /// # Shapes
    /// - `pixels`: `[height, width, 3]`, row-major
    ///
    /// # Errors
    /// [`Error::Image`] when the length does not fit or a side is zero.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self> {
        let expected = width as usize * height as usize * 3;
        if pixels.len() != expected || expected == 0 {
            let reason = format!(
                "expected {width}x{height}x3 = {expected} bytes, at least one pixel; found {}",
                pixels.len()
            );
            return Err(Error::Image { name: "picture".into(), reason });
        }
        Ok(Self { width, height, pixels })
    }

    /// A picture of one colour.
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Self {
        let pixels = colour.repeat(width as usize * height as usize);
        Self { width, height, pixels }
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// `[height, width, 3]`, row-major.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Reads and decodes a PNG or JPEG file; transparency is laid over white.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Image`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::decode(&fs::read(path)?, &path.display().to_string())
    }

    /// Decodes PNG or JPEG bytes over white; `name` is used in messages.
    ///
    /// # Errors
    /// [`Error::Image`].
    pub fn decode(bytes: &[u8], name: &str) -> Result<Self> {
        Self::decode_over(bytes, name, [255; 3])
    }

    /// Decodes PNG or JPEG bytes and lays transparent pixels over a background colour.
    ///
    /// # Errors
    /// [`Error::Image`].
    pub fn decode_over(bytes: &[u8], name: &str, background: [u8; 3]) -> Result<Self> {
        Self::decode_within(bytes, name, background, u64::MAX)
    }

    /// As [`Picture::decode_over`], for pictures from strangers: one with more than `pixels` pixels is refused by its
    /// header, before anything is decoded.
    ///
    /// # Errors
    /// [`Error::Image`].
    pub fn decode_within(
        bytes: &[u8],
        name: &str,
        background: [u8; 3],
        pixels: u64,
    ) -> Result<Self> {
        let fail = |reason: String| Error::Image { name: name.into(), reason };
        let open = || {
            ImageReader::new(Cursor::new(bytes))
                .with_guessed_format()
                .map_err(|e| fail(e.to_string()))
        };
        let (width, height) = open()?.into_dimensions().map_err(|e| fail(e.to_string()))?;
        if u64::from(width) * u64::from(height) > pixels {
            return Err(fail(format!("expected at most {pixels} pixels, found {width}x{height}")));
        }
        let mut reader = open()?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_ALLOCATION);
        reader.limits(limits);
        let image = reader.decode().map_err(|e| fail(e.to_string()))?;
        let (width, height) = (image.width(), image.height());
        let pixels = if image.color().has_alpha() {
            flatten(&image.into_rgba8(), background)
        } else {
            image.into_rgb8().into_raw()
        };
        Self::new(width, height, pixels).map_err(|_| fail("it has no pixels".into()))
    }

    /// The central square, rows `(h - m) / 2 .. (h + m) / 2` with `m` the shorter side.
    pub fn center_crop_square(&self) -> Self {
        let side = self.width.min(self.height);
        let (left, top) = ((self.width - side) / 2, (self.height - side) / 2);
        self.crop(left, top, side, side)
    }

    /// A rectangle of the picture, cut off at its border.
    fn crop(&self, left: u32, top: u32, width: u32, height: u32) -> Self {
        let stride = self.width as usize * 3;
        let pixels = (top..top + height)
            .flat_map(|y| {
                let start = y as usize * stride + left as usize * 3;
                self.pixels[start..start + width as usize * 3].iter().copied()
            })
            .collect();
        Self { width, height, pixels }
    }

    /// Resamples to another size; the same size returns a copy.
    ///
    /// # Errors
    /// [`Error::Config`] when a side is zero.
    pub fn resize(&self, width: u32, height: u32, filter: Filter) -> Result<Self> {
        if (width, height) == (self.width, self.height) {
            return Ok(self.clone());
        }
        if width == 0 || height == 0 {
            return Err(Error::config("size", format!("{width}x{height} has no pixels")));
        }
        // Pillow resamples rows first and rounds between the two passes.
        self.resize_pass(width, self.height, filter)?.resize_pass(width, height, filter)
    }

    /// One pass of [`Picture::resize`]: at most one side changes.
    fn resize_pass(&self, width: u32, height: u32, filter: Filter) -> Result<Self> {
        if (width, height) == (self.width, self.height) {
            return Ok(self.clone());
        }
        let algorithm = match filter {
            Filter::Lanczos3 => ResizeAlg::Convolution(FilterType::Lanczos3),
            Filter::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
            Filter::Nearest => ResizeAlg::Nearest,
        };
        let fail = |e: String| Error::config("size", e);
        let source = ImageRef::new(self.width, self.height, &self.pixels, PixelType::U8x3)
            .map_err(|e| fail(e.to_string()))?;
        let mut target = Image::new(width, height, PixelType::U8x3);
        Resizer::new()
            .resize(&source, &mut target, &ResizeOptions::new().resize_alg(algorithm))
            .map_err(|e| fail(e.to_string()))?;
        Ok(Self { width, height, pixels: target.into_vec() })
    }

    /// The picture as planes with values `offset + scale * byte / 255`.
    ///
    /// # Shapes
    /// - returns: `[3, H, W]`, row-major
    pub fn to_planes(&self, scale: [f32; 3], offset: [f32; 3]) -> Vec<f32> {
        let area = self.width as usize * self.height as usize;
        let mut planes = vec![0.0; 3 * area];
        for (i, pixel) in self.pixels.chunks_exact(3).enumerate() {
            for c in 0..3 {
                planes[c * area + i] = f32::from(pixel[c]) / 255.0 * scale[c] + offset[c];
            }
        }
        planes
    }

    /// Pictures from planes in `[-1, 1]`: `floor(255 (v + 1) / 2 + 1/2)`, clamped.
    ///
    /// # Shapes
    /// - `images`: `[B, 3, H, W]`
    ///
    /// # Errors
    /// [`Error::NonFinite`] when a value is not finite: better than a black picture.
    pub fn from_tensor(images: Tensor<4>) -> Result<Vec<Self>> {
        let [_, channels, height, width] = images.dims();
        if channels != 3 {
            return Err(Error::config("channels", format!("expected 3, found {channels}")));
        }
        let values: Vec<f32> = images.into_data().convert::<f32>().iter::<f32>().collect();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::NonFinite { what: "a decoded picture".into() });
        }
        let area = height * width;
        values
            .chunks_exact(3 * area)
            .map(|planes| {
                let byte = |v: f32| ((v * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0 + 0.5).floor() as u8;
                let pixels = (0..area)
                    .flat_map(|i| [planes[i], planes[area + i], planes[2 * area + i]].map(byte))
                    .collect();
                Self::new(width as u32, height as u32, pixels)
            })
            .collect()
    }

    /// Equal-sized pictures as one tensor with values in `[-1, 1]`.
    ///
    /// # Shapes
    /// - returns: `[B, 3, H, W]`
    ///
    /// # Errors
    /// [`Error::Config`] when there is no picture or the sizes differ.
    pub fn to_tensor(pictures: &[Self], device: &Device) -> Result<Tensor<4>> {
        let Some(first) = pictures.first() else {
            return Err(Error::config("pictures", "expected at least one, found none"));
        };
        let (w, h) = (first.width, first.height);
        let mut values = Vec::with_capacity(pictures.len() * first.pixels.len());
        for picture in pictures {
            if (picture.width, picture.height) != (w, h) {
                let reason =
                    format!("expected {w}x{h}, found {}x{}", picture.width, picture.height);
                return Err(Error::config("pictures", reason));
            }
            values.extend(picture.to_planes([2.0; 3], [-1.0; 3]));
        }
        let shape = [pictures.len(), 3, h as usize, w as usize];
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// Pictures side by side, `columns` in a row, on white with a margin of two pixels; cells have
    /// the size of the first picture.
    pub fn grid(pictures: &[Self], columns: usize) -> Option<Self> {
        const MARGIN: u32 = 2;
        let first = pictures.first()?;
        let columns = columns.clamp(1, pictures.len()) as u32;
        let rows = (pictures.len() as u32).div_ceil(columns);
        let (cell_w, cell_h) = (first.width + MARGIN, first.height + MARGIN);
        let mut grid =
            Self::filled(columns * cell_w + MARGIN, rows * cell_h + MARGIN, [255, 255, 255]);
        for (i, picture) in (0u32..).zip(pictures) {
            let (left, top) = (MARGIN + i % columns * cell_w, MARGIN + i / columns * cell_h);
            grid.paste(picture, left, top);
        }
        Some(grid)
    }

    fn paste(&mut self, picture: &Self, left: u32, top: u32) {
        let (w, h) = (picture.width.min(self.width - left), picture.height.min(self.height - top));
        for y in 0..h {
            let to = ((top + y) * self.width + left) as usize * 3;
            let from = (y * picture.width) as usize * 3;
            let bytes = w as usize * 3;
            self.pixels[to..to + bytes].copy_from_slice(&picture.pixels[from..from + bytes]);
        }
    }
}

/// Lays a picture with alpha over a background, rounding to nearest.
fn flatten(image: &RgbaImage, background: [u8; 3]) -> Vec<u8> {
    let over = |c: u8, alpha: u8, back: u8| {
        let mixed = u32::from(c) * u32::from(alpha) + u32::from(back) * (255 - u32::from(alpha));
        ((mixed + 127) / 255) as u8
    };
    image
        .pixels()
        .flat_map(|p| {
            let [r, g, b, a] = p.0;
            [over(r, a, background[0]), over(g, a, background[1]), over(b, a, background[2])]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: u32, height: u32) -> Picture {
        let pixels =
            (0..height).flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, 7])).collect();
        Picture::new(width, height, pixels).unwrap()
    }

    #[test]
    fn crops_the_central_square() {
        let crop = gradient(5, 2).center_crop_square();
        assert_eq!((crop.width(), crop.height()), (2, 2));
        assert_eq!(crop.pixels()[..6], [1, 0, 7, 2, 0, 7]);
    }

    #[test]
    fn tensors_round_trip() {
        let pictures = vec![gradient(4, 3), Picture::filled(4, 3, [0, 128, 255])];
        let tensor = Picture::to_tensor(&pictures, &Device::flex()).unwrap();
        assert_eq!(tensor.dims(), [2, 3, 3, 4]);
        assert_eq!(Picture::from_tensor(tensor).unwrap(), pictures);
        let bad = Tensor::<4>::full([1, 3, 1, 1], f32::NAN, &Device::flex());
        assert!(Picture::from_tensor(bad).is_err());
    }

    #[test]
    fn transparency_is_laid_over_the_background() {
        let mut image = RgbaImage::new(2, 1);
        image.put_pixel(0, 0, image::Rgba([200, 0, 0, 0]));
        image.put_pixel(1, 0, image::Rgba([200, 0, 0, 128]));
        assert_eq!(flatten(&image, [0, 100, 255]), [0, 100, 255, 100, 50, 127]);
    }

    #[test]
    fn grids_place_pictures_row_by_row() {
        let pictures = [[9; 3], [8; 3], [7; 3]].map(|c| Picture::filled(1, 1, c));
        let grid = Picture::grid(&pictures, 2).unwrap();
        assert_eq!((grid.width(), grid.height()), (8, 8));
        let at = |x: usize, y: usize| grid.pixels()[(y * 8 + x) * 3];
        assert_eq!((at(2, 2), at(5, 2), at(2, 5), at(5, 5)), (9, 8, 7, 255));
    }

    #[test]
    fn decoding_names_the_file() {
        let error = Picture::decode(b"not a picture", "cat.png").unwrap_err().to_string();
        assert!(error.starts_with("cat.png is not a readable picture"), "{error}");
    }
}
