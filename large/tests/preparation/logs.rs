//! The committed small logs of each format.

use uditsr::data::{Prepare, PrepareOptions};

use crate::{assert_equal, fixtures};

const MEMORY: usize = 64 << 20;

fn of_format(format: &str, folder: &str) -> Prepare {
    let mut prepare = Prepare::new([fixtures().join(folder)]);
    prepare.options = PrepareOptions {
        format: format.parse().unwrap(),
        negatives: 1,
        core: Some(0),
        min_word_count: 1,
        ..PrepareOptions::default()
    };
    prepare
}

#[test]
fn ordinary_tables_with_a_catalogue() {
    let mut prepare = Prepare::new([fixtures().join("events.csv")]);
    prepare.catalogue = Some(fixtures().join("items.csv"));
    prepare.options.negatives = 1;
    let (report, _) = assert_equal(&prepare, MEMORY, "events.csv");
    assert!(report.split.train.total() > 0);
}

#[test]
fn a_log_with_bad_rows() {
    let prepare = Prepare::new([fixtures().join("bad.csv"), fixtures().join("events.csv")]);
    let (report, _) = assert_equal(&prepare, MEMORY, "bad.csv");
    assert!(report.rows.bad > 0);
}

#[test]
fn importers() {
    for (format, folder, split) in [
        ("kuaisar", "kuaisar", "latest:0.2,0.2"),
        ("movielens", "movielens", "leave-one-out-random"),
        ("hetrec-lastfm", "hetrec", "pairs:0.2,0.2"),
        ("jdsearch", "jdsearch", "leave-one-out-random"),
        ("mt-small", "mt", "leave-one-out-random"),
    ] {
        let mut prepare = of_format(format, folder);
        prepare.options.split = Some(split.parse().unwrap());
        let (report, _) = assert_equal(&prepare, MEMORY, format);
        assert!(report.rows.kept > 0, "{format}");
    }
}
