//! The two precisions of the model, and loops that use the widest instructions of the machine.

use std::fmt::Debug;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use faer::traits::RealField;
use safetensors::Dtype;

/// `f32` for work, `f64` for proofs.
pub trait Real:
    RealField
    + Copy
    + Default
    + Debug
    + PartialOrd
    + Send
    + Sync
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + 'static
{
    /// Type of the numbers in a safetensors file.
    const DTYPE: Dtype;
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;

    /// Nearest number of this precision.
    fn of(value: f64) -> Self;
    /// The same number in double precision.
    fn wide(self) -> f64;
    /// Square root.
    fn root(self) -> Self;
    /// Exponential function.
    fn exponential(self) -> Self;
    /// Hyperbolic tangent.
    fn hyperbolic_tangent(self) -> Self;
    /// Appends the bytes of the number, least significant first.
    fn write(self, bytes: &mut Vec<u8>);
    /// Reads what [`write`](Self::write) wrote.
    fn read(bytes: &[u8]) -> Self;
}

impl Real for f64 {
    const DTYPE: Dtype = Dtype::F64;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }

    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn exponential(self) -> Self {
        self.exp()
    }

    #[inline(always)]
    fn hyperbolic_tangent(self) -> Self {
        self.tanh()
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        Self::from_le_bytes(word)
    }
}

impl Real for f32 {
    const DTYPE: Dtype = Dtype::F32;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as Self
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn root(self) -> Self {
        self.sqrt()
    }

    #[inline(always)]
    fn exponential(self) -> Self {
        let (power, rest) = exponential_parts(self.clamp(-87.0, 88.0));
        power * rest + power
    }

    #[inline(always)]
    fn hyperbolic_tangent(self) -> Self {
        // (e^2x - 1) / (e^2x + 1), from e^2x - 1 so that small arguments keep their digits.
        let (power, rest) = exponential_parts((2.0 * self).clamp(-30.0, 30.0));
        let minus_one = power * rest + (power - 1.0);
        minus_one / (minus_one + 2.0)
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        let mut word = [0; 4];
        word.copy_from_slice(bytes);
        Self::from_le_bytes(word)
    }
}

/// `2^n` and `e^r - 1` of `x = n ln 2 + r` with `|r| <= ln(2) / 2`, without a branch, so that a loop
/// over it becomes vector instructions. Two units in the last place for `|x| < 88`.
#[inline(always)]
fn exponential_parts(x: f32) -> (f32, f32) {
    // Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first of which has few digits: `n` times it is exact.
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let tail = 1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)));
    let rest = r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * tail)));
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    (power, rest)
}

/// Compiles `run` for each instruction set and runs the widest one of this machine. Only what is
/// inlined into `run` profits: loops are `for` loops, since `for_each` may stay a function of its own.
#[inline(always)]
pub(crate) fn vectorised<R>(run: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(run)
}

/// `out += x`.
#[inline(always)]
pub(crate) fn add<T: Real>(out: &mut [T], x: &[T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

/// `out += scale * x`.
#[inline(always)]
pub(crate) fn add_scaled<T: Real>(out: &mut [T], scale: T, x: &[T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out += scale * x;
    }
}

/// `out *= scale`.
#[inline(always)]
pub(crate) fn scale<T: Real>(out: &mut [T], scale: T) {
    for out in out {
        *out *= scale;
    }
}

/// Inner product, in sixteen partial sums on every machine.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    const LANES: usize = 16;
    let mut lanes = [T::ZERO; LANES];
    let (a_blocks, b_blocks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: T = a_blocks.remainder().iter().zip(b_blocks.remainder()).map(|(&a, &b)| a * b).sum();
    for (a, b) in a_blocks.zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.into_iter().sum::<T>() + rest
}

/// Logistic function, in double precision.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// Logarithm of the logistic function, in double precision.
pub(crate) fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_precision_functions_are_within_a_few_units_in_the_last_place() {
        for step in -400_000..400_000 {
            let x = step as f32 * 5e-5;
            let tanh = f64::from(x).tanh();
            let error = (f64::from(x.hyperbolic_tangent()) - tanh).abs();
            assert!(error <= 3e-7 * tanh.abs(), "tanh({x}) is off by {error:e}");
            let exp = f64::from(x).exp();
            let error = (f64::from(x.exponential()) - exp).abs();
            assert!(error <= 3e-7 * exp, "exp({x}) is off by {error:e}");
        }
        assert_eq!(1e4_f32.hyperbolic_tangent(), 1.0);
        assert_eq!((-1e4_f32).hyperbolic_tangent(), -1.0);
    }

    #[test]
    fn the_logistic_function_does_not_overflow() {
        assert_eq!(sigmoid(-1000.0), 0.0);
        assert_eq!(sigmoid(1000.0), 1.0);
        assert_eq!(log_sigmoid(-1000.0), -1000.0);
        assert!((log_sigmoid(0.5) - sigmoid(0.5).ln()).abs() < 1e-15);
    }

    #[test]
    fn inner_products_cover_every_length() {
        for length in [0, 1, 15, 16, 17, 40] {
            let a: Vec<f64> = (0..length).map(f64::from).collect();
            let expected: f64 = a.iter().map(|x| x * x).sum();
            assert_eq!(dot(&a, &a), expected);
        }
    }
}
