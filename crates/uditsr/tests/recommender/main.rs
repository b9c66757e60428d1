//! The recommender from outside: a model is trained, saved, opened, asked and told.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;

use uditsr::data::{CatalogueItem, Prepare, PrepareOptions};
use uditsr::model::{ModelConfig, Scorer};
use uditsr::recommender::{
    Bundle, Durability, Erase, Event, Filter, Neighbour, Order, PastEvent, RequestOptions,
    Retrieval, Source, UserKind,
};
use uditsr::train::{TrainConfig, Trainer};
use uditsr::{Error, Recommender, RecommenderOptions};

const TOPICS: [&str; 4] = ["shoes", "lamps", "tents", "books"];

/// Users like the items of their topic, and search for those of all topics by their names.
fn train(folder: &Path) -> Scorer<f32> {
    let (log, catalogue) = (folder.join("log.csv"), folder.join("items.csv"));
    let mut events = "user,item,time,query\n".to_owned();
    for n in 0..800 {
        // In the feed users see all items of their topic; they search for all topics in turn.
        let (user, turn) = (n % 40, n / 40);
        let is_search = turn % 2 == 0;
        let topic = if is_search { (user + turn / 2) % 4 } else { user % 4 };
        let item = topic + 4 * ((user * 7 + turn / 2) % 10);
        let query = if is_search { TOPICS[item % 4] } else { "" };
        writeln!(events, "u{user},i{item},{n},{query}").unwrap();
    }
    let mut titles = "item,title,tags\n".to_owned();
    for item in 0..48 {
        let (topic, color) = (TOPICS[item % 4], ["red", "blue"][item % 2]);
        writeln!(titles, "i{item},{topic} nr{item},{color}").unwrap();
    }
    std::fs::write(&log, events).unwrap();
    std::fs::write(&catalogue, titles).unwrap();
    let mut prepare = Prepare::new([&log]);
    prepare.catalogue = Some(catalogue);
    prepare.options = PrepareOptions::for_training();
    let prepared = prepare.prepare().unwrap();
    let model = ModelConfig { dim: 16, ..ModelConfig::corrected() };
    let mut train = TrainConfig { epochs: 40, batch_size: 64, ..TrainConfig::default() };
    train.optimizer.learning_rate = 0.01;
    let mut trainer = Trainer::new(&model, &train, &prepared.dataset).unwrap();
    trainer.run(None, &mut |_| ControlFlow::Continue(())).unwrap();
    let scorer = trainer.scorer().unwrap();
    Bundle::save(&folder.join("model"), &scorer, &prepared).unwrap();
    scorer
}

fn open(folder: &Path) -> Recommender {
    let journal = Some(folder.join("journal"));
    let options = RecommenderOptions {
        journal,
        durability: Durability::Flush,
        ..RecommenderOptions::default()
    };
    Recommender::open(&folder.join("model"), options).unwrap()
}

fn plain() -> RequestOptions {
    RequestOptions::default()
}

fn ids(answer: &uditsr::recommender::Answer) -> Vec<&str> {
    answer.hits.iter().map(|hit| hit.item.as_str()).collect()
}

/// Share of the hits that are of a topic.
fn share(answer: &uditsr::recommender::Answer, topic: &str) -> f64 {
    let of_topic = answer.hits.iter().filter(|hit| hit.title.starts_with(topic)).count();
    of_topic as f64 / answer.hits.len() as f64
}

/// Mean place of the items of a topic in an answer.
fn place_of(answer: &uditsr::recommender::Answer, topic: &str) -> f64 {
    let places = answer.hits.iter().enumerate().filter(|(_, hit)| hit.title.starts_with(topic));
    let places: Vec<f64> = places.map(|(place, _)| place as f64).collect();
    places.iter().sum::<f64>() / places.len() as f64
}

fn click(user: &str, item: &str, query: &str) -> Event {
    Event { user: user.into(), item: item.into(), query: query.into(), time: 9000, key: None }
}

#[test]
fn search_and_recommendation_follow_topics() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let recommender = open(folder.path());
    // 40 items have events, 8 are cold.
    assert_eq!(recommender.items(), 48);
    for (user, topic) in [("u0", "shoes"), ("u1", "lamps"), ("u2", "tents")] {
        let seen = RequestOptions { exclude_seen: Some(false), ..plain() };
        let answer = recommender.recommend(Some(user), 8, &seen).unwrap();
        assert_eq!((answer.user, answer.order), (UserKind::Trained, Order::Model));
        assert!(share(&answer, topic) >= 0.9, "{user}: {answer:?}");
        let answer = recommender.search(Some(user), "Books!", 6, &plain()).unwrap();
        assert!(share(&answer, "books") >= 0.9, "{user}: {answer:?}");
        assert!(answer.unmatched_terms.is_empty() && answer.text_only_terms.is_empty());
        assert!(answer.hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
    }
    let answer = recommender.search(None, "lamps", 8, &plain()).unwrap();
    assert_eq!((answer.user, share(&answer, "lamps")), (UserKind::Stranger, 1.0));
    let similar = recommender.similar("i2", 5, &plain()).unwrap();
    assert_eq!((similar.order, share(&similar, "tents")), (Order::Similarity, 1.0));
    assert!(!ids(&similar).contains(&"i2") && similar.hits[0].score <= 1.0);
}

