//! Fixtures, and the numbers that the scripts of `reference/` make from names.

use std::path::{Path, PathBuf};

use trefoil_train::{Outcome, ProgressMode, RunFolder, StopFlag};
use uni_instruct::Recipe;
use uni_instruct::distill::Problem;

/// A file of the fixture folder.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The tensors of a weight file, without the header, which may have times.
pub(crate) fn tensors(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header..].to_vec()
}

/// Leaves of a finished run what it was after `samples`.
pub(crate) fn cut_run(folder: &Path, samples: u64) {
    std::fs::remove_dir_all(folder.join("model")).unwrap();
    for entry in std::fs::read_dir(folder.join("state")).unwrap() {
        let path = entry.unwrap().path();
        let number = path.file_stem().and_then(|s| s.to_str()?.parse::<u64>().ok());
        if number.is_some_and(|number| number > samples) {
            std::fs::remove_file(path).unwrap();
        }
    }
}

/// Runs the problem of a recipe to its end in a folder.
pub(crate) fn run<P: Problem>(recipe: &Recipe, problem: &P, folder: &Path) -> Outcome {
    let run = RunFolder::open_or_create(folder, &recipe.to_toml().unwrap()).unwrap();
    recipe.run(problem, &run, StopFlag::default(), ProgressMode::Quiet).unwrap().outcome
}

/// One line with all of these parts.
#[track_caller]
pub(crate) fn assert_line(error: &str, parts: [&str; 2]) {
    assert!(!error.contains('\n'), "{error}");
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in {error}");
    }
}

/// Numbers in `[-1, 1)` that follow from a name, as in the script: splitmix64 of its CRC-32.
pub(crate) fn uniform(name: &str, count: usize) -> Vec<f32> {
    let mut crc = flate2::Crc::new();
    crc.update(name.as_bytes());
    let state = u64::from(crc.sum()) << 32;
    let value = |i: u64| {
        let mut z = state.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((z >> 40) as f64 / f64::from(1 << 23) - 1.0) as f32
    };
    (0..count as u64).map(value).collect()
}
