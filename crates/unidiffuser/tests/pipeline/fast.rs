//! The fast tests that the pipeline of diffusers had, by shape: every width is 32, two steps, guidance 6.
//!
//! Their numbers belong to weights that are not here. What is left of them: which modes work in both versions, with
//! guidance and without, from given starting noise and from drawn noise; how many pictures and captions of which size
//! come out; and that a batch of samples equals single ones within 2e-4.

use std::ops::ControlFlow;

use burn::tensor::{Device, TensorData};
use trefoil_core::nn::{Activation, Init};
use trefoil_core::{Picture, Seed};
use trefoil_diffusion::{GuidanceScale, SolverKind};
use unidiffuser::autoencoder::AutoencoderConfig;
use unidiffuser::caption::{BeamOptions, CaptionDecoderConfig};
use unidiffuser::clip::{ClipTextConfig, ClipVisionConfig};
use unidiffuser::mode::{Mode, Task};
use unidiffuser::model::{Codes, ModelConfig, UniDiffuser};
use unidiffuser::pipeline::{
    Generated, NoiseKind, NoiseSource, Procedure, Request, Sampling, Streams,
};
use unidiffuser::tokenizer::{Flavour, Tokenizer};
use unidiffuser::uvit::UVitConfig;

use crate::support::{assert_close, fixture};
use crate::{keep_going, parts};

fn model(version: u32) -> UniDiffuser {
    let uvit = UVitConfig {
        sample_size: 16,
        embed_dim: 32,
        num_layers: 4,
        num_heads: 4,
        text_dim: 32,
        clip_img_dim: 32,
        use_data_type_embedding: version == 1,
        ..UVitConfig::default()
    };
    let autoencoder = AutoencoderConfig {
        block_out_channels: vec![32, 64],
        layers_per_block: 1,
        sample_size: 32,
        ..AutoencoderConfig::default()
    };
    let text_encoder = ClipTextConfig {
        vocab_size: 1000,
        hidden_size: 32,
        intermediate_size: 37,
        num_hidden_layers: 5,
        num_attention_heads: 4,
        eos_token_id: 603,
        ..ClipTextConfig::default()
    };
    let image_encoder = ClipVisionConfig {
        image_size: 32,
        patch_size: 2,
        hidden_size: 32,
        intermediate_size: 37,
        num_hidden_layers: 5,
        num_attention_heads: 4,
        projection_dim: 32,
        ..ClipVisionConfig::default()
    };
    let caption_decoder = CaptionDecoderConfig {
        prefix_inner_dim: 32,
        prefix_hidden_dim: 32,
        vocab_size: 1025,
        n_embd: 32,
        n_layer: 5,
        n_head: 4,
        n_inner: Some(37),
        activation_function: Activation::Gelu,
        ..CaptionDecoderConfig::default()
    };
    let config = ModelConfig {
        uvit,
        autoencoder,
        text_encoder,
        image_encoder,
        caption_decoder,
        ..ModelConfig::default()
    };
    let tokens =
        |folder, flavour| Tokenizer::open(&fixture("hf-v1").join(folder), flavour).unwrap();
    let mut init = Init::random(Seed(0), &Device::flex());
    let clip = tokens("clip_tokenizer", Flavour::Clip);
    config.init(&mut init, clip, tokens("text_tokenizer", Flavour::Gpt2)).unwrap()
}

/// The picture that the tests describe: 32 by 32 pixels.
fn example() -> Picture {
    let pixels = (0..32u32 * 32 * 3).map(|i| ((i * i + 91 * i) % 256) as u8).collect();
    Picture::new(32, 32, pixels).unwrap()
}

fn request(mode: Mode, procedure: Procedure) -> Request {
    Request {
        prompt: mode.needs_prompt().then(|| "an elephant under the sea".into()),
        image: mode.needs_image().then(example),
        procedure,
        solver: procedure.solver(2),
        guidance: GuidanceScale::new(6.0).unwrap(),
        beams: BeamOptions { max_tokens: 10, ..BeamOptions::default() },
        ..Request::new(mode)
    }
}

#[track_caller]
fn check(mode: Mode, made: &[Generated], count: usize) {
    assert_eq!(made.len(), count, "{mode}");
    for one in made {
        let size = one.image.as_ref().map(|picture| (picture.width(), picture.height()));
        assert_eq!(size, mode.makes_image().then_some((32, 32)), "{mode}");
        assert_eq!(one.text.is_some(), mode.makes_text(), "{mode}");
    }
}

