//! Stage 2: two towers learn that a picture and its caption belong together (arXiv 2103.00020).
//!
//! ```text
//! S_ij = e^s <a_i, b_j>,   L = (CE(S, i) + CE(S^T, i)) / 2,   a, b of unit length
//! ```

use burn::module::{Module, Param};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use trefoil_core::Result;
use trefoil_core::nn::Init;
use trefoil_train::{Batch, Losses, Position, RunFolder, Task};

use super::data::Pairs;
use super::recipe::ClipRecipe;
use crate::clip::{ClipText, ClipVision};
use crate::preprocess::{InputSizes, Preprocess};
use crate::tokenizer::Tokenizer;

/// Logarithm of the first inverse temperature, `ln(1 / 0.07)`.
const LOGIT_SCALE: f32 = 2.659_26;
/// Largest inverse temperature.
const MAX_SCALE: f64 = 100.0;
/// Pairs in the retrieval that the preview measures.
const PREVIEW: usize = 256;

/// Both towers and the temperature between them.
#[derive(Module, Debug)]
pub struct ClipPair {
    /// The text tower, with its projection.
    pub text: ClipText,
    /// The image tower.
    pub vision: ClipVision,
    logit_scale: Param<Tensor<1>>,
}

impl ClipPair {
    /// Fresh towers.
    ///
    /// # Errors
    /// [`trefoil_core::Error::Config`] naming the field.
    pub fn new(recipe: &ClipRecipe, init: &mut Init) -> Result<Self> {
        Ok(Self {
            text: recipe.text.init(init)?,
            vision: recipe.vision.init(init)?,
            logit_scale: init.full([1], LOGIT_SCALE),
        })
    }

    /// Unit-length embeddings of texts.
    ///
    /// # Shapes
    /// - `ids`: `[B, L]`
    /// - returns: `[B, P]`
    pub fn embed_text(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        normalise(self.text.pooled(self.text.forward(ids.clone()), ids))
    }

    /// Unit-length embeddings of pictures.
    ///
    /// # Shapes
    /// - `pixels`: `[B, 3, S, S]`, normalised
    /// - returns: `[B, P]`
    pub fn embed_image(&self, pixels: Tensor<4>) -> Tensor<2> {
        normalise(self.vision.forward(pixels))
    }

    /// The contrastive loss. Pairs of one group (the same picture or caption) are no negatives of each
    /// other: a small dataset has them in many batches.
    ///
    /// # Shapes
    /// - `ids`: `[B, L]`; `pixels`: `[B, 3, S, S]`; `groups`: `[B]`
    /// - returns: `[1]`
    pub fn loss(&self, ids: Tensor<2, Int>, pixels: Tensor<4>, groups: &[u64]) -> Tensor<1> {
        let b = groups.len();
        let device = pixels.device();
        let scale = self.logit_scale.val().exp().clamp_max(MAX_SCALE);
        let (images, texts) = (self.embed_image(pixels), self.embed_text(ids));
        let twin = |i: usize, j: usize| if i != j && groups[i] == groups[j] { -1e4 } else { 0.0 };
        let mask: Vec<f32> = (0..b * b).map(|k| twin(k / b, k % b)).collect();
        let mask = Tensor::<2>::from_data(TensorData::new(mask, [b, b]), &device);
        let eye = Tensor::<2>::eye(b, &device);
        let logits = images.matmul(texts.transpose()) * scale.unsqueeze::<2>() + mask; // [B, B]
        let by_image = (log_softmax(logits.clone(), 1) * eye.clone()).sum();
        let by_text = (log_softmax(logits, 0) * eye).sum();
        (by_image + by_text) / (-2.0 * b as f64)
    }
}

/// Divides every row by its length.
fn normalise(x: Tensor<2>) -> Tensor<2> {
    let length = (x.clone().square().sum_dim(1) + 1e-12).sqrt();
    x / length
}

