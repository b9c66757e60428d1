//! Registers of several numbers, one type per instruction set, for the loops in which the choice
//! of registers decides the speed.

/// Several numbers in one register.
///
/// # Safety
/// The methods may run only where [`dispatch`](crate::simd::dispatch) has found the instruction
/// set, that is inside [`Kernel::run`](crate::simd::Kernel::run).
pub(crate) trait Lanes: Copy {
    /// Numbers in a register; divides 16.
    const COUNT: usize;
    /// Whether the machine has 32 registers; otherwise it has 16.
    const MANY: bool;

    /// The same number everywhere.
    unsafe fn splat(x: f32) -> Self;

    /// The next [`COUNT`](Self::COUNT) numbers, which must be readable.
    unsafe fn load(from: *const f32) -> Self;

    /// Writes all numbers; the place must be writable.
    unsafe fn store(self, to: *mut f32);

    /// `self * b + c`.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;

    /// The sum of each of four registers.
    unsafe fn sums(rows: [Self; 4]) -> [f32; 4];
}

/// Four numbers without any extension of the base instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 4]);

impl Lanes for Portable {
    const COUNT: usize = 4;
    const MANY: bool = false;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: four numbers are readable there, by the caller's promise.
        Self(unsafe { from.cast::<[f32; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: four numbers are writable there, by the caller's promise.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * b.0[i] + c.0[i]))
    }

    #[inline(always)]
    unsafe fn sums(rows: [Self; 4]) -> [f32; 4] {
        rows.map(|Self([a, b, c, d])| (a + c) + (b + d))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Lanes;

    impl Lanes for __m512 {
        const COUNT: usize = 16;
        const MANY: bool = true;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: the machine has AVX-512F, by the caller's promise.
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as above, and 16 numbers are readable there.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above, and 16 numbers are writable there.
            unsafe { _mm512_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: the machine has AVX-512F, by the caller's promise.
            unsafe { _mm512_fmadd_ps(self, b, c) }
        }

        #[inline(always)]
        unsafe fn sums([a, b, c, d]: [Self; 4]) -> [f32; 4] {
            // SAFETY: the machine has AVX-512F, by the caller's promise; the last step reads the
            // four numbers of a register as an array.
            unsafe {
                let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
                let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
                let low = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
                let high = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
                let quarters = _mm512_add_ps(low, high); // each a, b, c, d
                let swapped = _mm512_shuffle_f32x4::<0b01_00_11_10>(quarters, quarters);
                let halves = _mm512_add_ps(quarters, swapped);
                let swapped = _mm512_shuffle_f32x4::<0b10_11_00_01>(halves, halves);
                let sums = _mm512_castps512_ps128(_mm512_add_ps(halves, swapped));
                std::mem::transmute::<__m128, [f32; 4]>(sums)
            }
        }
    }

    impl Lanes for __m256 {
        const COUNT: usize = 8;
        const MANY: bool = false;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: the machine has AVX2, by the caller's promise.
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as above, and eight numbers are readable there.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above, and eight numbers are writable there.
            unsafe { _mm256_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: the machine has FMA, by the caller's promise.
            unsafe { _mm256_fmadd_ps(self, b, c) }
        }

        #[inline(always)]
        unsafe fn sums([a, b, c, d]: [Self; 4]) -> [f32; 4] {
            // SAFETY: the machine has AVX2, by the caller's promise; the last step reads the four
            // numbers of a register as an array.
            unsafe {
                let halves = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
                let (low, high) =
                    (_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
                std::mem::transmute::<__m128, [f32; 4]>(_mm_add_ps(low, high))
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::Lanes;

    impl Lanes for float32x4_t {
        const COUNT: usize = 4;
        const MANY: bool = true;

        #[inline(always)]
        unsafe fn splat(x: f32) -> Self {
            // SAFETY: every aarch64 machine has NEON.
            unsafe { vdupq_n_f32(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: as above, and four numbers are readable there.
            unsafe { vld1q_f32(from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: as above, and four numbers are writable there.
            unsafe { vst1q_f32(to, self) }
        }

        #[inline(always)]
        unsafe fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: every aarch64 machine has NEON.
            unsafe { vfmaq_f32(c, self, b) }
        }

        #[inline(always)]
        unsafe fn sums([a, b, c, d]: [Self; 4]) -> [f32; 4] {
            // SAFETY: as above; the last step reads the four numbers of a register as an array.
            unsafe {
                let sums = vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
                std::mem::transmute::<float32x4_t, [f32; 4]>(sums)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Isa, Kernel, dispatch, run_avx2, run_portable};

    struct Sums<'a>(&'a [f32]);

    impl Kernel for Sums<'_> {
        type Output = [f32; 4];

        #[inline(always)]
        fn run<I: Isa>(self) -> [f32; 4] {
            assert_eq!(self.0.len(), 64);
            let start = self.0.as_ptr();
            // SAFETY: this is a kernel, and 16 numbers per row are at least one register.
            unsafe {
                let rows = std::array::from_fn(|i| {
                    let mut sum = I::Lanes::splat(0.0);
                    for j in (0..16).step_by(I::Lanes::COUNT) {
                        let one = I::Lanes::splat(1.0);
                        sum = I::Lanes::load(start.add(16 * i + j)).mul_add(one, sum);
                    }
                    sum
                });
                I::Lanes::sums(rows)
            }
        }
    }

    #[test]
    fn every_register_is_summed() {
        let x: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let expected = [120.0, 376.0, 632.0, 888.0];
        assert_eq!(dispatch(Sums(&x)), expected);
        assert_eq!(run_avx2(Sums(&x)).unwrap_or(expected), expected);
        assert_eq!(run_portable(Sums(&x)), expected);
    }
}
