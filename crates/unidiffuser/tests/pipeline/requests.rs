//! Replay, batches, progress, blending and refusals.

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use trefoil_core::{Error, Seed};
use trefoil_diffusion::{GuidanceScale, SolverConfig, SolverKind};
use unidiffuser::caption::BeamOptions;
use unidiffuser::mode::{Mode, Task, Unconditional};
use unidiffuser::model::Codes;
use unidiffuser::pipeline::{GenerateError, Generated, Part, Progress, Request, Sampling, Streams};

use crate::support::{assert_close, open, tensor};
use crate::{keep_going, largest_difference, model, parts, picture, recorded_image, request};

/// What a sample becomes depends on seed and index only. Strong guidance would enlarge the rounding of
/// matrix products, which depends on the number of rows.
#[test]
fn a_sample_is_the_same_in_every_batch() {
    let model = model();
    for (mode, unconditional, kind) in [
        (Mode::TextToImage, Unconditional::EmptyText, SolverKind::Ddim),
        (Mode::Joint, Unconditional::TrueMarginal, SolverKind::DpmSolverPlusPlusSingle),
        (Mode::ImageVariation, Unconditional::TrueMarginal, SolverKind::DpmSolverPlusPlusMulti),
    ] {
        let guidance = GuidanceScale::new(2.0).unwrap();
        let mut request = Request { unconditional, guidance, ..request(mode) };
        request.solver = SolverConfig::new(kind, 5);
        if kind == SolverKind::Ddim {
            request.solver.eta = 1.0;
        }
        let sampling = Sampling::new(&model, &request).unwrap();
        let condition = Codes {
            image: recorded_image(&open("original_i2t"), "cond"),
            text: Some(tensor(&open("original_t2i"), "cond.text")),
        };
        let run = |range| {
            let mut noise = Streams::new(Seed(11), range);
            let run = |codes: Codes, &task: &Task| {
                let on_step = &mut |_: usize, _: &Codes| ControlFlow::Continue(());
                sampling.run(task, &codes, &mut noise, on_step).unwrap()
            };
            parts(mode.tasks().iter().fold(condition.clone(), run))
        };
        let together = run(0..3);
        for i in 0..3 {
            for (part, alone) in run(i..i + 1) {
                let all: Vec<f32> = together[part].iter::<f32>().collect();
                let row = all.chunks_exact(alone.num_elements()).nth(i).unwrap().to_vec();
                let row = TensorData::new(row, alone.shape().clone());
                assert_close(&format!("{mode} {part} {i}"), &alone, &row, 1e-5);
            }
        }
        for part in together.values() {
            let values: Vec<f32> = part.iter::<f32>().collect();
            let rows: Vec<&[f32]> = values.chunks_exact(values.len() / 3).collect();
            assert_ne!(rows[0], rows[1], "samples differ");
        }
    }
}

#[test]
fn requests_give_the_same_samples_in_every_batch_and_count() {
    let model = model();
    for mode in Mode::ALL {
        let base = Request {
            prompt: mode.needs_prompt().then(|| "the sea".to_string()),
            image: mode.needs_image().then(|| picture(1)),
            seed: Seed(21),
            guidance: GuidanceScale::new(2.0).unwrap(),
            beams: BeamOptions { max_tokens: 6, ..BeamOptions::default() },
            ..request(mode)
        };
        let generate = |count, batch| {
            let request = Request { count, batch, ..base.clone() };
            model.generate(&request, &mut keep_going).unwrap()
        };
        let together = generate(3, 3);
        let in_parts = generate(3, 2);
        let fewer = generate(1, 8);
        assert_eq!(together.iter().map(|g| g.index).collect::<Vec<_>>(), [0, 1, 2]);
        for (a, b) in together.iter().zip(&in_parts).chain(together.iter().zip(&fewer)) {
            assert_same(a, b);
            assert_eq!(a.image.is_some(), mode.makes_image());
            assert_eq!(a.text.is_some(), mode.makes_text());
        }
        if let [Some(a), Some(b)] = [&together[0].image, &together[1].image] {
            assert_ne!(a, b, "{mode}: samples differ");
        }
    }
}

