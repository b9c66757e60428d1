//! Whole sampling runs with the recorded random numbers: the authors' samplers and the pipeline of diffusers.

use std::ops::ControlFlow;

use burn::tensor::TensorData;
use serde_json::Value;
use trefoil_core::Error;
use trefoil_core::weights::WeightFile;
use trefoil_diffusion::GuidanceScale;

use super::replay::{Evaluations, Replay};
use super::{Check, Oracle, RUN, Result, Tolerance, data};
use crate::caption::BeamOptions;
use crate::mode::{Mode, Unconditional};
use crate::model::{Codes, ImageCode};
use crate::pipeline::{NoiseKind, NoiseSource as _, Procedure, Request, Sampling};
use crate::tokenizer::CleanUp;

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

/// The parts of codes by name.
fn parts(prefix: &str, codes: &Codes) -> Vec<(String, TensorData)> {
    let mut parts = Vec::new();
    if let Some(image) = &codes.image {
        parts.push((format!("{prefix}.z"), data(image.z.clone())));
        parts.push((format!("{prefix}.clip"), data(image.clip.clone())));
    }
    if let Some(text) = &codes.text {
        parts.push((format!("{prefix}.text"), data(text.clone())));
    }
    parts
}

/// Codes against the recorded ones below a prefix.
fn compare(file: &WeightFile, prefix: &str, found: &Codes) -> Result<Vec<Check>> {
    let parts = parts(prefix, found);
    parts.iter().map(|(name, d)| Ok(Check::tensors(name, d, &file.get(name)?, RUN))).collect()
}

/// Whole runs are judged where their noise's last bit does not decide: `nudged` is the run with that bit changed.
fn judge(file: &WeightFile, prefix: &str, found: &Codes, nudged: &Codes) -> Result<Vec<Check>> {
    let moved = parts(prefix, found).into_iter().zip(parts(prefix, nudged));
    let moved = moved.map(|((_, a), (_, b))| Check::tensors("", &b, &a, RUN).relative);
    let moved = moved.fold(0.0, f64::max);
    Ok(compare(file, prefix, found)?.into_iter().map(|check| check.unless_chaotic(moved)).collect())
}

/// Groups `original_MODE`: every task of the chain and its end, and the evaluations of the last task.
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
    let mut nudged_noise = noise.nudged();
    let mut checks = Vec::new();
    let mut given = codes(oracle, &file, "cond")?;
    let (mut found, mut nudged) = (given.clone(), given.clone());
    let tasks = mode.tasks();
    for (i, &task) in tasks.iter().enumerate() {
        let is_last = i + 1 == tasks.len();
        let prefix = if is_last { "out" } else { "mid" };
        let before = noise.clone();
        found = sampling.run(task, &found, &mut noise, &mut go_on)?;
        nudged = sampling.run(task, &nudged, &mut nudged_noise, &mut go_on)?;
        checks.extend(judge(&file, prefix, &found, &nudged)?);
        if !is_last {
            given = codes(oracle, &file, prefix)?;
        } else if let Some(mut recorded) = Evaluations::of_trace(&file)? {
            let end = sampling.run_watched(task, &given, &mut before.clone(), &mut recorded)?;
            checks.extend(recorded.finish());
            checks.extend(compare(&file, prefix, &end)?.into_iter().map(Check::of_evaluations));
        }
    }
    checks.push(noise.check());
    Ok(checks)
}

/// Groups `pipeline_MODE` of diffusers: every step, the final codes, pictures and captions.
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
    let start = noise.clone();
    let found = sampling.run(task, &condition, &mut noise, &mut go_on)?;
    let nudged = sampling.run(task, &condition, &mut start.nudged(), &mut go_on)?;
    let moved = Check::numbers("", &flat(&nudged), &flat(&found), RUN).relative;
    let mut checks = vec![noise.check(), state(&file, &found)?.unless_chaotic(moved)];
    checks.extend(
        decoded(oracle, &file, group, &found)?.into_iter().map(|c| c.unless_chaotic(moved)),
    );
    if let Some(mut recorded) = Evaluations::of_steps(&file)? {
        let end = sampling.run_watched(task, &condition, &mut start.clone(), &mut recorded)?;
        checks.extend(recorded.finish());
        checks.push(state(&file, &end)?.of_evaluations());
        let decoded = decoded(oracle, &file, group, &end)?;
        checks.extend(decoded.into_iter().map(Check::of_evaluations));
    }
    Ok(checks)
}

/// Pictures and captions of final codes against the recorded ones.
fn decoded(oracle: &Oracle, file: &WeightFile, group: &str, codes: &Codes) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    if let Some(image) = &codes.image {
        checks.push(images(oracle, file, image)?);
    }
    if let Some(text) = &codes.text {
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

fn go_on(_: usize, _: &Codes) -> ControlFlow<()> {
    ControlFlow::Continue(())
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

/// The parts of codes one after another.
fn flat(codes: &Codes) -> Vec<f64> {
    parts("", codes).iter().flat_map(|(_, data)| data.iter::<f64>().collect::<Vec<_>>()).collect()
}

/// The flat state after the last step.
fn state(file: &WeightFile, found: &Codes) -> Result<Check> {
    let flat = flat(found);
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
