//! Which files of a repository make up a model.
//!
//! Repositories hold the same weights several times: in the authors' files, in two formats, in other precisions and for
//! other frameworks. Of a folder of diffusers its components are taken, each in one format.

use std::collections::BTreeSet;

const SAFETENSORS: &str = ".safetensors";
/// Endings of weights of other frameworks, and of pictures and pages about a model.
const FOREIGN: [&str; 11] = [
    ".msgpack",
    ".h5",
    ".onnx",
    ".onnx_data",
    ".pb",
    ".ckpt",
    ".tflite",
    ".png",
    ".jpg",
    ".gif",
    ".ipynb",
];
/// Endings of weights, with their lists of shards.
const WEIGHTS: [&str; 4] = [SAFETENSORS, ".bin", ".pth", ".pt"];

/// The files to fetch, in the order of the repository.
pub(super) fn wanted<'a>(files: &[&'a str]) -> Vec<&'a str> {
    let is_diffusers = files.contains(&"model_index.json");
    // Folders with weights that need no other format.
    let covered: BTreeSet<&str> = files
        .iter()
        .filter(|file| has_format(file, SAFETENSORS) && !is_variant(file))
        .map(|file| folder(file))
        .collect();
    let is_wanted = |file: &&&str| {
        let hidden = file.split('/').any(|part| part.starts_with('.'));
        if hidden || FOREIGN.iter().any(|ending| file.to_lowercase().ends_with(ending)) {
            return false;
        }
        if !WEIGHTS.iter().any(|format| has_format(file, format)) {
            return true;
        }
        let outside = is_diffusers && folder(file).is_empty();
        let double = !has_format(file, SAFETENSORS) && covered.contains(folder(file));
        !outside && !double && !is_variant(file)
    };
    files.iter().filter(is_wanted).copied().collect()
}

fn folder(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Whether a file is of this format, or lists its shards.
fn has_format(file: &str, format: &str) -> bool {
    file.ends_with(format) || file.ends_with(&format!("{format}.index.json"))
}

/// Other precisions and averages of the same weights: `model.fp16.safetensors`.
fn is_variant(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    ["fp16", "bf16", "non_ema"].iter().any(|variant| name.contains(&format!(".{variant}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_diffusers_comes_in_one_format() {
        let files = [
            ".gitattributes",
            "README.md",
            "autoencoder_kl.pth",
            "caption_decoder.pth",
            "model_index.json",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
            "text_encoder/model.safetensors",
            "text_encoder/pytorch_model.bin",
            "unet/config.json",
            "unet/diffusion_pytorch_model-00001-of-00002.bin",
            "unet/diffusion_pytorch_model-00002-of-00002.bin",
            "unet/diffusion_pytorch_model.bin.index.json",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/flax_model.msgpack",
            "assets/sample.PNG",
            "clip_tokenizer/vocab.json",
            "clip_tokenizer/merges.txt",
        ];
        let expected = [
            "README.md",
            "model_index.json",
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "unet/config.json",
            "unet/diffusion_pytorch_model-00001-of-00002.bin",
            "unet/diffusion_pytorch_model-00002-of-00002.bin",
            "unet/diffusion_pytorch_model.bin.index.json",
            "clip_tokenizer/vocab.json",
            "clip_tokenizer/merges.txt",
        ];
        assert_eq!(wanted(&files), expected);
    }

    #[test]
    fn the_authors_files_are_taken_as_they_are() {
        let files =
            ["uvit_v1.pth", "autoencoder_kl.pth", "ViT-B-32.pt", "clip/config.json", "LICENSE"];
        assert_eq!(wanted(&files), files);
    }
}
