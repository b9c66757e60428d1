//! Logs whose intents are known, to ask whether a model finds them.
//!
//! Each item has one topic and a style, each user a taste of styles (the inherent intent) and a
//! propensity to topics. An event is a demand for a topic (the demand intent), an item chosen for
//! topic, style and popularity, and, if it is a search, words of that topic. In the feed the words
//! are drawn too but kept as truth.
//!
//! Each item, user and event draws from its own stream by inverse distribution functions, so that
//! changing one parameter does not reshuffle the rest.

mod world;
mod write;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::world::World;
use super::stream::Stream;
use crate::{Csr, Dataset, Error, Interactions, Ranking, Result};

/// Longest query.
const MAX_WORDS: usize = 3;
/// Draws of a held-out event before a user is left without it.
const TRIES: u64 = 50;

/// Parameters of a world. The default is a sparse one in which the supervision by searches helps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticConfig {
    /// Users.
    pub users: u32,
    /// Items.
    pub items: u32,
    /// Training events.
    pub events: usize,
    /// Topics.
    pub topics: u32,
    /// Words of each topic.
    pub topic_words: u32,
    /// Words of no topic.
    pub noise_words: u32,
    /// Dimensions of style and taste.
    pub styles: usize,
    /// Share of events that are searches.
    pub search_rate: f64,
    /// Weight of the demand in the choice of an item.
    pub demand_weight: f64,
    /// Weight of taste and style.
    pub taste_weight: f64,
    /// Standard deviation of the popularity of items.
    pub popularity: f64,
    /// Parameter of the Dirichlet distribution of topic propensities.
    pub concentration: f64,
    /// Probability of a demand for any topic.
    pub explore: f64,
    /// Probability of any word instead of one of the topic.
    pub word_noise: f64,
    /// Share of searches among the showings of half of the items, and of the feed for the others.
    pub exposure_bias: f64,
    /// What decides about items in the feed.
    pub feed: Feed,
    /// Held-out events of each user, half for validation and half for test.
    pub held_out: usize,
    /// Negatives of each.
    pub negatives: usize,
    /// Seed.
    pub seed: u64,
}

/// What decides about items in the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Feed {
    /// Demand and taste.
    Demand,
    /// Taste alone: the null world, where queries tell nothing about the feed.
    Taste,
}

impl Default for SyntheticConfig {
    fn default() -> Self {
        Self {
            users: 300,
            items: 1000,
            events: 3000,
            topics: 10,
            topic_words: 6,
            noise_words: 12,
            styles: 4,
            search_rate: 0.6,
            demand_weight: 6.0,
            taste_weight: 0.5,
            popularity: 0.2,
            concentration: 0.05,
            explore: 0.05,
            word_noise: 0.1,
            exposure_bias: 0.5,
            feed: Feed::Demand,
            held_out: 4,
            negatives: 99,
            seed: 0,
        }
    }
}

/// What is known about an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// Topic that was demanded.
    pub topic: u32,
    /// Words for it; in the feed nobody sees them.
    pub words: Vec<u32>,
}

/// A log and the truth about it.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticLog {
    /// The log; word 0 is padding.
    pub dataset: Dataset,
    /// Truth of each training event.
    pub train: Vec<Truth>,
    /// Truth of each validation event.
    pub valid: Vec<Truth>,
    /// Truth of each test event.
    pub test: Vec<Truth>,
    /// Topic of each item.
    pub item_topics: Vec<u32>,
    /// Propensity of each user to each topic.
    pub propensities: Vec<Vec<f64>>,
    /// The world that it comes from.
    pub config: SyntheticConfig,
}

/// One event.
struct Event {
    user: u32,
    item: u32,
    is_search: bool,
    truth: Truth,
}

/// Where an event takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    Search,
    Feed,
    /// A feed that may show any item.
    OpenFeed,
}

impl SyntheticConfig {
    /// Number of words, the padding included.
    pub fn words(&self) -> u32 {
        1 + self.topics * self.topic_words + self.noise_words
    }

    /// Topic of a word, none for padding and noise.
    pub fn topic_of(&self, word: u32) -> Option<u32> {
        let topic = word.checked_sub(1)? / self.topic_words;
        (topic < self.topics).then_some(topic)
    }

    /// Draws the log.
    ///
    /// # Errors
    /// [`Error::Config`] with the field.
    pub fn generate(&self) -> Result<SyntheticLog> {
        self.validate()?;
        let world = World::new(self);
        let train = self.training(&world);
        let mut seen = vec![Vec::new(); self.users as usize];
        for event in &train {
            seen[event.user as usize].push(event.item);
        }
        for items in &mut seen {
            items.sort_unstable();
        }
        let held_out: Vec<Vec<(Event, Vec<u32>)>> = seen
            .par_iter()
            .enumerate()
            .map(|(user, seen)| self.held_out(&world, user as u32, seen))
            .collect();
        let (mut valid, mut test) = (Vec::new(), Vec::new());
        for (index, row) in held_out.into_iter().flatten().enumerate() {
            if index % 2 == 0 { valid.push(row) } else { test.push(row) }
        }
        let (train, train_truth) = columns(train);
        let (valid, valid_truth) = ranking(valid);
        let (test, test_truth) = ranking(test);
        let dataset = Dataset {
            users: self.users as usize,
            items: self.items as usize,
            words: self.words() as usize,
            train,
            valid,
            test,
            item_words: (0..self.items).map(|_| [0; 0]).collect(),
        };
        Ok(SyntheticLog {
            dataset,
            train: train_truth,
            valid: valid_truth,
            test: test_truth,
            item_topics: world.topics,
            propensities: world.propensities,
            config: self.clone(),
        })
    }