#[test]
fn words_that_nobody_knows_are_named() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let recommender = open(folder.path());
    let answer = recommender.search(None, "lamps zzz", 5, &plain()).unwrap();
    assert_eq!(answer.unmatched_terms, ["zzz"]);
    assert_eq!((answer.order, share(&answer, "lamps")), (Order::ModelAndText, 1.0));
    let alone = RecommenderOptions { fuse_text: false, ..RecommenderOptions::default() };
    let alone = Recommender::open(&folder.path().join("model"), alone).unwrap();
    let answer = alone.search(None, "lamps zzz", 5, &plain()).unwrap();
    assert_eq!((answer.order, share(&answer, "lamps")), (Order::Model, 1.0));
    // Numbers of titles occur once, so the model has no vector for them, but the titles do.
    let answer = recommender.search(None, "nr13 qqq", 5, &plain()).unwrap();
    assert_eq!((answer.order, ids(&answer)), (Order::Text, vec!["i13"]));
    assert_eq!(
        (&answer.text_only_terms[..], &answer.unmatched_terms[..]),
        (&["nr13".to_owned()][..], &["qqq".to_owned()][..])
    );
    assert_eq!(answer.hits[0].source, Source::Text);
    let answer = recommender.search(Some("u1"), "nr13 lamps", 5, &plain()).unwrap();
    assert_eq!(answer.order, Order::ModelAndText);
    assert_eq!(ids(&answer)[0], "i13");
    let nothing = recommender.search(None, "qqq", 5, &plain()).unwrap();
    assert!(nothing.hits.is_empty() && nothing.unmatched_terms == ["qqq"]);
    let error = recommender.search(None, " ?!", 5, &plain()).unwrap_err();
    assert!(matches!(error, Error::Config { ref field, .. } if field == "query"), "{error}");
}

#[test]
fn filters_seen_items_and_diversity() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let recommender = open(folder.path());
    let seen: Vec<String> =
        recommender.events_of("u3").into_iter().map(|(_, event)| event.item).collect();
    let answer = recommender.recommend(Some("u3"), 48, &plain()).unwrap();
    assert!(ids(&answer).iter().all(|id| !seen.iter().any(|seen| seen == id)));
    let with_seen = RequestOptions { exclude_seen: Some(false), ..plain() };
    assert_eq!(recommender.recommend(Some("u3"), 100, &with_seen).unwrap().hits.len(), 48);
    let filter =
        Filter { any_tag: vec!["red".into()], not_items: vec!["i0".into()], ..Filter::default() };
    let red = recommender.search(None, "shoes", 48, &RequestOptions { filter, ..plain() }).unwrap();
    // Even numbers are red: 24 without i0.
    assert_eq!(red.hits.len(), 23);
    assert!(ids(&red).iter().all(|id| id[1..].parse::<u32>().unwrap() % 2 == 0 && *id != "i0"));
    let filter = Filter { all_tags: vec!["red".into(), "blue".into()], ..Filter::default() };
    assert!(
        recommender
            .recommend(Some("u3"), 5, &RequestOptions { filter, ..plain() })
            .unwrap()
            .hits
            .is_empty()
    );
    let filter =
        Filter { items: vec!["i5".into(), "i9".into(), "none".into()], ..Filter::default() };
    let two = recommender.recommend(None, 5, &RequestOptions { filter, ..plain() }).unwrap();
    assert_eq!(two.hits.len(), 2);
    let diverse = RequestOptions { diversity: 0.9, exclude_seen: Some(false), ..plain() };
    let topics = |answer: &uditsr::recommender::Answer| {
        let topic = |title: &str| title.split(' ').next().unwrap().to_owned();
        answer
            .hits
            .iter()
            .map(|hit| topic(&hit.title))
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    let (one, many) = (
        recommender.recommend(Some("u3"), 6, &with_seen).unwrap(),
        recommender.recommend(Some("u3"), 6, &diverse).unwrap(),
    );
    assert_eq!(ids(&one)[0], ids(&many)[0]);
    assert!(topics(&many) > topics(&one), "{many:?}");
    let wrong = RequestOptions { diversity: 2.0, ..plain() };
    assert!(matches!(recommender.recommend(None, 5, &wrong), Err(Error::Config { .. })));
}

