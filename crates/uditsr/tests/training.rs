//! Training on a small log: it learns, it continues bit for bit, and its folder gives the same scores.

use std::ops::ControlFlow;

use uditsr::baselines::{Baseline, FitConfig};
use uditsr::model::{HoldOut, ModelConfig, TranslationTerm};
use uditsr::train::{
    Ablation, AdamWConfig, EpochRecord, Event, Selection, TrainConfig, Trainer, load_model,
    save_model,
};
use uditsr::{Csr, Dataset, Interactions, Protocol, Ranker, Ranking, Split, evaluate};

const TOPICS: u32 = 4;
const USERS: u32 = 32;
const ITEMS: u32 = 48;

/// Users and items have a topic, rows stay within it, and queries are words of it; only every other
/// row is a search.
fn dataset() -> Dataset {
    let mut rows = Vec::new();
    for user in 0..USERS {
        for k in 0..10 {
            let item = (user % TOPICS)
                + TOPICS * ((user * 37 + k * 101 + user * k * 11) % 97 % (ITEMS / TOPICS));
            let query =
                if k % 2 == 0 { vec![1 + user % TOPICS, 5 + (user + k) % 3] } else { vec![] };
            rows.push((user, item, query));
        }
    }
    let interactions = |keep: &dyn Fn(usize) -> bool| {
        let rows: Vec<_> =
            rows.iter().enumerate().filter(|(row, _)| keep(row % 10)).map(|(_, r)| r).collect();
        Interactions {
            users: rows.iter().map(|row| row.0).collect(),
            items: rows.iter().map(|row| row.1).collect(),
            queries: rows.iter().map(|row| row.2.clone()).collect::<Csr>(),
            times: vec![-1; rows.len()],
        }
    };
    let ranking = |positives: Interactions| {
        let negatives = positives
            .items
            .iter()
            .map(|&item| {
                (0..ITEMS)
                    .filter(|other| *other != item && (other + item) % 3 == 0)
                    .take(12)
                    .collect()
            })
            .collect::<Vec<Vec<u32>>>();
        let least = negatives.iter().map(Vec::len).min().unwrap();
        Ranking { positives, negatives: negatives.iter().map(|n| &n[..least]).collect() }
    };
    Dataset {
        users: USERS as usize,
        items: ITEMS as usize,
        words: 8,
        train: interactions(&|k| k < 6),
        valid: ranking(interactions(&|k| k == 6 || k == 7)),
        test: ranking(interactions(&|k| k >= 8)),
        item_words: (0..ITEMS).map(|item| [1 + item % TOPICS]).collect(),
    }
}

fn model() -> ModelConfig {
    ModelConfig { dim: 12, ..ModelConfig::corrected() }
}

fn train() -> TrainConfig {
    TrainConfig {
        epochs: 12,
        batch_size: 32,
        optimizer: AdamWConfig { learning_rate: 1e-2, ..AdamWConfig::default() },
        selection: Selection::Ndcg5,
        hold_out: HoldOut::EdgesAndWords,
        seed: 3,
        ..TrainConfig::default()
    }
}

/// What the listener heard, without times.
fn run(
    trainer: &mut Trainer<'_>,
    folder: Option<&std::path::Path>,
    stop: Option<(usize, usize)>,
) -> Vec<EpochRecord> {
    let mut records = Vec::new();
    trainer
        .run(folder, &mut |event| match event {
            Event::Step { epoch, batches, .. } if Some((epoch, batches.0)) == stop => {
                ControlFlow::Break(())
            }
            Event::Step { .. } => ControlFlow::Continue(()),
            Event::Epoch(record) => {
                records.push(EpochRecord { seconds: 0.0, ..record.clone() });
                ControlFlow::Continue(())
            }
        })
        .unwrap();
    records
}

