//! Whole runs of the loop on small problems.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use trefoil_train::{Outcome, ProgressMode, RunFolder, StopFlag};
use uni_instruct::objective::{Estimator, Expanded, Views};
use uni_instruct::recipe::Report;
use uni_instruct::toy::{ToyProblem, ToyStudent};
use uni_instruct::{Divergence, Recipe};

/// Small and quick settings behind a method.
fn recipe(head: &str, problem: &str, train: &str) -> Recipe {
    let text = format!(
        "{head}\n[problem]\nkind = \"mixture\"\nnetwork = {{ width = 32, depth = 2 }}\n{problem}\n\
         [train]\nbatch_size = 64\nlog_every = 640\nsample_every = 0\ncheckpoint_every = 640\n{train}\n\
         [train.preparation]\nlearning_rate = 4e-3\nbetas = [0.9, 0.99]\n\
         [train.fake]\nlearning_rate = 2e-3\nbetas = [0.0, 0.99]\n\
         [train.student]\nlearning_rate = 1e-3\nbetas = [0.0, 0.99]\n"
    );
    Recipe::parse(&text).expect("a valid recipe")
}

fn run(recipe: &Recipe, folder: &Path, stop: StopFlag) -> (Report, ToyProblem, ToyStudent) {
    let run = RunFolder::open_or_create(folder, &recipe.to_toml().unwrap()).unwrap();
    recipe.distill(&run, stop, ProgressMode::Quiet).unwrap()
}

fn newest(folder: &Path) -> (String, Vec<u8>) {
    let mut files: Vec<_> = std::fs::read_dir(folder.join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    files.sort();
    let path = files.pop().unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    (name, std::fs::read(path).unwrap())
}

/// The tensors of a checkpoint; its header also has the seconds that the run took.
fn tensors(bytes: &[u8]) -> &[u8] {
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    &bytes[8 + header..]
}

/// Stops and continues in each part of a run; bits and log lines are those of a run in one go.
#[test]
fn a_resumed_run_gives_the_same_bits() {
    let head = "method = \"uni-instruct\"\ndivergence = \"jensen-shannon\"";
    let train = "prepare = 1280\nwarm_up = 640\nduration = 1280";
    let whole = recipe(head, "", train);
    let folder = tempfile::tempdir().unwrap();
    let straight = folder.path().join("straight");
    let (report, ..) = run(&whole, &straight, StopFlag::default());
    assert_eq!(report.outcome, Outcome::Finished);

    // A run is cut by removing what came after a checkpoint.
    for cut in [640, 1280, 1920, 2560] {
        let again = folder.path().join(format!("cut-{cut}"));
        let longer = recipe(head, "", &format!("{train}\nkeep_checkpoints = 9"));
        run(&longer, &again, StopFlag::default());
        let state = again.join("state");
        for entry in std::fs::read_dir(&state).unwrap() {
            let path = entry.unwrap().path();
            let number = path.file_stem().and_then(|s| s.to_str()?.parse::<u64>().ok());
            if number.is_some_and(|number| number > cut) {
                std::fs::remove_file(path).unwrap();
            }
        }
        run(&longer, &again, StopFlag::default());
        let ((name, found), (expected_name, expected)) = (newest(&again), newest(&straight));
        assert_eq!(name, expected_name);
        assert!(tensors(&found) == tensors(&expected), "cut at {cut}");
        let lines = |folder: &Path| {
            let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
            let line = |line: &str| {
                let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
                for timed in ["seconds", "samples_per_second"] {
                    line.as_object_mut().unwrap().remove(timed);
                }
                line
            };
            text.lines().map(line).collect::<Vec<_>>()
        };
        assert_eq!(lines(&again), lines(&straight), "cut at {cut}");
    }
}

#[test]
fn a_run_cannot_go_on_as_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let train = "prepare = 640\nduration = 640";
    run(&recipe("method = \"sid\"\nalpha = 1.0", "", train), &path, StopFlag::default());
    let other = recipe("method = \"sid\"\nalpha = 0.5", "", train);
    let run = RunFolder::open(&path).unwrap();
    let error = other.distill(&run, StopFlag::default(), ProgressMode::Quiet).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("settings.plan.stages") && text.contains("kappa"), "{text}");
}

