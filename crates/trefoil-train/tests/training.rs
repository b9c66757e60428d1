//! The loop: literal losses, and that an interrupted run gives the bits of an uninterrupted one.

mod common;

use std::path::{Path, PathBuf};

use common::{Affine, Regression};
use trefoil_core::rng::Seed;
use trefoil_train::tensorboard::read_events;
use trefoil_train::{
    Decay, Error, Metrics, Outcome, ProgressMode, Result, RunFolder, StopFlag, TrainConfig,
    Trained, Trainer,
};

fn config() -> TrainConfig {
    TrainConfig {
        seed: Seed(11),
        batch_size: 4,
        accumulation: 2,
        duration: 160,
        learning_rate: 0.05,
        warmup: 40,
        clip_norm: Some(5.0),
        ema_half_life: 40.0,
        log_every: 24,
        sample_every: 60,
        checkpoint_every: 32,
        ..TrainConfig::default()
    }
}

fn fit(path: &Path, config: &TrainConfig, task: &mut Regression) -> Result<Trained<Affine>> {
    let run = RunFolder::open_or_create(path, "")?;
    let stop = task.stops_at.as_ref().map_or_else(StopFlag::default, |(_, stop)| stop.clone());
    Trainer { config, run: &run, stop, progress: ProgressMode::Quiet }.fit(task, Affine::new())
}

/// The log without what depends on the clock.
fn log(path: &Path) -> Vec<Metrics> {
    let text = std::fs::read_to_string(path.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Metrics>(line).unwrap());
    lines.map(|m| Metrics { samples_per_second: 0.0, seconds: 0.0, ..m }).collect()
}

fn bits(values: Vec<f32>) -> Vec<u32> {
    values.into_iter().map(f32::to_bits).collect()
}

fn states(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path.join("state")).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = entries.filter(|p| !p.ends_with("lock")).collect();
    files.sort();
    files
}

#[test]
fn it_learns_and_leaves_what_it_promises() {
    let folder = tempfile::tempdir().unwrap();
    let mut task = Regression::new();
    let config = TrainConfig {
        duration: 4000,
        decay: Decay::Cosine { to: 0.0 },
        weight_decay: 0.0,
        ..config()
    };
    let trained = fit(folder.path(), &config, &mut task).unwrap();
    assert_eq!((trained.outcome, trained.position.step), (Outcome::Finished, 1000));
    let lines = log(folder.path());
    assert_eq!((lines[0].samples, lines[0].epoch), (24, 2));
    assert!(lines[0].loss > 5.0 && lines.last().unwrap().loss < 0.25, "{lines:?}");
    let parts = &lines[3].parts;
    let sum: f64 = ["fit", "size"].iter().map(|p| parts[*p].as_f64().unwrap()).sum();
    assert!((sum - lines[3].loss).abs() < 1e-6);
    // The least squares solution is W = 3 (the penalty takes a little), b = mean(index) / 10 = 0.45.
    let values = trained.average.values();
    for (found, expected) in values.iter().zip([2.98, 0.0, 0.0, 2.98, 0.45, 0.45]) {
        assert!((found - expected).abs() < 0.1, "{values:?}");
    }
    assert_eq!((task.sampled[..3].to_vec(), task.sampled.len()), (vec![60, 120, 180], 67));
    let names: Vec<_> =
        states(folder.path()).iter().map(|p| p.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["000003968.safetensors", "000004000.safetensors"]);
}