/// default_joint, joint_no_cfg, default_text2img, default_image, default_text, img2text, in versions 0 and 1; also the
/// variations, which diffusers does not have.
#[test]
fn every_mode_with_guidance_and_without() {
    for version in [0, 1] {
        let model = model(version);
        for mode in Mode::ALL {
            for procedure in Procedure::ALL {
                let guided = request(mode, procedure);
                let free = Request { guidance: GuidanceScale::OFF, ..guided.clone() };
                let made = |request| model.generate(request, &mut keep_going).unwrap();
                check(mode, &made(&guided), 1);
                check(mode, &made(&free), 1);
                assert_eq!(made(&guided), made(&guided), "{mode}: the same again");
            }
        }
    }
}

/// text2img_multiple_images, img2text_multiple_prompts.
#[test]
fn several_pictures_of_a_prompt_and_several_captions_of_a_picture() {
    let model = model(1);
    for (mode, count) in [(Mode::TextToImage, 2), (Mode::ImageToText, 3)] {
        let several = Request { count, ..request(mode, Procedure::Original) };
        check(mode, &model.generate(&several, &mut keep_going).unwrap(), count);
    }
}

/// Starting noise in the order prompt `(1, 77, 32)`, latent `(1, 4, 16, 16)`, embedding `(1, 1, 32)`; the rest drawn.
struct Fixed(Streams);

impl NoiseSource for Fixed {
    fn samples(&self) -> usize {
        1
    }

    fn draw(&mut self, kind: NoiseKind, count: usize) -> Vec<f32> {
        let fixed = |wave: f32| (0..count).map(|i| (i as f32 * wave).sin() * 1.4).collect();
        match (kind, count) {
            (NoiseKind::Hidden, 2464) => fixed(0.3),
            (NoiseKind::Latent, 1024) => fixed(0.5),
            (NoiseKind::Clip, 32) => fixed(0.7),
            (NoiseKind::Text, 2464) => self.0.draw(kind, count),
            other => panic!("{other:?}"),
        }
    }
}

/// The same with fixed latents.
#[test]
fn given_starting_noise_has_these_shapes() {
    let model = model(0);
    for task in [Task::Joint, Task::TextToImage, Task::Image, Task::Text, Task::ImageToText] {
        let request = request(Mode::Joint, Procedure::Diffusers);
        let request = Request { prompt: None, ..request };
        let sampling = Sampling::new(&model, &request).unwrap();
        let image =
            model.encode_image(&[example()], &mut [Seed(0).stream("posterior", 0)]).unwrap();
        let text = model.encode_text(&["an elephant under the sea".into()]).unwrap();
        let given = Codes { image: Some(image), text: Some(text) };
        let mut noise = Fixed(Streams::new(Seed(0), 0..1));
        let found = sampling.run(task, &given, &mut noise, &mut |_, _| ControlFlow::Continue(()));
        let found = parts(found.unwrap());
        let shapes: Vec<Vec<usize>> = found.values().map(|data| data.shape().to_vec()).collect();
        let expected = match (task.makes_image(), task.makes_text()) {
            (true, true) => vec![vec![1, 1, 32], vec![1, 77, 32], vec![1, 4, 16, 16]],
            (true, false) => vec![vec![1, 1, 32], vec![1, 4, 16, 16]],
            _ => vec![vec![1, 77, 32]],
        };
        assert_eq!(shapes, expected, "{task:?}");
    }
}

/// inference_batch_single_identical, inference_batch_consistent.
#[test]
fn a_batch_is_its_samples_one_by_one() {
    let model = model(1);
    for mode in [Mode::Joint, Mode::TextToImage, Mode::ImageToText] {
        let request = Request { prompt: None, image: None, ..request(mode, Procedure::Diffusers) };
        let sampling = Sampling::new(&model, &request).unwrap();
        let image =
            model.encode_image(&[example()], &mut [Seed(0).stream("posterior", 0)]).unwrap();
        let text = model.encode_text(&["an elephant under the sea".into()]).unwrap();
        let given = Codes { image: Some(image), text: Some(text) };
        let run = |range| {
            let mut noise = Streams::new(Seed(5), range);
            let go_on = &mut |_: usize, _: &Codes| ControlFlow::Continue(());
            parts(sampling.run(mode.tasks()[0], &given, &mut noise, go_on).unwrap())
        };
        let together = run(0..3);
        for (part, alone) in run(1..2) {
            let all: Vec<f32> = together[part].iter::<f32>().collect();
            let row = all.chunks_exact(all.len() / 3).nth(1).unwrap().to_vec();
            let row = TensorData::new(row, alone.shape().clone());
            assert_close(&format!("{mode} {part}"), &alone, &row, 2e-4);
        }
    }
}

/// karras_schedulers_shape: every solver gives a picture of the same shape.
#[test]
fn every_solver_gives_the_same_shape() {
    let model = model(1);
    for kind in SolverKind::ALL {
        let mut request = request(Mode::TextToImage, Procedure::Original);
        request.solver.kind = kind;
        check(request.mode, &model.generate(&request, &mut keep_going).unwrap(), 1);
    }
}
