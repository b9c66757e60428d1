//! Names of the U-ViT's tensors in the two published layouts.
//!
//! The module carries the authors' names. diffusers splits the packed attention projection in three,
//! counts the norms differently and keeps a second patch embedding that nothing uses.

use std::collections::BTreeMap;

use burn::tensor::TensorData;
use trefoil_core::weights::WeightFile;
use trefoil_core::{Error, Result};

/// Prefix of the tensors that diffusers stores and never uses.
const UNUSED: &str = "transformer.pos_embed.proj.";

/// diffusers name (prefix) and ours, outside the blocks.
const OUTER: [(&str, &str); 10] = [
    ("vae_img_in.proj.", "patch_embed.proj."),
    ("text_in.", "text_embed."),
    ("clip_img_in.", "clip_img_embed."),
    ("text_out.", "text_out."),
    ("clip_img_out.", "clip_img_out."),
    ("vae_img_out.", "decoder_pred."),
    ("transformer.norm_out.", "norm."),
    ("data_type_token_embedding.", "token_embedding."),
    ("data_type_pos_embed_token", "pos_embed_token"),
    ("pos_embed", "pos_embed"),
];

/// diffusers name (prefix) and ours, inside a block.
const INNER: [(&str, &str); 7] = [
    ("skip.skip_linear.", "skip_linear."),
    ("skip.norm.", "norm1."),
    ("attn1.to_out.0.", "attn.proj."),
    ("norm1.", "norm2."),
    ("norm3.", "norm3."),
    ("ff.net.0.proj.", "mlp.fc1."),
    ("ff.net.2.", "mlp.fc2."),
];

/// The three rows of the packed projection.
const QKV: [&str; 3] = ["attn1.to_q.weight", "attn1.to_k.weight", "attn1.to_v.weight"];

/// Where a tensor of diffusers belongs.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Whole(String),
    /// One third of a packed tensor.
    Third(String, usize),
    Unused,
    Unknown,
}

/// `transformer.transformer_in_blocks.3.` and the like: ours is `in_blocks.3.`.
fn block(name: &str) -> Option<(String, &str)> {
    let rest = name.strip_prefix("transformer.transformer_")?;
    if let Some(inner) = rest.strip_prefix("mid_block.") {
        return Some(("mid_block.".into(), inner));
    }
    let (list, rest) = rest.split_once('.')?;
    let (index, inner) = rest.split_once('.')?;
    let inner = inner.strip_prefix("block.").unwrap_or(inner);
    Some((format!("{list}.{index}."), inner))
}

fn target(name: &str) -> Target {
    if name.starts_with(UNUSED) {
        return Target::Unused;
    }
    let (prefix, inner, table): (_, _, &[(&str, &str)]) = match block(name) {
        Some((prefix, inner)) => (prefix, inner, &INNER),
        None => (String::new(), name, &OUTER),
    };
    if let Some(i) = QKV.iter().position(|key| *key == inner) {
        return Target::Third(format!("{prefix}attn.qkv.weight"), i);
    }
    let renamed = table
        .iter()
        .find_map(|(theirs, ours)| Some(format!("{prefix}{ours}{}", inner.strip_prefix(theirs)?)));
    renamed.map_or(Target::Unknown, Target::Whole)
}

/// Reads a U-ViT file in either layout and returns its tensors under the authors' names.
///
/// # Errors
/// [`Error::MissingTensors`] when a third of a packed projection is absent; unknown names are kept, so
/// that strict loading reports them.
pub fn read_uvit(file: &WeightFile) -> Result<BTreeMap<String, TensorData>> {
    let names = file.names()?;
    let mut tensors = BTreeMap::new();
    if names.iter().any(|name| name == "decoder_pred.weight") {
        for name in names {
            tensors.insert(name.clone(), file.get(&name)?);
        }
        return Ok(tensors);
    }
    let mut packed: BTreeMap<String, [Option<TensorData>; 3]> = BTreeMap::new();
    for name in names {
        match target(&name) {
            Target::Whole(ours) => {
                tensors.insert(ours, file.get(&name)?);
            }
            Target::Third(ours, i) => {
                packed.entry(ours).or_default()[i] = Some(file.get(&name)?);
            }
            Target::Unused => {}
            Target::Unknown => {
                tensors.insert(name.clone(), file.get(&name)?);
            }
        }
    }
    for (name, parts) in packed {
        let [Some(q), Some(k), Some(v)] = parts else {
            let missing = vec![format!("{} (or its k, v)", name.replace("attn.qkv", "attn1.to_q"))];
            return Err(Error::MissingTensors { path: file.path().into(), missing });
        };
        let [rows, columns] = [q.shape()[0], q.shape()[1]];
        let values: Vec<f32> = [q, k, v].iter().flat_map(|t| t.iter::<f32>()).collect();
        tensors.insert(name, TensorData::new(values, [3 * rows, columns]));
    }
    Ok(tensors)
}

/// The authors' names to those of diffusers, without its unused patch embedding's values: that one
/// gets a copy of the used one, so that diffusers finds every key that it asks for.
pub fn uvit_to_diffusers(tensors: Vec<(String, TensorData)>) -> Vec<(String, TensorData)> {
    let mut out = Vec::with_capacity(tensors.len() * 2);
    for (name, data) in tensors {
        let (prefix, inner) = split_block(&name);
        let theirs = if inner == "attn.qkv.weight" {
            let [rows, columns] = [data.shape()[0] / 3, data.shape()[1]];
            let values: Vec<f32> = data.iter::<f32>().collect();
            for (key, part) in QKV.iter().zip(values.chunks(rows * columns)) {
                out.push((
                    format!("{prefix}{key}"),
                    TensorData::new(part.to_vec(), [rows, columns]),
                ));
            }
            continue;
        } else if prefix.is_empty() {
            rename_back(&OUTER, &name)
        } else {
            let theirs = rename_back(&INNER, inner);
            // The skip projection lies beside the block of an out-block, not in it.
            let place = if theirs.starts_with("skip.") {
                prefix.trim_end_matches("block.")
            } else {
                &prefix
            };
            format!("{place}{theirs}")
        };
        if let Some(part) = name.strip_prefix("patch_embed.proj.") {
            out.push((format!("{UNUSED}{part}"), data.clone()));
        }
        out.push((theirs, data));
    }
    out
}

/// Our name split into the diffusers prefix of its block and what is inside.
fn split_block(name: &str) -> (String, &str) {
    if let Some(inner) = name.strip_prefix("mid_block.") {
        return ("transformer.transformer_mid_block.".into(), inner);
    }
    for (list, suffix) in [("in_blocks", ""), ("out_blocks", "block.")] {
        let Some(rest) = name.strip_prefix(list) else { continue };
        let Some((index, inner)) = rest.trim_start_matches('.').split_once('.') else { continue };
        return (format!("transformer.transformer_{list}.{index}.{suffix}"), inner);
    }
    (String::new(), name)
}

fn rename_back(table: &[(&str, &str)], name: &str) -> String {
    table
        .iter()
        .find_map(|(theirs, ours)| Some(format!("{theirs}{}", name.strip_prefix(ours)?)))
        .unwrap_or_else(|| name.to_string())
}
