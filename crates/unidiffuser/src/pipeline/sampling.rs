//! One run of the solver with the guided joint network.

mod prediction;

use std::cell::RefCell;
use std::convert::Infallible;
use std::ops::ControlFlow;

use burn::tensor::{Tensor, TensorData};
use trefoil_core::Error;
use trefoil_diffusion::{GuidanceScale, Level, Sampler, SolveError, SolverConfig, from_fn};

use super::edit::EditedCode;
use super::shapes::{Shapes, latent_shape};
use super::{GenerateError, NoiseKind, NoiseSource, Procedure, Request};
use crate::mode::{Content, Task, Unconditional};
use crate::model::{Codes, ImageCode, UniDiffuser};
use crate::one_step::{OneStep, Parts, Rows};
use crate::uvit::Modalities;

/// The settings of a request made ready: the solver's grid and the code of the empty text.
#[derive(Debug)]
pub struct Sampling<'a> {
    model: &'a UniDiffuser,
    sampler: Sampler,
    guidance: GuidanceScale,
    /// Code of the text that a picture is guided away from, where it is a text.
    empty_text: Option<Tensor<3>>,
    data_type: i32,
    procedure: Procedure,
    /// Channels, height and width of the latent.
    latent: [usize; 3],
    /// Whether the solver tells the network the index of a level, one less than its number.
    counts_from_zero: bool,
    /// Makes samples in one pass, in place of the solver.
    one_step: Option<&'a OneStep>,
}

/// The generator that a request asks for.
fn one_step<'a>(model: &'a UniDiffuser, request: &Request) -> Result<Option<&'a OneStep>, Error> {
    if !request.one_step {
        return Ok(None);
    }
    let absent = || Error::config("one_step", "the model has no one-step generator");
    let found = model.one_step.as_ref().ok_or_else(absent)?;
    let tasks = &found.config.tasks;
    if let Some(task) = request.mode.tasks().iter().find(|task| !tasks.contains(task)) {
        let known: Vec<&str> = tasks.iter().map(|task| task.name()).collect();
        let known = known.join(", ");
        let reason = format!("expected one of {known}; found {}", task.name());
        return Err(Error::config("one_step.tasks", reason));
    }
    Ok(Some(found))
}

/// Looks at every evaluation of a run, and may put other numbers in its place: what a comparison with a recorded run
/// needs.
pub(crate) trait Watch {
    /// The state `[B, D]` that the network is about to see; it sees what is returned.
    fn state(&mut self, x: Tensor<2>) -> Tensor<2>;

    /// The guided noise `[B, D]` in it; the solver goes on with what is returned.
    fn noise(&mut self, predicted: Tensor<2>) -> Tensor<2>;
}

/// What may be special about a run.
#[derive(Default)]
pub(super) struct Course<'a> {
    /// The picture that it begins with.
    pub(super) edited: Option<&'a EditedCode>,
    /// Who looks at its evaluations.
    pub(super) watch: Option<&'a mut dyn Watch>,
}

/// What the caller sees during a run: network evaluations so far and the predicted clean codes.
type OnEvaluation<'a> = &'a mut dyn FnMut(usize, &Codes) -> ControlFlow<()>;

impl<'a> Sampling<'a> {
    /// Prepares the solver, guidance and unconditional pass of `request`.
    ///
    /// # Errors
    /// [`GenerateError::Settings`] for the solver, [`GenerateError::Model`] for the data type.
    pub fn new(model: &'a UniDiffuser, request: &Request) -> Result<Self, GenerateError> {
        let uvit = &model.config.uvit;
        if uvit.use_data_type_embedding && !(0..2).contains(&request.data_type) {
            let reason = format!("expected 0 (web) or 1 (internal), found {}", request.data_type);
            return Err(Error::config("data_type", reason).into());
        }
        let latent = latent_shape(model, request.size)?;
        let mut solver = request.solver;
        if let Some(edit) = &request.edit {
            solver.start = edit.strength;
        }
        if request.one_step {
            // Not asked for a step; only its grid exists.
            solver = SolverConfig::default();
        }
        let sampler = solver.build(&model.schedule)?;
        let away = match (&request.negative, request.unconditional) {
            (Some(text), _) => Some(text.clone()),
            (None, Unconditional::EmptyText) => Some(String::new()),
            (None, Unconditional::TrueMarginal) => None,
        };
        let away = away.filter(|_| request.guidance.is_active() && !request.one_step);
        let empty_text = away.map(|text| model.encode_text(&[text])).transpose()?;
        let &Request { guidance, data_type, procedure, .. } = request;
        let counts_from_zero = solver.kind.is_discrete();
        Ok(Self {
            model,
            sampler,
            guidance,
            empty_text,
            data_type,
            procedure,
            latent,
            counts_from_zero,
            one_step: one_step(model, request)?,
        })
    }

