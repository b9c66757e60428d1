//! One sample for each of many conditions, as measuring and previews need them.

use std::ops::ControlFlow;

use trefoil_core::Picture;

use super::{GenerateError, Request, Sampling, Streams};
use crate::mode::Task;
use crate::model::{Codes, UniDiffuser};

/// Called with the number of samples that each finished batch adds.
type OnBatch<'a> = &'a mut dyn FnMut(usize) -> ControlFlow<()>;

impl UniDiffuser {
    /// One picture for each caption, sample `i` of the seed for caption `i`; captions that are longer than the
    /// context are cut off, as in training.
    ///
    /// Of `request` the solver, guidance, seed and batch are read.
    ///
    /// # Errors
    /// [`GenerateError`].
    pub fn draw_each(
        &self,
        captions: &[String],
        request: &Request,
        on_batch: OnBatch<'_>,
    ) -> Result<Vec<Picture>, GenerateError> {
        let sampling = Sampling::new(self, request)?;
        let mut drawn = Vec::with_capacity(captions.len());
        for chunk in captions.chunks(request.batch.max(1)) {
            let start = drawn.len();
            let mut noise = Streams::new(request.seed, start..start + chunk.len());
            let condition = Codes { image: None, text: Some(self.encode_captions(chunk)?) };
            let codes = sampling.run(Task::TextToImage, &condition, &mut noise, &mut |_, _| {
                ControlFlow::Continue(())
            })?;
            if let Some(image) = codes.image {
                drawn.extend(self.decode_image(image.z)?);
            }
            if on_batch(chunk.len()).is_break() {
                return Err(GenerateError::Cancelled);
            }
        }
        Ok(drawn)
    }

    /// One caption for each picture, sample `i` of the seed for picture `i`.
    ///
    /// Of `request` the solver, guidance, seed, batch and search are read.
    ///
    /// # Errors
    /// [`GenerateError`].
    pub fn describe_each(
        &self,
        pictures: &[Picture],
        request: &Request,
        on_batch: OnBatch<'_>,
    ) -> Result<Vec<String>, GenerateError> {
        let sampling = Sampling::new(self, request)?;
        let mut written = Vec::with_capacity(pictures.len());
        for chunk in pictures.chunks(request.batch.max(1)) {
            let range = written.len()..written.len() + chunk.len();
            let mut posterior: Vec<_> =
                range.clone().map(|i| request.seed.stream("posterior", i as u64)).collect();
            let image = Some(self.encode_image(chunk, &mut posterior)?);
            let mut noise = Streams::new(request.seed, range);
            let condition = Codes { image, text: None };
            let codes = sampling.run(Task::ImageToText, &condition, &mut noise, &mut |_, _| {
                ControlFlow::Continue(())
            })?;
            if let Some(text) = codes.text {
                written.extend(self.decode_text(text, &request.beams)?);
            }
            if on_batch(chunk.len()).is_break() {
                return Err(GenerateError::Cancelled);
            }
        }
        Ok(written)
    }
}