    fn validate(&self) -> Result<()> {
        let at_least_one = [
            ("users", self.users),
            ("items", self.items),
            ("topics", self.topics),
            ("topic_words", self.topic_words),
        ];
        if let Some((field, _)) = at_least_one.iter().find(|(_, n)| *n == 0) {
            return Err(Error::config(field, "at least one"));
        }
        let shares = [
            ("search_rate", self.search_rate),
            ("explore", self.explore),
            ("word_noise", self.word_noise),
            ("exposure_bias", self.exposure_bias),
        ];
        if let Some((field, share)) = shares.iter().find(|(_, s)| !(0.0..=1.0).contains(s)) {
            return Err(Error::config(field, format!("a share is between 0 and 1, found {share}")));
        }
        if !(self.concentration > 0.0 && self.concentration.is_finite()) {
            return Err(Error::config("concentration", "a number above 0"));
        }
        if self.items as usize <= self.negatives {
            return Err(Error::config("negatives", "fewer than there are items"));
        }
        Ok(())
    }

    fn training(&self, world: &World<'_>) -> Vec<Event> {
        let stream = |event: usize| Stream::new(self.seed, "event", event as u64);
        let user = |stream: &mut Stream| pick(stream.uniform(), self.users);
        let mut events_of: Vec<Vec<usize>> = vec![Vec::new(); self.users as usize];
        for event in 0..self.events {
            events_of[user(&mut stream(event)) as usize].push(event);
        }
        let of_user = |(user_of, events): (usize, &Vec<usize>)| -> Vec<(usize, Event)> {
            let appeal = world.appeal(user_of as u32);
            let draw = |&event: &usize| {
                let mut stream = stream(event);
                let user = user(&mut stream);
                let is_search = stream.uniform() < self.search_rate;
                let scene = if is_search { Scene::Search } else { Scene::Feed };
                let (item, truth) = world.draw(user, &appeal, scene, &mut stream);
                (event, Event { user, item, is_search, truth })
            };
            events.iter().map(draw).collect()
        };
        let mut events: Vec<(usize, Event)> =
            events_of.par_iter().enumerate().flat_map_iter(of_user).collect();
        events.sort_unstable_by_key(|(event, _)| *event);
        events.into_iter().map(|(_, event)| event).collect()
    }

    /// New items that a user takes from the feed, each with negatives that it never touched.
    fn held_out(&self, world: &World<'_>, user: u32, seen: &[u32]) -> Vec<(Event, Vec<u32>)> {
        let appeal = world.appeal(user);
        let mut rows = Vec::new();
        for attempt in 0..TRIES {
            let index = u64::from(user) * TRIES + attempt;
            let mut stream = Stream::new(self.seed, "held-out", index);
            let (item, truth) = world.draw(user, &appeal, Scene::OpenFeed, &mut stream);
            if rows.len() == self.held_out {
                break;
            }
            if seen.binary_search(&item).is_ok() {
                continue;
            }
            let mut stream = Stream::new(self.seed, "negatives", index);
            let mut negatives = Vec::with_capacity(self.negatives);
            let mut draws = 0;
            while negatives.len() < self.negatives && draws < 100 * self.items {
                let other = stream.below(self.items);
                draws += 1;
                let known = other == item || seen.binary_search(&other).is_ok();
                if !known && !negatives.contains(&other) {
                    negatives.push(other);
                }
            }
            if negatives.len() == self.negatives {
                rows.push((Event { user, item, is_search: false, truth }, negatives));
            }
        }
        rows
    }
}

/// The element of `0..n` at a uniform number.
fn pick(uniform: f64, n: u32) -> u32 {
    ((uniform * f64::from(n)) as u32).min(n - 1)
}

fn columns(events: Vec<Event>) -> (Interactions, Vec<Truth>) {
    let mut rows = Interactions::default();
    let mut truth = Vec::with_capacity(events.len());
    for event in events {
        rows.users.push(event.user);
        rows.items.push(event.item);
        rows.queries.push(if event.is_search { &event.truth.words } else { &[] });
        rows.times.push(-1);
        truth.push(event.truth);
    }
    (rows, truth)
}

fn ranking(rows: Vec<(Event, Vec<u32>)>) -> (Ranking, Vec<Truth>) {
    let (events, negatives): (Vec<Event>, Vec<Vec<u32>>) = rows.into_iter().unzip();
    let (positives, truth) = columns(events);
    (Ranking { positives, negatives: negatives.into_iter().collect::<Csr>() }, truth)
}
