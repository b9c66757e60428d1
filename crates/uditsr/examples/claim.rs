//! Does the supervision by searches teach the demand intent, and does that help? The arms and the
//! assertions on a log whose intents are known, as one command that prints a page:
//!
//! ```sh
//! cargo run --release -p uditsr --example claim > docs/results/uditsr-claims.md    # five seeds
//! cargo run --release -p uditsr --example claim -- 2                               # two
//! ```

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use uditsr::baselines::{Baseline, FitConfig};
use uditsr::data::synthetic::{Feed, SyntheticConfig, SyntheticLog};
use uditsr::model::{HoldOut, ModelConfig, Scorer, TranslationTerm};
use uditsr::train::{Ablation, AdamWConfig, Selection, TrainConfig, Trainer};
use uditsr::{Csr, Dataset, Protocol, Result, Split, evaluate};

/// NDCG at 5 on the held-out feed, and how often the generated demand is nearest to the true topic.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Outcome {
    ndcg: f64,
    intent: Option<f64>,
}

fn optimizer() -> AdamWConfig {
    AdamWConfig { learning_rate: 5e-3, weight_decay: 0.05, ..AdamWConfig::default() }
}

fn train_config(seed: u64) -> TrainConfig {
    TrainConfig {
        epochs: 30,
        validate_every: 5,
        optimizer: optimizer(),
        selection: Selection::Ndcg5,
        seed,
        ..TrainConfig::default()
    }
}

fn model_config() -> ModelConfig {
    ModelConfig { dim: 16, ..ModelConfig::default() }
}

fn ndcg(ranker: &dyn uditsr::Ranker, dataset: &Dataset) -> Result<f64> {
    let result = evaluate(ranker, dataset, Split::Test, Protocol::Sampled, None)?;
    Ok(result.all.ndcg(5).unwrap_or(0.0))
}

/// Part of the test rows whose generated demand is nearest, by cosine, to the centre of the words of
/// the topic that was demanded.
fn intent_accuracy(log: &SyntheticLog, scorer: &Scorer<f32>) -> f64 {
    let config = &log.config;
    let d = scorer.config().dim;
    let mut centres = vec![vec![0.0_f32; d]; config.topics as usize];
    for word in 0..config.words() {
        if let Some(topic) = config.topic_of(word) {
            let words = &scorer.parameters().words[word as usize * d..(word as usize + 1) * d];
            centres[topic as usize].iter_mut().zip(words).for_each(|(sum, x)| *sum += x);
        }
    }
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(f32::MIN_POSITIVE)
    };
    let positives = &log.dataset.test.positives;
    let found = positives.users.iter().zip(&positives.items).zip(&log.test).filter(
        |((user, item), truth)| {
            let demand = scorer.demand(**user, &[**item]);
            let nearest = (0..centres.len()).max_by(|&a, &b| {
                cosine(&demand, &centres[a]).total_cmp(&cosine(&demand, &centres[b]))
            });
            nearest == Some(truth.topic as usize)
        },
    );
    found.count() as f64 / positives.len() as f64
}

fn uditsr(
    log: &SyntheticLog,
    dataset: &Dataset,
    model: &ModelConfig,
    train: &TrainConfig,
) -> Result<Outcome> {
    let mut trainer = Trainer::new(model, train, dataset)?;
    trainer.run(None, &mut |_| ControlFlow::Continue(()))?;
    let scorer = trainer.scorer()?;
    Ok(Outcome { ndcg: ndcg(&scorer, dataset)?, intent: Some(intent_accuracy(log, &scorer)) })
}

/// The log with the hidden words of all feed events shown, in training and test.
fn shown(log: &SyntheticLog) -> Dataset {
    let mut dataset = log.dataset.clone();
    let words = |truth: &[uditsr::data::synthetic::Truth]| {
        truth.iter().map(|t| t.words.clone()).collect::<Csr>()
    };
    dataset.train.queries = words(&log.train);
    dataset.valid.positives.queries = words(&log.valid);
    dataset.test.positives.queries = words(&log.test);
    dataset
}

