//! Scenes: the renderer against PyTorch (`reference/scenes.py`), the folder of pictures, whole runs with a tiny
//! teacher, and what cannot work.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;
use trefoil_core::weights::WeightFile;
use trefoil_core::{Picture, Seed};
use trefoil_train::data::{DataOptions, LabelledSet, OnProblem};
use trefoil_train::{Outcome, ProgressMode, RunFolder, StopFlag};
use uni_instruct::Recipe;
use uni_instruct::distill::Problem as _;
use uni_instruct::edm::{EdmRecipe, Training};
use uni_instruct::scenes::{self, Camera, Renderer, SceneSet, Thing, World};

use crate::support::{self, assert_line, cut_run, fixture, tensors, uniform};

#[test]
fn pictures_and_gradients_equal_pytorch() {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(fixture("scenes.json")).unwrap()).unwrap();
    let numbers = |name: &str| -> Vec<f64> {
        expected[name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    let world = World {
        grid: 5,
        side: 4,
        samples: 7,
        distance: 2.5,
        field_of_view: 75.0,
        ..World::default()
    };
    let device = Device::flex().autodiff();
    let values = uniform("scenes.fields", 2 * 125 * 4);
    let place = |(i, v): (usize, &f32)| {
        let (scale, offset) = if i % 4 == 0 { (2.0, 2.0) } else { (0.5, 0.5) };
        (f64::from(*v) * scale + offset) as f32
    };
    let values: Vec<f32> = values.iter().enumerate().map(place).collect();
    let fields = Tensor::<2>::from_data(TensorData::new(values, [250, 4]), &device).require_grad();
    let shots = [(0, 0.0, 0.0), (1, 37.0, 25.0), (0, 205.0, -40.0), (1, 300.0, 70.0)];
    let shots = shots.map(|(scene, azimuth, elevation): (usize, f64, f64)| {
        (scene, Camera { azimuth: azimuth.to_radians(), elevation: elevation.to_radians() })
    });
    let view = Renderer::new(world).render(&fields, &shots);
    let probe = TensorData::new(uniform("scenes.probe", 4 * 48), [4, 48]);
    let loss = (view.picture.clone() * Tensor::from_data(probe, &device)).sum();
    let gradient = fields.grad(&loss.backward()).unwrap();
    let close = |name: &str, found: TensorData| {
        let (found, wanted): (Vec<f64>, _) = (found.iter::<f64>().collect(), numbers(name));
        assert_eq!(found.len(), wanted.len(), "{name}");
        for (i, (a, b)) in found.iter().zip(&wanted).enumerate() {
            assert!((a - b).abs() < 2e-5, "{name}[{i}]: {a}, expected {b}");
        }
        assert!(wanted.iter().any(|v| v.abs() > 0.1), "{name}");
    };
    close("picture", view.picture.into_data());
    close("opacity", view.opacity.into_data());
    close("gradient", gradient.into_data());
}

fn set() -> SceneSet {
    let world = World { grid: 6, side: 8, samples: 6, directions: 2, ..World::default() };
    SceneSet { scenes: 3, pictures: 6, world, ..SceneSet::default() }
}

/// Pictures of scenes in `data`, and a teacher in `run/model` that has seen some of them.
fn world(folder: &Path) {
    let device = Device::flex();
    scenes::write(&set(), &folder.join("data"), &device).unwrap();
    let text = "[data]\nresolution = 8\nlabels = true\n[network]\nmodel_channels = 8\nchannel_mult = [1]\n\
                num_blocks = 1\nattn_resolutions = []\ndropout = 0.0\n\
                [augment]\nprobability = 0.0\nmirror = false\nupside_down = false\n\
                [train]\nbatch_size = 8\nduration = 64\nlearning_rate = 1e-2\nwarmup = 0\n[preview]\ncount = 0\n";
    let recipe = EdmRecipe::parse(text).unwrap();
    let options = DataOptions { on_problem: OnProblem::Stop, ..DataOptions::new(8) };
    let data = LabelledSet::load(&[folder.join("data")], &options).unwrap();
    assert_eq!((data.pictures.len(), data.classes.len()), (72, 8));
    let training = Training {
        folder: &folder.join("run"),
        device: &device,
        stop: StopFlag::default(),
        progress: ProgressMode::Quiet,
    };
    assert_eq!(training.run(&recipe, &data).unwrap(), Outcome::Finished);
}

fn recipe(folder: &Path, head: &str, more: &str) -> String {
    let folder = folder.display();
    format!(
        "{head}\n[problem]\nkind = \"scenes\"\nteacher = \"{folder}/run/model\"\ndata = \"{folder}/data\"\n\
         class = \"car\"\nparticles = 3\nviews = 3\n\
         [train]\nbatch_size = 6\nlog_every = 12\nsample_every = 0\ncheckpoint_every = 12\nkeep_checkpoints = 9\n\
         warm_up = 24\nduration = 36\n[train.fake]\nlearning_rate = 1e-3\n[train.student]\nlearning_rate = 0.05\n\
         {more}"
    )
}

const JENSEN_SHANNON: &str = "method = \"uni-instruct\"\ndivergence = \"jensen-shannon\"";

#[test]
fn a_folder_has_the_pictures_of_its_scenes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("data");
    let (set, device) = (set(), Device::flex());
    assert_eq!(scenes::write(&set, &out, &device).unwrap(), 4 * 3 * 6);
    assert_eq!(SceneSet::open(&out).unwrap(), set);
    let text = std::fs::read_to_string(out.join("metadata.jsonl")).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 72);
    // The last picture of the second house, from its row alone.
    let row = &rows[2 * 18 + 11];
    assert_eq!((row["scene"].as_u64(), row["text"].as_str()), (Some(1), Some("a house")));
    let [azimuth, elevation] =
        ["azimuth", "elevation"].map(|name| row[name].as_f64().unwrap().to_radians());
    let camera = Camera { azimuth, elevation };
    let label = &set.world.labels()[set.world.label(Thing::House, camera)];
    assert_eq!(row["label"].as_str(), Some(&**label));
    let field = set.fields(Thing::House, 1..2, &device);
    let picture = Renderer::new(set.world).render(&field, &[(0, camera)]).picture;
    let expected = &Picture::from_tensor(picture.reshape([1, 3, 8, 8])).unwrap()[0];
    let file = out.join(row["file_name"].as_str().unwrap());
    let found = Picture::open(&file).unwrap();
    let furthest = found.pixels().iter().zip(expected.pixels()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(furthest.unwrap() <= 1, "the camera is as exact as its decimal digits");
    assert!(found.pixels().iter().any(|v| *v < 128), "it shows something");

    let error = scenes::write(&SceneSet::default(), &out, &device).unwrap_err().to_string();
    assert!(error.ends_with("data is not empty"), "{error}");
}