#[test]
fn a_click_changes_the_next_answer_and_survives() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let mut recommender = open(folder.path());
    let popular = recommender.recommend(Some("new"), 5, &plain()).unwrap();
    assert_eq!((popular.user, popular.order), (UserKind::Stranger, Order::Popularity));
    assert_eq!(popular.hits[0].source, Source::Popularity);
    let before = recommender.recommend(Some("u0"), 5, &plain()).unwrap();
    for item in ["i3", "i7"] {
        let receipt = recommender.record(click("new", item, "")).unwrap();
        assert!(!receipt.is_duplicate && receipt.unmatched_terms.is_empty());
    }
    let after = recommender.recommend(Some("new"), 5, &plain()).unwrap();
    assert_eq!((after.user, after.order), (UserKind::Recorded, Order::ModelAndNeighbours));
    assert!(!ids(&after).contains(&"i3") && after.hits[0].source == Source::Model);
    assert!(share(&after, "books") >= 0.8, "{after:?}");
    // The same history in a request, of somebody whom nobody knows, does the same.
    let asked = |items: [&str; 2]| {
        let past = |item: &str| PastEvent { item: item.into(), query: String::new() };
        let history = items.map(past).to_vec();
        let options = RequestOptions { history, exclude_seen: Some(false), ..plain() };
        recommender.recommend(None, 48, &options).unwrap()
    };
    let (books, lamps) = (asked(["i3", "i7"]), asked(["i1", "i5"]));
    assert_eq!(books.user, UserKind::Session);
    assert!(place_of(&books, "books") < place_of(&lamps, "books"), "{books:?} {lamps:?}");
    assert!(place_of(&lamps, "lamps") < place_of(&books, "lamps"));
    let all = RequestOptions { exclude_seen: Some(false), ..plain() };
    let recorded = recommender.recommend(Some("new"), 48, &all).unwrap();
    assert!(place_of(&recorded, "books") < place_of(&lamps, "books"));
    let keyed = Event { key: Some("k1".into()), ..click("u0", "i2", "") };
    let first = recommender.record(keyed.clone()).unwrap();
    let again = recommender.record(keyed.clone()).unwrap();
    assert!(again.is_duplicate && again.id == first.id);
    let batch = recommender
        .record_all(vec![click("u0", "nowhere", ""), click("u0", "i6", "odd words")])
        .unwrap();
    assert!(batch[0].is_err());
    assert_eq!(batch[1].as_ref().unwrap().unmatched_terms, ["odd", "words"]);
    let item = CatalogueItem {
        id: "fresh".into(),
        title: "tents of a new kind".into(),
        ..CatalogueItem::default()
    };
    recommender.add_item(item.clone()).unwrap();
    assert!(recommender.add_item(item).is_err());
    let found = recommender.search(None, "kind", 3, &plain()).unwrap();
    assert_eq!(ids(&found), ["fresh"]);
    let ask = |recommender: &Recommender| {
        let users =
            ["u0", "new", "u5"].map(|user| recommender.recommend(Some(user), 7, &plain()).unwrap());
        (users, recommender.search(Some("new"), "tents", 7, &plain()).unwrap())
    };
    let expected = ask(&recommender);
    assert_ne!(before.hits, recommender.recommend(Some("u0"), 5, &plain()).unwrap().hits);
    drop(recommender);
    // Opened again, with the rest of a record that was under way.
    let path = folder.path().join("journal");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([40, 0, 0]);
    std::fs::write(&path, bytes).unwrap();
    let mut recommender = open(folder.path());
    assert_eq!((recommender.recovery().records, recommender.recovery().cut), (5, 3));
    assert_eq!(ask(&recommender), expected);
    assert!(recommender.record(keyed).unwrap().is_duplicate);
    let file = folder.path().join("events.jsonl");
    assert_eq!(recommender.export_events(&file).unwrap(), 804);
    let text = std::fs::read_to_string(file).unwrap();
    let last = text.lines().last().unwrap();
    assert_eq!(last, r#"{"user":"u0","item":"i6","query":"odd words","time":9000}"#);
}

