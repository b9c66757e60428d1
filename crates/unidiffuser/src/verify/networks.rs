//! The noise predictor with its blocks, and the language model with its beams.

use burn::tensor::{Int, Tensor, TensorData};
use serde_json::Value;

use super::{Check, ENCODER, NETWORK, Oracle, Result, check};
use crate::caption::{BeamOptions, CaptionBatch, DummyPrefix};
use crate::uvit::{Levels, Modalities};

/// The modalities of a recorded output.
fn outputs(
    file: &trefoil_core::weights::WeightFile,
    prefix: &str,
    found: Modalities,
) -> Result<[Check; 3]> {
    let name = |part: &str| format!("{prefix}.ref64.{part}");
    Ok([
        check(file, &name("z"), found.z, NETWORK)?,
        check(file, &name("clip"), found.clip, NETWORK)?,
        check(file, &name("text"), found.text, NETWORK)?,
    ])
}

/// Group `uvit`.
pub(super) fn uvit(oracle: &Oracle, group: &str) -> Result<Vec<Check>> {
    let file = oracle.open(group)?;
    let input = |z: &str| -> Result<Modalities> {
        Ok(Modalities {
            z: oracle.tensor(&file, z)?,
            clip: oracle.tensor(&file, "clip")?,
            text: oracle.tensor(&file, "text")?,
        })
    };
    let network = &oracle.model.uvit;
    let batch = input("z")?.z.dims()[0];
    let mut checks = Vec::new();
    let cases = oracle.facts(group)["cases"].as_array().cloned().unwrap_or_default();
    for (i, case) in cases.iter().enumerate() {
        let level = |place: usize| case.get(place).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let levels = Levels::uniform(batch, level(0), level(1));
        let mut seen = Vec::new();
        let found = network.forward_seen(input("z")?, &levels, &mut |name, tokens| {
            seen.push((format!("case{i}.trace.{name}"), tokens.clone()));
        });
        checks.extend(outputs(&file, &format!("case{i}"), found)?);
        for (name, tokens) in seen {
            if file.tensor(&name).is_some() {
                checks.push(check(&file, &name, tokens, NETWORK)?);
            }
        }
    }
    let floats = |name: &str| -> Result<Vec<f32>> { Ok(file.get(name)?.iter::<f32>().collect()) };
    let levels = Levels {
        image: floats("batch_t_img")?,
        text: floats("batch_t_text")?,
        data_type: file.get_integers("batch_data_type")?.0.into_iter().map(|v| v as i32).collect(),
    };
    checks.extend(outputs(&file, "batch", network.forward(input("z")?, &levels))?);
    let levels = Levels::uniform(batch, 500.0, 20.0);
    checks.extend(outputs(&file, "resized", network.forward(input("resized.z_in")?, &levels))?);
    Ok(checks)
}

/// Group `text_decoder`.
pub(super) fn text_decoder(oracle: &Oracle, group: &str) -> Result<Vec<Check>> {
    let file = oracle.open(group)?;
    let decoder = &oracle.model.caption_decoder;
    let (ids, shape) = file.get_integers("input_ids")?;
    let prefix = oracle.tensor::<3>(&file, "prefix")?;
    let code = decoder.encode(prefix.clone());
    let tokens = TensorData::new(ids.clone(), [shape[0], shape[1]]);
    let tokens = Tensor::<2, Int>::from_data(tokens, &oracle.device);
    let mut checks = vec![
        check(&file, "prefix_low", code.clone(), ENCODER)?,
        check(&file, "logits", decoder.logits(code, tokens), ENCODER)?,
    ];
    let captions: Vec<Vec<u32>> =
        ids.chunks(shape[1]).map(|row| row.iter().map(|&id| id as u32).collect()).collect();
    let loss = decoder.loss(prefix, &CaptionBatch::new(&captions)?, DummyPrefix::Zeros)?;
    let loss: Vec<f64> = loss.into_data().iter::<f64>().collect();
    checks.push(Check::numbers("loss", &loss, &file.get_f64("loss")?, ENCODER));

    let features = oracle.tensor::<3>(&file, "features")?;
    let eos = oracle.model.text_tokenizer.eos();
    let found = decoder.beam_search(features, eos, &BeamOptions::default())?;
    for (i, beams) in found.iter().enumerate() {
        let (lengths, _) = file.get_integers(&format!("beam.{i}.lengths"))?;
        let (tokens, shape) = file.get_integers(&format!("beam.{i}.tokens"))?;
        let rows = tokens.chunks(shape[1]).zip(&lengths);
        let expected: Vec<Vec<u32>> = rows
            .map(|(row, &length)| row[..length as usize].iter().map(|&id| id as u32).collect())
            .collect();
        let found: Vec<Vec<u32>> = beams.iter().map(|beam| beam.tokens.clone()).collect();
        checks.push(Check::equal(format!("beam.{i}"), &found, &expected));
    }
    Ok(checks)
}
