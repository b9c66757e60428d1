//! A model that is ready to draw.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use trefoil_core::{Result, Seed};
use unidiffuser::mode::{Mode, Task};
use unidiffuser::model::{ModelFiles, ModelId, Recommended, UniDiffuser};
use unidiffuser::one_step::{self, OneStep};
use unidiffuser::pipeline::{GenerateError, Procedure, Request};

use super::preview::Preview;

/// A model, what it recommends, and what it is called.
pub(crate) struct Loaded {
    pub(crate) model: UniDiffuser,
    pub(crate) id: ModelId,
    pub(crate) recommended: Recommended,
    pub(crate) preview: Preview,
    pub(crate) folder: PathBuf,
}

impl Loaded {
    /// Loads the model of a folder; `name` is the folder that it is called by, `one_step` that of a one-step generator
    /// in the place of its own.
    pub(crate) fn open(
        folder: &Path,
        name: &Path,
        one_step: Option<&Path>,
        device: &Device,
    ) -> Result<Self> {
        let recommended = Recommended::read(folder)?;
        let files = ModelFiles::open(folder)?;
        let mut model = files.load(device)?;
        let own = Some(folder.join(one_step::FOLDER)).filter(|own| own.is_dir());
        if let Some(folder) = one_step.or(own.as_deref()) {
            model.one_step = Some(OneStep::open(folder, &model.config.uvit, device)?);
        }
        let folder = name.canonicalize().unwrap_or_else(|_| name.into());
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = ModelId { name, ..ModelId::of(&files, model.storage)? };
        let preview = Preview::fit(&model)?;
        Ok(Self { model, id, recommended, preview, folder })
    }

    /// Draws a picture in few steps, and one in one step: the first run is the slowest, and one that fails is better
    /// known before anybody asks.
    pub(crate) fn warm_up(&self) -> Result<(), GenerateError> {
        let asked = Recommended { steps: Some(2), ..Recommended::default() };
        let mut request = self.recommended.request(Mode::TextToImage, Procedure::default(), &asked);
        request.prompt = Some(String::new());
        request.seed = Seed(0);
        let draw = |request: &Request| {
            rayon::scope(|_| self.model.generate(request, &mut |_| ControlFlow::Continue(())))
        };
        draw(&request)?;
        if self.one_step_tasks().contains(&Task::TextToImage) {
            request.one_step = true;
            draw(&request)?;
        }
        Ok(())
    }

    /// What it does in one step.
    pub(crate) fn one_step_tasks(&self) -> &[Task] {
        self.model.one_step.as_ref().map_or(&[], |one_step| &one_step.config.tasks)
    }
}
