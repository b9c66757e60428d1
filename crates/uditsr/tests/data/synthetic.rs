//! Synthetic logs with known intents.

use std::collections::HashSet;

use uditsr::data::synthetic::{Feed, SyntheticConfig};
use uditsr::data::{Prepare, PrepareOptions, Sizes, WordIds};

#[test]
fn a_log_is_a_function_of_its_parameters() {
    let config = SyntheticConfig::default();
    let log = config.generate().unwrap();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(pool.install(|| config.generate()).unwrap(), log);
    assert_ne!(SyntheticConfig { seed: 1, ..config.clone() }.generate().unwrap(), log);

    // More events add to the others and change none.
    let longer = SyntheticConfig { events: 4000, ..config.clone() }.generate().unwrap();
    assert_eq!(longer.dataset.train.items[..3000], log.dataset.train.items);
    assert_eq!(longer.train[..3000], log.train);
    // Fewer searches show fewer queries; demands, items and hidden words stay.
    let quiet = SyntheticConfig { search_rate: 0.3, ..config.clone() }.generate().unwrap();
    assert_eq!(quiet.train, log.train);
    assert_eq!(quiet.dataset.train.items, log.dataset.train.items);
    let searches = |log: &uditsr::data::synthetic::SyntheticLog| {
        (0..3000).filter(|&row| log.dataset.train.is_search(row)).collect::<HashSet<_>>()
    };
    assert!(searches(&quiet).is_subset(&searches(&log)));
}

#[test]
fn the_world_is_the_one_that_was_asked_for() {
    let config = SyntheticConfig { events: 20_000, ..SyntheticConfig::default() };
    let log = config.generate().unwrap();
    let data = &log.dataset;
    let share = |is: &dyn Fn(usize) -> bool| {
        (0..data.train.len()).filter(|&row| is(row)).count() as f64 / data.train.len() as f64
    };
    let searches = share(&|row| data.train.is_search(row));
    assert!((searches - 0.6).abs() < 0.02, "{searches}");
    // An item of the demanded topic: e^6 against nine topics of weight 1 is 0.978.
    let of_topic =
        share(&|row| log.item_topics[data.train.items[row] as usize] == log.train[row].topic);
    assert!((of_topic - 0.978).abs() < 0.01, "{of_topic}");
    // A word of the topic: 0.9 plus 0.1 * 6 / 72.
    let words: Vec<(u32, u32)> =
        log.train.iter().flat_map(|t| t.words.iter().map(|&word| (t.topic, word))).collect();
    let right = words.iter().filter(|&&(topic, word)| config.topic_of(word) == Some(topic)).count();
    let right = right as f64 / words.len() as f64;
    assert!((right - 0.9083).abs() < 0.01, "{right}");
    assert!(words.iter().all(|&(_, word)| word > 0 && word < config.words()));
    // Dirichlet(0.05) over ten topics: E sum p^2 = (a + 1) / (10 a + 1) = 0.7.
    let concentration: f64 =
        log.propensities.iter().map(|p| p.iter().map(|x| x * x).sum::<f64>()).sum::<f64>() / 300.0;
    assert!((concentration - 0.7).abs() < 0.05, "{concentration}");

    let seen: HashSet<(u32, u32)> =
        data.train.users.iter().copied().zip(data.train.items.iter().copied()).collect();
    for ranking in [&data.valid, &data.test] {
        assert!(ranking.positives.len() > 550);
        for row in 0..ranking.positives.len() {
            let user = ranking.positives.users[row];
            assert!(!ranking.positives.is_search(row));
            assert!(!seen.contains(&(user, ranking.positives.items[row])));
            let negatives = ranking.negatives.row(row);
            assert_eq!(negatives.iter().collect::<HashSet<_>>().len(), 99);
            assert!(negatives.iter().all(|&item| !seen.contains(&(user, item))));
        }
    }
    // In the null world the feed does not know the demand: one in ten by chance.
    let null = SyntheticConfig { feed: Feed::Taste, ..config }.generate().unwrap();
    let feed: Vec<usize> = (0..20_000).filter(|&row| !null.dataset.train.is_search(row)).collect();
    let hits = feed.iter().filter(|&&row| {
        null.item_topics[null.dataset.train.items[row] as usize] == null.train[row].topic
    });
    let hits = hits.count() as f64 / feed.len() as f64;
    assert!((hits - 0.1).abs() < 0.02, "{hits}");
}

#[test]
fn its_files_are_those_of_the_authors() {
    let config =
        SyntheticConfig { users: 40, items: 150, events: 300, ..SyntheticConfig::default() };
    let log = config.generate().unwrap();
    let dir = tempfile::tempdir().unwrap();
    log.write(dir.path()).unwrap();
    let mut prepare = Prepare::new([dir.path()]);
    let sizes = Sizes { users: Some(40), items: Some(150), words: Some(config.words() as usize) };
    prepare.options = PrepareOptions {
        format: "mt-small".parse().unwrap(),
        word_ids: WordIds::Given,
        sizes,
        ..PrepareOptions::default()
    };
    assert_eq!(prepare.prepare().unwrap().dataset, log.dataset);
    let truth = std::fs::read_to_string(dir.path().join("truth.jsonl")).unwrap();
    let rows = log.train.len() + log.valid.len() + log.test.len();
    assert_eq!(truth.lines().count(), 1 + 150 + 40 + rows);
    let last: serde_json::Value = serde_json::from_str(truth.lines().last().unwrap()).unwrap();
    assert_eq!(last["part"], "test");
    assert_eq!(last["topic"], log.test.last().unwrap().topic);
}

#[test]
fn impossible_worlds_are_refused() {
    for (config, field) in [
        (SyntheticConfig { users: 0, ..SyntheticConfig::default() }, "users"),
        (SyntheticConfig { explore: 2.0, ..SyntheticConfig::default() }, "explore"),
        (SyntheticConfig { items: 99, ..SyntheticConfig::default() }, "negatives"),
        (SyntheticConfig { concentration: 0.0, ..SyntheticConfig::default() }, "concentration"),
    ] {
        let error = config.generate().unwrap_err().to_string();
        assert!(error.contains(&format!("`{field}`")), "{error}");
    }
}
