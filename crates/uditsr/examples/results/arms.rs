//! What is compared, and how its settings follow from a trial.

use std::ops::ControlFlow;

use uditsr::baselines::{Baseline, FitConfig, Fused};
use uditsr::model::{Generator, Heads, HoldOut, ModelConfig, Padding, TranslationTerm};
use uditsr::train::{Ablation, AdamWConfig, Selection, TrainConfig, Trainer};
use uditsr::{Dataset, Protocol, Ranker, Split, evaluate};

use crate::Result;
use crate::worlds::World;

/// Shared by everything that is learned.
pub(crate) const DIM: usize = 16;
pub(crate) const BATCH: usize = 1024;
pub(crate) const EPOCHS: usize = 24;
const VALIDATE_EVERY: usize = 4;
const PATIENCE: usize = 2;

/// Where an arm stands in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Published,
    Correction,
    Ablation,
    Option,
    Baseline,
    Fusion,
}

impl Group {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 6] = [
        Self::Published,
        Self::Correction,
        Self::Ablation,
        Self::Option,
        Self::Baseline,
        Self::Fusion,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Published => "as published",
            Self::Correction => "corrected",
            Self::Ablation => "ablated",
            Self::Option => "options of speed",
            Self::Baseline => "baselines",
            Self::Fusion => "fused",
        }
    }
}

/// One thing that is compared.
pub(crate) struct Arm {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    /// The arm whose settings it has; its own name if they are searched for it.
    pub(crate) tuned_as: &'static str,
    recipe: Recipe,
}

enum Recipe {
    Model(fn(&mut ModelConfig, &mut TrainConfig)),
    Ablated(Ablation),
    Baseline(Baseline),
    /// Reciprocal-rank fusion of arms; the second list is asked about searches only.
    Fused(&'static [&'static str], &'static [&'static str]),
}

pub(crate) const PUBLISHED: &str = "UDITSR";
const ALONE: &str = "translation alone";
const ALONE_WORDS: &str = "translation alone, user's words";
const LIGHT: &str = "LightGCN, all clicks";
const BM25: &str = "BM25, titles and searches";

/// What an arm changes.
type Change = fn(&mut ModelConfig, &mut TrainConfig);

/// All arms. A new one is a row here.
pub(crate) fn arms() -> Vec<Arm> {
    let mut arms = Vec::new();
    let mut add = |name, group, tuned_as, recipe| arms.push(Arm { name, group, tuned_as, recipe });
    add(PUBLISHED, Group::Published, PUBLISHED, Recipe::Model(|_, _| {}));

    let searched: [(&str, Change); 4] = [
        ("translation term", |model, _| model.translation_term = TranslationTerm::Dot),
        ("all corrections", |model, train| {
            correct(model);
            train.hold_out = HoldOut::EdgesAndWords;
        }),
        (ALONE, |model, _| alone(model)),
        (ALONE_WORDS, |model, _| {
            alone(model);
            model.generator = Generator::UserWords;
        }),
    ];
    for (name, change) in searched {
        add(name, Group::Correction, name, Recipe::Model(change));
    }
    for baseline in Baseline::ALL {
        let name = baseline.name();
        add(name, Group::Baseline, name, Recipe::Baseline(baseline));
    }
    let fused = [
        ("translation alone + HyperSaR", Recipe::Fused(&[ALONE, "HyperSaR"], &[])),
        ("user's words + BM25", Recipe::Fused(&[ALONE_WORDS], &[BM25])),
        ("user's words + LightGCN + BM25", Recipe::Fused(&[ALONE_WORDS, LIGHT], &[BM25])),
    ];
    for (name, recipe) in fused {
        add(name, Group::Fusion, name, recipe);
    }
    let inherited: [(&str, &str, Change); 4] = [
        ("translation term, distance", "translation term", |model, _| {
            model.translation_term = TranslationTerm::Distance;
        }),
        ("translation alone, held out", ALONE, |model, train| {
            alone(model);
            train.hold_out = HoldOut::EdgesAndWords;
        }),
        ("masked padding", PUBLISHED, |model, _| model.padding = Padding::Masked),
        ("batch held out of the graph", PUBLISHED, |_, train| {
            train.hold_out = HoldOut::EdgesAndWords;
        }),
    ];
    for (name, tuned_as, change) in inherited {
        add(name, Group::Correction, tuned_as, Recipe::Model(change));
    }
    for ablation in Ablation::ALL {
        let name = match ablation {
            Ablation::NoTranslation => "no translation",
            Ablation::NoGenerator => "no generator",
            Ablation::NoSupervision => "no supervision",
            Ablation::ShuffledQueries => "shuffled queries",
            Ablation::ErasedQueries => "erased queries",
            Ablation::NoSearchData => "no searches",
            Ablation::NoRecommendationData => "no recommendations",
        };
        add(name, Group::Ablation, PUBLISHED, Recipe::Ablated(ablation));
    }
    let options: [(&str, Change); 4] = [
        ("batches of 256", |_, train| batches(train, 256)),
        ("batches of 4096", |_, train| batches(train, 4096)),
        ("intents refreshed every 4 steps", |_, train| train.refresh_intents = 4),
        ("intents refreshed every 16 steps", |_, train| train.refresh_intents = 16),
    ];
    for (name, change) in options {
        add(name, Group::Option, PUBLISHED, Recipe::Model(change));
    }
    arms
}