#[test]
fn a_model_learns_and_beats_popularity() {
    let dataset = dataset();
    let mut trainer = Trainer::new(&model(), &train(), &dataset).unwrap();
    let records = run(&mut trainer, None, None);
    assert!(records.last().unwrap().losses.bpr < 0.6 * records[0].losses.bpr);
    let scorer = trainer.scorer().unwrap();
    for protocol in [Protocol::Sampled, Protocol::Full] {
        let result = evaluate(&scorer, &dataset, Split::Test, protocol, None).unwrap();
        let popularity = Baseline::Popularity.fit(&dataset, &FitConfig::default()).unwrap();
        let popularity =
            evaluate(popularity.as_ref(), &dataset, Split::Test, protocol, None).unwrap();
        let (own, other) = (result.recommend.unwrap(), popularity.recommend.unwrap());
        assert!(own.mrr.value > 1.5 * other.mrr.value, "{} {}", own.mrr.value, other.mrr.value);
        assert_eq!((own.groups, own.gauc.is_some()), (32, protocol == Protocol::Sampled));
        assert_eq!(result.search.unwrap().groups, 32);
    }
}

#[test]
fn without_heads_the_nearest_items_are_the_best() {
    let dataset = dataset();
    let model = ModelConfig { dim: 12, ..ModelConfig::recommended() };
    let mut trainer = Trainer::new(&model, &train(), &dataset).unwrap();
    run(&mut trainer, None, None);
    let scorer = trainer.scorer().unwrap();
    let result = evaluate(&scorer, &dataset, Split::Test, Protocol::Full, None).unwrap();
    let popularity = Baseline::Popularity.fit(&dataset, &FitConfig::default()).unwrap();
    let popularity =
        evaluate(popularity.as_ref(), &dataset, Split::Test, Protocol::Full, None).unwrap();
    let (own, other) = (result.recommend.unwrap(), popularity.recommend.unwrap());
    assert!(own.mrr.value > 1.5 * other.mrr.value, "{} {}", own.mrr.value, other.mrr.value);
    // The score is the inner product of translated user and item, times one learned weight.
    let items: Vec<u32> = (0..ITEMS).collect();
    let mut scores = vec![0.0; items.len()];
    Ranker::score(&scorer, 3, &[4, 5], &items, &mut scores);
    let target: Vec<f32> =
        scorer.user(3).iter().zip(scorer.query(&[4, 5])).map(|(u, q)| u + q).collect();
    let dot = |item: u32| target.iter().zip(scorer.item(item)).map(|(a, b)| a * b).sum::<f32>();
    let weight = scores[0] / dot(0);
    for (&item, &score) in items.iter().zip(&scores) {
        assert!((score - weight * dot(item)).abs() < 1e-4 * score.abs().max(0.1), "{item}");
    }
    let bare = ModelConfig { translation_term: TranslationTerm::Absent, ..model };
    assert!(bare.validate().unwrap_err().to_string().contains("`heads`"));
}

#[test]
fn a_stopped_training_continues_bit_for_bit() {
    let dataset = dataset();
    let (model, train) = (model(), TrainConfig { refresh_intents: 2, ..train() });
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let mut trainer = Trainer::new(&model, &train, &dataset).unwrap();
    let expected = run(&mut trainer, Some(&whole), None);
    // Stopped within the fourth epoch, which is lost.
    let mut first = Trainer::new(&model, &train, &dataset).unwrap();
    let mut found = run(&mut first, Some(&parts), Some((4, 2)));
    assert_eq!(found.len(), 3);
    let mut second = Trainer::open(&parts, &model, &train, &dataset).unwrap();
    assert_eq!(second.epoch(), 3);
    found.extend(run(&mut second, Some(&parts), None));
    assert_eq!(found, expected);
    assert_eq!(second.parameters(), trainer.parameters());
    assert_eq!(second.scorer().unwrap().nodes(), trainer.scorer().unwrap().nodes());
    let read = |name: &str, folder: &std::path::Path| std::fs::read(folder.join(name)).unwrap();
    assert_eq!(read("best.safetensors", &whole), read("best.safetensors", &parts));
    let lines = String::from_utf8(read("metrics.jsonl", &parts)).unwrap();
    assert_eq!(lines.lines().count(), expected.len());
    // Another seed is another training.
    let other = TrainConfig { seed: 4, ..train };
    let error = Trainer::open(&parts, &model, &other, &dataset).err().unwrap();
    assert!(error.to_string().contains("`train`"), "{error}");
}

