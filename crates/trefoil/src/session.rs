//! A loaded model and one sampling run: options become a request, progress is shown, Ctrl-C cancels.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;
use trefoil_core::weights::Storage;
use trefoil_core::{Picture, Seed};
use trefoil_diffusion::SolverConfig;
use trefoil_train::{Progress, StopFlag};
use unidiffuser::mode::Mode;
use unidiffuser::model::{ModelFiles, UniDiffuser};
use unidiffuser::one_step::{self, OneStep};
use unidiffuser::pipeline::{self, GenerateError, Generated, Procedure, Request};

use crate::args::{DEFAULT_STEPS, ModelArgs, SamplingArgs};
use crate::hints::hinted;
use crate::interrupt;
use crate::model::{self, ModelId, Recommended};
use crate::output::Talk;

/// The most that a random seed is, so that it is short enough to be typed.
const LARGEST_RANDOM_SEED: u64 = u32::MAX as u64;

/// A model that is ready, and how to talk.
pub(crate) struct Session {
    pub(crate) model: UniDiffuser,
    pub(crate) talk: Talk,
    files: ModelFiles,
    recommended: Recommended,
    stop: StopFlag,
}

impl Session {
    /// Finds and loads the model.
    pub(crate) fn open(args: &ModelArgs, talk: Talk) -> anyhow::Result<Self> {
        let folder = model::find(args.model.as_deref(), talk)?;
        let recommended = Recommended::read(&folder)?;
        let device = args.device.device.device()?;
        tracing::info!("loading {}", folder.display());
        let files = ModelFiles::open(&folder)?;
        if args.precision == Storage::Int8 && device != Device::flex() {
            let message =
                format!("weights in int8 are held on the CPU only, not on {}", args.device.device);
            return Err(hinted(message, "choose `--precision f16` or `--device cpu`"));
        }
        let model = files.load_as(&device, args.precision)?;
        Ok(Self { model, talk, files, recommended, stop: interrupt::watch()? })
    }

    /// [`Session::open`], with the one-step generator that the options ask for.
    pub(crate) fn open_for(
        args: &ModelArgs,
        sampling: &SamplingArgs,
        talk: Talk,
    ) -> anyhow::Result<Self> {
        let mut session = Self::open(args, talk)?;
        if let Some(folder) = &sampling.one_step {
            session.load_one_step(folder.as_deref())?;
        }
        Ok(session)
    }

    /// Loads the one-step generator of a folder, by default that of the model.
    pub(crate) fn load_one_step(&mut self, folder: Option<&Path>) -> anyhow::Result<()> {
        let own = self.files.folder.join(one_step::FOLDER);
        let folder = folder.unwrap_or(&own);
        if !folder.is_dir() {
            let message = format!("no one-step generator: {} is not there", folder.display());
            let hint =
                "distil one with `trefoil distill` and name its folder, --one-step=RUN/model";
            return Err(hinted(message, hint));
        }
        let device = self.model.device().clone();
        self.model.one_step = Some(OneStep::open(folder, &self.model.config.uvit, &device)?);
        Ok(())
    }

    /// Whether the model comes with a one-step generator.
    pub(crate) fn has_one_step(&self) -> bool {
        self.files.folder.join(one_step::FOLDER).is_dir()
    }

    /// Which model it is.
    pub(crate) fn id(&self) -> anyhow::Result<ModelId> {
        Ok(ModelId::of(&self.files, self.model.storage)?)
    }

    /// Where it was loaded from.
    pub(crate) fn folder(&self) -> &Path {
        &self.files.folder
    }