/// Every diagnostic of a method with a ratio is in the log.
#[test]
fn the_log_has_the_diagnostics() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let head = "method = \"uni-instruct\"";
    let train = "prepare = 640\nwarm_up = 640\nduration = 640";
    run(&recipe(head, "", train), &path, StopFlag::default());
    let text = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let parts = &last["parts"];
    for name in [
        "fake",
        "fake_below_0.1",
        "fake_above_2.5",
        "cross_entropy",
        "best_cross_entropy",
        "ratio_mean",
        "ratio_saturated",
        "spread",
        "score",
        "adversarial",
    ] {
        assert!(parts[name].as_f64().is_some_and(f64::is_finite), "{name} in {parts}");
    }
    assert!((parts["ratio_mean"].as_f64().unwrap() - 1.0).abs() < 0.3, "{parts}");
    assert!(path.join("model/student.safetensors").is_file());
    let pictures = std::fs::read_dir(path.join("samples")).unwrap().count();
    assert_eq!(pictures, 2, "samples and triptych");
}

/// A discriminator that a later stage asks for learns from the beginning; one that none asks for does not exist.
#[test]
fn the_discriminator_is_trained_before_its_stage() {
    let folder = tempfile::tempdir().unwrap();
    let entropies = |method: &str| -> Vec<Option<f64>> {
        let path = folder.path().join(method);
        let head = format!("method = \"{method}\"");
        run(&recipe(&head, "", "warm_up = 640\nduration = 1280"), &path, StopFlag::default());
        let text = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
        let entropy = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["parts"]["cross_entropy"].as_f64()
        };
        text.lines().map(entropy).collect()
    };
    let two = entropies("uni-instruct-two-stage");
    assert!(two.len() == 3 && two.iter().all(Option::is_some), "{two:?}");
    assert_eq!(entropies("sid"), [None; 3]);
}

/// What stops a run says so: samples without spread or with too much, and a discriminator that is always
/// certain.
#[test]
fn a_failed_run_stops_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let wide = folder.path().join("wide.json");
    let text = r#"{"components": [{"weight": 1, "mean": [0, 0], "deviation": 100}]}"#;
    std::fs::write(&wide, text).unwrap();
    let stopped = |name: &str, recipe: &Recipe| {
        let run = RunFolder::create(&folder.path().join(name), "").unwrap();
        let result = recipe.distill(&run, StopFlag::default(), ProgressMode::Quiet);
        result.unwrap_err().to_string()
    };
    // A unit Gaussian spreads a hundredth of the teacher.
    let problem =
        format!("generator = \"gaussian\"\nmixture = {{ file = \"{}\" }}", wide.display());
    let collapsed = recipe("method = \"diff-instruct\"", &problem, "duration = 640");
    let error = stopped("collapsed", &collapsed);
    assert!(error.contains("the student has collapsed at step 10"), "{error}");
    let narrow = folder.path().join("narrow.json");
    std::fs::write(&narrow, text.replace("100", "0.01")).unwrap();
    let problem =
        format!("generator = \"gaussian\"\nmixture = {{ file = \"{}\" }}", narrow.display());
    let diverged = recipe("method = \"diff-instruct\"", &problem, "duration = 640");
    let error = stopped("diverged", &diverged);
    assert!(error.contains("the student diverges at step 10"), "{error}");
    let mut saturated = recipe("method = \"uni-instruct\"", "", "duration = 640");
    for stage in &mut saturated.plan.as_mut().unwrap().stages {
        stage.objective.ratio.logit_limit = 1e-9;
    }
    let error = stopped("saturated", &saturated);
    assert!(error.contains("the density ratio is saturated at step 10: 100 %"), "{error}");
}

