//! Replayable randomness: a seed, a name and an index give a stream, and nothing is ambient.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The stream of a purpose and an index: ChaCha with eight rounds, keyed by seed and name.
pub(crate) fn stream(seed: u64, name: &str, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    // FNV-1a from three starting points; that names differ is all that is asked of it.
    for (part, start) in key[8..].chunks_exact_mut(8).zip([0xcbf2_9ce4_8422_2325_u64, 17, 4711]) {
        let hash = name
            .bytes()
            .fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        part.copy_from_slice(&hash.to_le_bytes());
    }
    let mut stream = ChaCha8Rng::from_seed(key);
    stream.set_stream(index);
    stream
}

/// Uniform in `0..n`, by rejection; zero if `n` is zero.
pub(crate) fn below(stream: &mut ChaCha8Rng, n: u32) -> u32 {
    if n == 0 {
        return 0;
    }
    let zone = u32::MAX - u32::MAX % n;
    loop {
        let draw = stream.next_u32();
        if draw < zone {
            return draw % n;
        }
    }
}

/// Shuffles in place (Fisher-Yates).
pub(crate) fn shuffle<T>(stream: &mut ChaCha8Rng, values: &mut [T]) {
    for last in (1..values.len()).rev() {
        values.swap(last, below(stream, last as u32 + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_replay_and_differ_by_seed_name_and_index() {
        let draw = |seed, name, index| stream(seed, name, index).next_u64();
        assert_eq!(draw(1, "a", 0), draw(1, "a", 0));
        assert_ne!(draw(1, "a", 0), draw(2, "a", 0));
        assert_ne!(draw(1, "a", 0), draw(1, "b", 0));
        assert_ne!(draw(1, "a", 0), draw(1, "a", 1));
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        let mut order: Vec<u32> = (0..1000).collect();
        shuffle(&mut stream(0, "order", 5), &mut order);
        assert_ne!(order[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
        order.sort_unstable();
        assert!(order.iter().zip(0..).all(|(&a, b)| a == b));
    }
}
