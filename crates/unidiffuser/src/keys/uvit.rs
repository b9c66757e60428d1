//! The U-ViT, whose module carries the authors' names.
//!
//! diffusers splits the packed attention projection in three,
//! counts the norms differently and keeps a second patch embedding that nothing uses.

use std::collections::BTreeMap;

use trefoil_core::weights::{StoredTensor, WeightFile};

use super::{Rows, all, thirds, without_prefix};

/// Prefix of the tensors that diffusers stores and never uses.
const UNUSED: &str = "transformer.pos_embed.proj.";

/// Prefix of the blocks in diffusers, which the authors' file has not.
const BLOCKS: &str = "transformer.";

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

/// A U-ViT file in either layout, under the authors' names. Thirds of a packed projection that do not make a whole keep
/// theirs.
pub fn uvit(file: WeightFile) -> WeightFile {
    let file = without_prefix(file, "module.");
    if !file.tensors().any(|(name, _)| name.starts_with(BLOCKS)) {
        return file;
    }
    let mut tensors = BTreeMap::new();
    let mut packed: BTreeMap<String, [Option<StoredTensor>; 3]> = BTreeMap::new();
    for (name, tensor) in all(&file) {
        match target(&name) {
            Target::Whole(ours) => drop(tensors.insert(ours, tensor)),
            Target::Third(ours, i) => packed.entry(ours).or_default()[i] = Some(tensor),
            Target::Unused => {}
            Target::Unknown => drop(tensors.insert(name, tensor)),
        }
    }
    for (name, parts) in packed {
        if let [Some(q), Some(k), Some(v)] = &parts
            && q.shape() == k.shape()
            && k.shape() == v.shape()
            && let Some(stacked) = StoredTensor::stack(&[q.clone(), k.clone(), v.clone()])
        {
            tensors.insert(name, stacked);
            continue;
        }
        let parts = parts.into_iter().flatten();
        tensors.extend(parts.map(|part| (part.origins().concat(), part)));
    }
    file.with_tensors(tensors).written_as(|name, shape| {
        let parts = uvit_to_diffusers(vec![(name.to_string(), shape.to_vec())]);
        parts.into_iter().filter(|(name, _)| !name.starts_with(UNUSED)).collect()
    })
}

/// The authors' names to those of diffusers.
///
/// The patch embedding that diffusers never uses becomes a copy of the used one, so that diffusers finds every key
/// that it asks for.
pub fn uvit_to_diffusers<T: Rows>(tensors: Vec<(String, T)>) -> Vec<(String, T)> {
    let mut out = Vec::with_capacity(tensors.len() * 2);
    for (name, tensor) in tensors {
        let (prefix, inner) = split_block(&name);
        if inner == "attn.qkv.weight"
            && let Some(parts) = thirds(&tensor)
        {
            out.extend(QKV.iter().map(|key| format!("{prefix}{key}")).zip(parts));
            continue;
        }
        let theirs = if prefix.is_empty() {
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
            out.push((format!("{UNUSED}{part}"), tensor.clone()));
        }
        out.push((theirs, tensor));
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
