//! From a request to pictures and captions.
//!
//! ```
//! # use std::ops::ControlFlow;
//! # use unidiffuser::{mode::Mode, model::UniDiffuser, pipeline::Request};
//! # fn run(model: &UniDiffuser) -> Result<(), Box<dyn std::error::Error>> {
//! let request = Request {
//!     prompt: Some("an elephant under the sea".into()),
//!     count: 4,
//!     ..Request::new(Mode::TextToImage)
//! };
//! let pictures = model.generate(&request, &mut |_| ControlFlow::Continue(()))?;
//! # Ok(())
//! # }
//! ```
//!
//! Sample `i` of a seed draws everything from streams of its own, so the same seed and index give the
//! same result in every batch.

mod blend;
mod edit;
mod gibbs;
mod many;
mod noise;
mod procedure;
mod sampling;
mod shapes;

use std::convert::Infallible;
use std::ops::{ControlFlow, Range};

use burn::tensor::{Tensor, TensorData};
use trefoil_core::{Error, Picture, Seed};
use trefoil_diffusion::{GuidanceScale, SolveError, SolverConfig};

use crate::caption::BeamOptions;
use crate::mode::{Mode, Task, Unconditional};
use crate::model::{Codes, UniDiffuser};

pub use self::edit::Edit;
pub use self::noise::{NoiseKind, NoiseSource, Streams};
pub use self::procedure::Procedure;
use self::sampling::Course;
pub use self::sampling::Sampling;
pub(crate) use self::sampling::Watch;

/// What to generate, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The distribution to sample.
    pub mode: Mode,
    /// The text, for modes that need one.
    pub prompt: Option<String>,
    /// The picture, for modes that need one; any size, its central square counts.
    pub image: Option<Picture>,
    /// Number of samples.
    pub count: usize,
    /// Where all randomness comes from.
    pub seed: Seed,
    /// Whose sampling is followed.
    pub procedure: Procedure,
    /// Solver and number of evaluations; [`Procedure::solver`] gives the one that belongs to a procedure.
    pub solver: SolverConfig,
    /// Strength of guidance; modes that are not guided do not read it.
    pub guidance: GuidanceScale,
    /// What a picture is guided away from.
    pub unconditional: Unconditional,
    /// A text that a picture is guided away from, in place of `unconditional`.
    pub negative: Option<String>,
    /// Height and width of the picture in pixels; by default the square that the model was trained on.
    pub size: Option<[usize; 2]>,
    /// A picture to start from, for modes that make one from no picture.
    pub edit: Option<Edit>,
    /// Samples per network pass; guidance makes two rows of each, three for the joint mode.
    pub batch: usize,
    /// Which data to resemble, 0 for web data and 1 for internal data; v0 does not read it.
    pub data_type: i32,
    /// Search for captions.
    pub beams: BeamOptions,
    /// One pass of the model's one-step generator in place of the solver, without guidance.
    pub one_step: bool,
}

impl Request {
    /// One sample with the published settings.
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            prompt: None,
            image: None,
            count: 1,
            seed: Seed(0),
            procedure: Procedure::default(),
            solver: SolverConfig::default(),
            guidance: GuidanceScale::default(),
            unconditional: Unconditional::default(),
            negative: None,
            size: None,
            edit: None,
            batch: 4,
            data_type: 1,
            beams: BeamOptions::default(),
            one_step: false,
        }
    }

    /// Everything that can be refused before the first network pass.
    fn check(&self) -> Result<(), GenerateError> {
        let mode = self.mode;
        for (what, given, needed) in [
            ("prompt", self.prompt.is_some(), mode.needs_prompt()),
            ("image", self.image.is_some(), mode.needs_image()),
        ] {
            match (given, needed) {
                (false, true) => return Err(GenerateError::Missing { what, mode }),
                (true, false) => return Err(GenerateError::Unused { what, mode }),
                (true, true) | (false, false) => {}
            }
        }
        if self.count == 0 {
            return Err(Error::config("count", "expected at least 1, found 0").into());
        }
        let towards_text = mode.tasks().contains(&Task::TextToImage);
        if self.unconditional == Unconditional::EmptyText && !towards_text {
            let reason = format!("`empty-text` has no meaning for the mode {mode}");
            return Err(Error::config("unconditional", reason).into());
        }
        let draws = mode.makes_image() && !mode.needs_image();
        for (what, given, applies) in [
            ("negative", self.negative.is_some(), towards_text),
            ("size", self.size.is_some(), draws),
            ("edit", self.edit.is_some(), draws),
        ] {
            if given && !applies {
                return Err(GenerateError::Unused { what, mode });
            }
        }
        for (what, given) in [
            ("negative", self.negative.is_some()),
            ("size", self.size.is_some()),
            ("edit", self.edit.is_some()),
        ] {
            if self.one_step && given {
                let reason = "a one-step generator begins with noise, has one size and no guidance";
                return Err(Error::config(what, reason).into());
            }
        }
        if self.edit.is_some() && self.size.is_some() {
            let reason = "a picture that is edited has the model's own size";
            return Err(Error::config("size", reason).into());
        }
        self.check_batch()
    }

    fn check_batch(&self) -> Result<(), GenerateError> {
        if self.batch == 0 {
            return Err(Error::config("batch", "expected at least 1, found 0").into());
        }
        Ok(())
    }
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// Its index within the seed.
    pub index: usize,
    /// The picture, for modes that make one.
    pub image: Option<Picture>,
    /// The caption, for modes that make one.
    pub text: Option<String>,
}