/// All arms of one seed, by name.
fn arms(log: &SyntheticLog, seed: u64) -> Result<BTreeMap<&'static str, Outcome>> {
    let (model, train) = (model_config(), train_config(seed));
    let ablations = [
        ("B no supervision", Ablation::NoSupervision),
        ("C shuffled queries", Ablation::ShuffledQueries),
        ("D feed only", Ablation::NoSearchData),
        ("E erased queries", Ablation::ErasedQueries),
    ];
    let mut outcomes = BTreeMap::new();
    outcomes.insert("A full", uditsr(log, &log.dataset, &model, &train)?);
    for (name, ablation) in ablations {
        let (mut model, mut dataset) = (model.clone(), log.dataset.clone());
        ablation.apply(&mut model, &mut dataset, seed);
        outcomes.insert(name, uditsr(log, &dataset, &model, &train)?);
    }
    outcomes.insert("F queries shown", uditsr(log, &shown(log), &model, &train)?);
    let with_term = ModelConfig { translation_term: TranslationTerm::Dot, ..model.clone() };
    outcomes.insert("G translation term", uditsr(log, &log.dataset, &with_term, &train)?);
    let corrected = ModelConfig { dim: model.dim, ..ModelConfig::corrected() };
    let held_out = TrainConfig { hold_out: HoldOut::EdgesAndWords, ..train };
    outcomes.insert("H corrected, held out", uditsr(log, &log.dataset, &corrected, &held_out)?);
    let alone = ModelConfig { dim: model.dim, ..ModelConfig::recommended() };
    outcomes.insert("I recommended", uditsr(log, &log.dataset, &alone, &held_out)?);
    let fit = FitConfig {
        dim: 16,
        epochs: 30,
        validate_every: 5,
        batch_size: 256,
        optimizer: AdamWConfig {
            learning_rate: 1e-2,
            weight_decay: 1e-4,
            ..AdamWConfig::default()
        },
        regularization: 0.0,
        seed,
        ..FitConfig::default()
    };
    for baseline in Baseline::ALL {
        let ranker = baseline.fit(&log.dataset, &fit)?;
        let outcome = Outcome { ndcg: ndcg(ranker.as_ref(), &log.dataset)?, intent: None };
        outcomes.insert(baseline.name(), outcome);
    }
    Ok(outcomes)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seeds: u64 = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let mut all: BTreeMap<&str, Vec<Outcome>> = BTreeMap::new();
    let mut null = Vec::new();
    for seed in 0..seeds {
        let log = SyntheticConfig { seed, ..SyntheticConfig::default() }.generate()?;
        for (name, outcome) in arms(&log, seed)? {
            all.entry(name).or_default().push(outcome);
        }
        let log =
            SyntheticConfig { seed, feed: Feed::Taste, ..SyntheticConfig::default() }.generate()?;
        let (model, train) = (model_config(), train_config(seed));
        let full = uditsr(&log, &log.dataset, &model, &train)?;
        let (mut model, mut dataset) = (model, log.dataset.clone());
        Ablation::ShuffledQueries.apply(&mut model, &mut dataset, seed);
        null.push(full.ndcg - uditsr(&log, &dataset, &model, &train)?.ndcg);
        eprintln!("seed {seed} is done");
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let ndcgs = |name: &str| all[name].iter().map(|outcome| outcome.ndcg).collect::<Vec<_>>();
    let intents =
        |name: &str| all[name].iter().filter_map(|outcome| outcome.intent).collect::<Vec<_>>();
    println!(
        "# Claims on a log with known intents\n\n\
         Written by `cargo run --release -p uditsr --example claim`, {seeds} seeds, each another world. \
         The log: 300 users, 1,000 items, 3,000 events of which 60 % are searches, ten topics; the held-out \
         events are recommendations, one positive among 99 sampled negatives. Intent accuracy: how often the \
         generated demand of a held-out event is nearest to the words of the topic that was demanded (chance \
         0.1). A to F are the arms of the published model, as published; G adds the translation term to the \
         score; H also masks the padding and takes the batch out of the graph; I is what is recommended: as H, \
         without heads. In the null world the feed ignores the demand.\n\n\
         | arm | ndcg@5 | standard deviation | intent accuracy |\n|---|---:|---:|---:|"
    );
    for name in all.keys() {
        let (values, intent) = (ndcgs(name), intents(name));
        let centre = mean(&values);
        let squares: Vec<f64> = values.iter().map(|value| (value - centre).powi(2)).collect();
        let spread = (squares.iter().sum::<f64>() / (values.len().max(2) - 1) as f64).sqrt();
        let intent =
            if intent.is_empty() { "–".to_owned() } else { format!("{:.2}", mean(&intent)) };
        println!("| {name} | {centre:.3} | {spread:.3} | {intent} |");
    }
    let of = |name: &str| (mean(&ndcgs(name)), mean(&intents(name)));
    let (a, b, c) = (of("A full"), of("B no supervision"), of("C shuffled queries"));
    let (d, e, f) = (of("D feed only"), of("E erased queries"), of("F queries shown"));
    let wins =
        ndcgs("A full").iter().zip(ndcgs("C shuffled queries")).filter(|(a, c)| **a > *c).count();
    let log = SyntheticConfig::default().generate()?;
    let again = uditsr(&log, &log.dataset, &model_config(), &train_config(0))?;
    let assertions = [
        ("intents: A >= 0.45, A > B + 0.1, C <= 0.2", a.1 >= 0.45 && a.1 > b.1 + 0.1 && c.1 <= 0.2),
        ("ndcg@5: A > B, A > C, A > C in four of five seeds", {
            a.0 > b.0 && a.0 > c.0 && wins as u64 * 5 >= seeds * 4
        }),
        ("ndcg@5: A > 2 D and A > 2 E", a.0 > 2.0 * d.0 && a.0 > 2.0 * e.0),
        ("ndcg@5: F > A", f.0 > a.0),
        ("null world: |A - C| < 0.01", mean(&null).abs() < 0.01),
        ("the same seed gives the same result", all["A full"][0] == again),
    ];
    println!();
    for (what, holds) in assertions {
        println!("- {} {what}", if holds { "holds:" } else { "**fails:**" });
    }
    if assertions.iter().all(|(_, holds)| *holds) {
        Ok(())
    } else {
        Err("a claim does not hold".into())
    }
}