#[test]
fn a_model_folder_gives_the_same_scores() {
    let dataset = dataset();
    let mut trainer =
        Trainer::new(&model(), &TrainConfig { epochs: 2, ..train() }, &dataset).unwrap();
    run(&mut trainer, None, None);
    let scorer = trainer.scorer().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    save_model(&path, &scorer).unwrap();
    save_model(&path, &scorer).unwrap();
    let loaded = load_model(&path).unwrap();
    let items: Vec<u32> = (0..ITEMS).collect();
    for query in [&[][..], &[2, 6]] {
        let mut scores = [vec![0.0; items.len()], vec![0.0; items.len()]];
        scorer.score(5, query, &items, &mut scores[0]);
        Ranker::score(&loaded, 5, query, &items, &mut scores[1]);
        assert_eq!(scores[0], scores[1]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    std::fs::write(path.join("nodes.safetensors"), b"nonsense").unwrap();
    assert!(load_model(&path).err().unwrap().to_string().contains("nodes.safetensors"));
}

#[test]
fn training_stops_when_nothing_gets_better() {
    let dataset = dataset();
    let optimizer =
        AdamWConfig { learning_rate: 1e-12, weight_decay: 0.0, ..AdamWConfig::default() };
    let train = TrainConfig { optimizer, patience: 2, ..train() };
    let mut trainer = Trainer::new(&model(), &train, &dataset).unwrap();
    assert_eq!(run(&mut trainer, None, None).len(), 3);
    assert_eq!(trainer.best().unwrap().epoch, 1);
}

#[test]
fn every_ablation_trains() {
    for ablation in Ablation::ALL {
        let mut dataset = dataset();
        let mut model = model();
        let before = dataset.train.clone();
        ablation.apply(&mut model, &mut dataset, 1);
        let searches = (0..dataset.train.len()).filter(|&row| dataset.train.is_search(row)).count();
        let expected = match ablation {
            Ablation::NoSearchData => (before.len() / 2, 0),
            Ablation::NoRecommendationData => (before.len() / 2, before.len() / 2),
            Ablation::ErasedQueries => (before.len(), 0),
            _ => (before.len(), before.len() / 2),
        };
        assert_eq!((dataset.train.len(), searches), expected, "{ablation:?}");
        assert_eq!(
            dataset.train.queries != before.queries,
            !matches!(
                ablation,
                Ablation::NoTranslation | Ablation::NoGenerator | Ablation::NoSupervision
            )
        );
        let train = TrainConfig { epochs: 3, ..train() };
        let mut trainer = Trainer::new(&model, &train, &dataset).unwrap();
        let records = run(&mut trainer, None, None);
        assert!(records[2].losses.bpr < records[0].losses.bpr, "{ablation:?}");
    }
}

#[test]
fn every_baseline_ranks_above_chance() {
    let dataset = dataset();
    let config = FitConfig {
        dim: 12,
        epochs: 30,
        batch_size: 32,
        optimizer: AdamWConfig { learning_rate: 2e-2, ..AdamWConfig::default() },
        patience: 30,
        ..FitConfig::default()
    };
    for baseline in Baseline::ALL {
        let ranker = baseline.fit(&dataset, &config).unwrap();
        let result =
            evaluate(ranker.as_ref(), &dataset, Split::Test, Protocol::Sampled, None).unwrap();
        let (search, recommend) = (result.search.unwrap().auc, result.recommend.unwrap().auc);
        println!("{}: {search:.3} {recommend:.3}", baseline.name());
        let is_personal =
            !matches!(baseline, Baseline::Popularity | Baseline::Bm25 | Baseline::Bm25Searches);
        assert!(!is_personal || recommend > 0.6, "{}: {recommend}", baseline.name());
        let reads_queries = matches!(
            baseline,
            Baseline::Bm25
                | Baseline::Bm25Searches
                | Baseline::MfQueries
                | Baseline::HyperSar
                | Baseline::Fusion
        );
        assert!(!reads_queries || search > 0.8, "{}: {search}", baseline.name());
    }
}
