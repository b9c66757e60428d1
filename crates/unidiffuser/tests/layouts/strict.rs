//! What does not fit is reported under the names and shapes that the file has, in every layout.

use std::collections::BTreeMap;

use burn::tensor::{Device, TensorData};
use trefoil_core::weights::{Precision, WeightFile, save};
use trefoil_core::{Error, fs};
use unidiffuser::autoencoder::Autoencoder;
use unidiffuser::caption::CaptionDecoder;
use unidiffuser::clip::ClipVision;
use unidiffuser::folder::{Component, Part};
use unidiffuser::keys;
use unidiffuser::model::ModelFiles;
use unidiffuser::uvit::UVit;

use super::{copy_folder, layout};

/// All tensors of a file by name.
type Tensors = BTreeMap<String, TensorData>;

/// What loading says about a weight file of the fixtures after `change`.
fn refused<C: Component>(
    path: &str,
    config: &C::Config,
    change: impl FnOnce(&mut Tensors),
) -> Error {
    let file = WeightFile::open(&layout(path)).unwrap();
    let floats = file.tensors().filter(|(_, tensor)| tensor.element().is_float());
    let mut tensors: Tensors =
        floats.map(|(name, tensor)| (name.to_string(), tensor.read().unwrap())).collect();
    change(&mut tensors);
    let dir = tempfile::tempdir().unwrap();
    let changed = dir.path().join("changed.safetensors");
    save(&changed, &tensors.into_iter().collect::<Vec<_>>(), Precision::F32, BTreeMap::new())
        .unwrap();
    let file = WeightFile::open(&changed).unwrap();
    let part = Part::<C>::new(config.clone(), file, "config.json".into()).unwrap();
    part.load(&Device::flex()).unwrap_err()
}

fn zeros(shape: &[usize]) -> TensorData {
    TensorData::zeros::<f32, _>(shape.to_vec())
}

/// Missing, unexpected and misshapen tensors of an error, each as one text.
fn lists(error: &Error) -> [Vec<String>; 3] {
    match error {
        Error::TensorMismatch { missing, unexpected, misshapen, .. } => [
            missing.iter().map(|t| format!("{} {:?}", t.name, t.shape)).collect(),
            unexpected.iter().map(|t| format!("{} {:?}", t.name, t.shape)).collect(),
            misshapen
                .iter()
                .map(|t| format!("{} {:?} {:?}", t.name, t.expected, t.found))
                .collect(),
        ],
        Error::TensorShape { name, expected, found, .. } => {
            [vec![], vec![], vec![format!("{name} {expected:?} {found:?}")]]
        }
        other => panic!("{other}"),
    }
}

const UNET: &str = "diffusers/unet/diffusion_pytorch_model.safetensors";
const BLOCK: &str = "transformer.transformer_in_blocks.0.";

