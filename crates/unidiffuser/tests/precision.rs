//! The model of the repository with its weights in 16 and 8 bits, against the same weights in f32.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use trefoil_core::weights::Storage;
use trefoil_core::{Picture, Seed};
use trefoil_diffusion::{GuidanceScale, SolverConfig};
use unidiffuser::mode::Mode;
use unidiffuser::model::{ModelFiles, UniDiffuser};
use unidiffuser::pipeline::Request;
use unidiffuser::uvit::{Levels, Modalities};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/openmoji-32")
}

fn load(storage: Storage) -> UniDiffuser {
    ModelFiles::open(&shipped()).unwrap().load_as(&Device::flex(), storage).unwrap()
}

/// Root of the mean square of the difference, over that of `exact`.
fn error<const D: usize>(ours: Tensor<D>, exact: Tensor<D>) -> f32 {
    let power = |x: Tensor<D>| x.square().mean().into_scalar::<f32>();
    (power(ours - exact.clone()) / power(exact)).sqrt()
}

/// Noise, a decoded picture and hidden states of the text tower.
fn outputs(model: &UniDiffuser) -> (Modalities, Tensor<4>, Tensor<3>) {
    let device = Device::flex();
    let normal = |name: &str| Seed(3).stream(name, 0);
    let [c, h, w] = model.latent_shape();
    let config = &model.config.uvit;
    let z = normal("z").normal_tensor([1, c, h, w], &device);
    let input = Modalities {
        z: z.clone(),
        clip: normal("clip").normal_tensor([1, 1, config.clip_img_dim], &device),
        text: normal("text").normal_tensor([1, config.num_text_tokens, config.text_dim], &device),
    };
    let noise = model.uvit.forward(input, &Levels::uniform(1, 500.0, 300.0));
    let picture = model.autoencoder.decode_scaled(z);
    (noise, picture, model.encode_text(&["a red apple".to_string()]).unwrap())
}

#[test]
fn every_network_stays_within_its_bounds() {
    let exact = outputs(&load(Storage::F32));
    // The files are in half precision, so holding them in it changes nothing at all.
    for (storage, bound) in [(Storage::F16, 0.0), (Storage::Bf16, 0.02), (Storage::Int8, 0.03)] {
        let model = load(storage);
        assert_eq!(model.storage, storage);
        let ours = outputs(&model);
        let errors = [
            error(ours.0.z, exact.0.z.clone()),
            error(ours.0.clip, exact.0.clip.clone()),
            error(ours.0.text, exact.0.text.clone()),
            error(ours.1, exact.1.clone()),
            error(ours.2, exact.2.clone()),
        ];
        assert!(errors.iter().all(|&e| e <= bound), "{storage}: {errors:?}");
        let changed = errors.iter().all(|&e| e > 0.0);
        assert_eq!(changed, storage != Storage::F16, "{storage}: {errors:?}");
    }
}

/// Drawing and describing work from end to end, and what is described stays the same.
#[test]
fn pictures_and_captions_are_made_in_every_format() {
    let picture = Picture::open(&shipped().join("examples/images/1F34E.png")).unwrap();
    for storage in Storage::ALL {
        let model = load(storage);
        let request = |mode| Request {
            solver: SolverConfig { steps: 20, ..SolverConfig::default() },
            guidance: GuidanceScale::new(3.0).unwrap(),
            seed: Seed(0),
            ..Request::new(mode)
        };
        let run = |request: &Request| {
            model.generate(request, &mut |_| ControlFlow::Continue(())).unwrap().remove(0)
        };
        let towards = request(Mode::ImageToText);
        let text = run(&Request { image: Some(picture.clone()), ..towards }).text.unwrap();
        assert_eq!(text, "red apple", "{storage}");
        let towards = request(Mode::TextToImage);
        let drawn = run(&Request { prompt: Some("red apple".into()), ..towards }).image.unwrap();
        let sums = drawn
            .pixels()
            .chunks_exact(3)
            .fold([0u64; 3], |sums, pixel| std::array::from_fn(|i| sums[i] + u64::from(pixel[i])));
        // Something red on white.
        assert!(sums[0] > sums[1] + sums[1] / 20 && sums[0] > sums[2], "{storage}: {sums:?}");
    }
}
