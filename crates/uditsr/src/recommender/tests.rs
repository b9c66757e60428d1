use std::fmt::Write as _;

use super::top::Found;
use super::*;
use crate::data::{Prepare, PrepareOptions};
use crate::model::{FinalActivation, Generator, ModelConfig, TranslationTerm};
use crate::random::{below, stream};
use crate::train::{TrainConfig, Trainer};

/// A world of topics: users of a topic search and click its items.
fn bundle(model: &ModelConfig, items: u32, epochs: usize) -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let (log, catalogue) = (folder.path().join("log.csv"), folder.path().join("items.csv"));
    let mut random = stream(3, "world", 0);
    let mut events = "user,item,time,query\n".to_owned();
    for time in 0..items * 6 {
        let user = below(&mut random, 60);
        let item = (user % 5) + 5 * below(&mut random, items / 5);
        let query = if time % 2 == 0 {
            format!("topic{} word{}", item % 5, item % 3)
        } else {
            String::new()
        };
        writeln!(events, "u{user},i{item},{time},{query}").unwrap();
    }
    let mut titles = "item,title,tags\n".to_owned();
    for item in 0..items + 3 {
        writeln!(titles, "i{item},topic{} thing number{item},tag{}", item % 5, item % 2).unwrap();
    }
    std::fs::write(&log, events).unwrap();
    std::fs::write(&catalogue, titles).unwrap();
    let mut prepare = Prepare::new([&log]);
    prepare.catalogue = Some(catalogue);
    prepare.options = PrepareOptions::for_training();
    let prepared = prepare.prepare().unwrap();
    let mut train = TrainConfig { epochs, batch_size: 64, ..TrainConfig::default() };
    train.optimizer.learning_rate = 0.01;
    let mut trainer = Trainer::new(model, &train, &prepared.dataset).unwrap();
    trainer.run(None, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    Bundle { scorer: trainer.scorer().unwrap(), prepared, fingerprint: "test".to_owned() }
}

fn small(term: TranslationTerm) -> ModelConfig {
    ModelConfig { dim: 12, translation_term: term, ..ModelConfig::corrected() }
}

/// Near the middle of its cluster the expansion is the score itself, in all variants of the model.
#[test]
fn expansions_are_exact_at_their_centres() {
    let terms = [TranslationTerm::Absent, TranslationTerm::Dot, TranslationTerm::Distance];
    for (variant, term) in terms.into_iter().enumerate() {
        let model = ModelConfig {
            final_activation: FinalActivation::Identity,
            generator: if variant == 0 { Generator::UserWords } else { Generator::Network },
            ..small(term)
        };
        let bundle = bundle(&model, 100, 1);
        let recommender = Recommender::new(bundle, RecommenderOptions::default()).unwrap();
        let user = recommender.state.user(3);
        let scorer = &recommender.state.scorer;
        let centres: Vec<u32> = (0..100).collect();
        let query = scorer.query(&[2, 3]);
        for query in [Some(&query[..]), None] {
            let expansion = scorer.expand(user.view(), query, &centres);
            let mut scores = vec![0.0; centres.len()];
            scorer.score_of(user.view(), query, &centres, &mut scores);
            for (&item, score) in centres.iter().zip(scores) {
                let star = scorer.item(item);
                let target = crate::matrix::row(&expansion.targets, 12, item as usize);
                let value = expansion.offsets[item as usize]
                    + crate::real::dot(target, star)
                    + expansion.square_weight * crate::real::dot(star, star);
                assert!(
                    (value - score).abs() < 1e-4 * (1.0 + score.abs()),
                    "{variant}: {value} for {score}"
                );
            }
        }
    }
}

