//! What the student is shown: tasks, conditions, and the real sample of each condition.

use burn::tensor::{Device, Tensor, TensorData};
use std::path::Path;
use trefoil_core::{Result, Stream};

use super::rows::{Parts, Rows};
use crate::mode::{Content, Task};
use crate::model::UniDiffuser;
use crate::preprocess::InputSizes;
use crate::train::{Features, Frozen, HiddenStates, Pairs};

/// Tasks in the order of their shares.
const TASKS: [Task; 5] =
    [Task::TextToImage, Task::ImageToText, Task::Joint, Task::Image, Task::Text];

/// Rows with the real codes that belong to them.
#[derive(Debug, Clone)]
pub struct JointRows {
    /// Tasks and conditions.
    pub rows: Rows,
    /// The codes of the pair that each condition comes from, as given where they are not generated, `[B, D]`.
    pub real: Tensor<2>,
}

/// Captioned pictures as codes.
#[derive(Debug)]
pub struct JointData {
    /// The pictures and captions.
    pub pairs: Pairs,
    features: Features,
    parts: Parts,
    shares: [f64; 5],
    first_caption: f64,
}

impl JointData {
    /// Encodes captioned pictures, or reads the codes from a file that an earlier call wrote.
    ///
    /// `shares` are those of text to image, image to text, joint, image and text.
    ///
    /// # Errors
    /// Those of encoding, reading and writing.
    pub fn new(
        model: &UniDiffuser,
        pairs: Pairs,
        (shares, first_caption): ([f64; 5], f64),
        cache: &Path,
    ) -> Result<Self> {
        let context = model.context_length();
        let hidden =
            HiddenStates::compute(&model.text_encoder, &model.clip_tokenizer, context, &pairs)?;
        let frozen = Frozen {
            autoencoder: &model.autoencoder,
            vision: &model.image_encoder,
            sizes: InputSizes {
                image: model.image_size(),
                clip: model.config.image_encoder.image_size,
                vae_scale: model.config.autoencoder.downsampling(),
            },
            decoder: &model.caption_decoder,
            hidden: &hidden,
        };
        let features = Features::cached(cache, &frozen, &pairs)?;
        let parts = Parts::of(&model.config.uvit);
        Ok(Self { pairs, features, parts, shares, first_caption })
    }

    /// Tasks with a share.
    pub fn tasks(shares: [f64; 5]) -> Vec<Task> {
        TASKS.into_iter().zip(shares).filter(|(_, s)| *s > 0.0).map(|(task, _)| task).collect()
    }

    /// Draws rows.
    pub fn draw(&self, stream: &mut Stream, n: usize, device: &Device) -> JointRows {
        let d = self.parts.dims();
        let total: f64 = self.shares.iter().sum();
        let mut tasks = Vec::with_capacity(n);
        let (mut given, mut real) = (Vec::with_capacity(n * d), Vec::with_capacity(n * d));
        for _ in 0..n {
            let draws = stream.uniforms(2);
            let mut place = f64::from(draws[0]) * total;
            let last = TASKS[self.shares.iter().rposition(|s| *s > 0.0).unwrap_or_default()];
            let task = TASKS.into_iter().zip(self.shares).find(|(_, share)| {
                place -= share;
                place < 0.0
            });
            let task = task.map_or(last, |(task, _)| task);
            let picture = stream.below(self.pairs.len() as u64) as usize;
            let captions = self.pairs.captions()[picture].len() as u64;
            let any = stream.below(captions) as usize;
            let caption = if f64::from(draws[1]) < self.first_caption { 0 } else { any };
            let (mean, deviation) = self.features.moments(picture);
            let posterior = stream.normals(mean.len());
            let z = mean.iter().zip(deviation).zip(posterior).map(|((m, s), e)| m + s * e);
            let picture_code: Vec<f32> =
                z.chain(self.features.clip(picture).iter().copied()).collect();
            let codes = [&picture_code[..], self.features.text(picture, caption)];
            let (pass, _) = task.passes();
            for (code, content) in codes.into_iter().zip([pass.image, pass.text]) {
                let of = |kept: bool| code.iter().map(move |v| if kept { *v } else { 0.0 });
                given.extend(of(content == Content::Clean));
                real.extend(of(content != Content::Noise));
            }
            tasks.push(task);
        }
        let tensor = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [n, d]), device);
        let marginal = stream.normal_tensor([n, d], device);
        JointRows { rows: Rows { tasks, given: tensor(given), marginal }, real: tensor(real) }
    }
}