fn run(text: &str, folder: &Path) -> Outcome {
    let recipe = Recipe::parse(text).unwrap();
    support::run(&recipe, &recipe.scenes(&Device::flex()).unwrap(), folder)
}

/// A run that is cut in the warm-up or after it gives the same bits, and scenes that have moved.
#[test]
fn a_resumed_run_gives_the_same_scenes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    world(path);
    let text = recipe(path, JENSEN_SHANNON, "");
    let straight = path.join("straight");
    let scenes = |run: &Path| tensors(&run.join("model/scenes.safetensors"));
    assert_eq!(run(&text, &straight), Outcome::Finished);
    for cut in [12, 36] {
        let again = path.join(format!("cut-{cut}"));
        run(&text, &again);
        cut_run(&again, cut);
        assert_eq!(run(&text, &again), Outcome::Finished);
        assert!(scenes(&again) == scenes(&straight), "cut at {cut}");
    }
    let file = WeightFile::open(&straight.join("model/scenes.safetensors")).unwrap();
    assert_eq!(file.shape("density").unwrap().unwrap(), [3, 6, 6, 6]);
    assert_eq!(file.shape("colour").unwrap().unwrap(), [3, 6, 6, 6, 3]);
    let names: Vec<String> = std::fs::read_dir(straight.join("samples"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 2, "turntable and triptych: {names:?}");
    let turntable = Picture::open(&straight.join("model/turntable.png")).unwrap();
    assert_eq!((turntable.width(), turntable.height()), (8 * 14 + 2, 3 * 14 + 2));
}

