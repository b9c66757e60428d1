//! The image tower of a model as a source of features for metrics.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use trefoil_core::{Picture, Result};
use trefoil_eval::{Embedding, FeatureNetwork, NetworkError, Pictures};

use crate::clip::ClipVision;
use crate::folder::Component;
use crate::preprocess::{InputSizes, Preprocess};

/// Picture embeddings by the CLIP of a model folder.
#[derive(Debug)]
pub struct ClipFeatures {
    vision: ClipVision,
    side: usize,
    dim: usize,
    model: String,
    device: Device,
}

impl ClipFeatures {
    /// Loads the image tower of a model folder.
    ///
    /// # Errors
    /// Those of reading, configuring and strict loading.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        let (vision, config) = <ClipVision as Component>::load(folder, device)?;
        let name = folder.canonicalize().unwrap_or_else(|_| folder.into());
        let model = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (side, dim) = (config.image_size, config.projection_dim);
        Ok(Self { vision, side, dim, model, device: device.clone() })
    }
}

impl FeatureNetwork for ClipFeatures {
    fn name(&self) -> String {
        format!(
            "CLIP image embedding of {}, input {2}x{2}, {} values",
            self.model, self.dim, self.side
        )
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn embed(&self, pictures: Pictures<'_>) -> std::result::Result<Embedding, NetworkError> {
        let [height, width] = pictures.size();
        let sizes = InputSizes { image: height.min(width), clip: self.side, vae_scale: 1 };
        let inputs = pictures
            .pixels()
            .chunks_exact(pictures.values())
            .map(|pixels| {
                let picture = Picture::new(width as u32, height as u32, pixels.to_vec())?;
                Ok(Preprocess::Original.apply(&picture, sizes, &self.device)?.clip)
            })
            .collect::<Result<Vec<Tensor<4>>>>()?;
        let features = self.vision.forward(Tensor::cat(inputs, 0)).into_data();
        Ok(Embedding { features: features.iter::<f32>().collect(), probabilities: Vec::new() })
    }
}
