//! Properties that hold for every log.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uditsr::data::{Prepare, Prepared, SplitRule};
use uditsr::{Interactions, Ranking};

use super::{csv, everything, log};

type Event = (u8, u8, i64, u8);

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((0..8u8, 0..12u8, -1..50i64, 0..4u8), 1..120)
}

fn rules() -> impl Strategy<Value = SplitRule> {
    prop_oneof![
        Just(SplitRule::LeaveOneOut),
        Just(SplitRule::LeaveOneOutAtRandom),
        Just(SplitRule::Dates { valid: 20, test: 35 }),
        Just(SplitRule::Latest { valid: 0.2, test: 0.3 }),
        Just(SplitRule::Pairs { valid: 0.2, test: 0.2 }),
    ]
}

const QUERIES: [&str; 4] = ["", "red", "red shoes", "blue shoes"];

fn prepare(events: &[Event], rule: SplitRule, negatives: usize) -> Option<Prepared> {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<(String, String)> =
        events.iter().map(|(user, item, ..)| (format!("u{user}"), format!("i{item}"))).collect();
    let rows: Vec<_> = events
        .iter()
        .zip(&names)
        .map(|(&(_, _, time, query), (user, item))| {
            (user.as_str(), item.as_str(), time, QUERIES[query as usize])
        })
        .collect();
    let mut prepare = log(&dir, &csv(&rows));
    prepare.options = everything();
    prepare.options.split = Some(rule);
    prepare.options.negatives = negatives;
    prepare.prepare().ok()
}

/// Rows as strings, so that they can be compared across numberings.
fn tuples(prepared: &Prepared, part: &Interactions) -> Vec<(String, String, i64, bool)> {
    (0..part.len())
        .map(|row| {
            (
                prepared.users.get(part.users[row]).to_owned(),
                prepared.items.get(part.items[row]).to_owned(),
                part.times[row],
                part.is_search(row),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn negatives_are_distinct_and_untouched(events in events(), rule in rules()) {
        let Some(prepared) = prepare(&events, rule, 3) else { return Ok(()) };
        let data = &prepared.dataset;
        let touched: BTreeSet<(String, String)> =
            events.iter().map(|(user, item, ..)| (format!("u{user}"), format!("i{item}"))).collect();
        for Ranking { positives, negatives } in [&data.valid, &data.test] {
            prop_assert_eq!(positives.len(), negatives.len());
            for (user, row) in positives.users.iter().zip(negatives.iter()) {
                prop_assert_eq!(row.len(), 3);
                prop_assert_eq!(row.iter().collect::<BTreeSet<_>>().len(), 3);
                for &item in row {
                    let pair = (
                        prepared.users.get(*user).to_owned(),
                        prepared.items.get(item).to_owned(),
                    );
                    prop_assert!(!touched.contains(&pair), "{pair:?}");
                }
            }
        }
    }

    #[test]
    fn every_event_has_one_part_and_training_knows_the_rest(events in events(), rule in rules()) {
        let Some(prepared) = prepare(&events, rule, 0) else { return Ok(()) };
        let data = &prepared.dataset;
        let parts = [&data.train, &data.valid.positives, &data.test.positives];
        let mut found: Vec<_> = parts.iter().flat_map(|part| tuples(&prepared, part)).collect();
        let given: BTreeSet<_> = events
            .iter()
            .map(|&(user, item, time, query)| (format!("u{user}"), format!("i{item}"), time, query))
            .collect();
        let mut given: Vec<_> = given
            .into_iter()
            .map(|(user, item, time, query)| {
                (user, item, time, query > 0)
            })
            .collect();
        found.sort();
        given.sort();
        let missing = given.len() - found.len();
        let split = &prepared.report.split;
        prop_assert!(missing <= split.unseen_users + split.unseen_items);
        for row in &found {
            prop_assert!(given.binary_search(row).is_ok(), "{row:?}");
        }
        for held_out in &parts[1..] {
            for row in 0..held_out.len() {
                prop_assert!(data.train.users.contains(&held_out.users[row]));
                prop_assert!(data.train.items.contains(&held_out.items[row]));
            }
        }
    }

    #[test]
    fn leave_one_out_is_last_in_time(events in events()) {
        let Some(prepared) = prepare(&events, SplitRule::LeaveOneOut, 0) else { return Ok(()) };
        let data = &prepared.dataset;
        let mut latest: BTreeMap<(u32, bool), i64> = BTreeMap::new();
        for part in [&data.train, &data.valid.positives] {
            for row in 0..part.len() {
                let time = latest.entry((part.users[row], part.is_search(row))).or_insert(-1);
                *time = (*time).max(part.times[row]);
            }
        }
        let test = &data.test.positives;
        for row in 0..test.len() {
            let before = latest.get(&(test.users[row], test.is_search(row))).copied().unwrap_or(-1);
            prop_assert!(test.times[row] >= before && test.times[row] >= 0);
        }
    }

    #[test]
    fn order_and_threads_change_nothing(events in events(), rule in rules(), turn in 0..100usize) {
        let Some(expected) = prepare(&events, rule, 2) else { return Ok(()) };
        let mut turned = events.clone();
        turned.rotate_left(turn % events.len());
        turned.reverse();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1 + turn % 3).build().unwrap();
        let found = pool.install(|| prepare(&turned, rule, 2)).unwrap();
        prop_assert_eq!(found.dataset, expected.dataset);
        prop_assert_eq!(found.words, expected.words);
    }

    #[test]
    fn folders_round_trip(events in events(), rule in rules()) {
        let Some(prepared) = prepare(&events, rule, 2) else { return Ok(()) };
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("out");
        prepared.save(&folder).unwrap();
        let read = Prepared::load(&folder).unwrap();
        prop_assert_eq!(read.dataset, prepared.dataset);
    }

    #[test]
    fn no_text_makes_it_panic(text in "(user,item,time,query\n)?[a-c0-9,:_.\"\\[\\]{}\\-\n\t\u{18}日🎸é ]{0,200}") {
        let dir = tempfile::tempdir().unwrap();
        for (format, name) in [
            ("events", "events.csv"),
            ("events", "events.tsv"),
            ("events", "events.jsonl"),
            ("mt-small", "train_data.csv"),
            ("mt-small", "valid_data.csv"),
            ("kuaisar", "src_inter.csv"),
            ("jdsearch", "user_behavior_data.txt"),
            ("movielens", "ratings.dat"),
            ("movielens", "tags.csv"),
            ("hetrec-lastfm", "user_taggedartists.dat"),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, &text).unwrap();
            let mut prepare = Prepare::new([path]);
            prepare.options.format = format.parse().unwrap();
            // It may be a report or an error.
            drop(prepare.prepare());
        }
    }
}
