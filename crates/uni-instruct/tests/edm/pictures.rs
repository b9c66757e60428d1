//! Distillation on pictures: a step of each network against PyTorch (`reference/edm_distill.py`), whole runs on a
//! tiny teacher, and what cannot work.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{Module as _, Param};
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use trefoil_core::nn::{Init, Linear};
use trefoil_core::weights::Precision;
use trefoil_core::{Picture, Seed, params, png};
use trefoil_train::Outcome;
use uni_instruct::distill::{
    FakeBatch, Problem as _, Streams, StudentBatch, fake_loss, student_loss,
};
use uni_instruct::edm::{SampleRequest, Teacher, TeacherConfig, UNet, UNetConfig, keys};
use uni_instruct::objective::{Adversarial, Estimator, Expanded, Objective};
use uni_instruct::pictures::{Critic, PictureStudent, PicturesProblem};
use uni_instruct::{Divergence, Recipe};

use crate::support::{self, assert_line, cut_run, fixture, tensors, uniform};

const SIGMA: [f64; 2] = [0.35, 4.0];

fn sizes() -> UNetConfig {
    UNetConfig {
        resolution: 8,
        label_dim: 0,
        augment_dim: 0,
        model_channels: 8,
        channel_mult: vec![1, 2],
        num_blocks: 1,
        attn_resolutions: vec![4],
        dropout: 0.0,
        ..UNetConfig::default()
    }
}

/// The weights of the script for a network of this name.
fn network(prefix: &str, device: &Device) -> UNet {
    let fresh = sizes().init(&mut Init::zeros(device)).unwrap();
    let tensors: BTreeMap<String, TensorData> = keys::export(&fresh)
        .into_iter()
        .map(|(name, data)| {
            if name.ends_with("resample_filter") {
                return (name, data);
            }
            let shape = data.shape().to_vec();
            let fan_in = shape[1..].iter().product::<usize>() as f64;
            let (scale, offset) = match name.as_str() {
                name if name.contains("norm") && name.ends_with("weight") => (0.25, 1.0),
                name if name.ends_with("bias") => (0.25, 0.0),
                _ => (1.5 / fan_in.sqrt(), 0.0),
            };
            let values = uniform(&format!("{prefix}.{name}"), shape.iter().product());
            let values = values.into_iter().map(|v| (f64::from(v) * scale + offset) as f32);
            (name, TensorData::new(values.collect::<Vec<f32>>(), shape))
        })
        .collect();
    keys::import(fresh, Path::new("weights"), tensors).unwrap()
}

fn critic(device: &Device) -> Critic {
    let linear = |name: &str, [d_in, d_out]: [usize; 2]| {
        let half = |name: String, count| -> Vec<f32> {
            uniform(&name, count).into_iter().map(|v| v * 0.5).collect()
        };
        let weight = half(format!("{name}.weight"), d_in * d_out);
        let bias = half(format!("{name}.bias"), d_out);
        let weight = Tensor::from_data(TensorData::new(weight, [d_out, d_in]), device);
        let bias = Tensor::from_data(TensorData::new(bias, [d_out]), device);
        let bias = Some(Param::from_tensor(bias));
        Linear { weight: Param::from_tensor(weight), bias }
    };
    let network = network("fake", device);
    let (head_in, head_out) = (linear("head_in", [16, 16]), linear("head_out", [16, 1]));
    Critic { network, head_in, head_out, adapters: None }
}

/// A teacher on disk and two pictures that it may have learned.
fn world(folder: &Path) {
    let config =
        TeacherConfig { network: sizes(), sigma_data: 0.5, classes: Vec::new(), one_step: None };
    let teacher = Teacher { network: network("teacher", &Device::flex()), config };
    teacher.save(&folder.join("teacher"), Precision::F32).unwrap();
    std::fs::create_dir_all(folder.join("data")).unwrap();
    for i in 0..6_u8 {
        let pixels = (0..8 * 8 * 3_u8).map(|p| p.wrapping_mul(3 + i)).collect();
        let bytes = png::encode(&Picture::new(8, 8, pixels).unwrap(), &[]).unwrap();
        std::fs::write(folder.join(format!("data/{i}.png")), bytes).unwrap();
    }
}

fn recipe(folder: &Path, head: &str, problem: &str, train: &str) -> String {
    let folder = folder.display();
    format!(
        "{head}\n[problem]\nkind = \"edm\"\nteacher = \"{folder}/teacher\"\ndata = [\"{folder}/data\"]\n\
         measured = 8\ncomponents = 4\nteacher_samples = {{ count = 8, steps = 2 }}\n{problem}\n\
         [train]\nbatch_size = 4\nlog_every = 8\nsample_every = 0\ncheckpoint_every = 8\n{train}\n\
         [train.fake]\nlearning_rate = 1e-3\n[train.student]\nlearning_rate = 1e-3\n"
    )
}

