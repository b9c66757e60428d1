//! Each split rule on a log small enough to see.

use uditsr::data::{Prepare, Prepared, Queries, SplitRule, Unseen};
use uditsr::{Dataset, Interactions};

use super::{csv, everything, log, rows};

const DAY: i64 = 86_400;

/// Ten dated events of `ana`, four of them searches, and four events of `bo`.
fn events() -> Vec<(&'static str, &'static str, i64, &'static str)> {
    let mut events: Vec<_> = ["a", "b", "c", "d", "e", "f"]
        .iter()
        .enumerate()
        .map(|(day, &item)| ("ana", item, day as i64 * DAY, ""))
        .collect();
    let searches = ["c", "d", "e", "f"].iter().enumerate();
    events.extend(searches.map(|(day, &item)| ("ana", item, day as i64 * DAY + 5, "red shoes")));
    events.extend([
        ("bo", "a", 0, ""),
        ("bo", "b", 3 * DAY + 1, ""),
        ("bo", "c", -1, "red"),
        ("bo", "e", -1, ""),
    ]);
    events
}

fn prepare(rule: SplitRule) -> Prepared {
    with(rule, |_| ())
}

fn with(rule: SplitRule, change: impl FnOnce(&mut Prepare)) -> Prepared {
    let dir = tempfile::tempdir().unwrap();
    let mut prepare = log(&dir, &csv(&events()));
    prepare.options = everything();
    prepare.options.split = Some(rule);
    prepare.options.negatives = 0;
    change(&mut prepare);
    prepare.prepare().unwrap()
}

fn parts(data: &Dataset) -> [&Interactions; 3] {
    [&data.train, &data.valid.positives, &data.test.positives]
}

#[test]
fn leave_one_out_takes_the_last_of_each_scenario() {
    let prepared = prepare(SplitRule::LeaveOneOut);
    let data = &prepared.dataset;
    assert_eq!(
        rows(&prepared, &data.valid.positives),
        [format!("ana e {}: red shoes", 2 * DAY + 5), format!("ana e {}:", 4 * DAY),]
    );
    // Nothing else of the log says anything about `f`, and `bo` has too few events.
    assert_eq!(rows(&prepared, &data.test.positives), [""; 0]);
    assert_eq!(prepared.report.split.unseen_items, 2);
    let kept = with(SplitRule::LeaveOneOut, |p| p.options.unseen = Unseen::Keep);
    assert_eq!(
        rows(&kept, &kept.dataset.test.positives),
        [format!("ana f {}: red shoes", 3 * DAY + 5), format!("ana f {}:", 5 * DAY),]
    );
    assert_eq!(kept.dataset.items, 6);
    assert_eq!(data.items, 5);
}

#[test]
fn dates_and_days_cut_the_time() {
    let dates = SplitRule::Dates { valid: 3 * DAY, test: 4 * DAY };
    let by_dates = prepare(dates);
    let test_days: Vec<i64> = by_dates.dataset.test.positives.times.clone();
    assert_eq!(test_days, [4 * DAY], "training does not know `f`");
    let kept = |rule| with(rule, |p| p.options.unseen = Unseen::Keep);
    for rule in [dates, SplitRule::Days { valid: 1, test: 2 }] {
        let prepared = kept(rule);
        let [train, valid, test] = parts(&prepared.dataset).map(|part| part.times.clone());
        assert!(train.iter().all(|&time| time < 3 * DAY), "{train:?}");
        assert!(valid.iter().all(|&time| (3 * DAY..4 * DAY).contains(&time)), "{valid:?}");
        assert_eq!(test, [4 * DAY, 5 * DAY]);
        assert_eq!((train.len(), valid.len()), (9, 3));
        // What has no time is never held out.
        assert_eq!(train[0], -1);
    }
}

#[test]
fn latest_takes_shares_of_dated_events() {
    let rule = SplitRule::Latest { valid: 0.25, test: 0.25 };
    let prepared = with(rule, |p| p.options.unseen = Unseen::Keep);
    let sizes = parts(&prepared.dataset).map(Interactions::len);
    assert_eq!(sizes, [8, 3, 3]);
    let [train, valid, test] = parts(&prepared.dataset);
    assert!(train.times.iter().max() < valid.times.iter().min());
    assert!(valid.times.iter().max() < test.times.iter().min());
    assert_eq!(prepared.report.split.late_training, 0);
}

