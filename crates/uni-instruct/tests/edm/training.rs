//! The training of a tiny teacher: it learns, and a run that was stopped gives the same bits.

use std::path::Path;

use burn::tensor::Device;
use trefoil_core::Picture;
use trefoil_core::weights::WeightFile;
use trefoil_train::data::{LabelledPicture, LabelledSet, Problems};
use trefoil_train::{Metrics, Outcome, ProgressMode, StopFlag};
use uni_instruct::edm::{EdmRecipe, Teacher, Training};

const RECIPE: &str = "
[data]
resolution = 8
labels = true
[network]
model_channels = 8
channel_mult = [1, 2]
num_blocks = 1
attn_resolutions = [4]
dropout = 0.1
[augment]
probability = 0.5
[train]
seed = 7
batch_size = 8
duration = 640
learning_rate = 5e-3
warmup = 64
ema_half_life = 100.0
log_every = 64
sample_every = 320
checkpoint_every = 160
[preview]
count = 4
[preview.solver]
steps = 2
";

/// Plain pictures: one class dark, the other light.
fn data() -> LabelledSet {
    let pictures = (0..20_u8).map(|i| {
        let value = if i % 2 == 0 { 40 + i } else { 200 + i };
        let picture = Picture::filled(8, 8, [value, value / 2, 255 - value]);
        LabelledPicture { key: format!("{i:02}"), picture, class: Some(usize::from(i % 2)) }
    });
    let classes = ["dark", "light"].map(String::from).to_vec();
    LabelledSet { pictures: pictures.collect(), classes, problems: Problems::default() }
}

fn train(folder: &Path, recipe: &EdmRecipe, stop: StopFlag) -> Outcome {
    let device = Device::flex();
    Training { folder, device: &device, stop, progress: ProgressMode::Quiet }
        .run(recipe, &data())
        .unwrap()
}

fn losses(folder: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str::<Metrics>(line).unwrap().loss).collect()
}

#[test]
fn it_learns_and_a_resumed_run_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let recipe = EdmRecipe::parse(RECIPE).unwrap();
    assert_eq!(train(&whole, &recipe, StopFlag::default()), Outcome::Finished);
    let found = losses(&whole);
    assert_eq!(found.len(), 10);
    assert!(found[0] > 1.0 && found[9] < 0.6 * found[0], "{found:?}");
    for name in ["pictures-000000320.png", "pictures-000000640.png"] {
        assert!(whole.join("samples").join(name).is_file(), "{name}");
    }

    // The first part ends by its duration, the second is stopped at once, the third goes on.
    let mut short = recipe.clone();
    short.train.duration = 200;
    assert_eq!(train(&parts, &short, StopFlag::default()), Outcome::Finished);
    let stop = StopFlag::default();
    stop.request();
    assert_eq!(train(&parts, &recipe, stop), Outcome::Interrupted);
    assert_eq!(train(&parts, &recipe, StopFlag::default()), Outcome::Finished);
    let weights = |folder: &Path| {
        let file = WeightFile::open(&folder.join("model/model.safetensors")).unwrap();
        let names = file.names().unwrap();
        names.iter().map(|name| (name.clone(), file.get(name).unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(weights(&parts), weights(&whole));
    let teacher = Teacher::open(&whole.join("model"), &Device::flex()).unwrap();
    assert_eq!(teacher.config.classes, ["dark", "light"]);
    assert_eq!(teacher.config.network.label_dim, 2);

    // Another network cannot continue the run.
    let mut other = recipe;
    other.network.dropout = 0.2;
    other.train.duration = 800;
    let device = Device::flex();
    let (stop, progress) = (StopFlag::default(), ProgressMode::Quiet);
    let error = Training { folder: &whole, device: &device, stop, progress }
        .run(&other, &data())
        .unwrap_err()
        .to_string();
    assert!(error.contains("task.network.dropout: 0.1 -> 0.2"), "{error}");
}
