//! Run-time choice of the instruction set, and the vectorised mathematics that all kernels share.
//!
//! A kernel is written once as plain loops over slices in [`Kernel::run`]; [`dispatch`] compiles
//! that body once per instruction set (the body and everything in it is `inline(always)`, so it
//! takes over the target features of the function that calls it) and picks the widest at run time.
//!
//! On aarch64 there is nothing to pick: NEON and its multiply-add belong to every such machine, so
//! the body is compiled once, with [`Fused`] arithmetic, and the compiler vectorises it for NEON.
//! The tests on record ran on x86-64 only; on other machines run them before trusting a figure.

use std::f32::consts::LOG2_E;
use std::marker::PhantomData;

use crate::lanes::{Lanes, Portable};

/// Number of independent partial sums of a reduction: two AVX-512 registers. A constant, so that
/// a sum has the same order of additions on every machine.
const LANES: usize = 32;

/// How a fused multiply-add is computed.
pub(crate) trait Isa {
    /// A register.
    type Lanes: Lanes;

    /// `a * b + c`.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// One rounding, by the machine's own instruction.
struct Fused<L>(PhantomData<L>);

impl<L: Lanes> Isa for Fused<L> {
    type Lanes = L;

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// Two roundings, for machines where a fused multiply-add would be a library call.
struct Separate;

impl Isa for Separate {
    type Lanes = Portable;

    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

/// A computation that [`dispatch`] can compile for several instruction sets.
pub(crate) trait Kernel {
    /// What the computation returns.
    type Output;

    /// The computation; implementations are `inline(always)`.
    fn run<I: Isa>(self) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Fused<std::arch::x86_64::__m256>>()
}

/// Runs a kernel with the widest instruction set of this machine.
#[cfg(target_arch = "x86_64")]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run::<Fused<std::arch::x86_64::__m512>>()
    }

    let has_avx2 = has_avx2();
    if has_avx2 && is_x86_feature_detected!("avx512f") {
        // SAFETY: the machine has AVX-512F, AVX2 and FMA, as was just detected.
        unsafe { avx512(kernel) }
    } else if has_avx2 {
        // SAFETY: the machine has AVX2 and FMA, as was just detected.
        unsafe { avx2(kernel) }
    } else {
        kernel.run::<Separate>()
    }
}

/// Runs a kernel with the instruction set the crate was compiled for.
#[cfg(target_arch = "aarch64")]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Fused<std::arch::aarch64::float32x4_t>>() // NEON, which every aarch64 machine has, includes it
}

/// Runs a kernel with the instruction set the crate was compiled for.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Separate>()
}

/// Runs a kernel without any extension of the base instruction set, to test that path everywhere.
#[cfg(test)]
pub(crate) fn run_portable<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Separate>()
}

/// Runs a kernel with AVX2, if the machine has it, to test that path where AVX-512 hides it.
#[cfg(test)]
pub(crate) fn run_avx2<K: Kernel>(kernel: K) -> Option<K::Output> {
    #[cfg(target_arch = "x86_64")]
    if has_avx2() {
        // SAFETY: the machine has AVX2 and FMA, as was just detected.
        return Some(unsafe { avx2(kernel) });
    }
    drop(kernel);
    None
}

