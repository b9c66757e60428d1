//! A model that is ready to draw.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use trefoil_core::{Result, Seed};
use unidiffuser::mode::Mode;
use unidiffuser::model::{ModelFiles, ModelId, Recommended, UniDiffuser};
use unidiffuser::pipeline::{GenerateError, Procedure};

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
    /// Loads the model of a folder; `name` is the folder that it is called by.
    pub(crate) fn open(folder: &Path, name: &Path, device: &Device) -> Result<Self> {
        let recommended = Recommended::read(folder)?;
        let files = ModelFiles::open(folder)?;
        let model = files.load(device)?;
        let folder = name.canonicalize().unwrap_or_else(|_| name.into());
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let id = ModelId { name, ..ModelId::of(&files, model.storage)? };
        let preview = Preview::fit(&model)?;
        Ok(Self { model, id, recommended, preview, folder })
    }

    /// Draws a picture in few steps: the first run is the slowest, and one that fails is better known before anybody
    /// asks.
    pub(crate) fn warm_up(&self) -> Result<(), GenerateError> {
        let asked = Recommended { steps: Some(2), ..Recommended::default() };
        let mut request = self.recommended.request(Mode::TextToImage, Procedure::default(), &asked);
        request.prompt = Some(String::new());
        request.seed = Seed(0);
        rayon::scope(|_| self.model.generate(&request, &mut |_| ControlFlow::Continue(())))?;
        Ok(())
    }
}