/// What the callback of a run is shown, after each step of the solver.
#[derive(Debug, Clone)]
pub struct Progress<'a> {
    /// Evaluations of the (guided) network that this batch has had.
    pub step: usize,
    /// Evaluations that it will have had at the end, with both halves of a variation.
    pub steps: usize,
    /// The samples of this batch.
    pub sample_range: Range<usize>,
    /// Estimate of the clean codes: a preview, after [`UniDiffuser::decode_image`].
    pub estimate: &'a Codes,
}

/// Why nothing was generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// A component failed, or a setting is out of range.
    #[error(transparent)]
    Model(#[from] Error),

    /// The solver cannot be set up so.
    #[error(transparent)]
    Settings(#[from] trefoil_diffusion::Error),

    /// The callback asked to stop.
    #[error("cancelled")]
    Cancelled,

    /// The mode needs an input that was not given.
    #[error("mode `{mode}` needs `{what}`")]
    Missing {
        /// `prompt` or `image`.
        what: &'static str,
        /// The mode.
        mode: Mode,
    },

    /// An input was given that the mode does not read.
    #[error("mode `{mode}` has no use for `{what}`")]
    Unused {
        /// The field of the request.
        what: &'static str,
        /// The mode.
        mode: Mode,
    },

    /// The state of the solver holds an infinity or a NaN.
    #[error("the sample is not finite after step {step} of the solver")]
    NonFinite {
        /// The step, from zero.
        step: usize,
    },

    /// The solver ended early for another reason.
    #[error(transparent)]
    Solve(SolveError<Infallible>),
}

impl UniDiffuser {
    /// Generates `count` samples, `batch` at a time; prompt and picture are encoded once.
    ///
    /// # Errors
    /// [`GenerateError`]; samples that were finished before it are lost.
    pub fn generate(
        &self,
        request: &Request,
        on_step: &mut dyn FnMut(&Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, GenerateError> {
        request.check()?;
        if request.mode.makes_text() {
            let (config, beams) = (&self.config.caption_decoder, &request.beams);
            beams.check(config.vocab_size)?;
            self.caption_decoder.check_length(config.prefix_length, beams.max_tokens - 1)?;
        }
        let sampling = Sampling::new(self, request)?;
        let prompt = request.prompt.as_slice();
        let text = if prompt.is_empty() { None } else { Some(self.encode_text(prompt)?) };
        let image = request.image.as_slice();
        let image = if image.is_empty() { None } else { Some(self.encode_images(image)?) };
        let edit = request.edit.as_ref().map(|edit| edit.encode(self)).transpose()?;

        let tasks = request.mode.tasks();
        let steps = tasks.len() * sampling.evaluations();
        let mut generated = Vec::with_capacity(request.count);
        while generated.len() < request.count {
            let start = generated.len();
            let range = start..request.count.min(start + request.batch);
            let mut noise = Streams::new(request.seed, range.clone());
            let image = image.as_ref().map(|image| image.sample(self.posterior_noise(&mut noise)));
            let edited = edit.as_ref().map(|e| e.sample(self.posterior_noise(&mut noise)));
            let mut codes = Codes { image, text: text.clone() };
            let mut done = 0;
            for &task in tasks {
                let edited = edited.as_ref();
                let mut on_evaluation = |evaluations, estimate: &Codes| {
                    let step = done + evaluations;
                    on_step(&Progress { step, steps, sample_range: range.clone(), estimate })
                };
                let course = Course { edited, ..Course::default() };
                codes = sampling.run_on(task, &codes, course, &mut noise, &mut on_evaluation)?;
                done += sampling.evaluations();
            }
            let decoded = self.decode(codes, range, &request.beams)?;
            generated.extend(decoded.map(|one| match &edit {
                Some(edit) => edit.keep(one),
                None => one,
            }));
        }
        Ok(generated)
    }

    fn decode(
        &self,
        codes: Codes,
        range: Range<usize>,
        beams: &BeamOptions,
    ) -> Result<impl Iterator<Item = Generated>, Error> {
        let pictures = codes.image.map(|image| self.decode_image(image.z)).transpose()?;
        let texts = codes.text.map(|text| self.decode_text(text, beams)).transpose()?;
        let mut pictures = pictures.into_iter().flatten();
        let mut texts = texts.into_iter().flatten();
        Ok(range.map(move |index| Generated { index, image: pictures.next(), text: texts.next() }))
    }

    /// The noise of a given picture's latent, one row per sample.
    ///
    /// # Shapes
    /// - returns: `[B, C, h, w]`
    fn posterior_noise(&self, noise: &mut dyn NoiseSource) -> Tensor<4> {
        let [c, h, w] = self.latent_shape();
        let values = noise.draw(NoiseKind::Posterior, c * h * w);
        Tensor::from_data(TensorData::new(values, [noise.samples(), c, h, w]), self.device())
    }
}
