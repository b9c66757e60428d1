//! What is known of a model before it is loaded.

use std::collections::BTreeMap;

use serde::Serialize;
use trefoil_core::Result;
use trefoil_core::weights::{Storage, StoredTensor, WeightFile};
use unidiffuser::folder::{Component, Part};
use unidiffuser::model::ModelFiles;

/// Weights of the published noise predictors, by which they are recognised.
const PUBLISHED: [usize; 2] = [952_504_912, 952_509_520];
/// Bytes of a number in memory.
const F32: usize = 4;

/// A model.
#[derive(Debug, Serialize)]
pub(super) struct Info {
    folder: String,
    layout: String,
    version: &'static str,
    image_size: usize,
    pub(super) components: Vec<ComponentInfo>,
    licence: String,
    memory: Memory,
}

/// One network.
#[derive(Debug, Serialize)]
pub(super) struct ComponentInfo {
    name: &'static str,
    pub(super) parameters: usize,
    bytes: u64,
    precision: String,
    file: String,
}

/// Bytes that are needed, about.
#[derive(Debug, Serialize)]
struct Memory {
    /// Weights, in single precision.
    weights: usize,
    /// Weights, in each format in which they can be held.
    held: BTreeMap<&'static str, usize>,
    /// One guided evaluation of the noise predictor for one sample.
    evaluation: usize,
    /// Decoding one picture.
    decoding: usize,
    /// What this machine has free, where it says so.
    available: Option<usize>,
}

impl Info {
    /// Of a model whose files were found.
    pub(super) fn of(files: &ModelFiles) -> Result<Self> {
        let components = vec![
            component(&files.uvit)?,
            component(&files.autoencoder)?,
            component(&files.text_encoder)?,
            component(&files.image_encoder)?,
            component(&files.caption_decoder)?,
        ];
        let config = files.config();
        let uvit = &config.uvit;
        // Two passes; per token the residual, what the skips keep, and the widest layer.
        let rows = 2 * uvit.num_tokens();
        let evaluation = rows * uvit.embed_dim * (uvit.num_layers / 2 + 2 * uvit.mlp_ratio) * F32;
        // The finest level of the decoder: a few maps at full size.
        let widest = config.autoencoder.block_out_channels.iter().take(2).max().copied();
        let decoding = 3 * config.image_size().pow(2) * widest.unwrap_or(0) * F32;
        let weights = components.iter().map(|c| c.parameters).sum::<usize>() * F32;
        let held = Storage::ALL.map(|storage| Ok((storage.name(), resident(files, storage)?)));
        let held = held.into_iter().collect::<Result<_>>()?;
        Ok(Self {
            folder: files.folder.display().to_string(),
            layout: files.layout.to_string(),
            version: if uvit.use_data_type_embedding { "v1" } else { "v0" },
            image_size: config.image_size(),
            licence: licence(files, components[0].parameters),
            components,
            memory: Memory { weights, held, evaluation, decoding, available: available() },
        })
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mb = |bytes: usize| format!("{:.1} MB", bytes as f64 / 1e6);
        let mut lines = vec![
            self.folder.clone(),
            format!(
                "  layout: {}, UniDiffuser {}, pictures of {} pixels",
                self.layout, self.version, self.image_size
            ),
        ];
        lines.extend(self.components.iter().map(|c| {
            let size = mb(c.bytes as usize);
            let ComponentInfo { name, parameters, precision, file, .. } = c;
            format!("  {name:<16}{parameters:>12} parameters {size:>12}  {precision:<5} {file}")
        }));
        lines.push(format!("  licence: {}", self.licence));
        let Memory { weights, ref held, evaluation, decoding, available } = self.memory;
        let less = held.iter().filter(|(_, bytes)| **bytes < weights);
        let less: Vec<String> =
            less.map(|(name, bytes)| format!("{} in {name}", mb(*bytes))).collect();
        let free =
            available.map_or_else(String::new, |bytes| format!("; free here: {}", mb(bytes)));
        lines.push(format!(
            "  memory: {} for the weights ({}), about {} more for a guided evaluation and {} for decoding a picture{free}",
            mb(weights), less.join(", "), mb(evaluation), mb(decoding)
        ));
        if available.is_some_and(|free| free < weights + evaluation.max(decoding)) {
            lines.push("  this is more than is free: the model will not run well here".into());
        }
        lines
    }
}

/// Bytes of all weights, held in this format.
fn resident(files: &ModelFiles, storage: Storage) -> Result<usize> {
    Ok(files.uvit.resident(storage)?
        + files.autoencoder.resident(storage)?
        + files.text_encoder.resident(storage)?
        + files.image_encoder.resident(storage)?
        + files.caption_decoder.resident(storage)?)
}

fn component<C: Component>(part: &Part<C>) -> Result<ComponentInfo> {
    let files = part.weights.files();
    let bytes = files.iter().filter_map(|file| file.metadata().ok()).map(|m| m.len()).sum();
    let file = part.weights.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(ComponentInfo {
        name: C::FOLDER,
        parameters: part.parameters()?,
        bytes,
        precision: precision(&part.weights),
        file,
    })
}

/// The number format of most of the weights.
fn precision(weights: &WeightFile) -> String {
    let largest = weights.tensors().map(|(_, t)| t).max_by_key(|t| t.elements());
    largest.map_or_else(String::new, |tensor| format!("{:?}", tensor.element()).to_lowercase())
}

/// The licence, said plainly where it is known.
fn licence(files: &ModelFiles, parameters: usize) -> String {
    if PUBLISHED.contains(&parameters) {
        return "AGPL-3.0 (the published UniDiffuser weights; whoever offers them as a service must offer its source)"
            .into();
    }
    let entries = std::fs::read_dir(&files.folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let file = names.into_iter().find(|name| name.to_lowercase().starts_with("licen"));
    file.map_or_else(|| "not said in the folder".into(), |name| format!("see {name}"))
}

/// Memory that can be had without swapping, on Linux.
fn available() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? * 1024)
}

/// The tensors of a network.
type Tensors = Vec<(String, StoredTensor)>;

/// The tensors of every network, or what does not fit.
pub(super) fn stored_of_each(files: &ModelFiles) -> [(&'static str, Result<Tensors>); 5] {
    fn of<C: Component>(part: &Part<C>) -> (&'static str, Result<Tensors>) {
        (C::FOLDER, part.stored())
    }
    [
        of(&files.uvit),
        of(&files.autoencoder),
        of(&files.text_encoder),
        of(&files.image_encoder),
        of(&files.caption_decoder),
    ]
}

/// The tensors of every network after their names and shapes were checked.
pub(super) fn stored(files: &ModelFiles) -> Result<Vec<(&'static str, Tensors)>> {
    stored_of_each(files).into_iter().map(|(name, tensors)| Ok((name, tensors?))).collect()
}
