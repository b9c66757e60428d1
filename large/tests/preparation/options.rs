//! Generated logs with everything that a log can have, under all options.

use std::fmt::Write as _;
use std::path::Path;

use uditsr::data::{MinWeight, Prepare, PrepareOptions, Queries, Unseen};

use crate::assert_equal;

/// Numbers that look random: SplitMix64.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// Ids of different lengths, cases and leading zeros; queries in several scripts, some of them
/// twice on a day; rows without a time, of little weight, of several kinds, and again.
pub(crate) fn write_log(folder: &Path, seed: u64, rows: usize) -> Prepare {
    const WORDS: [&str; 12] = [
        "running",
        "Shoes",
        "it's",
        "红色",
        "跑鞋",
        "ÉTÉ",
        "cafe\u{301}",
        "42",
        "trip_hop",
        "ｎｉｋｅ",
        "rare's",
        "blue",
    ];
    const KINDS: [&str; 5] = ["", "", "click", "buy", "view"];
    let mut numbers = Numbers(seed);
    let mut text = String::from("user,item,time,kind,query,weight\n");
    let mut previous = String::new();
    let mut last: Option<(String, String, Option<u64>)> = None;
    for _ in 0..rows {
        if numbers.below(20) == 0 && !previous.is_empty() {
            text.push_str(&previous);
            continue;
        }
        let user = match numbers.below(10) {
            0 => format!("U{}", numbers.below(20)),
            1 => format!("00{}", numbers.below(20)),
            2 => format!("u{}", numbers.below(20)),
            _ => numbers.below(40).to_string(),
        };
        let item = match numbers.below(8) {
            0 => format!("Sku-{}", numbers.below(30)),
            1 => format!("sku-{}", numbers.below(30)),
            _ => numbers.below(60).to_string(),
        };
        let time = match numbers.below(12) {
            0 => None,
            1 => Some(1_600_000_000 + numbers.below(3)),
            _ => Some(1_600_000_000 + numbers.below(2_000_000)),
        };
        let mut event = (user, item, time);
        let again = numbers.below(8) == 0;
        if let (true, Some((user, item, time))) = (again, last) {
            event = (user, item, time.map(|time| time + numbers.below(100)));
        }
        last = Some(event.clone());
        let (user, item, time) = event;
        let time = time.map_or(String::new(), |time| time.to_string());
        let query = match numbers.below(if again { 1 } else { 3 }) {
            0 => (0..=numbers.below(3))
                .map(|_| WORDS[numbers.below(WORDS.len() as u64) as usize])
                .collect::<Vec<_>>()
                .join(" "),
            _ => String::new(),
        };
        let kind = KINDS[numbers.below(KINDS.len() as u64) as usize];
        let weight = ["", "0", "1", "2.5", "-1", "0.1"][numbers.below(6) as usize];
        previous = format!("{user},{item},{time},{kind},{query},{weight}\n");
        text.push_str(&previous);
    }
    let mut items = String::from("item,title,tags,picture\n");
    for item in 0..50 {
        let title = WORDS[numbers.below(WORDS.len() as u64) as usize];
        let _ = writeln!(items, "{item},{title} number {},a|b,", item % 7);
        let _ = writeln!(items, "{item},{title},,{item}.png");
        let _ = writeln!(items, "SKU-{item},{title},c,");
    }
    let [log, catalogue] = ["events.csv", "items.csv"].map(|name| folder.join(name));
    std::fs::write(&log, text).unwrap();
    std::fs::write(&catalogue, items).unwrap();
    let mut prepare = Prepare::new([log]);
    prepare.catalogue = Some(catalogue);
    prepare.options.negatives = 5;
    prepare
}

#[test]
fn every_split() {
    let folder = tempfile::tempdir().unwrap();
    for (seed, split) in [
        (1, "leave-one-out"),
        (2, "leave-one-out-random"),
        (3, "pairs:0.2,0.3"),
        (4, "days:2,3"),
        (5, "latest:0.1,0.15"),
        (6, "latest:0,0.2"),
        (7, "dates:2020-09-20,2020-09-30"),
    ] {
        let mut prepare = write_log(folder.path(), seed, 2000);
        prepare.options.split = Some(split.parse().unwrap());
        prepare.options.seed = u64::MAX - seed;
        let (report, _) = assert_equal(&prepare, 64 << 20, split);
        assert!(report.split.test.total() > 10, "{split}: {:?}", report.split);
        assert!(report.rows.duplicates > 10 && report.log.similar_ids > 10, "{split}");
    }
}

#[test]
fn every_other_option() {
    let folder = tempfile::tempdir().unwrap();
    let weight = |text: &str| text.parse::<MinWeight>().unwrap();
    let plain = PrepareOptions { negatives: 5, ..PrepareOptions::default() };
    for (seed, what, options) in [
        (11, "hidden queries", PrepareOptions { mask_queries: 0.4, seed: 3, ..plain.clone() }),
        (12, "core", PrepareOptions { core: Some(8), ..plain.clone() }),
        (13, "joined queries", PrepareOptions { queries: Queries::Joined, ..plain.clone() }),
        (
            14,
            "kinds and weights",
            PrepareOptions {
                kinds: ["search", "recommendation", "buy"].map(str::to_owned).to_vec(),
                min_weights: Some(vec![weight("buy=0.1"), weight("search=2.5"), weight("-3")]),
                ..plain.clone()
            },
        ),
        (
            15,
            "unseen users and items",
            PrepareOptions {
                unseen: Unseen::Keep,
                split: Some("latest:0.3,0.3".parse().unwrap()),
                core: Some(2),
                ..plain.clone()
            },
        ),
        (16, "few words", PrepareOptions { max_words: 9, min_word_count: 30, ..plain.clone() }),
        (17, "too few negatives", PrepareOptions { negatives: 108, ..plain.clone() }),
        (18, "no negatives", PrepareOptions { negatives: 0, ..plain.clone() }),
        (
            19,
            "all at once",
            PrepareOptions {
                queries: Queries::Joined,
                mask_queries: 0.2,
                core: Some(5),
                split: Some("pairs:0.1,0.2".parse().unwrap()),
                seed: 77,
                ..plain
            },
        ),
    ] {
        let mut prepare = write_log(folder.path(), seed, 2000);
        prepare.options = options;
        let (report, _) = assert_equal(&prepare, 64 << 20, what);
        match what {
            "hidden queries" => assert!(report.split.hidden_queries > 50),
            "core" => assert!(report.rows.below_core > 10),
            "joined queries" => assert!(report.rows.joined > 5),
            "unseen users and items" => assert!(report.split.unseen_items > 0),
            "too few negatives" => assert!(report.split.too_few_negatives > 10),
            _ => {}
        }
    }
}
