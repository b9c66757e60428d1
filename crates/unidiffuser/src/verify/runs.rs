//! Whole sampling runs with the recorded random numbers: the authors' samplers and the pipeline of diffusers.

use std::ops::ControlFlow;

use burn::tensor::TensorData;
use serde_json::Value;
use trefoil_core::Error;
use trefoil_core::weights::WeightFile;
use trefoil_diffusion::GuidanceScale;

use super::{Check, Oracle, RUN, Result, Tolerance, data};
use crate::caption::BeamOptions;
use crate::mode::{Mode, Unconditional};
use crate::model::{Codes, ImageCode};
use crate::pipeline::{NoiseKind, NoiseSource, Procedure, Request, Sampling};
use crate::tokenizer::CleanUp;

/// Hands out recorded noise, and notes when it is asked for something else.
struct Replay {
    draws: Vec<Vec<f32>>,
    posterior: Vec<f32>,
    next: usize,
    wrong: usize,
}

impl Replay {
    /// `noise.000`, `noise.001`, ...
    fn open(file: &WeightFile) -> Result<Self> {
        let mut draws = Vec::new();
        while file.tensor(&format!("noise.{:03}", draws.len())).is_some() {
            draws.push(file.get(&format!("noise.{:03}", draws.len()))?.iter::<f32>().collect());
        }
        let posterior = match file.tensor("vae_noise.0") {
            Some(_) => file.get("vae_noise.0")?.iter::<f32>().collect(),
            None => Vec::new(),
        };
        Ok(Self { draws, posterior, next: 0, wrong: 0 })
    }

    /// Whether every recorded draw was asked for, in its order and size.
    fn check(&self) -> Check {
        let used = (self.next, self.wrong);
        Check::equal("order of draws", &used, &(self.draws.len(), 0))
    }
}

impl NoiseSource for Replay {
    fn samples(&self) -> usize {
        1
    }

    fn draw(&mut self, kind: NoiseKind, count: usize) -> Vec<f32> {
        let recorded = match kind {
            NoiseKind::Posterior => Some(&self.posterior),
            _ => self.draws.get(self.next),
        };
        if kind != NoiseKind::Posterior {
            self.next += 1;
        }
        if let Some(values) = recorded.filter(|values| values.len() == count) {
            values.clone()
        } else {
            self.wrong += 1;
            vec![0.0; count]
        }
    }
}

/// Recorded codes below a prefix; absent parts stay absent.
fn codes(oracle: &Oracle, file: &WeightFile, prefix: &str) -> Result<Codes> {
    let name = |part: &str| format!("{prefix}.{part}");
    let has = |part: &str| file.tensor(&name(part)).is_some();
    let image = if has("z") {
        let z = oracle.tensor(file, &name("z"))?;
        Some(ImageCode { z, clip: oracle.tensor(file, &name("clip"))? })
    } else {
        None
    };
    let text = if has("text") { Some(oracle.tensor(file, &name("text"))?) } else { None };
    Ok(Codes { image, text })
}

/// The parts of codes against the recorded ones below a prefix.
fn compare(file: &WeightFile, prefix: &str, found: &Codes) -> Result<Vec<Check>> {
    let mut parts: Vec<(String, TensorData)> = Vec::new();
    if let Some(image) = &found.image {
        parts.push((format!("{prefix}.z"), data(image.z.clone())));
        parts.push((format!("{prefix}.clip"), data(image.clip.clone())));
    }
    if let Some(text) = &found.text {
        parts.push((format!("{prefix}.text"), data(text.clone())));
    }
    parts.iter().map(|(name, d)| Ok(Check::tensors(name, d, &file.get(name)?, RUN))).collect()
}

/// Groups `original_MODE`: every task of the chain, and its end.
pub(super) fn original(oracle: &Oracle, group: &str) -> Result<Vec<Check>> {
    let file = oracle.open(group)?;
    let name = group.trim_start_matches("original_");
    let (name, unconditional) = match name.strip_suffix("_empty") {
        Some(name) => (name, Unconditional::EmptyText),
        None => (name, Unconditional::TrueMarginal),
    };
    let mode: Mode = name.parse().map_err(|_| unknown(oracle, group))?;
    let steps = oracle.number(&format!("/groups/{group}/steps"))?;
    let scale = oracle.facts(group)["scale"].as_f64().unwrap_or(f64::NAN);
    let request = Request {
        unconditional,
        guidance: GuidanceScale::from_paper(scale)?,
        solver: Procedure::Original.solver(steps),
        ..Request::new(mode)
    };
    let sampling = Sampling::new(&oracle.model, &request)?;
    let mut noise = Replay::open(&file)?;
    let mut checks = Vec::new();
    let mut found = codes(oracle, &file, "cond")?;
    let tasks = mode.tasks();
    for (i, &task) in tasks.iter().enumerate() {
        found = sampling.run(task, &found, &mut noise, &mut |_, _| ControlFlow::Continue(()))?;
        let prefix = if i + 1 == tasks.len() { "out" } else { "mid" };
        checks.extend(compare(&file, prefix, &found)?);
    }
    checks.push(noise.check());
    Ok(checks)
}

