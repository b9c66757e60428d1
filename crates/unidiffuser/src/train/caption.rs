//! Stage 3: the text code and the decoder that reads it (arXiv 2303.06555, appendix E).
//!
//! The text encoder is frozen. `encode_prefix` squeezes its hidden states into the code that UniDiffuser
//! will diffuse; a small GPT-2 learns to write the caption from the code.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use trefoil_core::{Result, params};
use trefoil_train::{Batch, Losses, Position, RunFolder, Task};

use super::data::Pairs;
use super::recipe::CaptionRecipe;
use crate::caption::{BeamOptions, CaptionBatch, CaptionDecoder};
use crate::clip::ClipText;
use crate::tokenizer::{CleanUp, Tokenizer};

/// Captions that the preview writes.
const PREVIEW: usize = 32;
/// Captions per pass where no gradient is needed.
const CHUNK: usize = 256;

/// Hidden states of every caption by the frozen text encoder, computed once.
#[derive(Debug)]
pub struct HiddenStates {
    values: Vec<Vec<f32>>,
    /// First row of each picture.
    starts: Vec<usize>,
    shape: [usize; 2],
}

impl HiddenStates {
    /// Runs the text encoder over all captions.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn compute(
        encoder: &ClipText,
        tokenizer: &Tokenizer,
        context: usize,
        pairs: &Pairs,
    ) -> Result<Self> {
        let starts = pairs
            .captions()
            .iter()
            .scan(0, |at, captions| {
                let start = *at;
                *at += captions.len();
                Some(start)
            })
            .collect();
        let device = encoder.devices().first().cloned().unwrap_or_default();
        let mut values = Vec::new();
        let mut shape = [context, 0];
        for chunk in pairs.all_captions().chunks(CHUNK) {
            let ids: Vec<i64> = tokenizer
                .encode_batch(chunk, context)?
                .concat()
                .into_iter()
                .map(i64::from)
                .collect();
            let ids =
                Tensor::<2, Int>::from_data(TensorData::new(ids, [chunk.len(), context]), &device);
            let hidden = encoder.forward(ids); // [n, L, D]
            shape = [context, hidden.dims()[2]];
            let flat: Vec<f32> = hidden.into_data().iter::<f32>().collect();
            values.extend(flat.chunks(shape[0] * shape[1]).map(<[f32]>::to_vec));
        }
        Ok(Self { values, starts, shape })
    }

    /// Number of captions.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Row of a caption of a picture.
    pub fn row(&self, picture: usize, caption: usize) -> usize {
        self.starts[picture] + caption
    }

    /// # Shapes
    /// - returns: `[rows, L, D]`
    pub fn tensor(&self, rows: &[usize], device: &Device) -> Tensor<3> {
        let values = rows.iter().flat_map(|&row| self.values[row].iter().copied()).collect();
        let [l, d] = self.shape;
        Tensor::from_data(TensorData::new(values, [rows.len(), l, d]), device)
    }
}

/// The task of stage 3.
#[derive(Debug)]
pub struct CaptionTask<'a> {
    /// Its part of the recipe.
    pub recipe: &'a CaptionRecipe,
    /// The training set.
    pub pairs: &'a Pairs,
    /// Where the network is.
    pub device: Device,
    /// What the decoder sees.
    pub hidden: HiddenStates,
    /// What the decoder writes: token ids with the end token, by row of `hidden`.
    pub tokens: Vec<Vec<u32>>,
    /// Turns ids back into words.
    pub tokenizer: Tokenizer,
}

impl CaptionTask<'_> {
    fn losses(&self, model: &CaptionDecoder, batch: &Batch) -> Result<Losses> {
        let device = self.device.clone().autodiff();
        let rows: Vec<usize> = batch
            .items
            .iter()
            .map(|item| self.hidden.row(item.index, self.pairs.choose(batch, item)))
            .collect();
        let captions: Vec<Vec<u32>> = rows.iter().map(|&row| self.tokens[row].clone()).collect();
        let captions = CaptionBatch::new(&captions)?;
        let hidden = self.hidden.tensor(&rows, &device);
        let mut code = model.encode(hidden); // [B, L, T]
        let square = code.clone().square().mean();
        if self.recipe.code_noise > 0.0 {
            let shape = code.dims();
            let noise = batch.normals("code", shape[1] * shape[2]);
            let noise = Tensor::from_data(TensorData::new(noise, shape), &device);
            code = code + noise * self.recipe.code_noise;
        }
        let entropy = model.loss_of_code(code, &captions, self.recipe.dummy_prefix)?;
        let total = entropy.clone() + square.clone() * self.recipe.code_penalty;
        Ok(Losses { total, parts: vec![("entropy", entropy), ("code_square", square)] })
    }

    /// Captions that the decoder writes from the codes of rows.
    fn read(&self, model: &CaptionDecoder, rows: &[usize]) -> Result<Vec<String>> {
        let code = model.encode(self.hidden.tensor(rows, &self.device));
        let ids = model.caption(code, self.tokenizer.eos(), &BeamOptions::greedy())?;
        ids.iter().map(|ids| self.tokenizer.decode(ids, CleanUp::Yes)).collect()
    }
}

