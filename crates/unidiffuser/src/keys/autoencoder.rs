//! The autoencoder, whose module carries the present names of diffusers.
//!
//! The authors' file has the names of Stable Diffusion: levels are numbered from the finest on both sides, and the
//! attention's matrices are 1x1 convolutions. Files of diffusers from before 2023 have other names in the attention.

use std::collections::BTreeMap;

use trefoil_core::weights::{StoredTensor, WeightFile};

use super::{all, without_prefix};

/// Names within the attention block: the authors', those of old diffusers, and ours.
const ATTENTION: [([&str; 2], &str); 5] = [
    (["norm", "group_norm"], "group_norm"),
    (["q", "query"], "to_q"),
    (["k", "key"], "to_k"),
    (["v", "value"], "to_v"),
    (["proj_out", "proj_attn"], "to_out.0"),
];

/// Ends of the names of the attention's queries in all layouts.
const QUERIES: [&str; 3] =
    ["attn_1.q.weight", "attentions.0.query.weight", "attentions.0.to_q.weight"];

/// An autoencoder file in any layout, under the names of diffusers.
pub fn autoencoder(file: WeightFile) -> WeightFile {
    let file = without_prefix(file, "module.");
    let levels = levels(&file);
    let is_old = file.tensors().any(|(name, _)| name.contains(".attentions.0.query."));
    // Matrices of the attention, which are 1x1 convolutions in some files.
    let is_query = |name: &str| QUERIES.iter().any(|end| name.ends_with(end));
    let query = file.tensors().find(|(name, _)| is_query(name));
    let axes = query.map_or(2, |(_, tensor)| tensor.shape().len());
    let mut tensors = BTreeMap::new();
    for (name, tensor) in all(&file) {
        let name = to_diffusers(&name, levels);
        let is_matrix = name.contains(".attentions.") && tensor.shape().len() == 4;
        let tensor = if is_matrix { tensor.with_axes(2).unwrap_or(tensor) } else { tensor };
        tensors.insert(name, tensor);
    }
    file.with_tensors(tensors).written_as(move |name, shape| {
        let mut shape = shape.to_vec();
        if name.contains(".attentions.") && shape.len() == 2 {
            shape.resize(axes.max(2), 1);
        }
        let name = if levels > 0 {
            to_original(name, levels)
        } else if is_old {
            to_old_diffusers(name)
        } else {
            name.to_string()
        };
        vec![(name, shape)]
    })
}

/// The names that diffusers had before 2023.
fn to_old_diffusers(name: &str) -> String {
    let Some((place, inner)) = name.split_once(".attentions.0.") else { return name.to_string() };
    let found = ATTENTION.iter().find_map(|([_, old], ours)| {
        let rest = inner.strip_prefix(ours)?.strip_prefix('.')?;
        Some(format!("{place}.attentions.0.{old}.{rest}"))
    });
    found.unwrap_or_else(|| name.to_string())
}

/// Our names to the authors', with convolutions in the attention.
pub fn autoencoder_to_original(
    tensors: Vec<(String, StoredTensor)>,
    levels: usize,
) -> Vec<(String, StoredTensor)> {
    let rename = |(name, tensor): (String, StoredTensor)| {
        let is_matrix = name.contains(".attentions.") && tensor.shape().len() == 2;
        let tensor = if is_matrix { tensor.with_axes(4).unwrap_or(tensor) } else { tensor };
        (to_original(&name, levels), tensor)
    };
    tensors.into_iter().map(rename).collect()
}

/// Number of levels, as the authors' names count them.
fn levels(file: &WeightFile) -> usize {
    let level = |name: &str| -> Option<usize> {
        name.strip_prefix("encoder.down.")?.split('.').next()?.parse().ok()
    };
    file.tensors().filter_map(|(name, _)| level(name)).max().map_or(0, |last| last + 1)
}

/// The other end of the levels, where it exists.
fn opposite(level: &str, levels: usize) -> Option<String> {
    Some((levels.checked_sub(1)?.checked_sub(level.parse().ok()?)?).to_string())
}

fn to_diffusers(name: &str, levels: usize) -> String {
    let Some((side, rest)) = name.split_once('.') else { return name.to_string() };
    let parts: Vec<&str> = rest.split('.').collect();
    let up = |level: &str| opposite(level, levels);
    let (place, rest) = match parts.as_slice() {
        ["down", i, "block", j, rest @ ..] => (format!("down_blocks.{i}.resnets.{j}"), rest),
        ["down", i, "downsample", rest @ ..] => (format!("down_blocks.{i}.downsamplers.0"), rest),
        ["up", i, "block", j, rest @ ..] if let Some(i) = up(i) => {
            (format!("up_blocks.{i}.resnets.{j}"), rest)
        }
        ["up", i, "upsample", rest @ ..] if let Some(i) = up(i) => {
            (format!("up_blocks.{i}.upsamplers.0"), rest)
        }
        ["mid", "block_1", rest @ ..] => ("mid_block.resnets.0".into(), rest),
        ["mid", "block_2", rest @ ..] => ("mid_block.resnets.1".into(), rest),
        ["mid", "attn_1", rest @ ..] | ["mid_block", "attentions", "0", rest @ ..] => {
            let Some((inner, rest)) = rest.split_first() else { return name.to_string() };
            let found = ATTENTION.iter().find(|(theirs, _)| theirs.contains(inner));
            let inner = found.map_or(*inner, |(_, ours)| ours);
            (format!("mid_block.attentions.0.{inner}"), rest)
        }
        ["norm_out", rest @ ..] => ("conv_norm_out".into(), rest),
        _ => return name.to_string(),
    };
    let rest = rest.join(".").replace("nin_shortcut", "conv_shortcut");
    format!("{side}.{place}.{rest}")
}