    /// Evaluations of the (guided) network in one run.
    pub fn evaluations(&self) -> usize {
        if self.one_step.is_some() { 1 } else { self.sampler.evaluations() }
    }

    /// Samples the distribution of `task` and returns what it generates.
    ///
    /// The condition has one row, which serves every sample, or one row per sample.
    ///
    /// # Errors
    /// [`GenerateError::Model`] when the task lacks its condition or the condition has another shape;
    /// [`GenerateError::Cancelled`] and [`GenerateError::NonFinite`] from the run.
    pub fn run(
        &self,
        task: Task,
        condition: &Codes,
        noise: &mut dyn NoiseSource,
        on_evaluation: OnEvaluation<'_>,
    ) -> Result<Codes, GenerateError> {
        self.run_on(task, condition, Course::default(), noise, on_evaluation)
    }

    /// [`Sampling::run`] with somebody who looks at every evaluation.
    pub(crate) fn run_watched(
        &self,
        task: Task,
        condition: &Codes,
        noise: &mut dyn NoiseSource,
        watch: &mut dyn Watch,
    ) -> Result<Codes, GenerateError> {
        let course = Course { watch: Some(watch), ..Course::default() };
        self.run_on(task, condition, course, noise, &mut |_, _| ControlFlow::Continue(()))
    }

    /// [`Sampling::run`], watched, or from a picture instead of from noise alone: then the state begins as the picture
    /// with the noise of the first level, and what the mask keeps is predicted to be what it is.
    pub(super) fn run_on(
        &self,
        task: Task,
        condition: &Codes,
        Course { edited, mut watch }: Course<'_>,
        noise: &mut dyn NoiseSource,
        on_evaluation: OnEvaluation<'_>,
    ) -> Result<Codes, GenerateError> {
        let shapes = self.shapes(task, noise.samples());
        let mut condition = self.condition(task, condition, &shapes)?;
        let device = self.model.device();
        let mut start = self.start(task, &shapes, noise);
        if let Some(one_step) = self.one_step {
            return self.run_once(one_step, (task, shapes), condition, start, noise, on_evaluation);
        }
        if self.procedure.keeps_noise(task) {
            condition = start.clone();
        }
        if let Some(edited) = edited {
            edited.begin(&mut start, self.sampler.start());
        }
        let x = shapes.join(start);

        let noise = RefCell::new(noise);
        let mut model = from_fn(|mut x: Tensor<2>, n| {
            if let Some(watch) = &mut watch {
                x = watch.state(x);
            }
            let predicted = self.predict(task, (x.clone(), n), &condition, *noise.borrow_mut());
            let predicted = match edited {
                Some(edited) => {
                    let level = self.level(n);
                    let parts = |x| shapes.split(x);
                    let (state, mut predicted) = (parts(x), parts(predicted));
                    edited.hold(&state, &mut predicted, level);
                    Shapes::join_codes(predicted)
                }
                None => predicted,
            };
            Ok::<_, Infallible>(match &mut watch {
                Some(watch) => watch.noise(predicted),
                None => predicted,
            })
        });
        let mut solver_noise = |_step: usize, [rows, width]: [usize; 2]| {
            let values = noise.borrow_mut().draw(NoiseKind::Solver, width);
            Tensor::from_data(TensorData::new(values, [rows, width]), device)
        };
        let end = self.sampler.sample_with_noise(&mut model, x, &mut solver_noise, &mut |step| {
            on_evaluation(step.evaluations, &shapes.split(step.x0.clone()))
        });
        match end {
            Ok(x) => Ok(shapes.split(x)),
            Err(SolveError::Model { source, .. }) => match source {},
            Err(SolveError::Cancelled { .. }) => Err(GenerateError::Cancelled),
            Err(SolveError::NonFinite { step }) => Err(GenerateError::NonFinite { step }),
            Err(other) => Err(GenerateError::Solve(other)),
        }
    }

