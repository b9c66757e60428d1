//! Where the randomness of a sample comes from.

use std::ops::Range;

use trefoil_core::{Seed, Stream};

/// What noise is drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoiseKind {
    /// A latent `z`: where the solver starts, or a marginalised picture.
    Latent,
    /// A CLIP embedding `c`.
    Clip,
    /// A text code `y`.
    Text,
    /// Hidden states of a text, from which the prefix encoder makes a code.
    Hidden,
    /// The latent of a given picture, from the autoencoder's posterior.
    Posterior,
    /// A step of a stochastic solver.
    Solver,
}

/// Standard normal numbers for the samples of one batch.
///
/// A run first draws its start, always [`Latent`](NoiseKind::Latent), [`Clip`](NoiseKind::Clip),
/// [`Text`](NoiseKind::Text). Each network evaluation then draws what it marginalises, pass by pass: a
/// picture as `Latent`, `Clip`, a text as `Text`. That is the order of the authors' program, so recorded
/// noise can be replayed. With [`Procedure::Diffusers`](super::Procedure::Diffusers) a run starts with
/// [`Hidden`](NoiseKind::Hidden), `Latent`, `Clip`, each only where it is used.
pub trait NoiseSource {
    /// Number of samples of the batch.
    fn samples(&self) -> usize;

    /// `count` numbers for every sample, one sample after another.
    fn draw(&mut self, kind: NoiseKind, count: usize) -> Vec<f32>;
}

/// One stream per sample: what a sample draws depends on its index, not on its batch.
#[derive(Debug, Clone)]
pub struct Streams {
    samples: Vec<Stream>,
    posteriors: Vec<Stream>,
}

impl Streams {
    /// The streams of the samples `range` of a seed.
    pub fn new(seed: Seed, range: Range<usize>) -> Self {
        Self::of(range.map(|index| (seed, index)))
    }

    /// The streams of samples of several seeds.
    pub fn of(samples: impl IntoIterator<Item = (Seed, usize)>) -> Self {
        let streams = |(seed, index): (Seed, usize)| {
            ["sample", "posterior"].map(|name| seed.stream(name, index as u64))
        };
        let (samples, posteriors) =
            samples.into_iter().map(streams).map(|[sample, posterior]| (sample, posterior)).unzip();
        Self { samples, posteriors }
    }

    /// `count` samples that all draw what the sample `index` draws.
    pub(super) fn replicas(seed: Seed, index: usize, count: usize) -> Self {
        let streams = |name| vec![seed.stream(name, index as u64); count];
        Self { samples: streams("sample"), posteriors: streams("posterior") }
    }

    /// The stream of the first sample, where it stands.
    pub(super) fn into_first(self) -> Option<Stream> {
        self.samples.into_iter().next()
    }
}

impl NoiseSource for Streams {
    fn samples(&self) -> usize {
        self.samples.len()
    }

    fn draw(&mut self, kind: NoiseKind, count: usize) -> Vec<f32> {
        let streams = match kind {
            NoiseKind::Posterior => &mut self.posteriors,
            NoiseKind::Latent
            | NoiseKind::Clip
            | NoiseKind::Text
            | NoiseKind::Hidden
            | NoiseKind::Solver => &mut self.samples,
        };
        streams.iter_mut().flat_map(|stream| stream.normals(count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_draws_the_same_in_every_batch() {
        let mut together = Streams::new(Seed(5), 0..3);
        let mut alone = Streams::new(Seed(5), 2..3);
        assert_eq!((together.samples(), alone.samples()), (3, 1));
        for kind in [NoiseKind::Latent, NoiseKind::Posterior, NoiseKind::Clip, NoiseKind::Solver] {
            let (all, one) = (together.draw(kind, 7), alone.draw(kind, 7));
            assert_eq!(all[14..], one);
            assert_ne!(all[..7], all[7..14]);
        }
        let mut twice = Streams::replicas(Seed(5), 2, 2);
        let draw = twice.draw(NoiseKind::Latent, 4);
        assert_eq!(draw[..4], draw[4..]);
        assert_eq!(draw[..4], Streams::new(Seed(5), 2..3).draw(NoiseKind::Text, 4));
    }
}
