//! Replayable randomness: a seed, a name and an index give a stream, and nothing is ambient.
//!
//! A picture draws from the stream of its own index, so neither the batch that it travels in nor the
//! order of the work changes its numbers. The generator is ChaCha with eight rounds, keyed by the seed
//! and the name; the index selects one of its 2^64 independent streams.

use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution as _, StandardNormal};
use serde::{Deserialize, Serialize};

/// The one number from which all randomness of a run follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream of a purpose (`name`) and an item (`index`).
    pub fn stream(self, name: &str, index: u64) -> Stream {
        let mut rng = ChaCha8Rng::from_seed(key(self.0, name));
        rng.set_stream(index);
        Stream { rng }
    }
}

/// 256-bit key of a seed and a name: four FNV-1a hashes with different offsets. Distinctness is all
/// that is asked of it; ChaCha does the mixing.
fn key(seed: u64, name: &str) -> [u8; 32] {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    const OFFSETS: [u64; 3] = [0xcbf2_9ce4_8422_2325, 0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    for (part, offset) in key[8..].chunks_exact_mut(8).zip(OFFSETS) {
        let hash = name.bytes().fold(offset, |h, byte| (h ^ u64::from(byte)).wrapping_mul(PRIME));
        part.copy_from_slice(&hash.to_le_bytes());
    }
    key
}

/// A sequence of random numbers that can be made again from its seed, name and index.
#[derive(Debug, Clone)]
pub struct Stream {
    rng: ChaCha8Rng,
}

impl Stream {
    /// `n` standard normal numbers.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| StandardNormal.sample(&mut self.rng)).collect()
    }

    /// `n` numbers uniform in `[0, 1)`, with 24 random bits each.
    pub fn uniforms(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32).collect()
    }

    /// An integer uniform in `0..n` (rejection, so exactly uniform).
    ///
    /// # Panics
    /// When `n` is zero.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "an empty range has no element");
        let zone = u64::MAX - u64::MAX % n;
        loop {
            let draw = self.rng.next_u64();
            if draw < zone {
                return draw % n;
            }
        }
    }

    /// A random permutation of `0..n` (Fisher-Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }

    /// A tensor of standard normal numbers in row-major order.
    ///
    /// # Shapes
    /// - returns: `shape`
    pub fn normal_tensor<const D: usize>(
        &mut self,
        shape: [usize; D],
        device: &Device,
    ) -> Tensor<D> {
        let data = self.normals(shape.iter().product());
        Tensor::from_data(TensorData::new(data, shape), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_replay_and_differ_by_seed_name_and_index() {
        let draw = |s: u64, n: &str, i| Seed(s).stream(n, i).normals(4);
        assert_eq!(draw(1, "noise", 0), draw(1, "noise", 0));
        assert_ne!(draw(1, "noise", 0), draw(2, "noise", 0));
        assert_ne!(draw(1, "noise", 0), draw(1, "data", 0));
        assert_ne!(draw(1, "noise", 0), draw(1, "noise", 1));
    }

    /// Printed by this program once: a change of generator would change every picture of every seed.
    #[test]
    fn the_generator_is_pinned() {
        let x: Vec<u64> = {
            let mut s = Seed(7).stream("pin", 3);
            (0..3).map(|_| s.below(1_000_000)).collect()
        };
        assert_eq!(x, PINNED);
    }
    const PINNED: [u64; 3] = [866_347, 367_133, 563_610];

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut stream = Seed(3).stream("moments", 0);
        let n = 200_000;
        let mean = |x: &[f32]| x.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
        let normals = stream.normals(n);
        let squares: Vec<f32> = normals.iter().map(|x| x * x).collect();
        assert!(mean(&normals).abs() < 0.01 && (mean(&squares) - 1.0).abs() < 0.015);
        let uniforms = stream.uniforms(n);
        assert!(uniforms.iter().all(|u| (0.0..1.0).contains(u)));
        assert!((mean(&uniforms) - 0.5).abs() < 0.005);
    }

    #[test]
    fn permutations_hold_every_index_once() {
        let mut order = Seed(0).stream("shuffle", 5).permutation(1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &x)| i == x as usize));
    }
}