/// Groups `pipeline_MODE` of diffusers: final codes, pictures and captions.
pub(super) fn pipeline(oracle: &Oracle, group: &str) -> Result<Vec<Check>> {
    let file = oracle.open(group)?;
    let name = group.trim_start_matches("pipeline_");
    let (name, guided) = match name.strip_suffix("_noguidance_np") {
        Some(name) => (name, false),
        None => (name, true),
    };
    let mode: Mode = name.parse().map_err(|_| unknown(oracle, group))?;
    let inputs = oracle.facts("pipeline_inputs");
    let scale = if guided { inputs["guidance_scale"].as_f64().unwrap_or(f64::NAN) } else { 1.0 };
    let steps = oracle.number("/groups/pipeline_inputs/steps")?;
    let request = Request {
        guidance: GuidanceScale::new(scale)?,
        procedure: Procedure::Diffusers,
        solver: Procedure::Diffusers.solver(steps),
        ..Request::new(mode)
    };
    let sampling = Sampling::new(&oracle.model, &request)?;
    let mut noise = Replay::open(&file)?;
    let condition = given(oracle, mode, inputs, &mut noise)?;
    let Some(&task) = mode.tasks().first() else { return Err(unknown(oracle, group).into()) };
    let found =
        sampling.run(task, &condition, &mut noise, &mut |_, _| ControlFlow::Continue(()))?;
    let mut checks = vec![state(&file, &found)?, noise.check()];
    if let Some(image) = &found.image {
        checks.push(images(oracle, &file, image)?);
    }
    if let Some(text) = &found.text {
        let decoder = &oracle.model.caption_decoder;
        let eos = oracle.model.text_tokenizer.eos();
        let ids = decoder.caption(text.clone(), eos, &BeamOptions::default())?;
        let expected = oracle.facts(group)["text"][0].as_str().unwrap_or_default().to_string();
        let ids = ids.first().map(Vec::as_slice).unwrap_or_default();
        // Newer versions of the library leave the blanks before punctuation.
        let tokenizer = &oracle.model.text_tokenizer;
        let plain = tokenizer.decode(ids, CleanUp::No)?;
        let found = if plain == expected { plain } else { tokenizer.decode(ids, CleanUp::Yes)? };
        checks.push(Check::equal("caption", &found, &expected));
    }
    Ok(checks)
}

/// What the pipeline is given: the code of the prompt, or of the picture.
fn given(oracle: &Oracle, mode: Mode, inputs: &Value, noise: &mut Replay) -> Result<Codes> {
    let mut codes = Codes::default();
    if mode.needs_prompt() {
        let prompt = inputs["prompt"].as_str().unwrap_or_default().to_string();
        codes.text = Some(oracle.model.encode_text(&[prompt])?);
    }
    if mode.needs_image() {
        let file = oracle.open("pipeline_inputs")?;
        let picture = super::encoders::picture(&file, "image")?;
        let [c, h, w] = oracle.model.latent_shape();
        let values = noise.draw(NoiseKind::Posterior, c * h * w);
        let drawn =
            burn::tensor::Tensor::from_data(TensorData::new(values, [1, c, h, w]), &oracle.device);
        codes.image = Some(oracle.model.encode_images(&[picture])?.sample(drawn));
    }
    Ok(codes)
}

/// The flat state after the last step.
fn state(file: &WeightFile, found: &Codes) -> Result<Check> {
    let mut flat: Vec<f64> = Vec::new();
    if let Some(image) = &found.image {
        flat.extend(data(image.z.clone()).iter::<f64>());
        flat.extend(data(image.clip.clone()).iter::<f64>());
    }
    if let Some(text) = &found.text {
        flat.extend(data(text.clone()).iter::<f64>());
    }
    let recorded = file.get_f64("latents")?;
    let last = recorded.len().saturating_sub(flat.len());
    Ok(Check::numbers("latents", &flat, &recorded[last..], RUN))
}

/// The latent itself, or the picture as numbers between 0 and 1.
fn images(oracle: &Oracle, file: &WeightFile, image: &ImageCode) -> Result<Check> {
    let expected = file.get("images")?;
    if expected.shape().to_vec() == image.z.dims() {
        return Ok(Check::tensors("images", &data(image.z.clone()), &expected, RUN));
    }
    let decoded = oracle.model.autoencoder.decode_scaled(image.z.clone());
    let decoded = (decoded * 0.5 + 0.5).clamp(0.0, 1.0).permute([0, 2, 3, 1]); // [1, H, W, 3]
    Ok(Check::tensors("images", &data(decoded), &expected, Tolerance::Absolute(1e-3)))
}

fn unknown(oracle: &Oracle, group: &str) -> Error {
    Error::format(&oracle.folder, format!("the group `{group}` is of no known mode"))
}