/// Another batch size, with the learning rate changed by the root of the ratio.
fn batches(train: &mut TrainConfig, size: usize) {
    train.optimizer.learning_rate *= (size as f64 / train.batch_size as f64).sqrt();
    train.batch_size = size;
}

fn correct(model: &mut ModelConfig) {
    model.padding = Padding::Masked;
    model.translation_term = TranslationTerm::Dot;
}

fn alone(model: &mut ModelConfig) {
    correct(model);
    model.heads = Heads::Absent;
}

impl Arm {
    /// Whether settings and seeds matter.
    pub(crate) fn is_learned(&self) -> bool {
        !matches!(self.recipe, Recipe::Baseline(baseline) if !baseline.is_learned())
    }

    /// Whether its settings are searched.
    pub(crate) fn is_searched(&self) -> bool {
        let is_fused = matches!(self.recipe, Recipe::Fused(..));
        self.is_learned() && !is_fused && self.tuned_as == self.name
    }

    /// Trains it. `settings` gives the settings of an arm by name.
    pub(crate) fn fit(
        &self,
        dataset: &Dataset,
        world: &World,
        settings: &dyn Fn(&str) -> Settings,
        seed: u64,
    ) -> Result<Box<dyn Ranker>> {
        let own = settings(self.tuned_as);
        match self.recipe {
            Recipe::Baseline(baseline) => {
                Ok(baseline.fit(dataset, &own.of_baseline(baseline, seed))?)
            }
            Recipe::Model(change) => {
                let (mut model, mut train) = own.of_model(world, seed);
                change(&mut model, &mut train);
                train_model(dataset, &model, &train)
            }
            Recipe::Ablated(ablation) => {
                let (mut model, train) = own.of_model(world, seed);
                let mut reduced = dataset.clone();
                ablation.apply(&mut model, &mut reduced, seed);
                if reduced.train.is_empty() {
                    return Err("nothing is left to train on".into());
                }
                train_model(&reduced, &model, &train)
            }
            Recipe::Fused(rankers, of_searches) => {
                let all = arms();
                let fit = |name: &&str| {
                    let part = all.iter().find(|arm| arm.name == *name);
                    let part = part.ok_or(format!("there is no arm `{name}`"))?;
                    part.fit(dataset, world, settings, seed)
                };
                let fit = |names: &[&str]| names.iter().map(fit).collect::<Result<Vec<_>>>();
                Ok(Box::new(Fused::new(fit(rankers)?, fit(of_searches)?)))
            }
        }
    }
}

fn train_model(
    dataset: &Dataset,
    model: &ModelConfig,
    train: &TrainConfig,
) -> Result<Box<dyn Ranker>> {
    let mut trainer = Trainer::new(model, train, dataset)?;
    trainer.run(None, &mut |_| ControlFlow::Continue(()))?;
    Ok(Box::new(trainer.scorer()?))
}

