//! Items, users and choices of a synthetic world.

use rand_distr::{Distribution as _, Gamma, StandardNormal};
use rayon::prelude::*;

use super::{Feed, MAX_WORDS, Scene, SyntheticConfig, Truth, pick};
use crate::data::stream::Stream;

/// What items and users are like.
pub(super) struct World<'a> {
    config: &'a SyntheticConfig,
    /// Topic of each item.
    pub(super) topics: Vec<u32>,
    /// Style of each item.
    styles: Vec<Vec<f64>>,
    /// Logarithm of the popularity of each item.
    popularity: Vec<f64>,
    /// Share of searches among the showings of each item.
    in_search: Vec<f64>,
    /// Taste of each user.
    tastes: Vec<Vec<f64>>,
    /// Propensity of each user to each topic.
    pub(super) propensities: Vec<Vec<f64>>,
}

impl<'a> World<'a> {
    pub(super) fn new(config: &'a SyntheticConfig) -> Self {
        let stream = |purpose, index: u32| Stream::new(config.seed, purpose, u64::from(index));
        let normals = |purpose, index, spread: f64| -> Vec<f64> {
            let mut stream = stream(purpose, index);
            let normal = |_| -> f64 { StandardNormal.sample(&mut stream.0) };
            (0..config.styles).map(normal).map(|x| x * spread).collect()
        };
        let items = || (0..config.items).into_par_iter();
        let users = || (0..config.users).into_par_iter();
        let narrow = 1.0 / (config.styles.max(1) as f64).sqrt();
        let popularity = |item| {
            let normal: f64 = StandardNormal.sample(&mut stream("popularity", item).0);
            normal * config.popularity
        };
        let in_search = |item| {
            let is_searched = stream("exposure", item).uniform() < 0.5;
            if is_searched { config.exposure_bias } else { 1.0 - config.exposure_bias }
        };
        Self {
            config,
            topics: items().map(|i| pick(stream("topic", i).uniform(), config.topics)).collect(),
            styles: items().map(|item| normals("style", item, narrow)).collect(),
            popularity: items().map(popularity).collect(),
            in_search: items().map(in_search).collect(),
            tastes: users().map(|user| normals("taste", user, 1.0)).collect(),
            propensities: users()
                .map(|user| dirichlet(config, &mut stream("propensity", user)))
                .collect(),
        }
    }

    /// How much a user likes each item before any demand: `exp(taste . style + popularity)`.
    pub(super) fn appeal(&self, user: u32) -> Vec<f64> {
        let taste = &self.tastes[user as usize];
        let items = self.styles.iter().zip(&self.popularity);
        items
            .map(|(style, popularity)| {
                let dot: f64 = taste.iter().zip(style).map(|(t, s)| t * s).sum();
                (self.config.taste_weight * dot + popularity).exp()
            })
            .collect()
    }

    /// Draws a demand, an item and words.
    pub(super) fn draw(
        &self,
        user: u32,
        appeal: &[f64],
        scene: Scene,
        stream: &mut Stream,
    ) -> (u32, Truth) {
        let config = self.config;
        let [explore, demand, choice] = [(); 3].map(|()| stream.uniform());
        let topic = if explore < config.explore {
            pick(demand, config.topics)
        } else {
            inverse(&self.propensities[user as usize], demand)
        };
        let boost = match (scene, config.feed) {
            (Scene::Search, _) | (_, Feed::Demand) => config.demand_weight.exp(),
            (_, Feed::Taste) => 1.0,
        };
        let items = appeal.iter().zip(&self.topics).zip(&self.in_search);
        let weights: Vec<f64> = items
            .map(|((appeal, &of), in_search)| {
                let demand = if of == topic { boost } else { 1.0 };
                let exposure = match scene {
                    Scene::Search => *in_search,
                    Scene::Feed => 1.0 - in_search,
                    Scene::OpenFeed => 1.0,
                };
                appeal * demand * exposure
            })
            .collect();
        let item = inverse(&weights, choice);
        (item, Truth { topic, words: self.words(topic, stream) })
    }

    /// One to three words of a topic, the first of its words the most frequent (Zipf).
    fn words(&self, topic: u32, stream: &mut Stream) -> Vec<u32> {
        let config = self.config;
        let zipf: Vec<f64> = (1..=config.topic_words).map(|rank| 1.0 / f64::from(rank)).collect();
        let length = 1 + pick(stream.uniform(), MAX_WORDS as u32);
        let word = |_| {
            let (noise, which) = (stream.uniform(), stream.uniform());
            if noise < config.word_noise {
                1 + pick(which, config.words() - 1)
            } else {
                1 + topic * config.topic_words + inverse(&zipf, which)
            }
        };
        (0..length).map(word).collect()
    }
}

/// The element whose share of the sum of weights holds a uniform number.
fn inverse(weights: &[f64], uniform: f64) -> u32 {
    let mut left = uniform * weights.iter().sum::<f64>();
    let chosen = weights.iter().position(|weight| {
        left -= weight;
        left < 0.0
    });
    // Rounding may leave a little at the end.
    let last = || weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0);
    chosen.unwrap_or_else(last) as u32
}

/// Symmetric Dirichlet distribution from gamma variables, kept as logarithms: for a small parameter
/// `gamma(a) = gamma(a + 1) u^(1 / a)` would be zero.
fn dirichlet(config: &SyntheticConfig, stream: &mut Stream) -> Vec<f64> {
    let a = config.concentration;
    let logs: Vec<f64> = (0..config.topics)
        .map(|_| {
            let gamma = Gamma::new(a + 1.0, 1.0).map_or(1.0, |gamma| gamma.sample(&mut stream.0));
            let uniform = 1.0 - stream.uniform();
            gamma.ln() + uniform.ln() / a
        })
        .collect();
    let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| (log - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}
