//! Bad rows, limits, and the doctor.

use std::fs;

use uditsr::Error;
use uditsr::data::{Level, Prepare, Report};

use super::{csv, log, of};

/// Whether a report has a finding of this level with this text.
fn finds(report: &Report, level: Level, text: &str) -> bool {
    report.findings.iter().any(|finding| finding.level == level && finding.fact.contains(text))
}

#[test]
fn every_bad_row_is_reported_with_its_place() {
    let report = of("events", &["bad.csv"]).check().unwrap();
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "bad.csv:3: `user`: empty",
            "bad.csv:4: `item`: empty",
            "bad.csv:5: `time`: neither seconds since 1970 nor a date like 2023-05-22 15:53:20, found `yesterday`",
            "bad.csv:6: `query`: a search without a query",
            "bad.csv:7: `query`: no word in `?!`",
            "bad.csv:8: `weight`: not a number, found `much`",
            "bad.csv:9: `row`: 4 fields, the header has 6",
        ]
    );
    assert_eq!((report.rows.read, report.rows.bad, report.rows.kept), (9, 7, 2));
    assert_eq!(report.oddities.out_of_order, 1);
    assert!(report.to_string().contains("  bad.csv:3: `user`: empty\n"));
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}

#[test]
fn a_limit_ends_it_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut prepare = of("events", &["bad.csv"]);
    prepare.options.max_bad_rows = 3;
    let error = prepare.run(&dir.path().join("out")).unwrap_err();
    let Error::BadRows { limit: 3, problems } = &error else { panic!("{error}") };
    assert_eq!(problems.len(), 4);
    assert_eq!(error.to_string(), "more than 3 bad rows, the first: bad.csv:3: `user`: empty");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn wrong_files_are_errors_that_say_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let error = |prepare: Prepare| prepare.check().unwrap_err().to_string();
    assert!(error(log(&dir, "who,item\na,b\n")).contains("no column `user` (or `user_id`"));
    assert!(error(log(&dir, "")).contains("an empty file"));
    assert!(error(Prepare::default()).contains("no file was given"));
    assert!(error(of("mt-small", &["events.csv"])).contains("expected train_data.csv"));
    let missing = Prepare::new([dir.path().join("no.csv")]).check().unwrap_err();
    assert!(matches!(missing, Error::Read { .. }));
    let zip = dir.path().join("log.zip");
    fs::write(&zip, "PK").unwrap();
    assert!(error(Prepare::new([zip])).contains("found `.zip`"));
    // Without times there is no last event.
    let timeless = log(&dir, &csv(&[("u", "i", -1, ""), ("u", "j", -1, "q")]));
    assert!(error(timeless).contains("`leave-one-out-random` or `pairs:0.2,0.2` do not"));
    let mut prepare = of("events", &["events.csv"]);
    prepare.options.mask_queries = 1.5;
    assert!(error(prepare).starts_with("invalid configuration `mask_queries`"));
}

#[test]
fn the_doctor_names_what_a_log_cannot_support() {
    let dir = tempfile::tempdir().unwrap();
    let feed: Vec<_> = (0..30).map(|t| ("user", ["a", "b", "c"][t % 3], t as i64, "")).collect();
    let mut prepare = log(&dir, &csv(&feed));
    prepare.options.negatives = 0;
    let report = prepare.check().unwrap();
    assert!(finds(&report, Level::Warning, "no event has a query"));
    assert!(finds(&report, Level::Note, "the latest event is of 1970-01-01"));
    assert!(finds(&report, Level::Warning, "100.0 % of held-out events repeat"));
    assert!(finds(&report, Level::Note, "no catalogue"));
    // A user who touched everything cannot have negatives.
    prepare.options.negatives = 99;
    let report = prepare.check().unwrap();
    assert!(finds(&report, Level::Warning, "2 held-out events have fewer than 99 untouched items"));
    assert!(finds(&report, Level::Blocker, "test is empty"));
    assert!(report.findings[0].level == Level::Blocker, "the worst comes first");

    let apart = [("s", "a", 1_700_000_000, "one two three four"), ("r", "A", 1_700_000_001, "")];
    let mut prepare = log(&dir, &csv(&apart));
    prepare.options = super::everything();
    let report = prepare.check().unwrap();
    assert!(finds(&report, Level::Warning, "0.0 % of 2 users both search"));
    assert!(finds(
        &report,
        Level::Warning,
        "4.0 words per search, 1 different queries, 100.0 % longer than 3"
    ));
    assert!(finds(&report, Level::Warning, "0.0 % of items occur in both scenarios"));
    assert!(finds(&report, Level::Warning, "1 ids differ from another in case"));
    assert!(finds(&report, Level::Warning, "2 users (100.0 %) have one event"));
}

#[test]
fn oddities_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let text = "user,item,time,kind,query\n u1 ,i1,100,rec,shoes\nu1,i1,100,rec,\nu1,i1,100,rec,\n\
                u1,i1,1500000000,rec,\nu1,i1,1500000001,rec,\n";
    let mut prepare = log(&dir, text);
    prepare.options = super::everything();
    let report = prepare.check().unwrap();
    assert_eq!(report.oddities.padded_ids, 1);
    assert_eq!(report.oddities.queries_in_feed, 1);
    assert_eq!(report.rows.duplicates, 2);
    assert_eq!(report.log.outlying_times, 1);
    let twice = dir.path().join("items.csv");
    fs::write(&twice, "id,title\ni1,a\ni1,longer\n").unwrap();
    prepare.catalogue = Some(twice);
    let prepared = prepare.prepare().unwrap();
    assert_eq!(prepared.report.oddities.repeated_items, 1);
    assert_eq!(prepared.catalogue[0].title, "longer");

    fs::write(dir.path().join("items.csv"), "upc,title\n00I1,a\n").unwrap();
    let report = prepare.check().unwrap();
    assert_eq!(report.log.items_almost_in_catalogue, 1);
    assert!(finds(&report, Level::Warning, "1 of them are there with other leading zeros or case"));
}