#[test]
fn requests_that_travel_together_get_what_they_would_get_alone() {
    let model = model();
    for mode in Mode::ALL {
        let requests: Vec<Request> = ["the sea", "a red apple", "two cats"]
            .into_iter()
            .zip(0..)
            .map(|(prompt, n)| Request {
                prompt: mode.needs_prompt().then(|| prompt.to_string()),
                image: mode.needs_image().then(|| picture(n)),
                seed: Seed(30 + u64::from(n)),
                guidance: GuidanceScale::new(2.0).unwrap(),
                beams: BeamOptions { max_tokens: 6, ..BeamOptions::default() },
                ..request(mode)
            })
            .collect();
        // The second asks for its second and third sample.
        let ranges = [0..1, 1..3, 0..2];
        let together: Vec<Part<'_>> = requests
            .iter()
            .zip(ranges.clone())
            .map(|(request, samples)| Part { request, samples })
            .collect();
        let mut rows = 0;
        let together = model
            .generate_together(&together, &mut |at| {
                rows = at.sample_range.len();
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!((rows, together.len()), (5, 3));
        for ((request, samples), found) in requests.iter().zip(ranges).zip(&together) {
            let request = Request { count: samples.end, ..request.clone() };
            let alone = model.generate(&request, &mut keep_going).unwrap();
            assert_eq!(found.len(), samples.len());
            found.iter().zip(&alone[samples]).for_each(|(a, b)| assert_same(a, b));
        }
    }
}

#[test]
fn requests_with_other_settings_do_not_travel_together() {
    let model = model();
    let one = Request { prompt: Some("the sea".into()), ..request(Mode::TextToImage) };
    let others = [
        Request { solver: SolverConfig::new(one.solver.kind, 3), ..one.clone() },
        Request { guidance: GuidanceScale::new(3.0).unwrap(), ..one.clone() },
        Request { negative: Some("land".into()), ..one.clone() },
        Request { size: Some([64, 32]), ..one.clone() },
    ];
    for other in &others {
        assert!(!one.goes_with(other) && one.goes_with(&one));
        let parts = [&one, other].map(|request| Part { request, samples: 0..1 });
        let error = model.generate_together(&parts, &mut keep_going).unwrap_err();
        assert!(error.to_string().contains("the same settings"), "{error}");
    }
    assert!(model.generate_together(&[], &mut keep_going).unwrap().is_empty());
}

#[track_caller]
fn assert_same(a: &Generated, b: &Generated) {
    assert_eq!((a.index, &a.text), (b.index, &b.text));
    match (&a.image, &b.image) {
        (Some(a), Some(b)) => assert!(largest_difference(a, b) <= 1),
        (a, b) => assert_eq!(a, b),
    }
}

#[test]
fn without_guidance_only_the_condition_counts() {
    let model = model();
    let with = |guidance, unconditional| {
        let prompt = Some("the moon".to_string());
        let request = Request { guidance, unconditional, prompt, ..request(Mode::TextToImage) };
        model.generate(&request, &mut keep_going).unwrap()
    };
    let off = with(GuidanceScale::OFF, Unconditional::TrueMarginal);
    assert_eq!(off, with(GuidanceScale::OFF, Unconditional::EmptyText));
    assert_eq!(off, with(GuidanceScale::new(0.0).unwrap(), Unconditional::TrueMarginal));
    let on = with(GuidanceScale::default(), Unconditional::TrueMarginal);
    assert_ne!(off, on);
    assert_ne!(on, with(GuidanceScale::default(), Unconditional::EmptyText));
}

#[test]
fn progress_counts_evaluations_and_can_cancel() {
    let model = model();
    let request =
        Request { image: Some(picture(1)), count: 3, batch: 2, ..request(Mode::ImageVariation) };
    let mut seen = Vec::new();
    let mut previews = 0;
    model
        .generate(&request, &mut |progress: &Progress<'_>| {
            seen.push((progress.step, progress.steps, progress.sample_range.clone()));
            if let Some(image) = &progress.estimate.image {
                assert_eq!(image.z.dims(), [progress.sample_range.len(), 4, 8, 8]);
                previews += 1;
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    let steps = [3, 6, 8, 11, 14, 16];
    let expected: Vec<_> =
        [0..2, 2..3].into_iter().flat_map(|r| steps.map(|s| (s, 16, r.clone()))).collect();
    assert_eq!(seen, expected);
    assert_eq!(previews, 6);

    let mut calls = 0;
    let cancelled = model.generate(&request, &mut |_| {
        calls += 1;
        if calls == 4 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(cancelled, Err(GenerateError::Cancelled)));
    assert_eq!(calls, 4);
}

#[test]
fn requests_that_cannot_be_served_say_why() {
    let model = model();
    let refuse = |request: Request| {
        let on_step = &mut |_: &Progress<'_>| panic!("refused before the first step");
        model.generate(&request, on_step).unwrap_err()
    };
    let prompt = || Some("the sea".to_string());
    let text_to_image = || Request { prompt: prompt(), ..request(Mode::TextToImage) };

    let error = refuse(request(Mode::TextToImage));
    assert!(matches!(error, GenerateError::Missing { what: "prompt", mode: Mode::TextToImage }));
    let error = refuse(request(Mode::ImageVariation));
    assert!(matches!(error, GenerateError::Missing { what: "image", .. }));
    let error = refuse(Request { prompt: prompt(), ..request(Mode::Joint) });
    assert!(matches!(error, GenerateError::Unused { what: "prompt", mode: Mode::Joint }));
    let error = refuse(Request { image: Some(picture(1)), ..text_to_image() });
    assert!(matches!(error, GenerateError::Unused { what: "image", .. }));

    let solver = SolverConfig { steps: 0, ..SolverConfig::default() };
    let error = refuse(Request { solver, ..text_to_image() });
    assert!(matches!(error, GenerateError::Settings(_)) && error.to_string().contains("`steps`"));

    let unconditional = Unconditional::EmptyText;
    let beams = BeamOptions::default;
    let cases = [
        (Request { count: 0, ..text_to_image() }, "count"),
        (Request { batch: 0, ..text_to_image() }, "batch"),
        (Request { data_type: 2, ..text_to_image() }, "data_type"),
        (Request { prompt: Some("the sea ".repeat(60)), ..text_to_image() }, "prompt"),
        (Request { unconditional, ..request(Mode::Joint) }, "unconditional"),
        (Request { beams: BeamOptions { beams: 0, ..beams() }, ..request(Mode::Text) }, "beams"),
        (
            Request { beams: BeamOptions { max_tokens: 999, ..beams() }, ..request(Mode::Text) },
            "n_positions",
        ),
    ];
    for (request, name) in cases {
        match refuse(request) {
            GenerateError::Model(Error::Config { field, .. }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
    let long = model.encode_text(&["the sea ".repeat(60)]).unwrap_err().to_string();
    assert!(long.contains("at most 77 tokens") && long.contains("found 122"), "{long}");

    let sampling = Sampling::new(&model, &text_to_image()).unwrap();
    let run = |codes: &Codes| {
        let mut noise = Streams::new(Seed(0), 0..2);
        let on_step = &mut |_: usize, _: &Codes| ControlFlow::Continue(());
        sampling.run(Task::TextToImage, codes, &mut noise, on_step)
    };
    let misshapen = Tensor::zeros([3, 77, 24], &Device::flex());
    for codes in [Codes::default(), Codes { text: Some(misshapen), image: None }] {
        assert!(matches!(run(&codes), Err(GenerateError::Model(Error::Config { .. }))));
    }
}

/// A weight that is not a number must not become a black picture.
#[test]
fn a_broken_network_is_reported() {
    let mut model = model();
    let broken = trefoil_core::params::import(model.uvit.clone(), &mut |_, shape| {
        Ok(TensorData::new(vec![f32::NAN; shape.iter().product()], shape.to_vec()))
    });
    model.uvit = broken.unwrap();
    let error = model.generate(&request(Mode::Image), &mut keep_going).unwrap_err();
    assert!(matches!(error, GenerateError::NonFinite { step: 0 }));
}

#[test]
fn a_blend_starts_at_the_first_variation_and_changes_gradually() {
    let model = model();
    let [a, b] = [picture(1), picture(2)];
    let settings = Request {
        seed: Seed(8),
        batch: 2,
        guidance: GuidanceScale::new(2.0).unwrap(),
        ..request(Mode::ImageVariation)
    };
    let mut seen = Vec::new();
    let blend = model
        .blend([&a, &b], &[0.0, 0.01, 1.0], &settings, &mut |progress: &Progress<'_>| {
            seen.push((progress.step, progress.sample_range.clone()));
            ControlFlow::Continue(())
        })
        .unwrap();
    let expected = [
        [(3, 0..3), (6, 0..3), (8, 0..3)],
        [(11, 0..2), (14, 0..2), (16, 0..2)],
        [(11, 2..3), (14, 2..3), (16, 2..3)],
    ];
    assert_eq!(seen, expected.concat());

    let request = Request { image: Some(a.clone()), ..settings.clone() };
    let variation = model.generate(&request, &mut keep_going).unwrap();
    assert_same(&blend[0], &variation[0]);
    let distance = |i: usize, j: usize| -> f64 {
        let [a, b] = [i, j].map(|i| blend[i].image.as_ref().unwrap().pixels());
        a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>()
    };
    assert!(distance(0, 1) < 0.5 * distance(0, 2), "{} {}", distance(0, 1), distance(0, 2));

    for weights in [&[][..], &[0.5, 1.1], &[f64::NAN]] {
        let error = model.blend([&a, &b], weights, &settings, &mut keep_going).unwrap_err();
        assert!(error.to_string().contains("`weights`"), "{error}");
    }
    let error = model
        .blend([&a, &b], &[0.5], &Request { batch: 0, ..settings }, &mut keep_going)
        .unwrap_err();
    assert!(error.to_string().contains("`batch`"), "{error}");
}
