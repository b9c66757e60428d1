//! Comparisons that all kernels share.

use burn::tensor::{Device, Tensor};
use rayon::ThreadPoolBuilder;

/// Normal numbers, the same at every call with the same seed.
pub(crate) fn normal<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let values: Vec<f32> =
        (0..count).map(|_| ((0..12).map(|_| uniform()).sum::<f64>() - 6.0) as f32).collect();
    Tensor::<1>::from_floats(values.as_slice(), &Device::flex()).reshape(shape)
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec::<f32>().expect("f32 tensor")
}

/// Asserts that two lists agree within `tolerance` of the larger of 1 and their magnitude.
pub(crate) fn assert_close(name: &str, actual: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(actual.len(), expected.len(), "{name}: length");
    let scale = expected.iter().fold(1.0_f32, |scale, x| scale.max(x.abs()));
    for (i, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        assert!((a - e).abs() <= tolerance * scale, "{name}[{i}]: {a}, expected {e}");
    }
}

/// Value, and gradients of all inputs for a random gradient of the output.
pub(crate) fn value_and_gradients<const E: usize>(
    inputs: &[Tensor<1>],
    f: impl Fn(&[Tensor<1>]) -> Tensor<E>,
) -> Vec<Vec<f32>> {
    let device = Device::flex().autodiff();
    let leaves: Vec<Tensor<1>> = inputs
        .iter()
        .map(|x| Tensor::from_data(x.clone().into_data(), &device).require_grad())
        .collect();
    let output = f(&leaves);
    let weights = Tensor::from_data(normal(output.dims(), 99).into_data(), &device);
    let gradients = (output.clone() * weights).sum().backward();
    let mut results = vec![values(output.inner())];
    results.extend(leaves.iter().map(|x| values(x.grad(&gradients).expect("a gradient"))));
    results
}

/// Asserts that `kernel` and `reference` have the same value and gradients, that the value is the
/// same without gradients, and that one and two threads give the same bits.
pub(crate) fn compare<const E: usize>(
    name: &str,
    inputs: &[Tensor<1>],
    kernel: impl Fn(&[Tensor<1>]) -> Tensor<E> + Sync,
    reference: impl Fn(&[Tensor<1>]) -> Tensor<E>,
    tolerance: f32,
) {
    let expected = value_and_gradients(inputs, &reference);
    let run = |threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        pool.install(|| value_and_gradients(inputs, &kernel))
    };
    let actual = run(2);
    for (i, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
        let part = if i == 0 { "value".to_string() } else { format!("gradient {}", i - 1) };
        assert_close(&format!("{name} {part}"), actual, expected, tolerance);
    }
    assert_eq!(actual, run(1), "{name}: one and two threads differ");
    assert_eq!(actual[0], values(kernel(inputs)), "{name}: without gradients");
}
