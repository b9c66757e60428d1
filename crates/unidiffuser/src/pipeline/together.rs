//! Samples of several requests in one batch.
//!
//! Requests that differ only in what they are about (prompt, picture, seed, count) run the same solver with the same
//! passes, so their samples can go through the network as rows of one batch. Each row draws from the streams of its
//! own seed and index, and no operation of the networks mixes rows: a sample is the same in any company.

use std::ops::{ControlFlow, Range};

use burn::tensor::{Int, Tensor, TensorData};
use trefoil_core::Error;

use super::{Course, GenerateError, Generated, Progress, Request, Sampling, Streams};
use crate::model::{Codes, UniDiffuser};

/// Some samples of a request.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// What they are samples of; its `count` and `batch` are not read.
    pub request: &'a Request,
    /// Their indices within the seed.
    pub samples: Range<usize>,
}

impl Request {
    /// Whether samples of both can be rows of one batch. A picture that is edited goes alone.
    pub fn goes_with(&self, other: &Self) -> bool {
        self.edit.is_none()
            && other.edit.is_none()
            && (self.mode, self.procedure, self.solver)
                == (other.mode, other.procedure, other.solver)
            && self.guidance == other.guidance
            && self.unconditional == other.unconditional
            && self.negative == other.negative
            && (self.size, self.data_type) == (other.size, other.data_type)
            && (&self.beams, self.one_step) == (&other.beams, other.one_step)
    }
}

impl UniDiffuser {
    /// Samples all parts as one batch, and returns those of each. Of [`Progress`], `sample_range` counts rows of the
    /// batch, part after part.
    ///
    /// # Errors
    /// [`GenerateError`] of any part, for all of them; requests that do not [go together](Request::goes_with).
    pub fn generate_together(
        &self,
        parts: &[Part<'_>],
        on_step: &mut dyn FnMut(&Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<Generated>>, GenerateError> {
        let Some(Part { request: first, .. }) = parts.first() else { return Ok(Vec::new()) };
        for Part { request, samples } in parts {
            request.check()?;
            if samples.is_empty() {
                return Err(Error::config("samples", "expected at least one").into());
            }
        }
        if parts[1..].iter().any(|part| !part.request.goes_with(first)) {
            let reason = "expected the same settings in all requests of a batch";
            return Err(Error::config("requests", reason).into());
        }
        self.check_captions(first)?;
        let sampling = Sampling::new(self, first)?;
        let rows = parts.iter().flat_map(|p| p.samples.clone().map(|i| (p.request.seed, i)));
        let mut noise = Streams::of(rows);
        let owners: Vec<i64> =
            (0..).zip(parts).flat_map(|(p, part)| vec![p; part.samples.len()]).collect();
        let count = owners.len();
        let owners = TensorData::new(owners, [count]);
        let owners = Tensor::<1, Int>::from_data(owners, self.device());

        let prompts: Vec<String> = parts.iter().filter_map(|p| p.request.prompt.clone()).collect();
        let text = if prompts.is_empty() {
            None
        } else {
            Some(self.encode_text(&prompts)?.select(0, owners.clone()))
        };
        let pictures: Vec<_> = parts.iter().filter_map(|p| p.request.image.clone()).collect();
        let image = if pictures.is_empty() {
            None
        } else {
            let encoded = self.encode_images(&pictures)?.select(owners);
            Some(encoded.sample(self.posterior_noise(&mut noise)))
        };
        let edit = first.edit.as_ref().map(|edit| edit.encode(self)).transpose()?;
        let edited = edit.as_ref().map(|edit| edit.sample(self.posterior_noise(&mut noise)));

        let tasks = first.mode.tasks();
        let steps = tasks.len() * sampling.evaluations();
        let (mut codes, mut done) = (Codes { image, text }, 0);
        for &task in tasks {
            let mut on_evaluation = |evaluations, estimate: &Codes| {
                let step = done + evaluations;
                on_step(&Progress { step, steps, sample_range: 0..count, estimate })
            };
            let course = Course { edited: edited.as_ref(), ..Course::default() };
            codes = sampling.run_on(task, &codes, course, &mut noise, &mut on_evaluation)?;
            done += sampling.evaluations();
        }
        let mut rows = self.decode(codes, 0..count, &first.beams)?.map(|one| match &edit {
            Some(edit) => edit.keep(one),
            None => one,
        });
        let of_part = |part: &Part<'_>| {
            let indices = part.samples.clone();
            indices.zip(rows.by_ref()).map(|(index, one)| Generated { index, ..one }).collect()
        };
        Ok(parts.iter().map(of_part).collect())
    }
}
