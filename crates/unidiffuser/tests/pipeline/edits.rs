//! What other programs for this model do not have, or have wrong: negative prompts, other sizes, edits, chains.

use trefoil_core::image::Filter;
use trefoil_core::{Picture, Seed};
use trefoil_diffusion::{GuidanceScale, SolverConfig, SolverKind};
use unidiffuser::caption::BeamOptions;
use unidiffuser::mode::{Mode, Unconditional};
use unidiffuser::model::UniDiffuser;
use unidiffuser::pipeline::{Edit, GenerateError, Generated, Request};

use crate::{keep_going, largest_difference, model, picture, request};

fn drawing() -> Request {
    Request { prompt: Some("the sea".into()), seed: Seed(3), ..request(Mode::TextToImage) }
}

fn draw(model: &UniDiffuser, request: &Request) -> Picture {
    model.generate(request, &mut keep_going).unwrap()[0].image.clone().unwrap()
}

#[test]
fn a_negative_prompt_is_what_guidance_leads_away_from() {
    let model = model();
    let with = |negative: Option<&str>, unconditional| {
        let negative = negative.map(String::from);
        draw(&model, &Request { negative, unconditional, ..drawing() })
    };
    let plain = with(None, Unconditional::TrueMarginal);
    let moon = with(Some("the moon"), Unconditional::TrueMarginal);
    assert_ne!(plain, moon);
    assert_ne!(moon, with(Some("a cat"), Unconditional::TrueMarginal));
    // The empty text is the authors' `empty_token`; a negative prompt takes its place.
    assert_eq!(with(Some(""), Unconditional::TrueMarginal), with(None, Unconditional::EmptyText));
    assert_eq!(moon, with(Some("the moon"), Unconditional::EmptyText));
}

#[test]
fn pictures_of_other_sizes() {
    let model = model();
    let with = |size| draw(&model, &Request { size, ..drawing() });
    let native = with(None);
    assert_eq!(native, with(Some([32, 32])), "the native size is the default");
    let tall = with(Some([48, 24]));
    assert_eq!((tall.width(), tall.height()), (24, 48));
    let joint = Request { size: Some([16, 40]), ..request(Mode::Joint) };
    let pair = &model.generate(&joint, &mut keep_going).unwrap()[0];
    assert_eq!(pair.image.as_ref().map(|p| (p.width(), p.height())), Some((40, 16)));
    assert!(pair.text.is_some());
    for size in [[36, 32], [0, 32]] {
        let request = Request { size: Some(size), ..drawing() };
        let error = model.generate(&request, &mut keep_going).unwrap_err().to_string();
        assert!(error.contains("`size`: expected multiples of 8"), "{error}");
    }
}

fn edit(strength: f64, mask: Option<Picture>) -> Request {
    Request { edit: Some(Edit { picture: picture(5), strength, mask }), ..drawing() }
}

/// The central square of the edited picture at the model's size.
fn original() -> Picture {
    picture(5).center_crop_square().resize(32, 32, Filter::Lanczos3).unwrap()
}

fn distance(a: &Picture, b: &Picture) -> f64 {
    let pairs = a.pixels().iter().zip(b.pixels());
    pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.pixels().len() as f64
}

#[test]
fn strength_decides_how_much_of_a_picture_is_left() {
    let model = model();
    // What the autoencoder makes of the latent that the run begins with. Guidance would enlarge what the random
    // weights of this network predict.
    let code = model.encode_image(&[picture(5)], &mut [Seed(3).stream("posterior", 0)]).unwrap();
    let decoded = &model.decode_image(code.z).unwrap()[0];
    let with = |strength| Request { guidance: GuidanceScale::OFF, ..edit(strength, None) };
    let [weak, strong] = [0.01, 0.9].map(|s| distance(&draw(&model, &with(s)), decoded));
    assert!(2.0 * weak < strong, "{weak} {strong}");
    for strength in [0.0, 1.5, f64::NAN] {
        assert!(model.generate(&edit(strength, None), &mut keep_going).is_err(), "{strength}");
    }
}