#[test]
fn what_is_erased_was_never_there() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let mut recommender = open(folder.path());
    let scores = |recommender: &Recommender, user: &str| {
        let all = RequestOptions { exact: true, exclude_seen: Some(false), ..plain() };
        let mut hits = recommender.recommend(Some(user), 48, &all).unwrap().hits;
        hits.sort_by(|a, b| a.item.cmp(&b.item));
        hits.into_iter().map(|hit| hit.score).collect::<Vec<_>>()
    };
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    let before = scores(&recommender, "u8");
    let receipt = recommender.record(click("u8", "i3", "books")).unwrap();
    recommender.record(click("secret", "i4", "shoes")).unwrap();
    assert!(!close(&before, &scores(&recommender, "u8")));
    assert_eq!(recommender.erase(&Erase::User("secret".into())).unwrap(), 1);
    assert_eq!(recommender.erase(&Erase::Event(receipt.id)).unwrap(), 1);
    assert!(close(&before, &scores(&recommender, "u8")));
    let journal = std::fs::read(folder.path().join("journal")).unwrap();
    assert!(!String::from_utf8_lossy(&journal).contains("secret"));
    // Events of the training too, also after another start.
    let count = recommender.events_of("u9").len();
    assert_eq!(recommender.erase(&Erase::User("u9".into())).unwrap(), count);
    assert_eq!(recommender.recommend(Some("u9"), 3, &plain()).unwrap().user, UserKind::Stranger);
    assert!(recommender.erase(&Erase::User("nobody".into())).is_err());
    let expected = scores(&recommender, "u8");
    drop(recommender);
    let recommender = open(folder.path());
    assert_eq!(recommender.recommend(Some("u9"), 3, &plain()).unwrap().user, UserKind::Stranger);
    assert!(
        recommender.events_of("u9").is_empty() && close(&expected, &scores(&recommender, "u8"))
    );
}

#[test]
fn explanations_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let scorer = train(folder.path());
    let recommender = open(folder.path());
    let answer = recommender.recommend(Some("u1"), 1, &plain()).unwrap();
    let item = answer.hits[0].item.clone();
    let why = recommender.explain(Some("u1"), &item, None).unwrap();
    assert!((why.score - answer.hits[0].score).abs() < 1e-5);
    assert!((why.head + why.translation - why.score).abs() < 1e-9);
    let weight = f64::from(scorer.parameters().network.recommend.translation[0]);
    assert!((why.translation - weight * (why.inherent + why.demand)).abs() < 1e-4);
    assert_eq!(why.demand_words.len(), 5);
    assert!(why.demand_words.windows(2).all(|pair| pair[0].weight >= pair[1].weight));
    assert!((why.attention.iter().map(|word| word.weight).sum::<f64>() - 1.0).abs() < 1e-6);
    assert!(why.closer_than > 0.5, "{why:?}");
    assert_eq!(why.neighbours.len(), 5);
    let order = |pair: &[Neighbour]| pair[0].contribution.abs() >= pair[1].contribution.abs();
    assert!(why.neighbours.windows(2).all(order));
    let why = recommender.explain(Some("u1"), "i3", Some("books qqq")).unwrap();
    assert_eq!(
        (why.demand_words[0].word.as_str(), &why.unmatched_terms[..]),
        ("books", &["qqq".to_owned()][..])
    );
    assert!(why.demand > 0.0 && why.attention.is_empty());
    assert!(recommender.explain(None, "nowhere", None).is_err());
}

#[test]
fn items_without_events_come_by_their_words() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let recommender = open(folder.path());
    // Items 40 to 47 are in the catalogue only.
    let all = RequestOptions { exact: true, ..plain() };
    let answer = recommender.search(None, "books", 48, &all).unwrap();
    let place = |id: &str| answer.hits.iter().position(|hit| hit.item == id).unwrap();
    assert!(answer.hits[place("i43")].is_cold && !answer.hits[place("i3")].is_cold);
    assert!(place("i43") < place("i42") && place("i47") < place("i44"), "{answer:?}");
}

#[test]
fn folders_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path());
    let recommender = open(folder.path());
    let (model, fingerprint) = (folder.path().join("model"), recommender.fingerprint().to_owned());
    assert_eq!(fingerprint.len(), 64);
    drop(recommender);
    let bundle = Bundle::load(&model).unwrap();
    assert_eq!(bundle.fingerprint, fingerprint);
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("notes.txt"), "mine").unwrap();
    assert!(matches!(
        Bundle::save(&other, &bundle.scorer, &bundle.prepared),
        Err(Error::Config { .. })
    ));
    Bundle::save(&model, &bundle.scorer, &bundle.prepared).unwrap();
    assert_eq!(Bundle::load(&model).unwrap().fingerprint, fingerprint);
    let in_folder = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(in_folder, 5, "nothing temporary remains");
    // A journal of another model is refused, and so is a changed weight.
    let mut wrong = bundle;
    wrong.fingerprint = "another".to_owned();
    let options = RecommenderOptions {
        journal: Some(folder.path().join("journal")),
        ..RecommenderOptions::default()
    };
    assert!(matches!(Recommender::new(wrong, options), Err(Error::Config { .. })));
    let weights = model.join("model/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    assert!(matches!(Bundle::load(&model), Err(Error::Format { .. })));
    let deep = ModelConfig { layers: 3, ..ModelConfig::corrected() };
    assert!(deep.validate().is_ok());
    assert!(matches!(Retrieval::Candidates(3), Retrieval::Candidates(n) if n == 3));
}