#[test]
fn candidates_find_what_a_ranking_of_everything_finds() {
    let bundle = bundle(&small(TranslationTerm::Dot), 600, 2);
    let options = RecommenderOptions { candidates: 60, ..RecommenderOptions::default() };
    let recommender = Recommender::new(bundle, options).unwrap();
    let recall = recommender.candidate_recall(60, 10);
    assert_eq!(recall.requests, [60, 60]);
    assert!(recall.search > Some(0.98) && recall.recommend > Some(0.98), "{recall:?}");
    assert!(recommender.index_error() < 0.02);
    let answer = recommender.recommend(Some("u7"), 5, &RequestOptions::default()).unwrap();
    assert!(matches!(answer.retrieval, Retrieval::Candidates(60)));
    let exact = RequestOptions { exact: true, ..RequestOptions::default() };
    let exact = recommender.recommend(Some("u7"), 5, &exact).unwrap();
    assert_eq!(exact.retrieval, Retrieval::Everything);
    assert_eq!(answer.hits, exact.hits);
}

/// Cells that are left out have next to nothing that belongs to the best, also after events.
#[test]
fn cells_that_are_left_out_have_little_of_the_best() {
    for term in [TranslationTerm::Absent, TranslationTerm::Dot, TranslationTerm::Distance] {
        let mut recommender =
            Recommender::new(bundle(&small(term), 600, 2), RecommenderOptions::default()).unwrap();
        recommender.index = Index::with(&recommender.state.scorer, 0);
        for time in 0..20 {
            let (user, item) = (format!("u{time}"), format!("i{}", 7 * time));
            recommender.record(Event { user, item, time, ..Event::default() }).unwrap();
        }
        let (index, scorer) = (&recommender.index, &recommender.state.scorer);
        let all = Index::with(scorer, usize::MAX);
        let is_allowed = |item: u32| !item.is_multiple_of(3);
        let (mut hits, mut requests) = (0, 0);
        let mut compare = |found: Vec<Found>, expected: &[Found]| {
            requests += 1;
            hits += expected.iter().filter(|e| found.iter().any(|f| f.item == e.item)).count();
        };
        for user in 0..20 {
            let user = recommender.state.user(user);
            let query = scorer.query(&[2, 3]);
            for query in [Some(&query[..]), None] {
                let expand = |index: &Index| scorer.expand(user.view(), query, index.centres());
                let found = index.candidates(&expand(index), 50, &is_allowed);
                let expected = index.candidates(&expand(index), 1000, &is_allowed);
                assert!(found.iter().all(|found| is_allowed(found.item)));
                compare(found, &expected[..10]);
            }
            compare(
                index.similar(&user.star, 50, &|_| true),
                &all.similar(&user.star, 10, &|_| true),
            );
        }
        assert!(hits >= 98 * requests / 10, "{hits} of {}", 10 * requests);
    }
}

