//! Which samples an update sees, as a function of the number of samples seen before.
//!
//! Epoch `e` visits the dataset in the order `seed.stream("shuffle", e).permutation(n)`; visit `v` of the
//! run is place `v mod n` of epoch `v / n`. A resumed run therefore needs one number, and the random
//! numbers of a sample come from the stream of its visit, whatever the batch size.

use serde::{Deserialize, Serialize};
use trefoil_core::rng::{Seed, Stream};
use trefoil_core::{Error, Result};

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Updates made.
    pub step: u64,
    /// Samples seen.
    pub samples: u64,
    /// Epochs completed.
    pub epoch: u64,
}

/// One sample of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Place in the dataset.
    pub index: usize,
    /// Samples that the run had seen before this one: the index of its random streams.
    pub visit: u64,
}

/// Samples that go through the network together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The samples.
    pub items: Vec<Item>,
    /// Update to which they belong, counted from zero.
    pub step: u64,
    /// Seed of the run.
    pub seed: Seed,
}

impl Batch {
    /// Random stream of a purpose for one sample.
    pub fn stream(&self, name: &str, item: &Item) -> Stream {
        self.seed.stream(name, item.visit)
    }

    /// Standard normal numbers, `count` for each sample from its own stream, sample after sample.
    pub fn normals(&self, name: &str, count: usize) -> Vec<f32> {
        self.items.iter().flat_map(|item| self.stream(name, item).normals(count)).collect()
    }

    /// Numbers uniform in `[0, 1)`, `count` for each sample from its own stream, sample after sample.
    pub fn uniforms(&self, name: &str, count: usize) -> Vec<f32> {
        self.items.iter().flat_map(|item| self.stream(name, item).uniforms(count)).collect()
    }

    /// Splits into `parts` batches of equal size; the size must be a multiple of it.
    pub fn split(&self, parts: usize) -> impl Iterator<Item = Batch> + '_ {
        let size = (self.items.len() / parts.max(1)).max(1);
        self.items.chunks(size).map(|items| Batch {
            items: items.to_vec(),
            step: self.step,
            seed: self.seed,
        })
    }
}

/// Draws batches by position.
#[derive(Debug, Clone)]
pub struct Sampler {
    samples: u64,
    batch_size: u64,
    seed: Seed,
    epoch: u64,
    order: Vec<u32>,
}

impl Sampler {
    /// A sampler over `samples` samples.
    ///
    /// # Errors
    /// [`Error::Config`] when there is none, or more than 2^32.
    pub fn new(samples: usize, batch_size: usize, seed: Seed) -> Result<Self> {
        if samples == 0 || u32::try_from(samples).is_err() {
            let reason = format!("expected 1 to {} training samples, found {samples}", u32::MAX);
            return Err(Error::config("data", reason));
        }
        let order = seed.stream("shuffle", 0).permutation(samples);
        let (samples, batch_size) = (samples as u64, batch_size as u64);
        Ok(Self { samples, batch_size, seed, epoch: 0, order })
    }

    /// The position after `samples` samples.
    pub fn position(&self, samples: u64) -> Position {
        Position { step: samples / self.batch_size, samples, epoch: samples / self.samples }
    }

    /// The batch of the update that starts at a position.
    pub fn batch(&mut self, at: Position) -> Batch {
        let visits = at.samples..at.samples + self.batch_size;
        let items = visits.map(|visit| Item { index: self.index(visit), visit }).collect();
        Batch { items, step: at.step, seed: self.seed }
    }

    fn index(&mut self, visit: u64) -> usize {
        let epoch = visit / self.samples;
        if epoch != self.epoch {
            self.order = self.seed.stream("shuffle", epoch).permutation(self.samples as usize);
            self.epoch = epoch;
        }
        self.order[(visit % self.samples) as usize] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_visits_each_sample_once_and_any_batch_can_be_replayed() {
        let mut sampler = Sampler::new(10, 4, Seed(3)).unwrap();
        let batches: Vec<Batch> =
            (0..5).map(|step| sampler.batch(sampler.clone().position(4 * step))).collect();
        let mut indices: Vec<usize> =
            batches.iter().flat_map(|b| b.items.iter().map(|i| i.index)).collect();
        let (first, second) = indices.split_at_mut(10);
        assert_ne!(first, second);
        first.sort_unstable();
        second.sort_unstable();
        assert_eq!(
            (first, second),
            (&mut (0..10).collect::<Vec<_>>()[..], &mut (0..10).collect::<Vec<_>>()[..])
        );
        let position = sampler.position(8);
        assert_eq!(position, Position { step: 2, samples: 8, epoch: 0 });
        assert_eq!(Sampler::new(10, 4, Seed(3)).unwrap().batch(position), batches[2]);
    }

    #[test]
    fn noise_follows_the_sample_and_not_the_batch() {
        let at = |samples, size| {
            let mut sampler = Sampler::new(7, size, Seed(1)).unwrap();
            let position = sampler.position(samples);
            sampler.batch(position)
        };
        let whole = at(0, 6).normals("noise", 3);
        let halves = [at(0, 3).normals("noise", 3), at(3, 3).normals("noise", 3)].concat();
        assert_eq!(whole, halves);
        let parts: Vec<f32> = at(0, 6).split(3).flat_map(|b| b.normals("noise", 3)).collect();
        assert_eq!(whole, parts);
    }
}
