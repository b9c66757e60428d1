//! The caption decoder, whose module carries the names of diffusers.
//!
//! In the authors' file GPT-2 lies below `gpt.`, everything below `module.`, and the frozen CLIP model that the
//! decoder was trained with below `clip`. Old files hold causal masks. The output head is the token table; a file has
//! both, or either.

use trefoil_core::weights::{StoredTensor, WeightFile};

use super::{all, without_prefix};

const GPT: &str = "transformer.";
const AUTHORS_GPT: &str = "gpt.";
const TABLE: &str = "transformer.transformer.wte.weight";
const HEAD: &str = "transformer.lm_head.weight";

/// A file of the caption decoder in either layout, under the names of diffusers.
pub fn caption_decoder(file: WeightFile) -> WeightFile {
    let file = without_prefix(file, "module.");
    let is_authors = file.tensors().any(|(name, _)| name.starts_with(AUTHORS_GPT));
    let file = file.renamed(|name| match name.strip_prefix(AUTHORS_GPT) {
        _ if name.starts_with("clip") || is_mask(name) => None,
        Some(rest) => Some(format!("{GPT}{rest}")),
        None => Some(name.to_string()),
    });
    let mut tensors = all(&file);
    if let Some(head) = tensors.remove(HEAD) {
        // A head of another shape is none that is tied to the table: it stays, and is reported.
        match tensors.get(TABLE) {
            Some(table) if table.shape() != head.shape() => drop(tensors.insert(HEAD.into(), head)),
            Some(_) => {}
            None => drop(tensors.insert(TABLE.into(), head)),
        }
    }
    let file = file.with_tensors(tensors);
    if !is_authors {
        return file;
    }
    file.written_as(|name, shape| {
        let name = match name.strip_prefix(GPT) {
            Some(rest) => format!("{AUTHORS_GPT}{rest}"),
            None => name.to_string(),
        };
        vec![(name, shape.to_vec())]
    })
}

/// Whether the output head of a file in either layout is another matrix than its token table, to which it should be tied.
/// Reads both.
pub fn has_untied_head(file: &WeightFile) -> bool {
    let find = |end: &str| file.tensors().find(|(name, _)| name.ends_with(end)).map(|(_, t)| t);
    match (find("wte.weight"), find("lm_head.weight")) {
        (Some(table), Some(head)) => table.read() != head.read(),
        _ => false,
    }
}

/// Our names to the authors', with the tied head.
pub fn caption_decoder_to_original(
    tensors: Vec<(String, StoredTensor)>,
) -> Vec<(String, StoredTensor)> {
    let rename = |name: &str| match name.strip_prefix(GPT) {
        Some(rest) => format!("module.gpt.{rest}"),
        None => format!("module.{name}"),
    };
    let head = tensors.iter().find(|(name, _)| name == TABLE);
    let head = head.map(|(_, table)| (rename(HEAD), table.clone()));
    tensors.into_iter().map(|(name, tensor)| (rename(&name), tensor)).chain(head).collect()
}

/// Our names to those of diffusers, which has the token table a second time as the output head: a file without it leaves
/// some of its versions with a random head.
pub fn with_head<T: Clone>(mut tensors: Vec<(String, T)>) -> Vec<(String, T)> {
    let table = tensors.iter().find(|(name, _)| name == TABLE).map(|(_, table)| table.clone());
    tensors.extend(table.map(|table| (HEAD.to_string(), table)));
    tensors
}

/// `h.N.attn.bias` and `h.N.attn.masked_bias`: buffers, not weights.
fn is_mask(name: &str) -> bool {
    let in_block = name.contains(".h.");
    in_block && (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"))
}