#[test]
fn what_a_mask_keeps_is_kept_whatever_the_solver() {
    let model = model();
    let mut pixels = vec![0u8; 32 * 32 * 3];
    // The right half is drawn anew.
    for (i, pixel) in pixels.chunks_exact_mut(3).enumerate() {
        pixel.fill(if i % 32 >= 16 { 255 } else { 0 });
    }
    let half = Picture::new(32, 32, pixels).unwrap();
    let original = original();
    for kind in SolverKind::ALL {
        let solver = SolverConfig::new(kind, 6);
        let request = Request { solver, ..edit(1.0, Some(half.clone())) };
        let found = draw(&model, &request);
        let columns = |picture: &Picture, from: usize| -> Vec<u8> {
            let rows = picture.pixels().chunks_exact(32 * 3);
            rows.flat_map(|row| row[3 * from..3 * (from + 16)].to_vec()).collect()
        };
        assert_eq!(columns(&found, 0), columns(&original, 0), "{kind}");
        assert_ne!(columns(&found, 16), columns(&original, 16), "{kind}");
    }
    let nothing = Some(Picture::filled(32, 32, [0; 3]));
    assert_eq!(draw(&model, &edit(1.0, nothing)), original);
}

#[test]
fn a_chain_is_the_variations_continued() {
    let model = model();
    let beams = BeamOptions { max_tokens: 6, ..BeamOptions::default() };
    let base = Request { seed: Seed(8), beams, ..request(Mode::ImageVariation) };
    let run = |request: &Request| model.generate(request, &mut keep_going).unwrap().remove(0);
    let same = |a: &Generated, b: &Generated| match (&a.image, &b.image) {
        (Some(a), Some(b)) => assert!(largest_difference(a, b) <= 1),
        (a, b) => assert_eq!((a, b, &None), (&None, &None, &None::<Picture>)),
    };
    let given = Request { image: Some(picture(2)), ..base.clone() };
    let chain = model.gibbs(&given, 2, &mut keep_going).unwrap();
    let kinds: Vec<bool> = chain.iter().map(|one| one.image.is_some()).collect();
    assert_eq!(kinds, [false, true, false, true]);
    assert_eq!(chain[0].text, run(&Request { mode: Mode::ImageToText, ..given.clone() }).text);
    same(&chain[1], &run(&given));

    let prompt = Request { prompt: Some("the sea".into()), ..base.clone() };
    let chain = model.gibbs(&prompt, 1, &mut keep_going).unwrap();
    same(&chain[0], &run(&Request { mode: Mode::TextToImage, ..prompt.clone() }));
    assert_eq!(chain[1].text, run(&Request { mode: Mode::TextVariation, ..prompt.clone() }).text);
    let free = model.gibbs(&base, 1, &mut keep_going).unwrap();
    same(&free[0], &run(&Request { mode: Mode::Image, ..base.clone() }));
    assert!(free[1].text.is_some());

    let both = Request { image: Some(picture(2)), ..prompt };
    assert!(model.gibbs(&both, 1, &mut keep_going).is_err());
    assert!(model.gibbs(&base, 0, &mut keep_going).is_err());
}

#[test]
fn settings_without_meaning_for_a_mode_are_refused() {
    let model = model();
    let caption = Request { image: Some(picture(1)), ..request(Mode::ImageToText) };
    let edit = edit(0.5, None).edit;
    for (request, field) in [
        (Request { negative: Some("a".into()), ..request(Mode::Joint) }, "negative"),
        (Request { size: Some([32, 32]), ..caption.clone() }, "size"),
        (Request { edit: edit.clone(), ..caption }, "edit"),
    ] {
        match model.generate(&request, &mut keep_going) {
            Err(GenerateError::Unused { what, .. }) => assert_eq!(what, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    let request = Request { edit, size: Some([32, 32]), ..drawing() };
    let error = model.generate(&request, &mut keep_going).unwrap_err().to_string();
    assert!(error.contains("the model's own size"), "{error}");
}

/// Captions of one batch may have different lengths, and copies of a picture have latents of their own.
#[test]
fn batches_of_captions_are_independent() {
    let model = model();
    let request = Request { count: 6, batch: 6, seed: Seed(2), ..request(Mode::Text) };
    let texts: Vec<String> = model
        .generate(&request, &mut keep_going)
        .unwrap()
        .into_iter()
        .filter_map(|g| g.text)
        .collect();
    let mut lengths: Vec<usize> = texts.iter().map(String::len).collect();
    lengths.sort_unstable();
    lengths.dedup();
    assert!(texts.len() == 6 && lengths.len() > 1, "{texts:?}");
    let streams = (0..2).map(|i| Seed(1).stream("posterior", i));
    let code =
        model.encode_image(&[picture(1), picture(1)], &mut streams.collect::<Vec<_>>()).unwrap();
    let values: Vec<f32> = code.z.into_data().iter::<f32>().collect();
    let (a, b) = values.split_at(values.len() / 2);
    assert_ne!(a, b);
}
