//! Random draws that belong to a row: a row draws from the stream of its own content, so neither
//! threads nor the order of the work change its numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng as _;

use crate::random;

/// A sequence of random numbers that can be made again.
pub(crate) struct Stream(pub(crate) ChaCha8Rng);

impl Stream {
    /// The stream of a purpose and an index.
    pub(crate) fn new(seed: u64, purpose: &str, index: u64) -> Self {
        Self(random::stream(seed, purpose, index))
    }

    /// The stream of a purpose and of something that these strings identify, by its FNV-1a hash.
    pub(crate) fn of(seed: u64, purpose: &str, key: &[&str]) -> Self {
        let bytes = key.iter().flat_map(|part| part.bytes().chain([0xff]));
        let index = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self::new(seed, purpose, index)
    }

    /// An integer uniform in `0..n`.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        random::below(&mut self.0, n)
    }

    /// Uniform in `[0, 1)` with 53 random bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Puts the elements in random order.
    pub(crate) fn shuffle<T>(&mut self, elements: &mut [T]) {
        random::shuffle(&mut self.0, elements);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_replay_and_differ_by_seed_purpose_and_key() {
        let draw = |seed, purpose, key: &[&str]| Stream::of(seed, purpose, key).below(u32::MAX);
        assert_eq!(draw(1, "a", &["u", "i"]), draw(1, "a", &["u", "i"]));
        assert_ne!(draw(1, "a", &["u", "i"]), draw(2, "a", &["u", "i"]));
        assert_ne!(draw(1, "a", &["u", "i"]), draw(1, "b", &["u", "i"]));
        assert_ne!(draw(1, "a", &["u", "i"]), draw(1, "a", &["ui"]));
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