#[test]
fn pairs_keep_a_user_and_an_item_on_one_side() {
    let rule = SplitRule::Pairs { valid: 0.2, test: 0.2 };
    let prepared = with(rule, |p| p.options.unseen = Unseen::Keep);
    let data = &prepared.dataset;
    let pairs = parts(data).map(|part| {
        let pairs = part.users.iter().copied().zip(part.items.iter().copied());
        pairs.collect::<std::collections::BTreeSet<_>>()
    });
    // Of the six items of `ana` one and one, of the four of `bo` one and one.
    assert_eq!(pairs.each_ref().map(std::collections::BTreeSet::len), [6, 2, 2]);
    assert!(pairs[0].is_disjoint(&pairs[1]));
    assert!(pairs[0].is_disjoint(&pairs[2]));
    assert!(pairs[1].is_disjoint(&pairs[2]));
    assert_eq!(parts(data).map(Interactions::len).iter().sum::<usize>(), 14);
    assert_eq!(prepared.report.split.repeats, 0);
}

#[test]
fn a_core_leaves_out_the_rare() {
    let prepared = with(SplitRule::Pairs { valid: 0.0, test: 0.0 }, |p| p.options.core = Some(2));
    assert_eq!(prepared.report.rows.below_core, 0);
    let dir = tempfile::tempdir().unwrap();
    let mut prepare = log(&dir, &csv(&events()));
    prepare.options = everything();
    prepare.options.core = Some(3);
    // Only `c` and `e` have three events; of them `bo` has two, and without `bo` they have two.
    assert_eq!(prepare.check().unwrap().rows.below_core, 14);
    let error = prepare.prepare().unwrap_err().to_string();
    assert!(error.contains("nothing is left for training of 14 rows"), "{error}");
}

#[test]
fn searches_of_a_day_are_joined() {
    let dir = tempfile::tempdir().unwrap();
    let mut prepare = log(
        &dir,
        &csv(&[
            ("u", "i", 10, "dark"),
            ("u", "i", 20, "comedy"),
            ("u", "i", 20, "dark"),
            ("u", "i", DAY + 1, "noir"),
            ("u", "j", 15, "comedy"),
            ("u", "i", 12, ""),
        ]),
    );
    prepare.options = everything();
    prepare.options.queries = Queries::Joined;
    let prepared = prepare.prepare().unwrap();
    assert_eq!(
        rows(&prepared, &prepared.dataset.train),
        ["u i 10: dark comedy", "u i 12:", "u j 15: comedy", &format!("u i {}: noir", DAY + 1)]
    );
    assert_eq!(prepared.report.rows.joined, 2);
}

#[test]
fn hidden_queries_become_recommendations_whose_truth_is_kept() {
    let events: Vec<(String, String)> =
        (0..400).map(|n| (format!("u{}", n % 20), format!("i{}", n % 37))).collect();
    let events: Vec<_> = events
        .iter()
        .enumerate()
        .map(|(time, (user, item))| (user.as_str(), item.as_str(), time as i64, "red shoes"))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let mut prepare = log(&dir, &csv(&events));
    prepare.options = everything();
    prepare.options.split = Some(SplitRule::Latest { valid: 0.1, test: 0.1 });
    prepare.options.negatives = 3;
    prepare.options.mask_queries = 0.5;
    let prepared = prepare.prepare().unwrap();
    let hidden = prepared.hidden.as_ref().unwrap();
    let data = &prepared.dataset;
    let secrets = [&hidden.train, &hidden.valid, &hidden.test];
    let mut counts = [0; 2];
    for (part, secrets) in parts(data).into_iter().zip(secrets) {
        assert_eq!(part.len(), secrets.len());
        for (visible, secret) in part.queries.iter().zip(secrets.iter()) {
            assert_ne!(visible.is_empty(), secret.is_empty());
            assert_eq!(visible.len() + secret.len(), 2);
            counts[usize::from(secret.is_empty())] += 1;
        }
    }
    // Binomial with p = 1/2 and n = 400: four standard deviations are 40.
    assert!((160..=240).contains(&counts[0]), "{counts:?}");
    assert_eq!(prepared.report.split.hidden_queries, counts[0]);
    assert_eq!(data.valid.positives.len() + data.test.positives.len(), 80);
}