fn to_original(name: &str, levels: usize) -> String {
    let Some((side, rest)) = name.split_once('.') else { return name.to_string() };
    let parts: Vec<&str> = rest.split('.').collect();
    let up = |level: &str| opposite(level, levels);
    let (place, rest) = match parts.as_slice() {
        ["down_blocks", i, "resnets", j, rest @ ..] => (format!("down.{i}.block.{j}"), rest),
        ["down_blocks", i, "downsamplers", "0", rest @ ..] => {
            (format!("down.{i}.downsample"), rest)
        }
        ["up_blocks", i, "resnets", j, rest @ ..] if let Some(i) = up(i) => {
            (format!("up.{i}.block.{j}"), rest)
        }
        ["up_blocks", i, "upsamplers", "0", rest @ ..] if let Some(i) = up(i) => {
            (format!("up.{i}.upsample"), rest)
        }
        ["mid_block", "resnets", "0", rest @ ..] => ("mid.block_1".into(), rest),
        ["mid_block", "resnets", "1", rest @ ..] => ("mid.block_2".into(), rest),
        ["mid_block", "attentions", "0", "to_out", "0", rest @ ..] => {
            ("mid.attn_1.proj_out".into(), rest)
        }
        ["mid_block", "attentions", "0", inner, rest @ ..] => {
            let found = ATTENTION.iter().find(|(_, ours)| ours == inner);
            let inner = found.map_or(*inner, |(theirs, _)| theirs[0]);
            (format!("mid.attn_1.{inner}"), rest)
        }
        ["conv_norm_out", rest @ ..] => ("norm_out".into(), rest),
        _ => return name.to_string(),
    };
    format!("{side}.{place}.{}", rest.join(".").replace("conv_shortcut", "nin_shortcut"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (original, diffusers) in [
            ("encoder.conv_in.weight", "encoder.conv_in.weight"),
            (
                "encoder.down.1.block.0.nin_shortcut.bias",
                "encoder.down_blocks.1.resnets.0.conv_shortcut.bias",
            ),
            (
                "encoder.down.0.downsample.conv.weight",
                "encoder.down_blocks.0.downsamplers.0.conv.weight",
            ),
            ("decoder.up.3.block.2.norm1.weight", "decoder.up_blocks.0.resnets.2.norm1.weight"),
            ("decoder.up.1.upsample.conv.bias", "decoder.up_blocks.2.upsamplers.0.conv.bias"),
            ("decoder.mid.block_2.conv1.weight", "decoder.mid_block.resnets.1.conv1.weight"),
            ("encoder.mid.attn_1.norm.bias", "encoder.mid_block.attentions.0.group_norm.bias"),
            ("encoder.mid.attn_1.q.weight", "encoder.mid_block.attentions.0.to_q.weight"),
            ("decoder.mid.attn_1.proj_out.bias", "decoder.mid_block.attentions.0.to_out.0.bias"),
            ("decoder.norm_out.weight", "decoder.conv_norm_out.weight"),
            ("quant_conv.weight", "quant_conv.weight"),
        ] {
            assert_eq!(to_diffusers(original, 4), diffusers);
            assert_eq!(to_original(diffusers, 4), original);
            assert_eq!(to_diffusers(diffusers, 0), diffusers);
        }
        let old = "decoder.mid_block.attentions.0.proj_attn.weight";
        assert_eq!(to_diffusers(old, 0), "decoder.mid_block.attentions.0.to_out.0.weight");
        assert_eq!(to_old_diffusers(&to_diffusers(old, 0)), old);
        let old = "encoder.mid_block.attentions.0.value.bias";
        assert_eq!(to_diffusers(old, 0), "encoder.mid_block.attentions.0.to_v.bias");
        assert_eq!(to_old_diffusers(&to_diffusers(old, 0)), old);
        assert_eq!(to_old_diffusers("encoder.conv_in.weight"), "encoder.conv_in.weight");
        // A level that does not exist keeps its name, so that it is reported.
        assert_eq!(to_diffusers("decoder.up.9.block.0.x", 4), "decoder.up.9.block.0.x");
    }
}
