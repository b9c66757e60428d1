//! From one picture to another.
//!
//! The paper shows such sequences (arXiv 2303.06555, figure 16) without giving their procedure; this
//! one is ours. Both pictures become text codes by image-to-text from the same noise. For each weight
//! the codes are interpolated, and so is all noise of the text-to-image run that follows, which makes
//! weight 0 the variation of the first picture with sample 0, and neighbours similar. Interpolation is
//! spherical, since the linear mean of two normal vectors is shorter than either.

use std::ops::ControlFlow;

use burn::tensor::{Tensor, TensorData};
use trefoil_core::{Error, Picture, Stream};

use super::{
    GenerateError, Generated, NoiseKind, NoiseSource, Progress, Request, Sampling, Streams,
};
use crate::mode::Task;
use crate::model::{Codes, UniDiffuser};

impl UniDiffuser {
    /// One picture per weight, from the first picture (0) to the second (1).
    ///
    /// Of the request, seed, solver, guidance, unconditional pass, batch and data type are used; mode,
    /// prompt, picture, count and beams have no part.
    ///
    /// # Errors
    /// [`GenerateError::Model`] naming the setting that is out of range; otherwise as
    /// [`UniDiffuser::generate`].
    pub fn blend(
        &self,
        pictures: [&Picture; 2],
        weights: &[f64],
        request: &Request,
        on_step: &mut dyn FnMut(&Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, GenerateError> {
        if weights.is_empty() {
            return Err(Error::config("weights", "expected at least one").into());
        }
        if let Some(weight) = weights.iter().find(|w| !(0.0..=1.0).contains(*w)) {
            let reason = format!("expected numbers between 0 and 1, found {weight}");
            return Err(Error::config("weights", reason).into());
        }
        request.check_batch()?;
        let sampling = Sampling::new(self, request)?;
        let steps = 2 * sampling.evaluations();

        let mut noise = Streams::replicas(request.seed, 0, 2);
        let encoded = self.encode_images(&pictures.map(Clone::clone))?;
        let image = Some(encoded.sample(self.posterior_noise(&mut noise)));
        let codes = Codes { image, text: None };
        let codes =
            sampling.run(Task::ImageToText, &codes, &mut noise, &mut |step, estimate| {
                on_step(&Progress { step, steps, sample_range: 0..weights.len(), estimate })
            })?;
        let (Some(text), Some(first)) = (codes.text, noise.into_first()) else {
            return Ok(Vec::new());
        };
        let [_, l, t] = text.dims();
        let values: Vec<f32> = text.into_data().convert::<f32>().iter::<f32>().collect();
        let (from, to) = values.split_at(l * t);
        let ends = [first, request.seed.stream("sample", 1)];

        let mut pictures = Vec::with_capacity(weights.len());
        for chunk in weights.chunks(request.batch) {
            let range = pictures.len()..pictures.len() + chunk.len();
            let text: Vec<f32> = chunk.iter().flat_map(|&w| slerp(from, to, w)).collect();
            let text = TensorData::new(text, [chunk.len(), l, t]);
            let text = Some(Tensor::from_data(text, self.device()));
            let mut noise = Between { ends: ends.clone(), weights: chunk };
            let codes = Codes { image: None, text };
            let codes =
                sampling.run(Task::TextToImage, &codes, &mut noise, &mut |step, estimate| {
                    let step = sampling.evaluations() + step;
                    on_step(&Progress { step, steps, sample_range: range.clone(), estimate })
                })?;
            if let Some(image) = codes.image {
                pictures.extend(self.decode_image(image.z)?);
            }
        }
        let result = pictures.into_iter().enumerate();
        Ok(result.map(|(index, p)| Generated { index, image: Some(p), text: None }).collect())
    }
}

/// Draws of two streams, interpolated with one weight per sample.
struct Between<'a> {
    ends: [Stream; 2],
    weights: &'a [f64],
}

impl NoiseSource for Between<'_> {
    fn samples(&self) -> usize {
        self.weights.len()
    }

    fn draw(&mut self, _: NoiseKind, count: usize) -> Vec<f32> {
        let [a, b] = self.ends.each_mut().map(|stream| stream.normals(count));
        self.weights.iter().flat_map(|&w| slerp(&a, &b, w)).collect()
    }
}

/// `sin((1 - w) theta) / sin(theta) a + sin(w theta) / sin(theta) b` with `theta` the angle between
/// the vectors (Shoemake, *Animating rotation with quaternion curves*, 1985); linear when they are
/// (anti)parallel.
fn slerp(a: &[f32], b: &[f32], weight: f64) -> Vec<f32> {
    let dot = |x: &[f32], y: &[f32]| -> f64 {
        x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
    };
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    let theta = cosine.clamp(-1.0, 1.0).acos();
    let sine = theta.sin();
    // A zero vector has no angle: its cosine is not a number, and neither is the sine.
    let (from, to) = if sine > 1e-6 {
        (((1.0 - weight) * theta).sin() / sine, (weight * theta).sin() / sine)
    } else {
        (1.0 - weight, weight)
    };
    a.iter().zip(b).map(|(a, b)| (from * f64::from(*a) + to * f64::from(*b)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpolation_keeps_the_ends_and_the_length() {
        let (a, b) = ([3.0, 0.0], [0.0, 3.0]);
        assert_eq!(slerp(&a, &b, 0.0), a);
        assert_eq!(slerp(&a, &b, 1.0), b);
        let middle = slerp(&a, &b, 0.5);
        let expected = 3.0 * 0.5f32.sqrt();
        assert!(middle.iter().all(|v| (v - expected).abs() < 1e-6), "{middle:?}");
        let third = slerp(&a, &b, 1.0 / 3.0);
        assert!((third[1] - 1.5).abs() < 1e-6, "30 degrees, {third:?}");
    }

    #[test]
    fn vectors_without_an_angle_are_interpolated_linearly() {
        assert_eq!(slerp(&[1.0, 2.0], &[3.0, 6.0], 0.5), [2.0, 4.0]);
        assert_eq!(slerp(&[0.0, 0.0], &[2.0, 4.0], 0.25), [0.5, 1.0]);
        assert_eq!(slerp(&[1.0], &[-1.0], 0.5), [0.0]);
    }

    #[test]
    fn noise_between_two_streams_is_that_of_the_streams_at_the_ends() {
        let seed = trefoil_core::Seed(4);
        let ends = [seed.stream("sample", 0), seed.stream("sample", 1)];
        let mut between = Between { ends: ends.clone(), weights: &[0.0, 0.5, 1.0] };
        let draw = between.draw(NoiseKind::Latent, 4000);
        let [a, b] = ends.map(|mut stream| stream.normals(4000));
        assert_eq!(draw[..4000], a);
        assert_eq!(draw[8000..], b);
        let square: f32 = draw[4000..8000].iter().map(|v| v * v).sum::<f32>() / 4000.0;
        assert!((square - 1.0).abs() < 0.1, "{square}");
    }
}
