//! Whole models: their folders and all of their tensors.

use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;
use trefoil_core::{fs, params};
use unidiffuser::model::UniDiffuser;

/// All tensors of all networks, with the network's name in front.
pub(crate) fn tensors(model: &UniDiffuser) -> Vec<(String, TensorData)> {
    fn of<M: Module>(name: &'static str, module: &M) -> Vec<(String, TensorData)> {
        params::export(module).into_iter().map(|(n, data)| (format!("{name}.{n}"), data)).collect()
    }
    [
        of("uvit", &model.uvit),
        of("autoencoder", &model.autoencoder),
        of("text_encoder", &model.text_encoder),
        of("image_encoder", &model.image_encoder),
        of("caption_decoder", &model.caption_decoder),
    ]
    .concat()
}

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
