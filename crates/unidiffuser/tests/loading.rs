//! What loading costs: weights are mapped and converted once, so that the peak of memory is little more than what stays.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use burn::tensor::Device;
use trefoil_core::Seed;
use trefoil_core::nn::Init;
use trefoil_core::weights::{Precision, Storage};
use unidiffuser::folder::Component;
use unidiffuser::uvit::{UVit, UVitConfig};

/// Folder and format for the process that loads.
const FOLDER: &str = "TREFOIL_TEST_LOADING";

/// About 15 million weights: 60 MB in f32.
fn config() -> UVitConfig {
    UVitConfig { embed_dim: 384, num_heads: 6, num_layers: 6, ..UVitConfig::default() }
}

fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

/// In a process of its own: prints how much the peak rose, and how large the weights are.
fn load(folder: &Path, storage: Storage) {
    // The threads and buffers of a first use are no part of loading.
    let device = Device::flex();
    let part = UVit::open(folder).unwrap();
    let before = status("VmRSS:");
    let network = part.load_as(&device, storage).unwrap();
    let peak = status("VmHWM:");
    println!("peak {} {}", peak - before, part.resident(storage).unwrap());
    drop(network);
}

#[test]
fn the_peak_of_loading_is_little_more_than_the_weights() {
    if let Ok(asked) = std::env::var(FOLDER) {
        let (storage, folder) = asked.split_once(':').unwrap();
        return load(Path::new(folder), storage.parse().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let init = &mut Init::random(Seed(1), &Device::flex());
    let network = config().init(init).unwrap();
    network.save(&config(), folder.path(), Precision::F32).unwrap();
    let size = |storage| UVit::open(folder.path()).unwrap().resident(storage).unwrap() as f64;
    assert!(size(Storage::F32) > 55e6);
    // Positions, biases and norms are held in f32.
    assert!(size(Storage::Bf16) < 0.52 * size(Storage::F32));
    assert!(size(Storage::Int8) < 0.29 * size(Storage::F32));
    for storage in Storage::ALL {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["the_peak_of_loading_is_little_more_than_the_weights", "--exact", "--nocapture"])
            .env(FOLDER, format!("{storage}:{}", folder.path().display()))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers = text.split_once("peak ").unwrap().1.lines().next().unwrap();
        let numbers: Vec<f64> = numbers.split(' ').map(|n| n.parse().unwrap()).collect();
        assert_eq!(numbers[1], size(storage));
        let ratio = numbers[0] / numbers[1];
        // The file is in f32: most of it is mapped and comes into memory when it is used.
        let is_mapped = storage == Storage::F32;
        assert!(is_mapped || ratio > 0.9, "{storage}: {ratio}: the weights are not there");
        // One block of the file and the largest tensor's way into its place weigh more here than at full size.
        let allowed = 1.15 + 9e6 / numbers[1];
        assert!(ratio < allowed, "{storage}: {ratio}, expected at most {allowed}");
    }
}