/// The task of stage 2.
#[derive(Debug)]
pub struct ClipTask<'a> {
    recipe: &'a ClipRecipe,
    pairs: &'a Pairs,
    device: Device,
    /// Normalised pictures, ready for the image tower.
    pixels: Vec<Vec<f32>>,
    /// Token ids of every caption of every picture, padded.
    ids: Vec<Vec<Vec<u32>>>,
    /// Group of each picture: equal pictures share one.
    groups: Vec<u64>,
}

impl<'a> ClipTask<'a> {
    /// Tokenizes the captions and prepares the pictures once.
    ///
    /// # Errors
    /// Those of the tokenizer and the preprocessing.
    pub fn new(
        recipe: &'a ClipRecipe,
        pairs: &'a Pairs,
        tokenizer: &Tokenizer,
        device: &Device,
    ) -> Result<Self> {
        let sizes = InputSizes {
            image: pairs.pictures().first().map_or(1, |p| p.width() as usize),
            clip: recipe.vision.image_size,
            vae_scale: 1,
        };
        let host = Device::flex();
        let pixels = pairs
            .pictures()
            .iter()
            .map(|picture| {
                let inputs = Preprocess::Original.apply(picture, sizes, &host)?;
                Ok(inputs.clip.into_data().iter::<f32>().collect())
            })
            .collect::<Result<_>>()?;
        let context = recipe.text.max_position_embeddings;
        let ids = pairs
            .captions()
            .iter()
            .map(|captions| tokenizer.encode_batch(captions, context))
            .collect::<Result<_>>()?;
        let mut first = std::collections::HashMap::new();
        let groups = pairs
            .pictures()
            .iter()
            .enumerate()
            .map(|(i, picture)| *first.entry(picture.pixels()).or_insert(i as u64))
            .collect();
        Ok(Self { recipe, pairs, device: device.clone(), pixels, ids, groups })
    }

    /// Root mean square of the elements of all pictures' embeddings, before normalisation.
    pub fn embedding_rms(&self, pair: &ClipPair) -> f64 {
        const CHUNK: usize = 256;
        let rows: Vec<usize> = (0..self.pairs.len()).collect();
        let sum: f64 = rows
            .chunks(CHUNK)
            .map(|chunk| {
                let square = pair.vision.forward(self.pixels(chunk, &self.device)).square().mean();
                f64::from(square.into_scalar::<f32>()) * chunk.len() as f64
            })
            .sum();
        (sum / rows.len() as f64).sqrt()
    }

    fn pixels(&self, rows: &[usize], device: &Device) -> Tensor<4> {
        let side = self.recipe.vision.image_size;
        let values = rows.iter().flat_map(|&i| self.pixels[i].iter().copied()).collect();
        Tensor::from_data(TensorData::new(values, [rows.len(), 3, side, side]), device)
    }

    fn ids(&self, rows: &[(usize, usize)], device: &Device) -> Tensor<2, Int> {
        let context = self.recipe.text.max_position_embeddings;
        let ids: Vec<i64> = rows
            .iter()
            .flat_map(|&(i, caption)| self.ids[i][caption].iter().map(|&id| i64::from(id)))
            .collect();
        Tensor::from_data(TensorData::new(ids, [rows.len(), context]), device)
    }
}

