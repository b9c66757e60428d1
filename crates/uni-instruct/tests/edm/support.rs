//! Fixtures, and the numbers that the scripts of `reference/` make from names.

use std::path::{Path, PathBuf};

/// A file of the fixture folder.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
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