fn problem(folder: &Path) -> PicturesProblem {
    world(folder);
    let text = recipe(folder, "method = \"sid\"\nalpha = 1.0", "", "duration = 8");
    Recipe::parse(&text).unwrap().pictures(&Device::flex()).unwrap()
}

fn rows(name: &str, scale: f32, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = uniform(name, 2 * 192).into_iter().map(|v| v * scale).collect();
    Tensor::from_data(TensorData::new(values, [2, 192]), device)
}

/// The published names of what is trained: all but the filters.
fn parameters(network: &UNet) -> Vec<String> {
    let names = keys::shapes(network).into_iter().map(|(name, _)| name);
    names.filter(|name| !name.ends_with("resample_filter")).collect()
}

/// Norm and inner product of each gradient.
#[track_caller]
fn assert_gradients(
    found: &[(String, TensorData)],
    names: &[String],
    expected: &Value,
    tolerance: f64,
) {
    assert_eq!(found.len(), names.len());
    assert_eq!(found.len(), expected.as_object().unwrap().len());
    for ((_, gradient), name) in found.iter().zip(names) {
        let [norm, product] = [0, 1].map(|i| expected[name][i].as_f64().unwrap());
        let values: Vec<f64> = gradient.iter::<f64>().collect();
        let probe = uniform(&format!("probe.{name}"), values.len());
        let own: f64 = values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let along: f64 = values.iter().zip(probe).map(|(v, p)| v * f64::from(p)).sum();
        assert!((own - norm).abs() <= tolerance * norm, "{name}: norm {own}, expected {norm}");
        assert!((along - product).abs() <= tolerance * norm, "{name}: {along}, expected {product}");
    }
}

#[test]
fn a_step_of_the_fake_network_equals_pytorch() {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(fixture("edm_distill.json")).unwrap()).unwrap();
    let expected = &expected["fake"];
    let folder = tempfile::tempdir().unwrap();
    let problem = problem(folder.path());
    let device = problem.device().clone();
    let fake = critic(&device);
    let batch = FakeBatch {
        clean: rows("clean", 1.0, &device),
        real: Some(rows("real", 1.0, &device)),
        noise: rows("noise", 1.5, &device),
        sigma: SIGMA.to_vec(),
        condition: None,
        guidance: 1.0,
    };
    let loss = fake_loss(&problem, &fake, batch, 0.7).unwrap();
    let value = loss.total.clone().into_data().iter::<f64>().next().unwrap();
    assert!((value / expected["loss"].as_f64().unwrap() - 1.0).abs() < 1e-5, "{value}");
    let entropy = loss.cross_entropy.unwrap();
    assert!((entropy / expected["cross_entropy"].as_f64().unwrap() - 1.0).abs() < 1e-5);
    let found = params::gradients(&fake, loss.total.backward());
    let mut names = parameters(&fake.network);
    names.extend(
        ["head_in.weight", "head_in.bias", "head_out.weight", "head_out.bias"].map(String::from),
    );
    assert_gradients(&found, &names, &expected["gradients"], 1e-4);
}

#[test]
fn a_step_of_the_student_equals_pytorch() {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(fixture("edm_distill.json")).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let problem = problem(folder.path());
    let device = problem.device().clone();
    let softplus =
        Adversarial { divergence: Divergence::SoftenedReverseKl, weight: 0.01, normalised: true };
    let exact = Objective {
        adversarial: Some(softplus),
        ..Objective::of(Divergence::ForwardKl, Estimator::Expanded(Expanded::EXACT))
    };
    let sid = Objective::of(Divergence::ReverseKl, Estimator::Expanded(Expanded::sid(1.2)));
    let integral = Objective::of(Divergence::JensenShannon, Estimator::Integral);
    for (name, objective) in [("forward-kl", exact), ("sid-1.2", sid), ("jensen-shannon", integral)]
    {
        let expected = &expected[name];
        let student = PictureStudent { network: Some(network("student", &device)), points: None };
        let fake = critic(&device).no_grad();
        let batch = StudentBatch {
            latent: rows("latent", 1.5, &device),
            noise: rows("noise", 1.5, &device),
            sigma: SIGMA.to_vec(),
            condition: None,
        };
        let mut streams = Streams::of(Seed(0), "test", 0);
        let mut calibration = objective.ratio.calibration();
        let networks = (&student, &fake);
        let loss = student_loss(
            &problem,
            &objective,
            networks,
            batch,
            &mut streams.data,
            &mut calibration,
        )
        .unwrap();
        let score = loss.parts.iter().find(|(part, _)| *part == "score").unwrap().1;
        let wanted = expected["score"].as_f64().unwrap();
        // The value of HG is that of the script: it is the same product.
        assert!((score / wanted - 1.0).abs() < 1e-4, "{name}: {score}, expected {wanted}");
        let found = params::gradients(&student, loss.total.backward());
        let names = parameters(student.network.as_ref().unwrap());
        assert_gradients(&found, &names, &expected["gradients"], 1e-3);
    }
}

