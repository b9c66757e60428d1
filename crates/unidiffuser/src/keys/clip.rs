//! The two CLIP towers, whose modules carry the names of transformers.
//!
//! A file may hold one tower or both, with or without the prefix of the tower, or be one of OpenAI's package `clip`,
//! where queries, keys and values are packed and the projections are stored transposed.

use std::collections::BTreeMap;

use trefoil_core::weights::{StoredTensor, WeightFile};
use trefoil_core::{Error, Result};

use super::{all, thirds, without_prefix};

/// How the package `clip` writes a tower.
#[derive(Clone, Copy)]
struct Package {
    /// Ours before all names of the tower.
    tower: &'static str,
    /// Theirs.
    prefix: &'static str,
    /// Names outside of the blocks, theirs and ours.
    table: &'static [(&'static str, &'static str)],
    /// The projection, which lies the other way round.
    projection: (&'static str, &'static str),
}

const TEXT: &str = "text_model.";
const TEXT_TABLE: [(&str, &str); 4] = [
    ("token_embedding.weight", "embeddings.token_embedding.weight"),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    ("ln_final.weight", "final_layer_norm.weight"),
    ("ln_final.bias", "final_layer_norm.bias"),
];

const VISION: &str = "vision_model.";
const VISION_TABLE: [(&str, &str); 7] = [
    ("conv1.weight", "embeddings.patch_embedding.weight"),
    ("class_embedding", "embeddings.class_embedding"),
    ("positional_embedding", "embeddings.position_embedding.weight"),
    // The published checkpoints spell it so.
    ("ln_pre.weight", "pre_layrnorm.weight"),
    ("ln_pre.bias", "pre_layrnorm.bias"),
    ("ln_post.weight", "post_layernorm.weight"),
    ("ln_post.bias", "post_layernorm.bias"),
];

/// Names within a block.
const BLOCK: [(&str, &str); 5] = [
    ("attn.out_proj.", "self_attn.out_proj."),
    ("ln_1.", "layer_norm1."),
    ("ln_2.", "layer_norm2."),
    ("mlp.c_fc.", "mlp.fc1."),
    ("mlp.c_proj.", "mlp.fc2."),
];

/// Numbers that `clip` stores beside the weights.
const FACTS: [&str; 4] = ["input_resolution", "context_length", "vocab_size", "logit_scale"];

/// A file with the text tower, under the names of transformers with `text_model.`; the other tower is left out.
///
/// # Errors
/// [`Error::Format`] when a packed projection has no three parts.
pub fn clip_text(file: WeightFile) -> Result<WeightFile> {
    let file = without_prefix(file, "module.");
    let file = if file.tensor("positional_embedding").is_some() {
        let projection = ("text_projection", "text_projection.weight");
        from_package(file, Package { tower: TEXT, prefix: "", table: &TEXT_TABLE, projection })?
    } else {
        with_tower(file, TEXT, "embeddings.token_embedding.weight")
    };
    Ok(file.renamed(|name| {
        let other = name.starts_with(VISION) || name.starts_with("visual");
        (!other && !is_extra(name)).then(|| name.to_string())
    }))
}

/// A file with the image tower, under the names of transformers; the other tower is left out.
///
/// # Errors
/// As [`clip_text`].
pub fn clip_vision(file: WeightFile) -> Result<WeightFile> {
    let projection = ("proj", "visual_projection.weight");
    let package = |prefix| Package { tower: VISION, prefix, table: &VISION_TABLE, projection };
    let file = without_prefix(file, "module.");
    let file = if file.tensor("visual.conv1.weight").is_some() {
        from_package(file, package("visual."))?
    } else if file.tensor("conv1.weight").is_some() {
        from_package(file, package(""))?
    } else {
        with_tower(file, VISION, "embeddings.class_embedding")
    };
    Ok(file.renamed(|name| {
        let other = name.starts_with("text_") || name.starts_with("transformer.");
        (!other && !is_extra(name)).then(|| name.to_string())
    }))
}

/// Buffers and numbers that are no weights of a tower.
fn is_extra(name: &str) -> bool {
    FACTS.contains(&name) || name.ends_with("embeddings.position_ids")
}

