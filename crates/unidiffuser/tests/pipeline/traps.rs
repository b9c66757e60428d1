//! Known faults of the pipeline of diffusers, each with the proof that this one does not have it.
//!
//! | fault there | test |
//! |---|---|
//! | given starting noise is refused unless hidden states and text codes have one width | `a_run_starts_with_the_noise_that_is_given` |
//! | the first noise of a text goes through the prefix encoder | `the_noise_of_a_text_is_drawn_as_a_code` |
//! | captions of unequal length cannot share a batch | `captions_of_a_batch_are_those_that_each_code_has_alone` |
//! | a negative prompt changes nothing, and there is no guidance away from the empty text | `edits::a_negative_prompt_is_what_guidance_leads_away_from` |
//! | what is marginalised keeps one noise for the whole run | `what_is_marginalised_is_drawn_at_every_evaluation` |
//! | whether a prompt is encoded hangs on how the mode was chosen | `a_condition_that_the_mode_does_not_read_is_refused` |
//! | several samples per input are put in different orders | `samples_stay_with_their_inputs` |
//! | several captions of one picture share one latent | `every_copy_of_a_picture_has_its_own_latent` |
//! | sizes other than the native one fail | `edits::pictures_of_other_sizes` |
//! | not-a-number becomes a black picture | `requests::a_broken_network_is_reported` |
//! | a list of pictures fails | `samples_stay_with_their_inputs` |

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use trefoil_core::Seed;
use trefoil_diffusion::{GuidanceScale, SolverConfig};
use unidiffuser::caption::BeamOptions;
use unidiffuser::mode::{Mode, Task};
use unidiffuser::model::Codes;
use unidiffuser::pipeline::{
    GenerateError, NoiseKind, NoiseSource, Procedure, Request, Sampling, Streams,
};

use crate::support::{open, relative_error, tensor};
use crate::{keep_going, largest_difference, model, parts, picture, recorded_image, request};

/// Draws from streams and notes what was asked for.
struct Noted {
    streams: Streams,
    draws: Vec<(NoiseKind, usize)>,
}

impl Noted {
    fn new() -> Self {
        Self { streams: Streams::new(Seed(4), 0..1), draws: Vec::new() }
    }
}

impl NoiseSource for Noted {
    fn samples(&self) -> usize {
        1
    }

    fn draw(&mut self, kind: NoiseKind, count: usize) -> Vec<f32> {
        self.draws.push((kind, count));
        self.streams.draw(kind, count)
    }
}

fn nothing(_: usize, _: &Codes) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// What a run of 8 evaluations draws.
fn draws(mode: Mode, procedure: Procedure) -> Vec<(NoiseKind, usize)> {
    let model = model();
    let solver = procedure.solver(8);
    let request = Request { procedure, solver, ..request(mode) };
    let given = Codes {
        image: recorded_image(&open("original_i2t"), "cond"),
        text: Some(tensor(&open("original_t2i"), "cond.text")),
    };
    let mut noise = Noted::new();
    let sampling = Sampling::new(&model, &request).unwrap();
    sampling.run(mode.tasks()[0], &given, &mut noise, &mut nothing).unwrap();
    noise.draws
}

/// Zeros apart from the start, so that the first evaluation sees what was given and nothing else.
struct Given(Vec<Vec<f32>>);

impl NoiseSource for Given {
    fn samples(&self) -> usize {
        1
    }

    fn draw(&mut self, _: NoiseKind, count: usize) -> Vec<f32> {
        let next = if self.0.is_empty() { vec![0.0; count] } else { self.0.remove(0) };
        assert_eq!(next.len(), count);
        next
    }
}

#[test]
fn a_run_starts_with_the_noise_that_is_given() {
    let model = model();
    // Hidden states are 48 wide here, codes 24.
    let uvit = &model.config.uvit;
    assert_ne!(uvit.text_dim, model.config.caption_decoder.prefix_inner_dim);
    let request = Request { guidance: GuidanceScale::OFF, ..request(Mode::Joint) };
    let sampling = Sampling::new(&model, &request).unwrap();
    let run = |scale: f32| {
        let wave = |n: usize| (0..n).map(|i| scale * (i as f32 * 0.7).sin()).collect();
        let start = vec![wave(4 * 8 * 8), wave(20), wave(77 * 24)];
        parts(
            sampling.run(Task::Joint, &Codes::default(), &mut Given(start), &mut nothing).unwrap(),
        )
    };
    assert_eq!(run(1.0), run(1.0));
    for (part, found) in run(0.5) {
        assert!(relative_error(&found, &run(1.0)[part]) > 0.01, "{part}");
    }
}

