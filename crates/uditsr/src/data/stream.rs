//! Replayable randomness: a seed, a purpose and an index give a stream.
//!
//! A row draws from the stream of its own index, so neither threads nor the order of the work
//! change its numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// A sequence of random numbers that can be made again.
pub(crate) struct Stream(pub(crate) ChaCha8Rng);

impl Stream {
    /// The stream of a purpose and an index.
    pub(crate) fn new(seed: u64, purpose: &str, index: u64) -> Self {
        let mut rng = ChaCha8Rng::from_seed(key(seed, purpose));
        rng.set_stream(index);
        Self(rng)
    }

    /// The stream of a purpose and of something that these strings identify.
    pub(crate) fn of(seed: u64, purpose: &str, key: &[&str]) -> Self {
        let bytes = key.iter().flat_map(|part| part.bytes().chain([0xff]));
        Self::new(seed, purpose, fnv(FNV_OFFSET, bytes))
    }

    /// An integer uniform in `0..n`, by rejection.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        assert!(n > 0, "an empty range has no element");
        let zone = u32::MAX - u32::MAX % n;
        loop {
            let draw = self.0.next_u32();
            if draw < zone {
                return draw % n;
            }
        }
    }

    /// Uniform in `[0, 1)` with 53 random bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts the elements in random order (Fisher-Yates).
    pub(crate) fn shuffle<T>(&mut self, elements: &mut [T]) {
        for i in (1..elements.len()).rev() {
            elements.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

/// Offset basis of FNV-1a with 64 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a with 64 bits.
fn fnv(offset: u64, bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(offset, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// 256-bit key of a seed and a purpose: the seed and three hashes with different offsets.
/// Distinctness is all that is asked of it; ChaCha does the mixing.
fn key(seed: u64, purpose: &str) -> [u8; 32] {
    const OFFSETS: [u64; 3] = [FNV_OFFSET, 0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    for (part, offset) in key[8..].chunks_exact_mut(8).zip(OFFSETS) {
        part.copy_from_slice(&fnv(offset, purpose.bytes()).to_le_bytes());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_replay_and_differ_by_seed_purpose_and_index() {
        let draw = |seed, purpose, index| Stream::new(seed, purpose, index).below(u32::MAX);
        assert_eq!(draw(1, "a", 0), draw(1, "a", 0));
        assert_ne!(draw(1, "a", 0), draw(2, "a", 0));
        assert_ne!(draw(1, "a", 0), draw(1, "b", 0));
        assert_ne!(draw(1, "a", 0), draw(1, "a", 1));
    }

    #[test]
    fn draws_are_uniform() {
        let mut stream = Stream::new(3, "moments", 0);
        let n = 100_000;
        let mean = (0..n).map(|_| stream.uniform()).sum::<f64>() / f64::from(n);
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        let mut counts = [0_i32; 7];
        (0..n).for_each(|_| counts[stream.below(7) as usize] += 1);
        assert!(counts.iter().all(|c| (c - n / 7).abs() < 500), "{counts:?}");
    }
}