/// Newer files leave the prefix of the tower out; `marker` is a name that then stands alone.
fn with_tower(file: WeightFile, tower: &str, marker: &str) -> WeightFile {
    if file.tensor(marker).is_none() {
        return file;
    }
    let whole = tower.to_string();
    file.renamed(|name| {
        let inside =
            ["embeddings.", "encoder.", "final_layer_norm.", "pre_layrnorm.", "post_layernorm."];
        let inside = inside.iter().any(|start| name.starts_with(start));
        Some(if inside { format!("{tower}{name}") } else { name.to_string() })
    })
    .written_as(move |name, shape| {
        vec![(name.strip_prefix(&whole).unwrap_or(name).to_string(), shape.to_vec())]
    })
}

/// One tower of a file of the package `clip`.
fn from_package(file: WeightFile, package: Package) -> Result<WeightFile> {
    let Package { tower, prefix, table, projection } = package;
    let mut tensors: BTreeMap<String, StoredTensor> = BTreeMap::new();
    for (name, tensor) in all(&file) {
        let Some(inner) = name.strip_prefix(prefix) else {
            continue;
        };
        if prefix.is_empty() && name.starts_with("visual.") {
            continue;
        }
        if inner == projection.0 {
            let turned = tensor.transposed().unwrap_or(tensor);
            tensors.insert(projection.1.into(), turned);
            continue;
        }
        if let Some((block, part)) = block(inner) {
            let place = format!("{tower}encoder.layers.{block}.");
            if let Some(kind) = part.strip_prefix("attn.in_proj_") {
                let parts = thirds(&tensor).ok_or_else(|| {
                    Error::format(file.path(), format!("`{name}`: expected three equal parts"))
                })?;
                for (key, part) in ["q", "k", "v"].iter().zip(parts) {
                    tensors.insert(format!("{place}self_attn.{key}_proj.{kind}"), part);
                }
                continue;
            }
            let found = BLOCK
                .iter()
                .find_map(|(theirs, ours)| Some(format!("{ours}{}", part.strip_prefix(theirs)?)));
            tensors.insert(format!("{place}{}", found.as_deref().unwrap_or(part)), tensor);
            continue;
        }
        let found = table.iter().find(|(theirs, _)| *theirs == inner);
        let ours = found.map_or_else(|| name.clone(), |(_, ours)| format!("{tower}{ours}"));
        tensors.insert(ours, tensor);
    }
    Ok(file.with_tensors(tensors).written_as(move |name, shape| {
        let (name, shape) = to_package(name, shape, package);
        vec![(format!("{}{name}", package.prefix), shape)]
    }))
}

/// Name, without the prefix of the tower, and shape in the package `clip` of what is called `name` here.
fn to_package(name: &str, shape: &[usize], package: Package) -> (String, Vec<usize>) {
    let mut shape = shape.to_vec();
    if name == package.projection.1 {
        shape.reverse();
        return (package.projection.0.to_string(), shape);
    }
    let Some(inner) = name.strip_prefix(package.tower) else { return (name.to_string(), shape) };
    if let Some((theirs, _)) = package.table.iter().find(|(_, ours)| *ours == inner) {
        return ((*theirs).to_string(), shape);
    }
    let place = inner.strip_prefix("encoder.layers.").and_then(|rest| rest.split_once('.'));
    let Some((block, part)) = place else { return (name.to_string(), shape) };
    for projection in ["self_attn.q_proj.", "self_attn.k_proj.", "self_attn.v_proj."] {
        if let Some(kind) = part.strip_prefix(projection) {
            shape[0] *= 3;
            return (format!("transformer.resblocks.{block}.attn.in_proj_{kind}"), shape);
        }
    }
    let found = BLOCK
        .iter()
        .find_map(|(theirs, ours)| Some(format!("{theirs}{}", part.strip_prefix(ours)?)));
    (format!("transformer.resblocks.{block}.{}", found.as_deref().unwrap_or(part)), shape)
}

/// Number of a block, and what is inside.
fn block(name: &str) -> Option<(usize, &str)> {
    let (index, inner) = name.strip_prefix("transformer.resblocks.")?.split_once('.')?;
    Some((index.parse().ok()?, inner))
}