/// Forward KL is moment matching, exactly, whatever the weights: with learned fake score and
/// discriminator the Gaussian student gets the teacher's mean 0.275 and deviation 1.7336. No ratio is near the
/// soft limit here, which would make it another divergence.
#[test]
fn forward_kl_matches_moments_with_learned_networks() {
    let folder = tempfile::tempdir().unwrap();
    let mixture = folder.path().join("far.json");
    std::fs::write(
        &mixture,
        r#"{"components": [{"weight": 0.35, "mean": [-2.0], "deviation": 0.4},
                           {"weight": 0.65, "mean": [1.5], "deviation": 0.5}]}"#,
    )
    .unwrap();
    let problem =
        format!("generator = \"gaussian\"\nmixture = {{ file = \"{}\" }}", mixture.display());
    let head = "method = \"uni-instruct\"\ndivergence = \"forward-kl\"";
    let text = format!(
        "{head}\n[problem]\nkind = \"mixture\"\nnetwork = {{ width = 48, depth = 3 }}\n{problem}\n\
         [objective]\nadversarial = {{ divergence = \"reverse-kl\", weight = 0.0, normalised = false }}\n\
         ratio = {{ soft_limit = 1e3 }}\n\
         time = {{ rho = {{ last = 0.8, min = 0.002, max = 80.0, rho = 7.0, floor = 0.1 }} }}\n\
         normaliser = {{ analytic = {{ deviation = 1.7336 }} }}\n\
         [objective.fake]\nupdates = 2\nstudent_share = 0.7\n\
         [train]\nbatch_size = 512\nprepare = 51_200\nwarm_up = 51_200\nduration = 204_800\n\
         log_every = 51_200\nsample_every = 0\ncheckpoint_every = 0\n\
         [train.preparation]\nlearning_rate = 4e-3\nbetas = [0.9, 0.99]\n\
         [train.fake]\nlearning_rate = 4e-3\nbetas = [0.5, 0.99]\n\
         [train.student]\nlearning_rate = 2e-2\nbetas = [0.5, 0.99]\nema_half_life = 20_000.0\n\
         decay = {{ cosine = {{ to = 0.05 }} }}\n"
    );
    let recipe = Recipe::parse(&text).unwrap();
    let (_, _, student) = run(&recipe, &folder.path().join("run"), StopFlag::default());
    let gaussian = student.gaussian.unwrap();
    let number = |p: burn::tensor::Tensor<2>| p.into_data().iter::<f64>().next().unwrap();
    let (mean, deviation) = (number(gaussian.mean.val()), number(gaussian.map.val()).abs());
    assert!((mean - 0.275).abs() < 0.03, "mean {mean}");
    assert!((deviation - 1.7336).abs() < 0.03, "deviation {deviation}");
}

/// SiD with alpha above one has no force that brings back a Gaussian student which is much too wide. With the
/// variances `V` and `Q` of student and teacher after the noise, the derivative of its loss in `V` is
///
/// ```text
/// (1/Q - 1/V) (2/V + kappa (1/Q - 1/V)),   kappa = 2 - 2 alpha,
/// ```
///
/// which changes its sign at `V = (1 + 1/(alpha - 1)) Q`: at six times the teacher's for alpha 1.2, never for 1/2 and 1.
#[test]
fn sid_with_alpha_above_one_pushes_a_wide_student_outwards() {
    let device = Device::flex().autodiff();
    let (sigma, q) = (0.5_f64, 1.0_f64);
    // Three nodes in each direction are exact for the quadratic loss.
    let nodes = [(-(3.0_f64.sqrt()), 1.0 / 6.0), (0.0, 2.0 / 3.0), (3.0_f64.sqrt(), 1.0 / 6.0)];
    let grid: Vec<_> = nodes.iter().flat_map(|a| nodes.map(|b| (a.0, b.0, a.1 * b.1))).collect();
    let column = |of: &dyn Fn(&(f64, f64, f64)) -> f64| {
        let values: Vec<f32> = grid.iter().map(|node| of(node) as f32).collect();
        Tensor::<2>::from_data(TensorData::new(values, [grid.len(), 1]), &device)
    };
    let derivative = |alpha: f64, v: f64| {
        let b = Tensor::<2>::from_floats([[(v - sigma * sigma).sqrt() as f32]], &device);
        let b = b.require_grad();
        let x0 = column(&|node| node.0).matmul(b.clone());
        let x = x0.clone() + column(&|node| sigma * node.1);
        let views = Views {
            teacher: x.clone() * (1.0 - sigma * sigma / q),
            fake: x.clone() * (1.0 - sigma * sigma / v),
            x0,
            x,
            sigma: &[sigma; 9],
            log_ratio: None,
        };
        let weights = vec![Divergence::ReverseKl.weights(0.0); grid.len()];
        let loss = Estimator::Expanded(Expanded::sid(alpha)).loss(&views, &weights);
        let loss = (loss * column(&|node| node.2)).sum() * (2.0 / sigma.powi(4));
        let slope = b.grad(&loss.backward()).expect("a gradient").into_data();
        // In the deviation b, and V = b^2 + sigma^2.
        slope.iter::<f64>().next().unwrap() / (2.0 * (v - sigma * sigma).sqrt())
    };
    for (alpha, v) in [(0.5, 7.0), (1.0, 7.0), (1.2, 0.5), (1.2, 5.0), (1.2, 7.0), (1.2, 20.0)] {
        let gap = 1.0 / q - 1.0 / v;
        let expected = gap * (2.0 / v + (2.0 - 2.0 * alpha) * gap);
        let found = derivative(alpha, v);
        assert!((found - expected).abs() < 1e-4, "{alpha} {v}: {found}, expected {expected}");
        assert_eq!(found < 0.0, v < q || (alpha > 1.0 && v > 6.0 * q), "{alpha} {v}: {found}");
    }
}