#[test]
fn a_killed_and_resumed_run_equals_an_uninterrupted_one_bitwise() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let expected = fit(&whole, &config(), &mut Regression::new()).unwrap();

    // Killed at 60 samples, before and after any checkpoint, and once more; then stopped.
    for dies_at in [3, 15, 26] {
        let mut task = Regression { dies_at: Some(dies_at), ..Regression::new() };
        assert_eq!(fit(&parts, &config(), &mut task).unwrap_err().to_string(), "killed");
    }
    let stop = StopFlag::default();
    let mut task = Regression { stops_at: Some((33, stop)), ..Regression::new() };
    let stopped = fit(&parts, &config(), &mut task).unwrap();
    assert_eq!((stopped.outcome, stopped.position.samples), (Outcome::Interrupted, 136));
    assert_eq!(stopped.resumed.unwrap().position.samples, 96);
    let found = fit(&parts, &config(), &mut Regression::new()).unwrap();

    assert_eq!(found.resumed.unwrap().position.samples, 136);
    assert_eq!(bits(found.last.values()), bits(expected.last.values()));
    assert_eq!(bits(found.average.values()), bits(expected.average.values()));
    assert_ne!(bits(found.average.values()), bits(found.last.values()));
    assert_eq!(log(&parts), log(&whole));
    assert_eq!(
        log(&whole).iter().map(|m| m.samples).collect::<Vec<_>>(),
        [24, 48, 72, 96, 120, 144, 160]
    );
}

#[test]
fn a_finished_run_can_be_made_longer_and_its_event_files_tell_where() {
    let folder = tempfile::tempdir().unwrap();
    let short = TrainConfig { duration: 96, ..config() };
    fit(folder.path(), &short, &mut Regression::new()).unwrap();
    let trained = fit(folder.path(), &config(), &mut Regression::new()).unwrap();
    assert_eq!((trained.position.samples, trained.resumed.unwrap().position.samples), (160, 96));

    let mut files: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.to_string_lossy().contains("tfevents"))
        .collect();
    files.sort();
    let second = read_events(&files[1]).unwrap();
    assert_eq!((second[1].step, second[1].session_log.is_some()), (97, true));
    let tags: Vec<&str> =
        second[2].summary.as_ref().unwrap().value.iter().map(|v| &v.tag[..]).collect();
    assert_eq!(second[2].step, 120);
    assert_eq!(tags[0], "loss/total");
    assert_eq!(tags[5..], ["loss/fit", "loss/size"]);
}

#[test]
fn a_damaged_checkpoint_is_skipped_aloud() {
    let folder = tempfile::tempdir().unwrap();
    let expected = fit(folder.path(), &config(), &mut Regression::new()).unwrap();
    let newest = states(folder.path()).pop().unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&newest, &bytes).unwrap();
    let trained = fit(folder.path(), &config(), &mut Regression::new()).unwrap();
    let resumed = trained.resumed.unwrap();
    assert_eq!(resumed.position.samples, 128);
    assert!(resumed.skipped[0].contains("000000160.safetensors: expected the checksum"));
    assert_eq!(bits(trained.last.values()), bits(expected.last.values()));

    for state in states(folder.path()) {
        let bytes = std::fs::read(&state).unwrap();
        std::fs::write(&state, &bytes[..bytes.len() - 7]).unwrap();
    }
    let error = fit(folder.path(), &config(), &mut Regression::new()).unwrap_err();
    assert!(matches!(&error, Error::NoCheckpoint { reasons, .. } if reasons.len() == 2), "{error}");
}

#[test]
fn a_changed_configuration_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    fit(folder.path(), &config(), &mut Regression::new()).unwrap();
    let changed = TrainConfig { learning_rate: 0.1, seed: Seed(12), log_every: 8, ..config() };
    let mut task = Regression { samples: 9, ..Regression::new() };
    let Error::ConfigChanged { fields, .. } = fit(folder.path(), &changed, &mut task).unwrap_err()
    else {
        panic!("expected ConfigChanged")
    };
    assert_eq!(fields, ["seed: 11 -> 12", "learning_rate: 0.05 -> 0.1", "task.samples: 10 -> 9"]);
    let allowed = TrainConfig { log_every: 8, accumulation: 1, keep_checkpoints: 5, ..config() };
    assert!(fit(folder.path(), &allowed, &mut Regression::new()).is_ok());
}

#[test]
fn a_loss_that_is_not_finite_stops_with_its_name_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainConfig { learning_rate: 1e30, warmup: 0, clip_norm: None, ..config() };
    let error = fit(folder.path(), &config, &mut Regression::new()).unwrap_err().to_string();
    let start = "loss `fit` is not finite at step 1 (visits 4 to 5 of seed 11)";
    assert!(error.starts_with(start), "{error}");
}
