//! The model of the repository through Vulkan, against the CPU:
//! `cargo test --release --features vulkan --package trefoil --test vulkan`. A driver in software will do
//! (`mesa-vulkan-drivers`).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use trefoil_core::weights::Storage;
use trefoil_core::{DeviceSpec, Picture, Seed};
use unidiffuser::caption::BeamOptions;
use unidiffuser::model::{ModelFiles, UniDiffuser};
use unidiffuser::uvit::{Levels, Modalities};

/// Largest difference over the largest magnitude.
const TOLERANCE: f32 = 1e-3;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/openmoji-32")
}

/// The device, unless there is none here; what is skipped is said past the capture of the tests' output.
fn vulkan() -> Option<Device> {
    match DeviceSpec::Vulkan(0).device() {
        Ok(device) => Some(device),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "1 test skipped: {error}");
            None
        }
    }
}

fn load(device: &Device, storage: Storage) -> UniDiffuser {
    ModelFiles::open(&shipped()).unwrap().load_as(device, storage).unwrap()
}

/// Every network, by name.
fn outputs(model: &UniDiffuser) -> Vec<(&'static str, TensorData)> {
    let device = model.device();
    let normal = |name: &str| Seed(3).stream(name, 0);
    let [c, h, w] = model.latent_shape();
    let config = &model.config.uvit;
    let z: Tensor<4> = normal("z").normal_tensor([2, c, h, w], device);
    let text = [2, config.num_text_tokens, config.text_dim];
    let input = Modalities {
        z: z.clone(),
        clip: normal("clip").normal_tensor([2, 1, config.clip_img_dim], device),
        text: normal("text").normal_tensor(text, device),
    };
    let noise = model.uvit.forward(input, &Levels::uniform(2, 500.0, 300.0));
    let prompts = ["a red apple".to_string()];
    let code = model.encode_text(&prompts).unwrap();
    let picture = Picture::open(&shipped().join("examples/images/1F34E.png")).unwrap();
    let image = model.encode_images(&[picture]).unwrap();
    let tokens = Tensor::<2, Int>::from_data([[1, 5, 9]], device);
    vec![
        ("noise of the latent", noise.z.into_data()),
        ("noise of the embedding", noise.clip.into_data()),
        ("noise of the text", noise.text.into_data()),
        ("decoded picture", model.autoencoder.decode_scaled(z).into_data()),
        ("text code", code.clone().into_data()),
        ("embedding of a picture", image.clip.into_data()),
        ("logits of a caption", model.caption_decoder.logits(code, tokens).into_data()),
    ]
}

#[test]
fn every_network_computes_what_it_computes_on_the_cpu() {
    let Some(device) = vulkan() else { return };
    for storage in [Storage::F32, Storage::F16] {
        let exact = outputs(&load(&Device::flex(), storage));
        let ours = outputs(&load(&device, storage));
        for ((name, ours), (_, exact)) in ours.iter().zip(&exact) {
            let pairs = ours.iter::<f32>().zip(exact.iter::<f32>());
            let difference = pairs.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            let largest = exact.iter::<f32>().fold(0.0f32, |most, v| most.max(v.abs()));
            let ratio = difference / largest;
            assert!(ratio <= TOLERANCE, "{storage}, {name}: {ratio:e}");
            let _ = writeln!(std::io::stderr(), "{storage}, {name}: {ratio:.1e}");
        }
    }
}

#[test]
fn captions_are_those_of_the_cpu() {
    let Some(device) = vulkan() else { return };
    let prompts = ["a red apple".to_string()];
    let captions = [Device::flex(), device].map(|device| {
        let model = load(&device, Storage::F32);
        let code = model.encode_text(&prompts).unwrap();
        model.decode_text(code, &BeamOptions::default()).unwrap()
    });
    assert_eq!(captions[0], captions[1]);
}