fn run(text: &str, folder: &Path) -> Outcome {
    let recipe = Recipe::parse(text).unwrap();
    support::run(&recipe, &recipe.pictures(&Device::flex()).unwrap(), folder)
}

/// A run that is cut in the warm-up or after it gives the same bits, and a student that draws.
#[test]
fn a_resumed_run_gives_the_same_bits_and_a_student_that_draws() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    world(path);
    let head = "method = \"uni-instruct\"\ndivergence = \"jensen-shannon\"";
    let text = recipe(path, head, "", "warm_up = 16\nduration = 24\nkeep_checkpoints = 9");
    let straight = path.join("straight");
    assert_eq!(run(&text, &straight), Outcome::Finished);
    let weights = |run: &Path| tensors(&run.join("model/model.safetensors"));
    for cut in [8, 24] {
        let again = path.join(format!("cut-{cut}"));
        run(&text, &again);
        cut_run(&again, cut);
        assert_eq!(run(&text, &again), Outcome::Finished);
        assert!(weights(&again) == weights(&straight), "cut at {cut}");
    }
    let device = Device::flex();
    let student = Teacher::open(&straight.join("model"), &device).unwrap();
    assert_eq!(student.config.one_step, Some(2.5));
    let mut passes = 0;
    let request = SampleRequest::new(Seed(4), 3);
    let drawn = student
        .sample(&request, &device, &mut |done, total| {
            passes += 1;
            assert_eq!((done, total), (1, 1));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!((drawn.len(), passes), (3, 1));
    let pictures = std::fs::read_dir(straight.join("samples")).unwrap().count();
    assert_eq!(pictures, 2, "pictures and triptych");
    // A student is no teacher.
    let text = text.replace("/teacher\"", "/straight/model\"");
    let error = Recipe::parse(&text).unwrap().pictures(&device).unwrap_err().to_string();
    assert!(error.contains("`problem.teacher`") && error.contains("one-step student"), "{error}");
}

/// The loop knows no method: regression on the teacher's own samples, points, and the teacher as the truth.
#[test]
fn other_methods_run_on_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    world(path);
    for (name, problem, file) in [
        ("dmd", "", "model.safetensors"),
        ("sida", "real = \"teacher\"", "model.safetensors"),
        ("sds", "points = { count = 5 }", "points.png"),
        ("vsd", "", "model.safetensors"),
    ] {
        let head = format!("method = \"{name}\"");
        // A teacher with weights by chance draws no pictures, so a flat student is no failure.
        let text = recipe(path, &head, problem, "duration = 8\nstop_collapsed = 0.0");
        assert_eq!(run(&text, &path.join(name)), Outcome::Finished, "{name}");
        assert!(path.join(name).join("model").join(file).is_file(), "{name}");
    }
}

#[test]
fn what_cannot_work_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    world(path);
    let open = |text: &str| match Recipe::parse(text) {
        Ok(recipe) => recipe.pictures(&Device::flex()).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    let sid = "method = \"sid\"\nalpha = 1.0";
    let plain = recipe(path, sid, "", "duration = 8");
    for (text, parts) in [
        (
            recipe(path, sid, "conditional = true", "duration = 8"),
            ["`problem.conditional`", "expected a teacher with labels, found none"],
        ),
        (
            recipe(path, "method = \"sid-lsg\"", "", "duration = 8"),
            ["`objective.guidance`", "expected a teacher with labels"],
        ),
        (
            recipe(path, "method = \"di-plus-plus\"", "", "duration = 8"),
            ["`objective.reward`", "reward"],
        ),
        (
            recipe(path, sid, "start_level = 0.0", "duration = 8"),
            ["`problem.start_level`", "found 0"],
        ),
        (
            recipe(path, sid, "points = { count = 5 }", "duration = 8"),
            ["`problem.points`", "expected none, because `sid` trains a network"],
        ),
        (plain.replace("/data\"]", "/nowhere\"]"), ["nowhere", ""]),
        (plain.replace("/teacher\"", "/absent\""), ["absent", ""]),
        (plain.replace("measured", "measurd"), ["unknown field `measurd`", ""]),
    ] {
        let error = open(&text);
        assert_line(&error, parts);
    }
}
