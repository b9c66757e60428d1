//! A trained model of a small shop, and large shops whose vectors have its structure.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;

use uditsr::data::{Prepare, PrepareOptions, Prepared};
use uditsr::model::{Graph, Parameters, Scorer, Sizes, propagate};
use uditsr::recommender::Bundle;
use uditsr::train::{Recipe, Trainer};
use uditsr::{Error, Result};

/// What the page says about the vectors.
pub(crate) const ABOUT: &str = "
How the vectors are made: a shop of 10,000 items in 200 topics and 2,000 users is generated (each item has a topic \
and a style, each user likes three topics and has a taste of styles; half of the 40,000 events are searches by words \
of topic and style) and the model is trained on it, heads and word vectors included. A larger shop takes each trained \
item many times: an item is a trained one plus half the difference of two others of its topic, which keeps the \
spread inside topics; users likewise; its events are those of the item it came from, by users who came from the same \
users. The propagated vectors are then computed from that graph of 1.2 events for each item, so nothing about them \
is drawn. Queries are one or two words, users come at random.

Up to 32,768 items a request compares all. Above, it reads cells of some 256 items in the order of what their moments \
promise, until none promises more than what was found: the mean of a cell's inner products plus so many standard \
deviations. Four is what ships: at a million items three gave a recall of 0.95 and 0.93 (search, recommend) at 3.3 and \
5.7 ms (p99), four 0.985 and 0.985 at 6.8 and 8.5 ms, five 0.996 and 0.997 at 12.0 and 13.3 ms; comparing all took 51 \
and 54 ms. A graph of neighbours (HNSW) is not used: an event moves the vectors of a user and of items, which a list \
takes over in place and a graph would have to be linked again for, and the items of one recommendation have targets \
of their own, one for each cluster. `search` is the whole request: model, full text, and fusion of both.
";

const TOPICS: usize = 200;
const TOPIC_WORDS: usize = 25;
const STYLES: usize = 4;
/// Sizes of the shop that is trained on.
const ITEMS: usize = 10_000;
const USERS: usize = 2_000;
const EVENTS: usize = 40_000;
const EPOCHS: usize = 12;

/// Numbers that look random (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Mean 0, standard deviation 1: a sum of four uniform numbers.
    fn normal(&mut self) -> f64 {
        (0..4).map(|_| self.uniform() - 0.5).sum::<f64>() * 3.0_f64.sqrt()
    }

    /// A word of a topic; the first are the most frequent.
    fn word(&mut self, topic: usize) -> String {
        let place = (TOPIC_WORDS as f64 * self.uniform().powi(3)) as usize;
        format!("t{topic}w{place}")
    }

    /// The id of any user of a shop of so many items.
    pub(crate) fn user(&mut self, items: usize) -> String {
        format!("u{}", self.below(users_of(items)))
    }

    /// The id of any item.
    pub(crate) fn item(&mut self, items: usize) -> String {
        format!("i{}", self.below(items))
    }

    /// One or two words of a topic.
    pub(crate) fn query(&mut self) -> String {
        let topic = self.below(TOPICS);
        let words: Vec<String> = (0..=self.below(2)).map(|_| self.word(topic)).collect();
        words.join(" ")
    }
}

/// Users of a shop.
fn users_of(items: usize) -> usize {
    (items / 20).max(USERS)
}

/// An event of the shop that is trained on.
#[derive(Clone)]
struct Click {
    user: usize,
    item: usize,
    query: String,
}

/// The shop that is trained on, trained.
pub(crate) struct World {
    clicks: Vec<Click>,
    titles: Vec<String>,
    prepared: Prepared,
    scorer: Scorer<f32>,
}

fn styles(kind: u64, number: usize) -> [f64; STYLES] {
    let mut random = Random::new(1 + 2 * (number as u64) + kind);
    std::array::from_fn(|_| random.normal())
}

fn style_word(topic: usize, style: &[f64; STYLES]) -> String {
    let bits = style.iter().take(3).fold(0, |bits, value| 2 * bits + usize::from(*value > 0.0));
    format!("t{topic}s{bits}")
}

/// The law of the events: see [`ABOUT`].
fn clicks() -> Vec<Click> {
    let mut random = Random::new(3);
    let liked: Vec<[usize; 3]> =
        (0..USERS).map(|_| std::array::from_fn(|_| random.below(TOPICS))).collect();
    let click = |_| {
        let user = random.below(USERS);
        let topic = if random.uniform() < 0.8 {
            liked[user][random.below(3)]
        } else {
            random.below(TOPICS)
        };
        let taste = styles(1, user);
        // The best of four items of the topic.
        let fit = |item: usize| -> f64 {
            taste.iter().zip(styles(0, item)).map(|(taste, style)| taste * style).sum()
        };
        let of_topic = |random: &mut Random| topic + TOPICS * random.below(ITEMS / TOPICS);
        let item = (0..4)
            .map(|_| of_topic(&mut random))
            .max_by(|&a, &b| fit(a).total_cmp(&fit(b)))
            .unwrap_or(topic);
        let mut query = String::new();
        if random.uniform() < 0.5 {
            query = random.word(topic);
            if random.uniform() < 0.4 {
                let _ = write!(query, " {}", style_word(topic, &styles(0, item)));
            }
        }
        Click { user, item, query }
    };
    (0..EVENTS).map(click).collect()
}