#[test]
fn a_noise_predictor_of_diffusers_keeps_its_names_in_messages() {
    let config = ModelFiles::open(&layout("diffusers")).unwrap().uvit.config;
    let error = refused::<UVit>(UNET, &config, |tensors| {
        for name in ["attn1.to_q.weight", "norm1.weight"] {
            tensors.remove(&format!("{BLOCK}{name}")).unwrap();
        }
        tensors.remove("transformer.transformer_mid_block.attn1.to_k.weight").unwrap();
        tensors.remove("vae_img_in.proj.bias").unwrap();
        tensors.insert("transformer.transformer_in_blocks.7.norm1.weight".into(), zeros(&[16]));
        tensors.insert("extra".into(), zeros(&[2, 3]));
        tensors.insert("text_in.weight".into(), zeros(&[6, 16]));
    });
    let [missing, unexpected, misshapen] = lists(&error);
    assert_eq!(
        missing,
        [
            format!("{BLOCK}attn1.to_q.weight [16, 16]"),
            format!("{BLOCK}norm1.weight [16]"),
            "transformer.transformer_mid_block.attn1.to_k.weight [16, 16]".into(),
            "vae_img_in.proj.bias [16]".into(),
        ]
    );
    assert_eq!(
        unexpected,
        ["extra [2, 3]", "transformer.transformer_in_blocks.7.norm1.weight [16]"]
    );
    assert_eq!(misshapen, ["text_in.weight [16, 6] [6, 16]"]);
    let text = error.to_string();
    for part in
        ["it lacks 4 tensor(s): ", "it has 2 unexpected tensor(s): `extra` (found shape [2, 3])"]
    {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

#[test]
fn a_third_of_a_projection_in_another_shape_is_named() {
    let config = ModelFiles::open(&layout("diffusers")).unwrap().uvit.config;
    let name = format!("{BLOCK}attn1.to_v.weight");
    let error = refused::<UVit>(UNET, &config, |tensors| {
        tensors.insert(name.clone(), zeros(&[8, 16]));
    });
    assert_eq!(lists(&error), [vec![], vec![], vec![format!("{name} [16, 16] [8, 16]")]]);
}

#[test]
fn long_lists_are_counted_in_the_message_and_complete_in_the_error() {
    let config = ModelFiles::open(&layout("diffusers")).unwrap().uvit.config;
    let error = refused::<UVit>(UNET, &config, |tensors| {
        tensors.retain(|name, _| !name.contains("in_blocks") && !name.contains("out_blocks"));
    });
    let [missing, ..] = lists(&error);
    assert!(missing.len() > 20, "{missing:?}");
    assert!(error.to_string().contains(&format!("and {} more", missing.len() - 20)), "{error}");
}

#[test]
fn the_authors_files_keep_their_names_in_messages() {
    let files = ModelFiles::open(&layout("authors")).unwrap();
    let path = "authors/autoencoder_kl.pth";
    let error = refused::<Autoencoder>(path, &files.autoencoder.config, |tensors| {
        tensors.remove("decoder.mid.attn_1.q.weight").unwrap();
        tensors.remove("encoder.norm_out.bias").unwrap();
    });
    let [missing, ..] = lists(&error);
    assert_eq!(missing[0], "decoder.mid.attn_1.q.weight [8, 8, 1, 1]");
    assert!(missing[1].starts_with("encoder.norm_out.bias ["), "{missing:?}");

    let path = "authors/caption_decoder.pth";
    let error = refused::<CaptionDecoder>(path, &files.caption_decoder.config, |tensors| {
        tensors.remove("module.gpt.transformer.h.0.ln_1.bias").unwrap();
        tensors.remove("module.encode_prefix.bias").unwrap();
    });
    let [missing, ..] = lists(&error);
    assert_eq!(
        missing,
        ["module.encode_prefix.bias [6]", "module.gpt.transformer.h.0.ln_1.bias [12]"]
    );

    let error = refused::<UVit>("authors/uvit_v1.pth", &files.uvit.config, |tensors| {
        tensors.remove("in_blocks.0.attn.qkv.weight").unwrap();
        tensors.remove("decoder_pred.bias").unwrap();
    });
    let [missing, ..] = lists(&error);
    assert_eq!(missing[1], "in_blocks.0.attn.qkv.weight [48, 16]");
    assert!(missing[0].starts_with("decoder_pred.bias ["), "{missing:?}");
}

#[test]
fn the_package_of_clip_keeps_its_names_in_messages() {
    let config = ModelFiles::open(&layout("authors")).unwrap().image_encoder.config;
    let path = "authors/ViT-B-32.pt";
    let error = refused::<ClipVision>(path, &config, |tensors| {
        let block = "visual.transformer.resblocks.0.";
        for name in ["attn.in_proj_weight", "mlp.c_fc.bias"] {
            tensors.remove(&format!("{block}{name}")).unwrap();
        }
        tensors.remove("visual.ln_post.bias").unwrap();
        tensors.remove("visual.proj").unwrap();
    });
    let [missing, unexpected, misshapen] = lists(&error);
    assert_eq!(
        missing,
        [
            "visual.ln_post.bias [24]",
            "visual.proj [24, 10]",
            "visual.transformer.resblocks.0.attn.in_proj_weight [72, 24]",
            "visual.transformer.resblocks.0.mlp.c_fc.bias [32]",
        ]
    );
    assert!(unexpected.is_empty() && misshapen.is_empty(), "{error}");
}

#[test]
fn a_head_that_is_not_the_token_table_is_no_silence() {
    let config = ModelFiles::open(&layout("diffusers")).unwrap().caption_decoder.config;
    let path = "diffusers/text_decoder/diffusion_pytorch_model.safetensors";
    let error = refused::<CaptionDecoder>(path, &config, |tensors| {
        tensors.insert("transformer.lm_head.weight".into(), zeros(&[3, 3]));
    });
    assert_eq!(lists(&error)[1], ["transformer.lm_head.weight [3, 3]"]);
    let file = WeightFile::open(&layout(path)).unwrap();
    assert!(!keys::has_untied_head(&file));
    let table = file.tensor("decode_prefix.weight").unwrap().clone();
    let mut tensors: BTreeMap<_, _> =
        file.tensors().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    tensors.insert("transformer.lm_head.weight".into(), table);
    assert!(keys::has_untied_head(&file.with_tensors(tensors)));
}

/// diffusers calls the list of shards of a variant `NAME.index.VARIANT.json`.
#[test]
fn shards_of_a_variant_are_found() {
    let dir = tempfile::tempdir().unwrap();
    copy_folder(&layout("diffusers"), dir.path());
    let folder = dir.path().join("unet");
    let shard = "diffusion_pytorch_model.fp16-00001-of-00001.safetensors";
    let whole = folder.join("diffusion_pytorch_model.safetensors");
    let file = WeightFile::open(&whole).unwrap();
    let map: BTreeMap<String, &str> =
        file.names().unwrap().into_iter().map(|n| (n, shard)).collect();
    drop(file);
    std::fs::rename(whole, folder.join(shard)).unwrap();
    let absent = UVit::open(dir.path()).unwrap_err().to_string();
    assert!(
        absent.contains("unet: expected one of diffusion_pytorch_model.safetensors, "),
        "{absent}"
    );
    let index = serde_json::json!({"metadata": {}, "weight_map": map});
    fs::write_json(&folder.join("diffusion_pytorch_model.safetensors.index.fp16.json"), &index)
        .unwrap();
    let part = UVit::open(dir.path()).unwrap();
    assert_eq!(part.stored().unwrap().len(), part.weights.names().unwrap().len());
}
