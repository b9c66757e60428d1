//! Fixtures and comparisons shared by the parity tests.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use trefoil_core::weights::WeightFile;

/// A file of the fixture folder (see its README; `reference/fixtures.py` makes it).
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Opens `NAME.safetensors`.
pub(crate) fn open(name: &str) -> WeightFile {
    WeightFile::open(&fixture(&format!("{name}.safetensors"))).unwrap()
}

/// A float tensor of a fixture.
pub(crate) fn tensor<const D: usize>(file: &WeightFile, name: &str) -> Tensor<D> {
    Tensor::from_data(file.get(name).unwrap(), &Device::flex())
}

/// Largest absolute difference over the largest expected magnitude.
pub(crate) fn relative_error(found: &TensorData, expected: &TensorData) -> f64 {
    assert_eq!(found.shape().to_vec(), expected.shape().to_vec());
    let scale = expected.iter::<f64>().fold(0.0, |m, v| f64::max(m, v.abs()));
    let worst = found
        .iter::<f64>()
        .zip(expected.iter::<f64>())
        .fold(0.0, |m, (a, b)| f64::max(m, (a - b).abs()));
    worst / scale.max(f64::MIN_POSITIVE)
}

/// Asserts [`relative_error`] and says what was compared.
#[track_caller]
pub(crate) fn assert_close(what: &str, found: &TensorData, expected: &TensorData, tolerance: f64) {
    let error = relative_error(found, expected);
    assert!(error <= tolerance, "{what}: relative error {error:.2e}, tolerance {tolerance:.0e}");
}
