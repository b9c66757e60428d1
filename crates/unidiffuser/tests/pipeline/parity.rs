//! Recorded runs and codes.

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use trefoil_core::weights::WeightFile;
use trefoil_core::{Picture, Seed};
use unidiffuser::caption::BeamOptions;
use unidiffuser::mode::{Mode, Unconditional};
use unidiffuser::model::Codes;
use unidiffuser::pipeline::{NoiseKind, NoiseSource, Request, Sampling};

use crate::support::{assert_close, fixture, open, relative_error, tensor};
use crate::{largest_difference, model, parts, recorded_image, request};

/// Hands out recorded noise and checks what it is asked for.
struct Replay {
    file: WeightFile,
    kinds: Vec<NoiseKind>,
    next: usize,
}

impl Replay {
    fn new(name: &str) -> Self {
        let manifest: serde_json::Value =
            trefoil_core::fs::read_json(&fixture("manifest.json")).unwrap();
        let kinds = manifest["original"]["draws"][name].as_array().unwrap().iter().map(|kind| {
            match kind.as_str().unwrap() {
                "z" => NoiseKind::Latent,
                "clip" => NoiseKind::Clip,
                "text" => NoiseKind::Text,
                other => panic!("unknown draw {other}"),
            }
        });
        Self { file: open(&format!("original_{name}")), kinds: kinds.collect(), next: 0 }
    }
}

impl NoiseSource for Replay {
    fn samples(&self) -> usize {
        1
    }

    fn draw(&mut self, kind: NoiseKind, count: usize) -> Vec<f32> {
        assert_eq!(kind, self.kinds[self.next], "draw {}", self.next);
        let data = self.file.get(&format!("noise.{:03}", self.next)).unwrap();
        assert_eq!(data.num_elements(), count);
        self.next += 1;
        data.iter::<f32>().collect()
    }
}

fn recorded_codes(file: &WeightFile, prefix: &str) -> Codes {
    let name = format!("{prefix}.text");
    let text = file.shape(&name).unwrap().map(|_| tensor(file, &name));
    Codes { image: recorded_image(file, prefix), text }
}

