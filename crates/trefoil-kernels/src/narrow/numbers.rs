//! From 16 and 8 bits to f32, in the order of memory.

use half::{bf16, f16};

use crate::simd::{Isa, Kernel, dispatch};

/// Numbers in fewer than 32 bits.
#[derive(Clone, Copy)]
pub(crate) enum Numbers<'a> {
    /// The upper half of an f32.
    Bf16(&'a [bf16]),
    /// IEEE half precision.
    F16(&'a [f16]),
    /// Integers, each run of them with a factor.
    Int8 {
        /// The integers.
        values: &'a [i8],
        /// One factor for each run.
        scales: &'a [f32],
        /// Integers of a run.
        run: usize,
    },
}

impl Numbers<'_> {
    /// Writes the numbers from `start` on, as many as `out` has room for.
    pub(crate) fn widen(self, start: usize, out: &mut [f32]) {
        let length = out.len().max(1);
        self.widen_rows(start, 0, length, out);
    }

    /// Fills `out` with rows of `length` numbers whose first ones are `stride` apart.
    pub(crate) fn widen_rows(self, start: usize, stride: usize, length: usize, out: &mut [f32]) {
        dispatch(Widen { numbers: self, start, stride, length, out });
    }
}

struct Widen<'a, 'b> {
    numbers: Numbers<'a>,
    start: usize,
    stride: usize,
    length: usize,
    out: &'b mut [f32],
}

impl Kernel for Widen<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { numbers, start, stride, length, out } = self;
        for (row, out) in out.chunks_exact_mut(length).enumerate() {
            let start = start + row * stride;
            match numbers {
                Numbers::Bf16(values) => {
                    for (out, value) in out.iter_mut().zip(&values[start..][..length]) {
                        *out = f32::from_bits(u32::from(value.to_bits()) << 16);
                    }
                }
                Numbers::F16(values) => {
                    for (out, value) in out.iter_mut().zip(&values[start..][..length]) {
                        *out = from_half(value.to_bits());
                    }
                }
                Numbers::Int8 { values, scales, run } => {
                    let (mut at, mut rest) = (start, out);
                    while !rest.is_empty() {
                        let count = (run - at % run).min(rest.len());
                        let (now, later) = rest.split_at_mut(count);
                        let scale = scales[at / run];
                        for (out, &value) in now.iter_mut().zip(&values[at..][..count]) {
                            *out = f32::from(value) * scale;
                        }
                        (at, rest) = (at + count, later);
                    }
                }
            }
        }
    }
}

/// What IEEE half precision means, without branches so that loops of it become vector instructions.
#[inline(always)]
fn from_half(half: u16) -> f32 {
    /// `2^112`: the difference of the exponents' biases. It makes subnormal halves what they are, too.
    const BIAS: f32 = f32::from_bits(0x7780_0000);
    /// Magnitudes from here on are infinity and not-a-numbers.
    const SPECIAL: u32 = 0x0f80_0000;
    let magnitude = u32::from(half & 0x7fff) << 13;
    let finite = (f32::from_bits(magnitude) * BIAS).to_bits();
    let magnitude = if magnitude >= SPECIAL { magnitude | 0x7f80_0000 } else { finite };
    f32::from_bits(magnitude | u32::from(half & 0x8000) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{run_avx2, run_portable};

    #[test]
    fn all_halves_become_what_they_are() {
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let brains: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
        let same = |ours: &[f32], exact: &dyn Fn(usize) -> f32| {
            for (i, &value) in ours.iter().enumerate() {
                let exact = exact(i);
                assert!(value.to_bits() == exact.to_bits() || (value.is_nan() && exact.is_nan()));
            }
        };
        for (numbers, exact) in [
            (Numbers::F16(&halves), &(|i: usize| halves[i].to_f32()) as &dyn Fn(usize) -> f32),
            (Numbers::Bf16(&brains), &|i: usize| brains[i].to_f32()),
        ] {
            let mut out = vec![0.0; 1 << 16];
            numbers.widen(0, &mut out);
            same(&out, exact);
            let length = out.len();
            out.fill(0.0);
            run_portable(Widen { numbers, start: 0, stride: 0, length, out: &mut out });
            same(&out, exact);
            out.fill(0.0);
            if run_avx2(Widen { numbers, start: 0, stride: 0, length, out: &mut out }).is_some() {
                same(&out, exact);
            }
        }
    }

    #[test]
    fn integers_take_the_scale_of_their_run() {
        let values: Vec<i8> = (0..60).map(|i| (i * 37 % 255 - 127) as i8).collect();
        let scales = [0.5, 2.0, 0.25, 1.0, 4.0, 8.0];
        let numbers = Numbers::Int8 { values: &values, scales: &scales, run: 10 };
        let exact = |i: usize| f32::from(values[i]) * scales[i / 10];
        for (start, length) in [(0, 60), (3, 40), (10, 10), (17, 1)] {
            let mut out = vec![0.0; length];
            numbers.widen(start, &mut out);
            assert_eq!(out, (start..start + length).map(exact).collect::<Vec<_>>());
        }
        let mut rows = [0.0; 6];
        numbers.widen_rows(8, 20, 3, &mut rows);
        assert_eq!(rows.to_vec(), [8, 9, 10, 28, 29, 30].map(exact).to_vec());
    }
}
