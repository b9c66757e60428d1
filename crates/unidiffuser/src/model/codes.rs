//! Between what people see and what is diffused.

use burn::tensor::{Int, Tensor, TensorData};
use trefoil_core::{Error, Picture, Result, Stream};

use super::UniDiffuser;
use crate::autoencoder::Posterior;
use crate::caption::BeamOptions;
use crate::preprocess::{InputSizes, Preprocess, to_pictures};
use crate::tokenizer::CleanUp;

/// Pixels that the autoencoder works on at a time: two pictures of 512 x 512. Its activations, not
/// those of the transformer, are the peak of memory.
const PIXELS_PER_PASS: usize = 2 * 512 * 512;

/// A picture as it is diffused.
#[derive(Debug, Clone)]
pub struct ImageCode {
    /// Scaled latent, `[B, C, h, w]`.
    pub z: Tensor<4>,
    /// CLIP image embedding, not normalised, `[B, 1, E]`.
    pub clip: Tensor<3>,
}

/// The codes of one or both modalities.
#[derive(Debug, Clone, Default)]
pub struct Codes {
    /// The picture.
    pub image: Option<ImageCode>,
    /// The text code `y`, `[B, L, T]`.
    pub text: Option<Tensor<3>>,
}

/// Pictures up to the randomness of their latents.
#[derive(Debug, Clone)]
pub struct EncodedImages {
    /// Distribution of the latents, not scaled.
    pub posterior: Posterior,
    /// CLIP image embeddings, `[P, 1, E]`.
    pub clip: Tensor<3>,
    scaling_factor: f64,
}

impl EncodedImages {
    /// `z = s (mean + exp(logvar / 2) noise)`; one picture serves any number of samples.
    ///
    /// # Shapes
    /// - `noise`: `[B, C, h, w]`, with as many rows as there are pictures unless there is one
    pub fn sample(&self, noise: Tensor<4>) -> ImageCode {
        let batch = noise.dims()[0];
        let clip = match self.clip.dims()[0] {
            1 => self.clip.clone().repeat_dim(0, batch),
            _ => self.clip.clone(),
        };
        ImageCode { z: self.posterior.sample(noise) * self.scaling_factor, clip }
    }

    /// Some of the pictures, each any number of times.
    ///
    /// # Shapes
    /// - `pictures`: `[B]`, their numbers
    pub fn select(self, pictures: Tensor<1, Int>) -> Self {
        let Posterior { mean, logvar } = self.posterior;
        let posterior = Posterior {
            mean: mean.select(0, pictures.clone()),
            logvar: logvar.select(0, pictures.clone()),
        };
        Self { posterior, clip: self.clip.select(0, pictures), ..self }
    }
}

impl UniDiffuser {
    /// Text codes: CLIP's last hidden states of all positions, each projected by the prefix encoder.
    ///
    /// # Shapes
    /// - returns: `[texts, L, T]`
    ///
    /// # Errors
    /// [`Error::Config`] for the field `prompt` when a text is longer than the context; nothing is cut
    /// off silently.
    pub fn encode_text(&self, texts: &[String]) -> Result<Tensor<3>> {
        let length = self.context_length();
        for text in texts {
            let dropped = self.clip_tokenizer.encode(text, length)?.dropped;
            if dropped > 0 {
                let found = length + dropped;
                let reason = format!(
                    "expected at most {length} tokens with start and end, found {found}: \
                     shorten the text"
                );
                return Err(Error::config("prompt", reason));
            }
        }
        self.encode_captions(texts)
    }

    /// As [`UniDiffuser::encode_text`], but what is longer than the context is cut off: how training sees
    /// the captions of a dataset.
    ///
    /// # Shapes
    /// - returns: `[texts, L, T]`
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn encode_captions(&self, texts: &[String]) -> Result<Tensor<3>> {
        let length = self.context_length();
        let ids = self.clip_tokenizer.encode_batch(texts, length)?.concat();
        let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
        let ids = TensorData::new(ids, [texts.len(), length]);
        let hidden = self.text_encoder.forward(Tensor::<2, Int>::from_data(ids, &self.device));
        Ok(self.caption_decoder.encode(hidden))
    }

    /// CLIP embeddings of texts, not normalised: comparable with those of pictures. What is longer than the context is
    /// cut off.
    ///
    /// # Shapes
    /// - returns: `[texts, E]`
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn embed_texts(&self, texts: &[String]) -> Result<Tensor<2>> {
        let length = self.context_length();
        let ids = self.clip_tokenizer.encode_batch(texts, length)?.concat();
        let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
        let ids = TensorData::new(ids, [texts.len(), length]);
        let ids = Tensor::<2, Int>::from_data(ids, &self.device);
        Ok(self.text_encoder.pooled(self.text_encoder.forward(ids.clone()), ids))
    }