/// Replays a recorded run, every task of a chain and its end against the record.
fn replay(name: &str, mode: Mode, unconditional: Unconditional, tolerance: f64) {
    let model = model();
    let request = Request { unconditional, ..request(mode) };
    let sampling = Sampling::new(&model, &request).unwrap();
    let file = open(&format!("original_{name}"));
    let mut noise = Replay::new(name);
    let mut codes = recorded_codes(&file, "cond");
    let tasks = mode.tasks();
    for (i, &task) in tasks.iter().enumerate() {
        let mut seen = Vec::new();
        codes = sampling
            .run(task, &codes, &mut noise, &mut |evaluations, _| {
                seen.push(evaluations);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(seen, [3, 6, 8], "steps of order 3, 3, 2");
        let prefix = if i + 1 == tasks.len() { "out" } else { "mid" };
        let expected = parts(recorded_codes(&file, prefix));
        let found = parts(codes.clone());
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (part, expected) in &expected {
            println!("{name} {prefix}.{part}: {:.1e}", relative_error(&found[part], expected));
            assert_close(&format!("{name} {prefix}.{part}"), &found[part], expected, tolerance);
        }
    }
    assert_eq!(noise.next, noise.kinds.len(), "every draw is used");
}

#[test]
fn text_to_image_equals_the_original() {
    replay("t2i", Mode::TextToImage, Unconditional::TrueMarginal, 1e-5);
}

#[test]
fn text_to_image_against_the_empty_text_equals_the_original() {
    replay("t2i_empty", Mode::TextToImage, Unconditional::EmptyText, 1e-5);
}

#[test]
fn image_to_text_equals_the_original() {
    replay("i2t", Mode::ImageToText, Unconditional::TrueMarginal, 1e-5);
}

#[test]
fn image_equals_the_original() {
    replay("i", Mode::Image, Unconditional::TrueMarginal, 1e-5);
}

#[test]
fn text_equals_the_original() {
    replay("t", Mode::Text, Unconditional::TrueMarginal, 1e-5);
}

#[test]
fn joint_equals_the_original() {
    replay("joint", Mode::Joint, Unconditional::TrueMarginal, 1e-3);
}

#[test]
fn image_variation_equals_the_original() {
    replay("i2t2i", Mode::ImageVariation, Unconditional::TrueMarginal, 1e-3);
}

#[test]
fn text_variation_equals_the_original() {
    replay("t2i2t", Mode::TextVariation, Unconditional::TrueMarginal, 1e-3);
}

#[test]
fn prompts_become_the_recorded_codes() {
    let codes =
        model().encode_text(&["an elephant under the sea".to_string(), String::new()]).unwrap();
    let expected = tensor::<3>(&open("original_t2i"), "cond.text");
    assert_close("prompt", &codes.clone().narrow(0, 0, 1).into_data(), &expected.into_data(), 1e-5);
    let expected = tensor::<3>(&open("original_t2i_empty"), "empty_text");
    assert_close("empty", &codes.narrow(0, 1, 1).into_data(), &expected.into_data(), 1e-5);
}

#[test]
fn pictures_become_the_recorded_codes() {
    let model = model();
    let file = open("image_side");
    let stored = |name: &str| {
        let (pixels, shape) = file.get_integers(name).unwrap();
        let pixels = pixels.into_iter().map(|v| v as u8).collect();
        Picture::new(shape[1] as u32, shape[0] as u32, pixels).unwrap()
    };
    // Pillow's resampling rounds a few pixels the other way, by one of 255.
    let raw = model.encode_images(&[stored("0.image")]).unwrap().posterior.mean;
    assert_close("mean of raw", &raw.into_data(), &file.get("0.mean").unwrap(), 2e-2);
    let picture = stored("0.orig.crop");
    let encoded = model.encode_images(std::slice::from_ref(&picture)).unwrap();
    let mean = encoded.posterior.mean.clone();
    assert_close("mean", &mean.clone().into_data(), &file.get("0.mean").unwrap(), 1e-5);
    let clip =
        TensorData::new(file.get("0.clip_embed").unwrap().iter::<f32>().collect(), [1, 1, 20]);
    assert_close("clip", &encoded.clip.clone().into_data(), &clip, 1e-5);

    // z = 0.18215 (mean + std noise), for as many samples as there is noise.
    let noise = Tensor::<4>::ones([3, 4, 8, 8], &Device::flex());
    let code = encoded.sample(noise);
    assert_eq!((code.z.dims(), code.clip.dims()), ([3, 4, 8, 8], [3, 1, 20]));
    let expected = (mean + tensor::<4>(&file, "0.std")) * 0.18215;
    assert_close("z", &code.z.narrow(0, 2, 1).into_data(), &expected.into_data(), 1e-5);

    let streams = || [Seed(3).stream("a", 0), Seed(3).stream("a", 1)];
    let both = model.encode_image(&[picture.clone(), picture.clone()], &mut streams()).unwrap();
    let one = model.encode_image(std::slice::from_ref(&picture), &mut streams()[1..]).unwrap();
    assert_close("second", &both.z.narrow(0, 1, 1).into_data(), &one.z.into_data(), 1e-5);
    assert!(model.encode_image(&[picture], &mut []).is_err());
    assert!(model.encode_images(&[]).is_err());
}

#[test]
fn codes_become_the_recorded_captions() {
    let manifest: serde_json::Value =
        trefoil_core::fs::read_json(&fixture("manifest.json")).unwrap();
    let expected: Vec<&str> = manifest["text_decoder"]["captions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|caption| caption.as_str().unwrap())
        .collect();
    let features = tensor::<3>(&open("text_decoder"), "features");
    let captions = model().decode_text(features, &BeamOptions::default()).unwrap();
    assert_eq!(captions, expected);
}

#[test]
fn latents_become_the_recorded_pictures() {
    let model = model();
    let file = open("image_side");
    let latent = tensor::<4>(&file, "0.mean") * (0.8 * 0.18215);
    let pictures = model.decode_image(Tensor::cat(vec![latent.clone(), latent], 0)).unwrap();
    let expected = Picture::from_tensor(tensor(&file, "0.decoded")).unwrap();
    assert_eq!(pictures.len(), 2);
    for picture in &pictures {
        assert!(largest_difference(picture, &expected[0]) <= 1);
    }
}
