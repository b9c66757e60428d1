//! The training set in memory, and which caption a visit sees.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use trefoil_core::{Picture, Result};
use trefoil_train::data::{DataOptions, Dataset, OnProblem, Problems, Sample};
use trefoil_train::{Batch, Item};

use super::recipe::DataRecipe;

/// Captioned pictures of one resolution.
#[derive(Debug, Clone)]
pub struct Pairs {
    pictures: Vec<Picture>,
    captions: Vec<Vec<String>>,
    keys: Vec<String>,
    first_caption: f64,
}

impl Pairs {
    /// Reads the split that the recipe names; also returns what was skipped.
    ///
    /// # Errors
    /// Those of [`Dataset::load`].
    pub fn load(
        sources: &[PathBuf],
        recipe: &DataRecipe,
        on_problem: OnProblem,
    ) -> trefoil_train::Result<(Self, Problems)> {
        let options = DataOptions {
            resolution: recipe.resolution,
            background: recipe.background,
            on_problem,
            split: Some(recipe.split.clone()),
        };
        let Dataset { samples, problems } = Dataset::load(sources, &options)?;
        Ok((Self::new(samples, recipe.first_caption), problems))
    }

    /// Pairs of samples that are already in memory; a visit takes the first caption with this chance,
    /// otherwise any.
    pub fn new(samples: Vec<Sample>, first_caption: f64) -> Self {
        let mut pairs =
            Self { pictures: Vec::new(), captions: Vec::new(), keys: Vec::new(), first_caption };
        for sample in samples {
            pairs.pictures.push(sample.picture);
            pairs.captions.push(sample.captions);
            pairs.keys.push(sample.key);
        }
        pairs
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.pictures.len()
    }

    /// Whether there is no picture; a loaded dataset has at least one.
    pub fn is_empty(&self) -> bool {
        self.pictures.is_empty()
    }

    /// The pictures, in the order of their keys.
    pub fn pictures(&self) -> &[Picture] {
        &self.pictures
    }

    /// The captions of each picture.
    pub fn captions(&self) -> &[Vec<String>] {
        &self.captions
    }

    /// File or entry name of each picture.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Every caption once, in the order of the pictures: what the tokenizers learn from.
    pub fn all_captions(&self) -> Vec<String> {
        self.captions.iter().flatten().cloned().collect()
    }

    /// Which caption of its picture a visit sees.
    pub fn choose(&self, batch: &Batch, item: &Item) -> usize {
        let count = self.captions[item.index].len();
        let mut stream = batch.stream("caption", item);
        if count == 1 || f64::from(stream.uniforms(1)[0]) < self.first_caption {
            return 0;
        }
        stream.below(count as u64) as usize
    }

    /// The pictures of a batch in `[-1, 1]`.
    ///
    /// # Shapes
    /// - returns: `[B, 3, S, S]`
    ///
    /// # Errors
    /// None for pictures of one size.
    pub fn images(&self, batch: &Batch, device: &Device) -> Result<Tensor<4>> {
        let pictures: Vec<Picture> =
            batch.items.iter().map(|item| self.pictures[item.index].clone()).collect();
        Picture::to_tensor(&pictures, device)
    }
}
