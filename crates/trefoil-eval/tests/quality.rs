//! Metrics of sets of pictures against numpy and scipy on two small sets of features
//! (`reference/quality.py`).

use std::path::Path;

use serde_json::Value;
use trefoil_eval::{
    CovarianceDivisor, FeaturePrecision, Features, FrechetReport, Gaussian, InceptionScore,
    KidOptions, KidReport, Measure, PixelPca, PrecisionRecall, Statistics, kernel_distance,
};

struct Data {
    values: Value,
    real: Vec<f32>,
    generated: Vec<f32>,
}

impl Data {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference_data/quality.json");
        let values: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let single = |name: &str| numbers(&values[name]).into_iter().map(|v| v as f32).collect();
        Self { real: single("real"), generated: single("gen"), values }
    }

    fn sets(&self) -> [Features<'_>; 2] {
        let real = Features::new("real", &self.real, 4).unwrap();
        [real, Features::new("generated", &self.generated, 4).unwrap()]
    }

    fn expect(&self, name: &str, found: f64) {
        let expected = self.values[name].as_f64().unwrap();
        // Features are rounded to single precision here.
        assert!((found - expected).abs() < 1e-6, "{name}: {found} against {expected}");
    }
}

/// Numbers of a nested list, in order.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

#[test]
fn frechet_distances_with_both_divisors() {
    let data = Data::new();
    let names = [
        (CovarianceDivisor::Samples, "fid_ddof0", "divided by n"),
        (CovarianceDivisor::SamplesMinusOne, "fid_ddof1", "divided by n-1"),
    ];
    for (divisor, name, said) in names {
        let [real, generated] = data.sets().map(|set| Gaussian::fit_with(set, divisor).unwrap());
        let report = FrechetReport::new("toy", &real, &generated).unwrap();
        data.expect(name, report.distance);
        assert_eq!(report.divisor, Some(divisor));
        let note = &report.rows()[0].note;
        assert!(note.ends_with(said) && note.contains("40 real samples"), "{note}");
    }
}

#[test]
fn kernel_distances() {
    let data = Data::new();
    let [real, generated] = data.sets();
    data.expect("kid_unbiased_unequal", kernel_distance(generated, real).unwrap());
    let first = Features::new("first", &data.real[..36 * 4], 4).unwrap();
    data.expect("kid_stylegan_one_subset_m36_first36", kernel_distance(generated, first).unwrap());

    // A subset of everything is everything, in another order.
    let options = KidOptions { subsets: 3, subset_size: 1000, seed: 5 };
    let report = KidReport::new("toy", first, generated, options).unwrap();
    data.expect("kid_stylegan_one_subset_m36_first36", report.distance);
    assert!(report.deviation < 1e-12);
    // Subsets of 20 scatter around it, and replay.
    let options = KidOptions { subsets: 200, subset_size: 20, seed: 5 };
    let some = KidReport::new("toy", real, generated, options).unwrap();
    assert_eq!(some, KidReport::new("toy", real, generated, options).unwrap());
    let error = (some.distance - 0.377_621).abs();
    assert!(error < 5.0 * some.deviation / 200_f64.sqrt(), "{some:?}");
}

#[test]
fn precision_and_recall() {
    let data = Data::new();
    let [real, generated] = data.sets();
    for precision in [FeaturePrecision::Half, FeaturePrecision::Single] {
        let found = PrecisionRecall::new("toy", real, generated, 3, precision).unwrap();
        data.expect("precision_k3", found.precision());
        data.expect("recall_k3", found.recall());
        assert_eq!((found.realistic, found.covered), (33, 36));
    }
}

#[test]
fn inception_scores() {
    let data = Data::new();
    let probabilities = numbers(&data.values["probs"]);
    for splits in [1, 3] {
        let expected = numbers(&data.values[format!("inception_score_splits{splits}")]);
        let found = InceptionScore::new("toy", &probabilities, 5, splits).unwrap();
        assert!((found.mean - expected[0]).abs() < 1e-9, "{found:?}");
        assert!((found.deviation - expected[1]).abs() < 1e-9, "{found:?}");
    }
}

#[test]
fn statistics_survive_a_file() {
    let data = Data::new();
    let gaussian = Gaussian::fit(data.sets()[0]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("real.npz");
    let axes = (0..24).map(|i| i as f32).collect();
    let pixels = PixelPca::from_parts([1, 2], vec![0.5; 6], axes).unwrap();
    let features = Some("a näme".to_string());
    let whole = Statistics { gaussian, features, pixels: Some(pixels) };
    whole.write(&path).unwrap();
    assert_eq!(Statistics::read(&path).unwrap(), whole);

    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = Statistics::read(&path).unwrap_err().to_string();
    assert!(error.contains("real.npz: not an .npz archive"), "{error}");
}

/// Files by numpy: plain with a column-major covariance, compressed in single precision, without `sigma`,
/// and with a covariance of another size.
#[test]
fn files_of_numpy_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference_data");
    let read = |name: &str| Statistics::read(&folder.join(name));
    for name in ["numpy.npz", "numpy_compressed.npz"] {
        let found = read(name).unwrap();
        assert_eq!(found.gaussian.mean, [0.5, -1.25]);
        assert_eq!(found.gaussian.covariance, [2.0, 0.25, 0.25, 3.5]);
        assert_eq!((found.gaussian.samples, found.gaussian.divisor), (0, None));
        assert_eq!((found.features, found.pixels), (None, None));
    }
    let error = read("numpy_absent.npz").unwrap_err().to_string();
    assert!(error.ends_with("array `sigma` is absent"), "{error}");
    let error = read("numpy_misshapen.npz").unwrap_err().to_string();
    assert!(error.ends_with("array `sigma`: expected shape [2, 2], found [2, 3]"), "{error}");
}
