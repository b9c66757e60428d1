//! What this machine can do at best, to compare kernels with.

use rayon::prelude::*;

use crate::simd::{Isa, Kernel, dispatch};

/// Independent chains of additions: enough to hide the latency of a fused multiply-add in registers
/// of any width.
const CHAINS: usize = 16 * 12;

/// Chains of multiplications and additions in registers.
struct Chains {
    rounds: usize,
}

impl Kernel for Chains {
    type Output = f32;

    #[inline(always)]
    fn run<I: Isa>(self) -> f32 {
        let mut sums = [1.0_f32; CHAINS];
        let (factor, term) = std::hint::black_box((0.999_f32, 0.001_f32));
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = I::mul_add(*sum, factor, term);
            }
        }
        sums.iter().sum()
    }
}

/// Performs at least `count` multiplications, each with an addition, on all threads and without
/// touching memory; returns how many there were. Two floating-point operations each.
pub fn multiply_adds(count: usize) -> usize {
    let threads = rayon::current_num_threads();
    let rounds = count.div_ceil(threads * CHAINS);
    let total: f32 = (0..threads).into_par_iter().map(|_| dispatch(Chains { rounds })).sum();
    std::hint::black_box(total);
    threads * rounds * CHAINS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_converge_to_the_fixed_point_of_their_step() {
        let mean = dispatch(Chains { rounds: 20_000 }) / CHAINS as f32;
        assert!((mean - 1.0).abs() < 1e-3, "{mean}"); // x = 0.999 x + 0.001
        assert!(multiply_adds(1000) >= 1000);
    }
}