impl Task for ClipTask<'_> {
    type Model = ClipPair;

    fn samples(&self) -> usize {
        self.pairs.len()
    }

    fn loss(&self, model: &ClipPair, batch: &Batch) -> trefoil_train::Result<Losses> {
        let device = self.device.clone().autodiff();
        let rows: Vec<usize> = batch.items.iter().map(|item| item.index).collect();
        let texts: Vec<(usize, usize)> =
            batch.items.iter().map(|item| (item.index, self.pairs.choose(batch, item))).collect();
        let groups: Vec<u64> = rows.iter().map(|&i| self.groups[i]).collect();
        let total = model.loss(self.ids(&texts, &device), self.pixels(&rows, &device), &groups);
        Ok(Losses { total, parts: Vec::new() })
    }

    /// Logs how often a picture finds its first caption among a few hundred.
    fn on_sample(
        &mut self,
        model: &ClipPair,
        run: &RunFolder,
        position: Position,
    ) -> trefoil_train::Result<()> {
        let stride = self.pairs.len().div_ceil(PREVIEW);
        let rows: Vec<usize> = (0..self.pairs.len()).step_by(stride).collect();
        let first: Vec<(usize, usize)> = rows.iter().map(|&i| (i, 0)).collect();
        let images = model.embed_image(self.pixels(&rows, &self.device));
        let texts = model.embed_text(self.ids(&first, &self.device));
        let dim = images.dims()[1];
        let host = |t: Tensor<2>| t.into_data().iter::<f32>().collect::<Vec<f32>>();
        let (images, texts) = (host(images), host(texts));
        let measure = || {
            let queries = trefoil_eval::Features::new("pictures", &images, dim)?;
            let candidates = trefoil_eval::Features::new("captions", &texts, dim)?;
            let truth = trefoil_eval::Truth::paired(rows.len())?;
            trefoil_eval::RetrievalReport::cosine(&truth, queries, candidates)
        };
        let report = measure().map_err(trefoil_train::Error::task)?;
        let scalars = [
            ("preview/recall_at_1", report.recall_at_1),
            ("preview/recall_at_10", report.recall_at_10),
        ];
        run.log_scalars(position.samples, &scalars)
    }

    fn fingerprint(&self) -> serde_json::Value {
        serde_json::json!({
            "text": self.recipe.text,
            "vision": self.recipe.vision,
            "pictures": self.pairs.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::{ClipTextConfig, ClipVisionConfig, TextProjection};
    use trefoil_core::Seed;

    /// Two pairs with orthogonal embeddings of known similarity: the loss is a logistic function.
    #[test]
    fn pairs_of_one_group_are_no_negatives() {
        let device = Device::flex();
        let text = ClipTextConfig { projection: TextProjection::Linear, ..ClipTextConfig::tiny() };
        let vision =
            ClipVisionConfig { projection_dim: text.projection_dim, ..ClipVisionConfig::tiny() };
        let side = vision.image_size;
        let recipe = ClipRecipe { text, vision, ..ClipRecipe::default() };
        let pair = ClipPair::new(&recipe, &mut Init::random(Seed(1), &device)).unwrap();
        let mut stream = Seed(2).stream("pixels", 0);
        let pixels = stream.normal_tensor([3, 3, side, side], &device);
        let ids = Tensor::<2, Int>::from_ints([[1, 4, 2], [1, 5, 2], [1, 6, 2]], &device);
        let loss =
            |groups: &[u64]| pair.loss(ids.clone(), pixels.clone(), groups).into_scalar::<f32>();
        // With all of one group nothing is wrong to choose.
        assert!(loss(&[0, 0, 0]).abs() < 1e-6);
        let (images, texts) = (pair.embed_image(pixels.clone()), pair.embed_text(ids.clone()));
        let scores = (images.matmul(texts.transpose()) / 0.07).into_data();
        let s: Vec<f64> = scores.iter::<f64>().collect();
        let entropy =
            |row: [f64; 3], i: usize| row.iter().map(|v| v.exp()).sum::<f64>().ln() - row[i];
        let expected: f64 = (0..3)
            .map(|i| {
                entropy([s[3 * i], s[3 * i + 1], s[3 * i + 2]], i)
                    + entropy([s[i], s[3 + i], s[6 + i]], i)
            })
            .sum::<f64>()
            / 6.0;
        assert!((f64::from(loss(&[0, 1, 2])) - expected).abs() < 1e-4 * expected);
        assert!(loss(&[0, 1, 0]) < loss(&[0, 1, 2]));
    }
}