    /// One pass of the one-step generator.
    fn run_once(
        &self,
        one_step: &OneStep,
        (task, shapes): (Task, Shapes),
        condition: Modalities,
        start: Modalities,
        noise: &mut dyn NoiseSource,
        on_evaluation: OnEvaluation<'_>,
    ) -> Result<Codes, GenerateError> {
        let device = self.model.device();
        let parts = Parts::of(&self.model.config.uvit);
        let marginal = if task.passes().0.image == Content::Noise {
            let z = shapes.draw_latent(noise, device);
            Modalities { z, clip: shapes.draw_clip(noise, device), text: start.text.zeros_like() }
        } else if task.passes().0.text == Content::Noise {
            let text = shapes.draw_text(noise, device);
            Modalities { z: start.z.zeros_like(), clip: start.clip.zeros_like(), text }
        } else {
            let Modalities { z, clip, text } = &start;
            Modalities { z: z.zeros_like(), clip: clip.zeros_like(), text: text.zeros_like() }
        };
        let rows = Rows {
            tasks: vec![task; shapes.batch],
            given: parts.join(condition),
            marginal: parts.join(marginal),
        };
        let x0 = one_step.generate(parts, &self.model.schedule, parts.join(start), &rows);
        let found = parts.split(x0);
        let codes = Codes {
            image: task.makes_image().then_some(ImageCode { z: found.z, clip: found.clip }),
            text: task.makes_text().then_some(found.text),
        };
        match on_evaluation(1, &codes) {
            ControlFlow::Continue(()) => Ok(codes),
            ControlFlow::Break(()) => Err(GenerateError::Cancelled),
        }
    }

    /// The scales of the state when the network is told `n`.
    fn level(&self, n: f64) -> Level {
        let schedule = &self.model.schedule;
        let number = if self.counts_from_zero { n + 1.0 } else { n };
        schedule.level(number / schedule.discrete().num_train_timesteps() as f64)
    }

    fn shapes(&self, task: Task, batch: usize) -> Shapes {
        Shapes { latent: self.latent, ..Shapes::new(self.model, task, batch) }
    }

    /// The noise that a run starts with; what the task does not use is zero where it is not drawn.
    fn start(&self, task: Task, shapes: &Shapes, noise: &mut dyn NoiseSource) -> Modalities {
        let device = self.model.device();
        if self.procedure == Procedure::Original {
            let z = shapes.draw_latent(noise, device);
            let clip = shapes.draw_clip(noise, device);
            return Modalities { z, clip, text: shapes.draw_text(noise, device) };
        }
        let keeps = self.procedure.keeps_noise(task);
        let (b, [l, t], [c, h, w]) = (shapes.batch, shapes.text, shapes.latent);
        let text = if task.makes_text() || keeps {
            let inner = self.model.config.caption_decoder.prefix_inner_dim;
            let values = noise.draw(NoiseKind::Hidden, l * inner);
            let hidden = Tensor::from_data(TensorData::new(values, [b, l, inner]), device);
            self.model.caption_decoder.encode(hidden)
        } else {
            Tensor::zeros([b, l, t], device)
        };
        let (z, clip) = if task.makes_image() || keeps {
            (shapes.draw_latent(noise, device), shapes.draw_clip(noise, device))
        } else {
            (Tensor::zeros([b, c, h, w], device), Tensor::zeros([b, 1, shapes.clip], device))
        };
        Modalities { z, clip, text }
    }

    /// The condition of a task with one row per sample; zeros stand for what no pass reads.
    fn condition(
        &self,
        task: Task,
        given: &Codes,
        shapes: &Shapes,
    ) -> Result<Modalities, GenerateError> {
        let (conditional, _) = task.passes();
        let device = self.model.device();
        let missing = |what| Error::config("condition", format!("{task:?} needs {what}"));
        let [c, h, w] = shapes.latent;
        let [l, t] = shapes.text;
        let (z, clip) = if conditional.image == Content::Clean {
            let image = given.image.as_ref().ok_or_else(|| missing("the code of a picture"))?;
            (shapes.rows(&image.z, [0, c, h, w])?, shapes.rows(&image.clip, [0, 1, shapes.clip])?)
        } else {
            let b = shapes.batch;
            (Tensor::zeros([b, c, h, w], device), Tensor::zeros([b, 1, shapes.clip], device))
        };
        let text = if conditional.text == Content::Clean {
            let text = given.text.as_ref().ok_or_else(|| missing("the code of a text"))?;
            shapes.rows(text, [0, l, t])?
        } else {
            Tensor::zeros([shapes.batch, l, t], device)
        };
        Ok(Modalities { z, clip, text })
    }
}