/// `exp(x)` for `x <= 88`, branch-free: `x = n ln 2 + r` with `|r| <= ln 2 / 2`, and Cephes'
/// polynomial in `r`. Relative error below 2e-7; 0 below -87.3; not-a-number stays so.
#[inline(always)]
pub(crate) fn exp<I: Isa>(x: f32) -> f32 {
    /// Below it the result would not be a normal number.
    const LOWEST: f32 = -87.3;
    /// 1.5 * 2^23: adding it rounds to an integer, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the first has few bits, so that its product with `n` is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;

    let clamped = if x < LOWEST { LOWEST } else { x };
    let rounded = I::mul_add(clamped, LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = I::mul_add(n, -LN_2_HIGH, clamped);
    let r = I::mul_add(n, -LN_2_LOW, r);
    let mut p = I::mul_add(1.987_569_1e-4, r, 1.398_2e-3);
    p = I::mul_add(p, r, 8.333_452e-3);
    p = I::mul_add(p, r, 4.166_579_6e-2);
    p = I::mul_add(p, r, 1.666_666_5e-1);
    p = I::mul_add(p, r, 0.5);
    p = I::mul_add(p, r * r, r + 1.0);
    let power_of_two = f32::from_bits((rounded.to_bits() << 23).wrapping_add(127 << 23));
    if x < LOWEST { 0.0 } else { p * power_of_two }
}

/// `1 / (1 + exp(-x))`, without overflow at either end.
#[inline(always)]
pub(crate) fn sigmoid<I: Isa>(x: f32) -> f32 {
    let e = exp::<I>(-x.abs());
    let numerator = if x < 0.0 { e } else { 1.0 };
    numerator / (1.0 + e)
}

/// `sum_i term(x_i)` in a fixed order of additions.
#[inline(always)]
pub(crate) fn sum_of(x: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += term(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += term(x);
    }
    fold(lanes, |a, b| a + b)
}

/// `sum_i term(x_i, y_i)` in a fixed order of additions.
#[inline(always)]
pub(crate) fn sum_of_pairs(x: &[f32], y: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (mut x_chunks, mut y_chunks) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    for (x, y) in (&mut x_chunks).zip(&mut y_chunks) {
        for (lane, (&x, &y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += term(x, y);
        }
    }
    let rest = x_chunks.remainder().iter().zip(y_chunks.remainder());
    for (lane, (&x, &y)) in lanes.iter_mut().zip(rest) {
        *lane += term(x, y);
    }
    fold(lanes, |a, b| a + b)
}

/// The largest value of a row, negative infinity for an empty one; not-a-numbers are passed over.
#[inline(always)]
pub(crate) fn maximum(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = larger(x, *lane);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = larger(x, *lane);
    }
    fold(lanes, larger)
}

/// One comparison, where `f32::max` needs two for its treatment of not-a-numbers.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Halves the lanes until one is left.
#[inline(always)]
fn fold(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        for (low, &high) in low.iter_mut().zip(high.iter()) {
            *low = join(*low, high);
        }
        width /= 2;
    }
    lanes[0]
}

/// Mean and reciprocal standard deviation, `1 / sqrt(var + epsilon)` with the biased variance.
#[inline(always)]
pub(crate) fn moments(x: &[f32], epsilon: f32) -> (f32, f32) {
    let count = x.len() as f32;
    let mean = sum_of(x, |x| x) / count;
    let variance = sum_of(x, |x| (x - mean) * (x - mean)) / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp<'a>(&'a mut [f32]);

    impl Kernel for Exp<'_> {
        type Output = ();

        #[inline(always)]
        fn run<I: Isa>(self) {
            for x in self.0 {
                *x = exp::<I>(*x);
            }
        }
    }

    #[test]
    fn exp_is_accurate_on_every_path() {
        let points: Vec<f32> = (0..200_000).map(|i| -87.0 + i as f32 * 8.7e-4).collect();
        let (mut widest, mut portable) = (points.clone(), points.clone());
        dispatch(Exp(&mut widest));
        run_portable(Exp(&mut portable));
        for values in [widest, portable] {
            for (&x, &y) in points.iter().zip(&values) {
                let exact = f64::from(x).exp();
                assert!((f64::from(y) / exact - 1.0).abs() < 2e-7, "exp({x}) = {y}, not {exact}");
            }
        }
    }

    #[test]
    fn exp_keeps_the_special_values() {
        let mut values = [f32::NEG_INFINITY, -1e30, 0.0, f32::NAN];
        dispatch(Exp(&mut values));
        assert_eq!(values[..3], [0.0, 0.0, 1.0]);
        assert!(values[3].is_nan());
    }

    #[test]
    fn reductions_cover_the_remainder() {
        for n in [1, 31, 32, 33, 100] {
            let x: Vec<f32> = (1..=n).map(|i| i as f32).collect();
            assert_eq!(sum_of(&x, |x| x), (n * (n + 1) / 2) as f32);
            assert_eq!(sum_of_pairs(&x, &x, |x, y| x * y), (n * (n + 1) * (2 * n + 1) / 6) as f32);
            assert_eq!(maximum(&x), n as f32);
        }
    }
}
