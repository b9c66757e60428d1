//! From text and pictures to codes, and from latents to pictures.

use burn::tensor::{Int, Tensor, TensorData};
use serde_json::Value;
use trefoil_core::weights::WeightFile;
use trefoil_core::{Error, Picture};

use super::{Check, ENCODER, Oracle, Result, Tolerance, check, data};
use crate::preprocess::{InputSizes, Preprocess};

/// Resampled pixels are whole numbers; ours are within this of Pillow's.
const LEVELS: f64 = 2.0;

/// Group `text_encoder`.
pub(super) fn text(oracle: &Oracle, group: &str) -> Result<Vec<Check>> {
    let file = oracle.open(group)?;
    let (ids, shape) = file.get_integers("input_ids")?;
    let mut checks = Vec::new();
    let texts = oracle.facts(group)["texts"].as_array().cloned().unwrap_or_default();
    for (i, text) in texts.iter().filter_map(Value::as_str).enumerate() {
        let found = oracle.model.clip_tokenizer.encode(text, shape[1])?.ids;
        let found: Vec<i64> = found.into_iter().map(i64::from).collect();
        let expected = ids.chunks(shape[1]).nth(i).unwrap_or_default();
        checks.push(Check::equal(format!("input_ids.{i}"), found.as_slice(), expected));
    }
    let ids = TensorData::new(ids, [shape[0], shape[1]]);
    let ids = Tensor::<2, Int>::from_data(ids, &oracle.device);
    let hidden = oracle.model.text_encoder.forward(ids);
    let low = oracle.model.caption_decoder.encode(hidden.clone());
    checks.push(check(&file, "last_hidden_state", hidden, ENCODER)?);
    checks.push(check(&file, "low_dim", low, ENCODER)?);
    Ok(checks)
}

/// A recorded picture, `[H, W, 3]` bytes.
pub(super) fn picture(file: &WeightFile, name: &str) -> Result<Picture> {
    let (values, shape) = file.get_integers(name)?;
    let [height, width, 3] = shape[..] else {
        let reason = format!("tensor `{name}`: expected [H, W, 3], found shape {shape:?}");
        return Err(Error::format(file.path(), reason).into());
    };
    let pixels = values.into_iter().map(|value| value as u8).collect();
    Ok(Picture::new(width as u32, height as u32, pixels)?)
}

/// Bytes of a picture against recorded ones.
fn pixels(file: &WeightFile, name: &str, found: &Picture) -> Result<Check> {
    let found: Vec<f64> = found.pixels().iter().map(|&v| f64::from(v)).collect();
    let expected: Vec<f64> = file.get_integers(name)?.0.into_iter().map(|v| v as f64).collect();
    Ok(Check::numbers(name, &found, &expected, Tolerance::Absolute(LEVELS)))
}

/// Group `image_side`.
pub(super) fn image(oracle: &Oracle, group: &str) -> Result<Vec<Check>> {
    let file = oracle.open(group)?;
    let (autoencoder, encoder) = (&oracle.model.autoencoder, &oracle.model.image_encoder);
    let sizes = InputSizes {
        image: oracle.model.image_size(),
        clip: oracle.model.config.image_encoder.image_size,
        ..InputSizes::default()
    };
    let mut checks = Vec::new();
    for i in 0.. {
        let name = |part: &str| format!("{i}.{part}");
        if file.tensor(&name("image")).is_none() {
            break;
        }
        let given = picture(&file, &name("image"))?;
        let inputs = Preprocess::Original.apply(&given, sizes, &oracle.device)?;
        checks.push(pixels(&file, &name("orig.crop"), &inputs.picture)?);
        let posterior = autoencoder.encode(oracle.tensor(&file, &name("orig.vae_in"))?);
        let std = (posterior.logvar.clone() * 0.5).exp();
        checks.push(check(&file, &name("mean"), posterior.mean, ENCODER)?);
        checks.push(check(&file, &name("logvar"), posterior.logvar, ENCODER)?);
        checks.push(check(&file, &name("std"), std, ENCODER)?);
        let decoded = autoencoder.decode(oracle.tensor::<4>(&file, &name("mean"))? * 0.8);
        checks.push(check(&file, &name("decoded"), decoded, ENCODER)?);
        let embedding = encoder.forward(oracle.tensor(&file, &name("orig.clip_in"))?);
        checks.push(check(&file, &name("clip_embed"), embedding, ENCODER)?);
        let hidden = encoder.hidden(oracle.tensor(&file, &name("orig.clip_in"))?);
        checks.push(check(&file, &name("clip_last_hidden"), hidden, ENCODER)?);
    }
    // Full-size resampling; CLIP's input in units of one level of the most stretched channel.
    let sizes = InputSizes { image: 512, clip: 224, ..InputSizes::default() };
    let inputs =
        Preprocess::Original.apply(&picture(&file, "big.image")?, sizes, &oracle.device)?;
    checks.push(pixels(&file, "big.orig.crop512", &inputs.picture)?);
    let level = Tolerance::Absolute(LEVELS / 255.0 / 0.26130258);
    let found = data(inputs.clip);
    let expected = file.get("big.orig.clip224")?;
    checks.push(Check::tensors("big.orig.clip224", &found, &expected, level));
    Ok(checks)
}
