//! Blocked Gibbs sampling: pictures and texts draw each other in turn (arXiv 2303.06555, figure 15).
//!
//! ```text
//! y_0,   x_1 ~ q(x given y_0),   y_1 ~ q(y given x_1),   x_2 ~ q(x given y_1),   ...
//! ```
//!
//! Codes are handed over as they are, as in the variations.

use std::ops::ControlFlow;

use trefoil_core::Error;

use super::{GenerateError, Generated, Progress, Request, Sampling, Streams};
use crate::mode::Task;
use crate::model::{Codes, UniDiffuser};

impl UniDiffuser {
    /// One chain of `rounds` pictures and as many texts, in the order of drawing. It starts from the request's prompt or
    /// picture, or from a picture of anything.
    ///
    /// Of the request, prompt or picture, seed, solver, guidance, unconditional pass, data type and beams are used.
    ///
    /// # Errors
    /// [`GenerateError`]; `rounds` of zero, and a prompt together with a picture, are [`Error::Config`].
    pub fn gibbs(
        &self,
        request: &Request,
        rounds: usize,
        on_step: &mut dyn FnMut(&Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, GenerateError> {
        if rounds == 0 {
            return Err(Error::config("rounds", "expected at least 1, found 0").into());
        }
        if request.prompt.is_some() && request.image.is_some() {
            let reason = "expected a prompt or a picture to start from, found both";
            return Err(Error::config("prompt", reason).into());
        }
        let sampling = Sampling::new(self, request)?;
        let mut noise = Streams::new(request.seed, 0..1);
        let (mut codes, mut tasks) = (Codes::default(), Vec::with_capacity(2 * rounds));
        if let Some(prompt) = &request.prompt {
            codes.text = Some(self.encode_text(std::slice::from_ref(prompt))?);
            tasks.push(Task::TextToImage);
        } else if let Some(picture) = &request.image {
            let encoded = self.encode_images(std::slice::from_ref(picture))?;
            codes.image = Some(encoded.sample(self.posterior_noise(&mut noise)));
        } else {
            tasks.push(Task::Image);
        }
        // After the first, each draws from the other.
        while tasks.len() < 2 * rounds {
            tasks.push(match tasks.last() {
                Some(Task::TextToImage | Task::Image) | None => Task::ImageToText,
                Some(_) => Task::TextToImage,
            });
        }
        let steps = tasks.len() * sampling.evaluations();
        let mut chain = Vec::with_capacity(tasks.len());
        for (index, &task) in tasks.iter().enumerate() {
            let done = index * sampling.evaluations();
            codes = sampling.run(task, &codes, &mut noise, &mut |step, estimate| {
                on_step(&Progress { step: done + step, steps, sample_range: 0..1, estimate })
            })?;
            let decoded = self.decode(codes.clone(), index..index + 1, &request.beams)?;
            chain.extend(decoded);
        }
        Ok(chain)
    }
}