/// Writes a log and a catalogue and prepares them. Everything is for training.
fn prepare(clicks: &[Click], titles: &[(usize, &str)]) -> Result<Prepared> {
    let folder = tempfile::tempdir()
        .map_err(|source| Error::Write { path: std::env::temp_dir(), source })?;
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)
            .map_err(|source| Error::Write { path: path.clone(), source })?;
        Ok(path)
    };
    let mut log = "user,item,time,query\n".to_owned();
    for (time, Click { user, item, query }) in clicks.iter().enumerate() {
        let _ = writeln!(log, "u{user},i{item},{time},{query}");
    }
    let mut catalogue = "item,title\n".to_owned();
    for (item, title) in titles {
        let _ = writeln!(catalogue, "i{item},{title}");
    }
    let mut prepare = Prepare::new([write("log.csv", &log)?]);
    prepare.catalogue = Some(write("items.csv", &catalogue)?);
    prepare.options = PrepareOptions::for_training();
    prepare.prepare()
}

/// The number in an id such as `i17`.
fn number(id: &str) -> usize {
    id[1..].parse().unwrap_or_default()
}

impl World {
    /// Trains on the small shop.
    pub(crate) fn new(dim: usize) -> Result<Self> {
        let mut random = Random::new(5);
        let titles: Vec<String> = (0..ITEMS)
            .map(|item| {
                let topic = item % TOPICS;
                let [a, b] = [random.word(topic), random.word(topic)];
                format!("{a} {b} {} c{}", style_word(topic, &styles(0, item)), random.below(10))
            })
            .collect();
        let clicks = clicks();
        let all: Vec<(usize, &str)> =
            titles.iter().enumerate().map(|(item, title)| (item, title.as_str())).collect();
        let prepared = prepare(&clicks, &all)?;
        let mut recipe = Recipe::default();
        recipe.model.dim = dim;
        recipe.train.epochs = EPOCHS;
        // Large steps and intents that are refreshed once an epoch: a model in half a minute.
        recipe.train.batch_size = 4096;
        recipe.train.optimizer.learning_rate = 0.01;
        recipe.train.refresh_intents = EVENTS.div_ceil(4096);
        let mut trainer = Trainer::new(&recipe.model, &recipe.train, &prepared.dataset)?;
        trainer.run(None, &mut |_| ControlFlow::Continue(()))?;
        let scorer = trainer.scorer()?;
        Ok(Self { clicks, titles, prepared, scorer })
    }

    /// A shop of so many items.
    pub(crate) fn bundle(&self, items: usize) -> Result<Bundle> {
        let mut random = Random::new(11);
        let mut of_item = vec![Vec::new(); ITEMS];
        for click in &self.clicks {
            of_item[click.item].push(click);
        }
        let users = users_of(items);
        let clicks: Vec<Click> = (0..items + items / 5)
            .map(|event| {
                let item = if event < items { event } else { random.below(items) };
                let known = &of_item[item % ITEMS];
                let click = match known.len() {
                    0 => &self.clicks[random.below(self.clicks.len())],
                    n => known[random.below(n)],
                };
                let user = click.user + USERS * random.below(users / USERS);
                Click { user, item, query: click.query.clone() }
            })
            .collect();
        let titles: Vec<(usize, &str)> =
            (0..items).map(|item| (item, self.titles[item % ITEMS].as_str())).collect();
        let prepared = prepare(&clicks, &titles)?;
        let config = self.scorer.config();
        let data = &prepared.dataset;
        let sizes = Sizes { users: data.users, items: data.items, words: data.words };
        let mut parameters = Parameters::zeros(config, sizes);
        let trained = self.scorer.parameters();
        parameters.network = trained.network.clone();
        let d = config.dim;
        let row = |table: &[f32], row: Option<u32>| -> Vec<f32> {
            row.map_or_else(|| vec![0.0; d], |row| table[row as usize * d..][..d].to_vec())
        };
        for (out, word) in parameters.words.chunks_exact_mut(d).zip(prepared.words.words()) {
            out.copy_from_slice(&row(&trained.words, self.prepared.words.find(word)));
        }
        // A relative: itself plus half of the difference of two others.
        let relative = |out: &mut [f32], itself: &[f32], [a, b]: [Vec<f32>; 2]| {
            for (k, out) in out.iter_mut().enumerate() {
                *out = itself[k] + 0.5 * (a[k] - b[k]);
            }
        };
        let item = |n: usize| row(&trained.items, self.prepared.items.find(&format!("i{n}")));
        for (out, id) in parameters.items.chunks_exact_mut(d).zip(prepared.items.iter()) {
            let base = number(id) % ITEMS;
            let of_topic =
                |random: &mut Random| item(base % TOPICS + TOPICS * random.below(ITEMS / TOPICS));
            let others = [of_topic(&mut random), of_topic(&mut random)];
            relative(out, &item(base), others);
        }
        let user = |n: usize| row(&trained.users, self.prepared.users.find(&format!("u{n}")));
        for (out, id) in parameters.users.chunks_exact_mut(d).zip(prepared.users.iter()) {
            let others = [user(random.below(USERS)), user(random.below(USERS))];
            relative(out, &user(number(id) % USERS), others);
        }
        let graph = Graph::new(config, data)?;
        let nodes = propagate(config, &graph, &parameters)?;
        let scorer = Scorer::new(config, &graph, parameters, nodes);
        Ok(Bundle { scorer, prepared, fingerprint: "generated".to_owned() })
    }
}