/// The number by which settings are chosen: NDCG at 5 on the validation rows, among the sampled
/// negatives, the mean of the two scenarios.
pub(crate) fn selection(ranker: &dyn Ranker, dataset: &Dataset) -> Result<f64> {
    let valid = evaluate(ranker, dataset, Split::Valid, Protocol::Sampled, None)?;
    let scenarios = [valid.search, valid.recommend];
    let values: Vec<f64> = scenarios.iter().flatten().filter_map(|report| report.ndcg(5)).collect();
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

/// Settings of a training, from three numbers in 0..1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Settings {
    pub(crate) learning_rate: f64,
    pub(crate) weight_decay: f64,
    /// What the model's own weight of a loss is, on a scale from 0 to 1.
    pub(crate) strength: f64,
}

impl Settings {
    /// The settings of a trial: a point of the additive recurrence of the root of x^4 = x + 1, which
    /// fills the cube evenly. Trial 0 is its centre.
    pub(crate) fn of_trial(trial: usize) -> Self {
        let root = 1.220_744_084_605_76_f64;
        let along = |axis: i32| (0.5 + trial as f64 * root.powi(-axis)).fract();
        Self {
            learning_rate: 2e-3 * 25_f64.powf(along(1)),
            weight_decay: 1e-4 * 3000_f64.powf(along(2)),
            strength: along(3),
        }
    }

    fn optimizer(self) -> AdamWConfig {
        AdamWConfig {
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            ..AdamWConfig::default()
        }
    }

    /// Weight of the supervision of the generator; the published one is in the middle.
    pub(crate) fn sg_lambda(self) -> f64 {
        0.15 * 100_f64.powf(self.strength)
    }

    fn of_model(self, world: &World, seed: u64) -> (ModelConfig, TrainConfig) {
        let model = ModelConfig {
            dim: DIM,
            query_words: world.query_words,
            sg_lambda: self.sg_lambda(),
            ..ModelConfig::default()
        };
        let train = TrainConfig {
            epochs: EPOCHS,
            batch_size: BATCH,
            optimizer: self.optimizer(),
            validate_every: VALIDATE_EVERY,
            patience: PATIENCE,
            selection: Selection::Ndcg5,
            seed,
            ..TrainConfig::default()
        };
        (model, train)
    }

    fn of_baseline(self, baseline: Baseline, seed: u64) -> FitConfig {
        let is_hyper = baseline == Baseline::HyperSar;
        FitConfig {
            dim: DIM,
            epochs: EPOCHS,
            batch_size: BATCH,
            optimizer: self.optimizer(),
            regularization: if is_hyper { 1e-4 } else { 1e-6 * 1e4_f64.powf(self.strength) },
            query_weight: 1e-4 * 1e4_f64.powf(self.strength),
            validate_every: VALIDATE_EVERY,
            patience: PATIENCE,
            seed,
            ..FitConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_start_in_the_middle_and_spread() {
        let first = Settings::of_trial(0);
        assert!((first.sg_lambda() - 1.5).abs() < 1e-12);
        assert!((first.learning_rate - 1e-2).abs() < 1e-12);
        let halves: Vec<bool> =
            (0..8).map(|trial| Settings::of_trial(trial).strength < 0.5).collect();
        let low = halves.iter().filter(|low| **low).count();
        assert!((3..=5).contains(&low), "{halves:?}");
    }

    #[test]
    fn names_are_unique_and_settings_come_from_an_arm_that_is_searched() {
        let arms = arms();
        for (index, arm) in arms.iter().enumerate() {
            assert!(arms[..index].iter().all(|other| other.name != arm.name), "{}", arm.name);
            let source = arms.iter().find(|other| other.name == arm.tuned_as);
            let is_searched = source.is_some_and(Arm::is_searched);
            assert!(is_searched || !arm.is_learned() || arm.group == Group::Fusion, "{}", arm.name);
        }
    }
}