    /// Whether the user asked to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_requested()
    }

    /// What the command line asks for, completed by what the model recommends.
    pub(crate) fn request(&self, mode: Mode, args: &SamplingArgs) -> anyhow::Result<Request> {
        if args.guidance.is_some() && !mode.is_guided() {
            let message = format!("`--guidance` has no meaning for the mode `{mode}`");
            return Err(hinted(message, "leave it out: there is nothing to be guided to"));
        }
        let Recommended { guidance, steps, solver } = self.recommended;
        // What a model recommends is meant for the authors' sampling.
        let solver = solver.filter(|_| args.sampler == Procedure::Original);
        let steps = args.steps.map(|n| n as usize).or(steps).unwrap_or(DEFAULT_STEPS);
        let mut request = Request::new(mode);
        request.procedure = args.sampler;
        request.solver = match args.solver.or(solver) {
            Some(kind) => SolverConfig::new(kind, steps),
            None => args.sampler.solver(steps),
        };
        request.guidance = args.guidance.or(guidance).unwrap_or_default();
        request.seed = Seed(args.seed.unwrap_or_else(|| self.random_seed()));
        request.batch = args.batch;
        request.one_step = args.one_step.is_some();
        Ok(request)
    }

    fn random_seed(&self) -> u64 {
        // The standard library keys each of its hashers with fresh randomness of the system.
        let seed = RandomState::new().build_hasher().finish() & LARGEST_RANDOM_SEED;
        self.talk.note(format_args!("seed {seed}"));
        seed
    }

    /// Refuses a prompt that is empty or that the model would cut off.
    pub(crate) fn check_prompt(&self, prompt: &str) -> anyhow::Result<()> {
        if prompt.trim().is_empty() {
            let hint = "describe the picture, or use `trefoil sample` to draw anything";
            return Err(hinted("the prompt is empty", hint));
        }
        let limit = self.model.context_length();
        let encoded = self.model.clip_tokenizer.encode(prompt, limit)?;
        if encoded.dropped > 0 {
            // Two tokens mark the start and the end.
            let room = limit - 2;
            let found = room + encoded.dropped;
            let message = format!("the prompt has {found} tokens; this model takes {room}");
            return Err(hinted(message, "shorten the prompt"));
        }
        Ok(())
    }

    /// Samples; `None` when the user interrupted. `(part, parts)` is for the progress of several runs.
    pub(crate) fn generate(
        &self,
        request: &Request,
        part: (usize, usize),
    ) -> anyhow::Result<Option<Vec<Generated>>> {
        let (batch, count) = (request.batch, request.count);
        self.watched((batch, count), part, |on_step| self.model.generate(request, on_step))
    }

    /// Pictures and texts that draw each other in turn.
    pub(crate) fn gibbs(
        &self,
        request: &Request,
        rounds: usize,
    ) -> anyhow::Result<Option<Vec<Generated>>> {
        self.watched((1, 1), (0, 1), |on_step| self.model.gibbs(request, rounds, on_step))
    }

    /// Samples between two pictures.
    pub(crate) fn blend(
        &self,
        pictures: [&Picture; 2],
        weights: &[f64],
        request: &Request,
    ) -> anyhow::Result<Option<Vec<Generated>>> {
        let sizes = (request.batch, weights.len());
        self.watched(sizes, (0, 1), |on_step| self.model.blend(pictures, weights, request, on_step))
    }

    fn watched(
        &self,
        (batch, count): (usize, usize),
        (part, parts): (usize, usize),
        run: impl FnOnce(
            &mut dyn FnMut(&pipeline::Progress<'_>) -> ControlFlow<()>,
        ) -> Result<Vec<Generated>, GenerateError>,
    ) -> anyhow::Result<Option<Vec<Generated>>> {
        let batches = count.div_ceil(batch);
        let mut bar: Option<Progress> = None;
        let result = run(&mut |at| {
            let before = part * batches + at.sample_range.start / batch;
            let done = (before * at.steps + at.step) as u64;
            let total = (parts * batches * at.steps) as u64;
            bar.get_or_insert_with(|| Progress::new(self.talk.progress(), "steps", 0, total))
                .update(done, "");
            if self.stop.is_requested() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if let Some(bar) = bar {
            bar.finish();
        }
        match result {
            Ok(generated) => Ok(Some(generated)),
            Err(GenerateError::Cancelled) => {
                self.talk.note("interrupted");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads a picture that the user names.
pub(crate) fn open_picture(path: &Path) -> anyhow::Result<Picture> {
    Ok(Picture::open(path)?)
}