/// The other methods run on scenes: points, a low-rank fake score that is told the camera, and the rest of the table.
#[test]
fn other_methods_shape_scenes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    world(path);
    for method in ["sds", "vsd", "diff-instruct", "sida"] {
        let text = recipe(path, &format!("method = \"{method}\""), "");
        let recipe = Recipe::parse(&text).unwrap();
        let problem = recipe.scenes(&Device::flex()).unwrap();
        let folder = path.join(method);
        let run = RunFolder::open_or_create(&folder, &recipe.to_toml().unwrap()).unwrap();
        let done = recipe.run(&problem, &run, StopFlag::default(), ProgressMode::Quiet).unwrap();
        assert_eq!(done.outcome, Outcome::Finished);
        let start = problem.student_from(&problem.fresh_fake().unwrap()).unwrap();
        let moved =
            (done.student.values.val() - start.values.val()).abs().max().into_scalar::<f32>();
        // Six updates by at most 0.05, averaged.
        assert!(moved > 0.01 && moved < 0.5, "{method}: {moved}");
        let camera = done.fake.camera.weight.val().abs().max().into_scalar::<f32>();
        assert_eq!(camera > 0.0, method != "sds", "{method}: {camera}");
        let measured = problem.fit(&problem.fields(&done.student), 3);
        assert!(measured.psnr > 1.0 && measured.diversity > 0.0, "{method}: {measured:?}");
        let own = problem.teacher_pictures(Seed(1), 3, 2).unwrap();
        assert_eq!(own.len(), 3);
    }
}

#[test]
fn what_cannot_work_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    world(path);
    let other = SceneSet { world: World { side: 4, ..set().world }, ..set() };
    scenes::write(&other, &path.join("small"), &Device::flex()).unwrap();
    let other = SceneSet { world: World { directions: 3, ..set().world }, ..set() };
    scenes::write(&other, &path.join("turned"), &Device::flex()).unwrap();
    std::fs::create_dir(path.join("broken")).unwrap();
    std::fs::write(path.join("broken/scenes.json"), "{\"world\": {\"grid\": 1}}").unwrap();
    let good = recipe(path, JENSEN_SHANNON, "");
    let method = |name: &str| recipe(path, &format!("method = \"{name}\""), "");
    let objective = |text: &str| recipe(path, JENSEN_SHANNON, &format!("[objective]\n{text}\n"));
    for (text, parts) in [
        (good.replace("\"car\"", "\"cart\""), ["unknown variant `cart`", "`tree`"]),
        (good.replace("particles = 3", "particles = 0"), ["`problem.particles`", "found 0"]),
        (good.replace("views = 3", "views = 999"), ["`problem.views`", "expected 1 to 256"]),
        (good.replace("particles", "particle"), ["unknown field `particle`", ""]),
        (good.replace("/data\"", "/nowhere\""), ["cannot read", "nowhere/scenes.json"]),
        (good.replace("/data\"", "/broken\""), ["broken/scenes.json", "`world.grid`"]),
        (good.replace("/run/model\"", "/absent\""), ["absent", ""]),
        (good.replace("/data\"", "/small\""), ["`problem.teacher`", "teacher of 4x4 pixels"]),
        (
            good.replace("/data\"", "/turned\""),
            ["`problem.teacher`", "12 labels of the data, found 8"],
        ),
        (method("di-plus-plus"), ["`objective.reward`", "scenes have no reward"]),
        (method("red-diff"), ["`objective.fidelity`", "scenes have no observation"]),
        (method("dds"), ["`objective.fake.kind`", "scenes have no reference"]),
        (method("swift-brush"), ["`objective.guidance`", "without a class"]),
        (method("dmd"), ["`objective.regression`", "points have no noise"]),
        (objective("reward = 1.0"), ["`objective.reward`", "scenes have no reward"]),
    ] {
        let error = match Recipe::parse(&text) {
            Ok(recipe) => recipe.scenes(&Device::flex()).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert_line(&error, parts);
    }
}