#[test]
fn the_noise_of_a_text_is_drawn_as_a_code() {
    use NoiseKind::{Clip, Hidden, Latent, Text};
    let [z, c, y, hidden] = [(Latent, 256), (Clip, 20), (Text, 77 * 24), (Hidden, 77 * 48)];
    for mode in [Mode::Joint, Mode::ImageToText, Mode::Text] {
        assert_eq!(draws(mode, Procedure::Original)[..3], [z, c, y], "{mode}");
        assert_eq!(draws(mode, Procedure::Diffusers)[0], hidden, "{mode}");
    }
}

#[test]
fn what_is_marginalised_is_drawn_at_every_evaluation() {
    let count = |mode, procedure| draws(mode, procedure).len();
    for (mode, each) in [
        (Mode::TextToImage, 1),
        (Mode::ImageToText, 2),
        (Mode::Joint, 3),
        (Mode::Image, 1),
        (Mode::Text, 2),
    ] {
        assert_eq!(count(mode, Procedure::Original), 3 + 8 * each, "{mode}");
    }
    // The counts that diffusers records, the posterior apart: its two marginal modes draw nothing on the way.
    for (mode, all) in [
        (Mode::TextToImage, 10),
        (Mode::ImageToText, 17),
        (Mode::Joint, 27),
        (Mode::Image, 3),
        (Mode::Text, 3),
    ] {
        assert_eq!(count(mode, Procedure::Diffusers), all, "{mode}");
    }
}

#[test]
fn captions_of_a_batch_are_those_that_each_code_has_alone() {
    let model = model();
    let features = tensor::<3>(&open("text_decoder"), "features");
    let beams = BeamOptions::default();
    let together = model.decode_text(features.clone(), &beams).unwrap();
    let mut lengths: Vec<usize> = together.iter().map(String::len).collect();
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 2, "{together:?}");
    for (i, caption) in together.iter().enumerate() {
        let alone = model.decode_text(features.clone().narrow(0, i, 1), &beams).unwrap();
        assert_eq!(&alone[0], caption);
    }
}

#[test]
fn a_condition_that_the_mode_does_not_read_is_refused() {
    let model = model();
    let both =
        |mode| Request { prompt: Some("the sea".into()), image: Some(picture(1)), ..request(mode) };
    for mode in Mode::ALL {
        let unused = if mode.needs_prompt() { "image" } else { "prompt" };
        match model.generate(&both(mode), &mut keep_going) {
            Err(GenerateError::Unused { what, .. }) => assert_eq!(what, unused, "{mode}"),
            other => panic!("{mode}: {other:?}"),
        }
    }
}

#[test]
fn samples_stay_with_their_inputs() {
    let model = model();
    let guidance = GuidanceScale::new(2.0).unwrap();
    let settings = |mode| Request { seed: Seed(6), guidance, batch: 2, ..request(mode) };
    let mut go_on = |_| ControlFlow::Continue(());
    let prompts = ["the sea", "the moon", "a cat"].map(String::from);
    let drawn = model.draw_each(&prompts, &settings(Mode::TextToImage), &mut go_on).unwrap();
    let beams = BeamOptions { max_tokens: 6, ..BeamOptions::default() };
    let words = Request { beams, ..settings(Mode::ImageToText) };
    let pictures = [picture(1), picture(2), picture(3)];
    let written = model.describe_each(&pictures, &words, &mut go_on).unwrap();
    assert_eq!((drawn.len(), written.len()), (3, 3));
    // Sample `i` of an input alone is what input `i` got.
    for i in 0..3 {
        let one = |request: &Request| {
            let request = Request { count: i + 1, ..request.clone() };
            model.generate(&request, &mut keep_going).unwrap().remove(i)
        };
        let prompt = Some(prompts[i].clone());
        let alone = one(&Request { prompt, ..settings(Mode::TextToImage) });
        assert!(largest_difference(&drawn[i], &alone.image.unwrap()) <= 1, "{i}");
        let image = Some(pictures[i].clone());
        assert_eq!(Some(&written[i]), one(&Request { image, ..words.clone() }).text.as_ref());
    }
}

#[test]
fn every_copy_of_a_picture_has_its_own_latent() {
    let model = model();
    let encoded = model.encode_images(&[picture(1)]).unwrap();
    let one = encoded.posterior.sample(Tensor::zeros([1, 4, 8, 8], &Device::flex()));
    let request = Request {
        image: Some(picture(1)),
        count: 2,
        solver: SolverConfig { steps: 2, ..SolverConfig::default() },
        ..request(Mode::ImageVariation)
    };
    let made = model.generate(&request, &mut keep_going).unwrap();
    assert_ne!(made[0].image, made[1].image);
    let streams: Vec<_> = (0..2).map(|i| Seed(1).stream("posterior", i)).collect();
    let code = model.encode_image(&[picture(1), picture(1)], &mut streams.clone()).unwrap();
    let rows = [0, 1].map(|i| code.z.clone().narrow(0, i, 1).into_data());
    assert!(relative_error(&rows[0], &rows[1]) > 1e-3);
    assert_eq!(rows[0].shape(), one.into_data().shape());
}