    /// CLIP embeddings of pictures, not normalised.
    ///
    /// # Shapes
    /// - returns: `[pictures, E]`
    ///
    /// # Errors
    /// [`Error::Config`] when there is no picture.
    pub fn embed_images(&self, pictures: &[Picture]) -> Result<Tensor<2>> {
        let clip = self.encode_images(pictures)?.clip; // [P, 1, E]
        Ok(clip.squeeze_dim::<2>(1))
    }

    /// Latent distributions and CLIP embeddings of pictures of any size: the central square, resized.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no picture.
    pub fn encode_images(&self, pictures: &[Picture]) -> Result<EncodedImages> {
        let sizes = InputSizes {
            image: self.image_size(),
            clip: self.config.image_encoder.image_size,
            vae_scale: self.config.autoencoder.downsampling(),
        };
        let (mut means, mut logvars, mut clips) = (Vec::new(), Vec::new(), Vec::new());
        for pictures in pictures.chunks(self.pictures_per_pass()) {
            let (mut vae, mut clip) = (Vec::new(), Vec::new());
            for picture in pictures {
                let inputs = Preprocess::Original.apply(picture, sizes, &self.device)?;
                vae.push(inputs.vae);
                clip.push(inputs.clip);
            }
            let posterior = self.autoencoder.encode(Tensor::cat(vae, 0));
            means.push(posterior.mean);
            logvars.push(posterior.logvar);
            let embedding = self.image_encoder.forward(Tensor::cat(clip, 0)); // [P, E]
            clips.push(embedding.unsqueeze_dim::<3>(1)); // [P, 1, E]
        }
        if means.is_empty() {
            return Err(Error::config("image", "expected at least one picture"));
        }
        Ok(EncodedImages {
            posterior: Posterior { mean: Tensor::cat(means, 0), logvar: Tensor::cat(logvars, 0) },
            clip: Tensor::cat(clips, 0),
            scaling_factor: self.autoencoder.scaling_factor(),
        })
    }

    /// Codes of pictures, with the noise of each latent from a stream of its own.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no picture or not one stream per picture.
    pub fn encode_image(&self, pictures: &[Picture], noise: &mut [Stream]) -> Result<ImageCode> {
        if pictures.len() != noise.len() {
            let reason = format!("expected {} streams, found {}", pictures.len(), noise.len());
            return Err(Error::config("noise", reason));
        }
        let [c, h, w] = self.latent_shape();
        let values: Vec<f32> = noise.iter_mut().flat_map(|s| s.normals(c * h * w)).collect();
        let noise = TensorData::new(values, [pictures.len(), c, h, w]);
        let encoded = self.encode_images(pictures)?;
        Ok(encoded.sample(Tensor::from_data(noise, &self.device)))
    }

    /// Pictures of scaled latents, decoded a few at a time.
    ///
    /// # Shapes
    /// - `z`: `[B, C, h, w]`
    ///
    /// # Errors
    /// [`Error::NonFinite`] when the autoencoder returns something that is not a number.
    pub fn decode_image(&self, z: Tensor<4>) -> Result<Vec<Picture>> {
        let [batch, _, h, w] = z.dims();
        let scale = self.config.autoencoder.downsampling();
        let at_a_time = (PIXELS_PER_PASS / (h * w * scale * scale).max(1)).max(1);
        let mut pictures = Vec::with_capacity(batch);
        while pictures.len() < batch {
            let count = at_a_time.min(batch - pictures.len());
            let z = z.clone().narrow(0, pictures.len(), count);
            pictures.extend(to_pictures(self.autoencoder.decode_scaled(z))?);
        }
        Ok(pictures)
    }

    /// The best caption of each text code.
    ///
    /// # Shapes
    /// - `y`: `[B, L, T]`
    ///
    /// # Errors
    /// [`Error::Config`] when an option of the search is out of range, [`Error::NonFinite`] when the
    /// decoder returns something that is not a number.
    pub fn decode_text(&self, y: Tensor<3>, beams: &BeamOptions) -> Result<Vec<String>> {
        let captions = self.caption_decoder.caption(y, self.text_tokenizer.eos(), beams)?;
        captions.iter().map(|ids| self.text_tokenizer.decode(ids, CleanUp::Yes)).collect()
    }

    fn pictures_per_pass(&self) -> usize {
        (PIXELS_PER_PASS / self.image_size().pow(2).max(1)).max(1)
    }
}