impl Task for CaptionTask<'_> {
    type Model = CaptionDecoder;

    fn samples(&self) -> usize {
        self.pairs.len()
    }

    fn loss(&self, model: &CaptionDecoder, batch: &Batch) -> trefoil_train::Result<Losses> {
        Ok(self.losses(model, batch)?)
    }

    fn on_sample(
        &mut self,
        model: &CaptionDecoder,
        run: &RunFolder,
        position: Position,
    ) -> trefoil_train::Result<()> {
        let stride = self.pairs.len().div_ceil(PREVIEW);
        let shown: Vec<usize> = (0..self.pairs.len()).step_by(stride).collect();
        let rows: Vec<usize> = shown.iter().map(|&i| self.hidden.row(i, 0)).collect();
        let written = self.read(model, &rows)?;
        let truth: Vec<Vec<String>> =
            shown.iter().map(|&i| vec![self.pairs.captions()[i][0].clone()]).collect();
        let report =
            trefoil_eval::captions(&written, &truth).map_err(trefoil_train::Error::task)?;
        let path = run.samples_dir().join(format!("captions-{:09}.txt", position.samples));
        trefoil_core::fs::write_atomic(&path, |out| {
            for (written, truth) in written.iter().zip(&truth) {
                writeln!(out, "{}\t{written}", truth[0])?;
            }
            Ok(())
        })?;
        let scalars = [
            ("preview/exact_match", report.exact_match),
            ("preview/token_f1", report.token_f1.mean),
        ];
        run.log_scalars(position.samples, &scalars)
    }

    fn fingerprint(&self) -> serde_json::Value {
        serde_json::json!({
            "model": self.recipe.model,
            "dummy_prefix": self.recipe.dummy_prefix,
            "code": [self.recipe.code_noise, self.recipe.code_penalty],
            "captions": self.hidden.len(),
        })
    }
}

/// Folds a standardisation into the two prefix layers: every channel of the code gets mean 0 and variance
/// 1 over the captions, and the decoder undoes it, so that it writes exactly what it wrote before.
///
/// ```text
/// y' = (y - m) / s:   W' = W / s,  b' = (b - m) / s,   V' = V s,  c' = c + V m
/// ```
///
/// # Errors
/// None for finite weights.
pub fn standardise(model: CaptionDecoder, hidden: &HiddenStates) -> Result<CaptionDecoder> {
    let device = model.devices().first().cloned().unwrap_or_default();
    let (mut sums, mut squares, mut count) = (Vec::new(), Vec::new(), 0.0);
    let rows: Vec<usize> = (0..hidden.len()).collect();
    for chunk in rows.chunks(CHUNK) {
        let code = model.encode(hidden.tensor(chunk, &device));
        let [n, l, channels] = code.dims();
        sums.resize(channels, 0.0);
        squares.resize(channels, 0.0);
        for (k, v) in code.into_data().iter::<f64>().enumerate() {
            sums[k % channels] += v;
            squares[k % channels] += v * v;
        }
        count += (n * l) as f64;
    }
    let mean: Vec<f64> = sums.iter().map(|s| s / count).collect();
    let scale: Vec<f64> =
        squares.iter().zip(&mean).map(|(s, m)| (s / count - m * m).max(1e-12).sqrt()).collect();
    let tensors: std::collections::HashMap<String, TensorData> =
        params::export(&model).into_iter().collect();
    let decode: Vec<f64> = tensors["decode_prefix.weight"].iter::<f64>().collect();
    let channels = scale.len();
    params::import(model, &mut |name, shape| {
        let old = &tensors[name];
        let values = old.iter::<f64>().enumerate();
        let new: Vec<f32> = match name {
            "encode_prefix.weight" => {
                values.map(|(k, v)| (v / scale[k / shape[1]]) as f32).collect()
            }
            "encode_prefix.bias" => {
                values.map(|(k, v)| ((v - mean[k]) / scale[k]) as f32).collect()
            }
            "decode_prefix.weight" => {
                values.map(|(k, v)| (v * scale[k % channels]) as f32).collect()
            }
            "decode_prefix.bias" => values
                .map(|(k, v)| {
                    let row = &decode[k * channels..(k + 1) * channels];
                    (v + row.iter().zip(&mean).map(|(w, m)| w * m).sum::<f64>()) as f32
                })
                .collect(),
            _ => return Ok(old.clone()),
        };
        Ok(TensorData::new(new, shape.to_vec()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caption::{CaptionDecoderConfig, DummyPrefix};
    use trefoil_core::Seed;
    use trefoil_core::nn::Init;

    #[test]
    fn standardising_changes_the_code_and_not_the_words() {
        let device = Device::flex();
        let config = CaptionDecoderConfig::tiny();
        let model = config.init(&mut Init::random(Seed(4), &device)).unwrap();
        let (l, d) = (config.prefix_length, config.prefix_inner_dim);
        let mut stream = Seed(5).stream("hidden", 0);
        let values: Vec<Vec<f32>> = (0..40)
            .map(|_| stream.normals(l * d).iter().map(|v| v * 3.0 + 1.0).collect())
            .collect();
        let hidden = HiddenStates { values, starts: (0..40).collect(), shape: [l, d] };
        let rows: Vec<usize> = (0..40).collect();
        let captions = CaptionBatch::new(&vec![vec![1, 2, 3]; 40]).unwrap();
        let x = hidden.tensor(&rows, &device);
        let before = model.loss(x.clone(), &captions, DummyPrefix::Masked).unwrap();
        let model = standardise(model, &hidden).unwrap();
        let after = model.loss(x.clone(), &captions, DummyPrefix::Masked).unwrap();
        let (before, after) = (before.into_scalar::<f32>(), after.into_scalar::<f32>());
        assert!((before - after).abs() < 1e-5 * before.abs(), "{before} {after}");
        let code = model.encode(x);
        let (mean, square) = (code.clone().mean(), code.square().mean());
        assert!(mean.into_scalar::<f32>().abs() < 1e-5);
        assert!((square.into_scalar::<f32>() - 1.0).abs() < 1e-5);
    }
}
