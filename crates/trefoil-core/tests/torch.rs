//! Files that PyTorch wrote, against the same tensors in a safetensors file, and damaged ones.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use trefoil_core::Error;
use trefoil_core::weights::torch::embedded_storage;
use trefoil_core::weights::{Element, Precision, StoredTensor, WeightFile, save_torch};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torch").join(name)
}

fn open(name: &str) -> WeightFile {
    WeightFile::open(&fixture(name)).unwrap()
}

/// Same names, shapes, types and numbers.
fn assert_equal(found: &WeightFile, expected: &WeightFile) {
    assert_eq!(found.names().unwrap(), expected.names().unwrap());
    for (name, tensor) in expected.tensors() {
        let other = found.tensor(name).unwrap();
        assert_eq!(other.shape(), tensor.shape(), "{name}");
        assert_eq!(other.element(), tensor.element(), "{name}");
        if tensor.element().is_float() {
            assert_eq!(other.read(), tensor.read(), "{name}");
            assert_eq!(other.read_f64(), tensor.read_f64(), "{name}");
            assert!(other.read_integers().is_none() && tensor.elements() < 100);
        } else {
            assert_eq!(other.read_integers(), tensor.read_integers(), "{name}");
            assert!(other.read().is_none(), "{name}");
        }
    }
}

#[test]
fn every_container_has_the_same_tensors() {
    let expected = open("expected.safetensors");
    assert_eq!(expected.names().unwrap().len(), 18);
    for name in ["zip.pth", "old.bin", "shards.safetensors.index.json"] {
        assert_equal(&open(name), &expected);
    }
    assert_equal(&open("script.pt"), &open("script.safetensors"));
    let words = open("zip.pth").get_integers("module.words").unwrap();
    assert_eq!(words, (vec![-70000, 5], vec![2, 1]));
    assert_eq!(open("old.bin").tensor("module.half").unwrap().element(), Element::F16);
}

/// What is written is read again, by this reader and, as `reference/converted_in_diffusers.py` shows, by `torch.load`.
#[test]
fn a_written_file_has_the_same_tensors() {
    let file = open("zip.pth");
    let floats: Vec<(String, StoredTensor)> = file
        .tensors()
        .filter(|(_, tensor)| tensor.element().is_float())
        .map(|(name, tensor)| (name.to_string(), tensor.clone()))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    for (precision, element) in [
        (Precision::F32, Element::F32),
        (Precision::F16, Element::F16),
        (Precision::Bf16, Element::Bf16),
    ] {
        let path = dir.path().join("model.pth");
        save_torch(&path, &floats, precision).unwrap();
        let again = WeightFile::open(&path).unwrap();
        let mut names: Vec<&str> = floats.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(again.names().unwrap(), names);
        for (name, tensor) in &floats {
            let found = again.tensor(name).unwrap();
            assert_eq!((found.shape(), found.element()), (tensor.shape(), element), "{name}");
            let pairs = found.read_f64().unwrap().into_iter().zip(tensor.read_f64().unwrap());
            let digits = if precision == Precision::Bf16 { 8 } else { 11 };
            for (found, expected) in pairs {
                let limit = match precision {
                    Precision::F32 => expected.abs() * 1e-7,
                    _ => expected.abs() * 0.5_f64.powi(digits) + 1e-7,
                };
                assert!((found - expected).abs() <= limit, "{name}: {found} {expected}");
            }
        }
    }
    // The largest number of half precision is 65504.
    let large = vec![("w".to_string(), burn::tensor::TensorData::from([1e6f32]))];
    let path = dir.path().join("large.pth");
    assert!(matches!(save_torch(&path, &large, Precision::F16), Err(Error::NonFinite { .. })));
    assert!(!path.exists());
}

#[test]
fn nested_dictionaries_are_joined_by_dots() {
    let file = open("nested.pth");
    assert_eq!(file.names().unwrap(), ["state.model.w"]);
    assert_eq!(file.get("state.model.w").unwrap().iter::<f32>().collect::<Vec<_>>(), [1.0, 1.0]);
}

#[track_caller]
fn refuses(name: &str, part: &str) {
    let error = WeightFile::open(&fixture(name)).unwrap_err().to_string();
    assert!(error.contains(part) && error.contains(name), "{error}");
}

#[test]
fn what_would_run_code_is_refused_by_name() {
    let system = if cfg!(windows) { "nt.system" } else { "posix.system" };
    refuses("evil.pth", &format!("pickle global `{system}`"));
    refuses("deflated.pth", "entry `archive/data.pkl` of the archive is compressed");
    refuses("../resize.txt", "cannot read");
}

#[test]
fn the_storage_of_an_old_file_is_found() {
    // A file whose object is a tensor, not a storage.
    let bytes = std::fs::read(fixture("old.bin")).unwrap();
    assert_eq!(embedded_storage(&bytes).unwrap_err(), "expected a storage");
}

/// Opens bytes as a file and reads all that it then offers.
fn read_all(bytes: &[u8], name: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let Ok(file) = WeightFile::open(&path) else { return false };
    for (_, tensor) in file.tensors() {
        // Reading takes no more memory than there are bytes in the file.
        assert!(tensor.elements() <= bytes.len());
        let _ = (tensor.read(), tensor.read_f64(), tensor.read_integers());
    }
    true
}

#[test]
fn every_prefix_is_refused() {
    for name in ["zip.pth", "old.bin", "expected.safetensors", "script.pt"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        for end in (0..bytes.len()).step_by(bytes.len() / 97 + 1) {
            assert!(!read_all(&bytes[..end], "x.safetensors"), "{name} cut at {end}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Changed, removed and doubled bytes: an error or tensors, never a panic.
    #[test]
    fn damage_is_survived(
        which in 0usize..4,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..6),
    ) {
        let name = ["zip.pth", "old.bin", "expected.safetensors", "script.pt"][which];
        let mut bytes = std::fs::read(fixture(name)).unwrap();
        for (place, value, kind) in edits {
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => bytes[at] ^= 1 << (value % 8),
                2 => drop(bytes.drain(at..(at + usize::from(value) + 1).min(bytes.len() - 1).max(at))),
                _ => {
                    let end = (at + usize::from(value)).min(bytes.len());
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        read_all(&bytes, name);
    }

    /// Bytes that mean nothing.
    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), which in 0usize..4) {
        let start: &[u8] = [&b""[..], b"PK\x03\x04", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", b"\x10\0\0\0\0\0\0\0{"]
            [which];
        prop_assert!(!read_all(&[start, &bytes].concat(), "noise"));
    }
}
