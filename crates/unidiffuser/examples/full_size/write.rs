//! Random weights and inputs, one tensor in memory at a time, in the layout of diffusers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use burn::tensor::{Device, TensorData};
use trefoil_core::nn::Init;
use trefoil_core::weights::{Precision, Store, save};
use trefoil_core::{Seed, fs, params};
use unidiffuser::autoencoder::{Autoencoder, AutoencoderConfig};
use unidiffuser::caption::{CaptionDecoder, CaptionDecoderConfig};
use unidiffuser::clip::{ClipText, ClipTextConfig, ClipVision, ClipVisionConfig};
use unidiffuser::folder::{Component, write_component};
use unidiffuser::keys::Rows;
use unidiffuser::uvit::{UVit, UVitConfig};

use crate::AnyError;

/// Of all weights and inputs.
const SEED: Seed = Seed(230_306_555);

/// Writes everything below `folder`.
pub(crate) fn all(folder: &Path) -> Result<(), AnyError> {
    fs::create_dir_all(folder)?;
    component::<UVit>(folder, &UVitConfig::default())?;
    component::<Autoencoder>(folder, &AutoencoderConfig::default())?;
    component::<ClipText>(folder, &ClipTextConfig::default())?;
    component::<ClipVision>(folder, &ClipVisionConfig::default())?;
    component::<CaptionDecoder>(folder, &CaptionDecoderConfig::default())?;
    // Last: a folder without it is unfinished.
    inputs(folder)
}

fn component<C: Component>(folder: &Path, config: &C::Config) -> Result<(), AnyError> {
    let network = C::build(config, &mut Init::zeros(&Device::flex()))?;
    let tensors = params::shapes(&network).into_iter();
    let tensors = tensors.map(|(name, shape)| (name.clone(), Drawn { name, shape, part: 0 }));
    write_component::<C, _>(config, &C::published(tensors.collect()), folder, Precision::F32)?;
    eprintln!("wrote {}", folder.join(C::FOLDER).display());
    Ok(())
}

/// A weight that is drawn when it is written.
#[derive(Debug, Clone)]
struct Drawn {
    name: String,
    shape: Vec<usize>,
    /// Which rows of a weight that is written in parts.
    part: u64,
}

impl Rows for Drawn {
    fn height(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    fn cut(&self, rows: Range<usize>) -> Option<Self> {
        let mut shape = self.shape.clone();
        *shape.first_mut()? = rows.len();
        Some(Self { name: self.name.clone(), shape, part: rows.start as u64 })
    }
}

impl Store for Drawn {
    fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    /// Norms near one, biases and tables small, and weights that keep the scale of what passes through them.
    fn values(&self) -> Option<Vec<f32>> {
        let count = self.shape.iter().product();
        let is_matrix = self.shape.len() > 1 && !self.name.contains("embedding.weight");
        let is_table = self.name.contains("wte") || self.name.contains("wpe");
        let [offset, scale] = match self.shape.as_slice() {
            [_] if self.name.contains("norm") || self.name.contains("ln_") => {
                [if self.name.ends_with("weight") { 1.0 } else { 0.0 }, 0.1]
            }
            [_] => [0.0, 0.02],
            [_, rest @ ..] if is_matrix && !is_table => {
                [0.0, (rest.iter().product::<usize>() as f32).sqrt().recip()]
            }
            _ => [0.0, 0.05],
        };
        let mut values = SEED.stream(&self.name, self.part).normals(count);
        for value in &mut values {
            *value = *value * scale + offset;
        }
        Some(values)
    }
}

/// What each network is given; token ids as floats.
fn inputs(folder: &Path) -> Result<(), AnyError> {
    let normal = |name: &str, shape: &[usize]| {
        let values = SEED.stream(name, 0).normals(shape.iter().product());
        (name.to_string(), TensorData::new(values, shape.to_vec()))
    };
    let mut stream = SEED.stream("ids", 0);
    let mut ids: Vec<f32> = (0..77).map(|_| stream.below(49_406) as f32).collect();
    ids[0] = 49_406.0;
    ids[76] = 49_407.0;
    let tensors = [
        normal("z", &[1, 4, 64, 64]),
        normal("clip", &[1, 1, 512]),
        normal("text", &[1, 77, 64]),
        normal("latent", &[1, 4, 64, 64]),
        normal("pixels", &[1, 3, 224, 224]),
        normal("code", &[1, 77, 64]),
        ("ids".to_string(), TensorData::new(ids, [1, 77])),
    ];
    save(&folder.join("inputs.safetensors"), &tensors, Precision::F32, BTreeMap::new())?;
    Ok(())
}