#[test]
fn a_killed_process_loses_no_acknowledged_event() {
    // The journal is written by another process, which is killed while it writes.
    const PATH: &str = "UDITSR_TEST_JOURNAL";
    let event = |n: u64| Event {
        user: format!("u{}", n % 9),
        item: "i1".to_owned(),
        time: n as i64,
        ..Event::default()
    };
    if let Some(path) = std::env::var_os(PATH) {
        let (mut journal, ..) = Journal::open(path.as_ref(), Durability::Sync).unwrap();
        for id in 0.. {
            journal.append(&[Record::Event { id, event: event(id) }]).unwrap();
            std::fs::write(Path::new(&path).with_extension("acknowledged"), id.to_string())
                .unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "recommender::tests::a_killed_process_loses_no_acknowledged_event"])
        .env(PATH, &path)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let acknowledged = || {
        let text = std::fs::read_to_string(path.with_extension("acknowledged")).unwrap_or_default();
        text.parse::<u64>().ok()
    };
    while acknowledged().is_none_or(|id| id < 20) {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let (_, records, _) = Journal::open(&path, Durability::Sync).unwrap();
    assert!(records.len() as u64 > acknowledged().unwrap_or(20));
    let expected = (0..records.len() as u64).map(|id| Record::Event { id, event: event(id) });
    assert!(records.iter().cloned().eq(expected));
}

/// Items come, change and go, and a journal tells the same story again.
#[test]
fn items_can_be_replaced_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let options = || RecommenderOptions {
        journal: Some(folder.path().join("journal")),
        ..RecommenderOptions::default()
    };
    let open =
        || Recommender::new(bundle(&small(TranslationTerm::Dot), 100, 1), options()).unwrap();
    let search = |recommender: &Recommender, query: &str| {
        let answer = recommender.search(None, query, 200, &RequestOptions::default()).unwrap();
        answer.hits.into_iter().map(|hit| hit.item).collect::<Vec<_>>()
    };
    let item = |id: &str, title: &str| CatalogueItem {
        id: id.to_owned(),
        title: title.to_owned(),
        tags: vec!["tag9".to_owned()],
        ..CatalogueItem::default()
    };
    let mut recommender = open();
    let count = recommender.available_items();
    // A new one, which gets other words: its vector follows them.
    recommender.put_item(item("new", "zeppelin")).unwrap();
    assert_eq!(search(&recommender, "zeppelin"), ["new"]);
    recommender.put_item(item("new", "topic3 dirigible")).unwrap();
    assert!(search(&recommender, "zeppelin").is_empty());
    assert_eq!(search(&recommender, "dirigible"), ["new"]);
    let mut fresh = open_without(&item("new", "topic3 dirigible"));
    let similar = |recommender: &Recommender| {
        let answer = recommender.similar("new", 5, &RequestOptions::default()).unwrap();
        answer.hits.into_iter().map(|hit| (hit.item, hit.score)).collect::<Vec<_>>()
    };
    assert_eq!(similar(&recommender), similar(&fresh), "as if it had always been so");
    fresh.remove_item("new").unwrap();
    assert_eq!(fresh.available_items(), count);
    // One with events keeps its vector, and has other words and tags.
    let before = recommender.similar("i7", 5, &RequestOptions::default()).unwrap().hits;
    recommender.put_item(item("i7", "ornithopter")).unwrap();
    assert_eq!(search(&recommender, "ornithopter"), ["i7"]);
    assert_eq!(recommender.similar("i7", 5, &RequestOptions::default()).unwrap().hits, before);
    let tagged = RequestOptions {
        filter: Filter { all_tags: vec!["tag9".to_owned()], ..Filter::default() },
        ..RequestOptions::default()
    };
    let mut found: Vec<String> = recommender
        .recommend(None, 9, &tagged)
        .unwrap()
        .hits
        .into_iter()
        .map(|hit| hit.item)
        .collect();
    found.sort();
    assert_eq!(found, ["i7", "new"]);
    // One that is removed is in no answer and takes no events, until it comes back.
    recommender.remove_item("i8").unwrap();
    assert!(recommender.remove_item("i8").is_err() && recommender.item("i8").is_none());
    let all = recommender.recommend(None, 500, &RequestOptions::default()).unwrap().hits;
    assert!(all.len() == count && all.iter().all(|hit| hit.item != "i8"), "{}", all.len());
    let event = || Event { user: "u1".into(), item: "i8".into(), ..Event::default() };
    assert!(recommender.record(event()).is_err());
    recommender.put_item(item("i8", "phoenix")).unwrap();
    recommender.record(event()).unwrap();
    assert_eq!(recommender.available_items(), count + 1);
    assert_eq!(recommender.items_after(None).count(), count + 1);
    let answers = |recommender: &Recommender| {
        let options = RequestOptions::default();
        [
            recommender.recommend(Some("u1"), 200, &options).unwrap(),
            recommender.search(Some("u2"), "topic3 phoenix", 200, &options).unwrap(),
        ]
    };
    let expected = answers(&recommender);
    drop(recommender);
    assert_eq!(answers(&open()), expected, "the journal tells the same");
}

/// A recommender without a journal that was given one item.
fn open_without(item: &CatalogueItem) -> Recommender {
    let bundle = bundle(&small(TranslationTerm::Dot), 100, 1);
    let mut recommender = Recommender::new(bundle, RecommenderOptions::default()).unwrap();
    recommender.put_item(item.clone()).unwrap();
    recommender
}
