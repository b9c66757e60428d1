//! Prepared folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use uditsr::data::{Prepare, Prepared, SplitRule, WordIds};
use uditsr::{Dataset, Error};

use super::{everything, fixture, log, of};

/// Bytes of each file of a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect()
}

fn shop() -> Prepare {
    let mut prepare = of("events", &["events.csv"]);
    prepare.catalogue = Some(fixture("items.csv"));
    prepare.options.mask_queries = 0.5;
    prepare
}

#[test]
fn a_folder_reads_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("deep/shop");
    let prepared = shop().prepare().unwrap();
    prepared.save(&folder).unwrap();
    let read = Prepared::load(&folder).unwrap();
    assert_eq!(read.dataset, prepared.dataset);
    assert_eq!(Dataset::load(&folder).unwrap(), prepared.dataset);
    assert_eq!(read.users.iter().collect::<Vec<_>>(), prepared.users.iter().collect::<Vec<_>>());
    assert_eq!(read.items.find("鞋-9"), Some(0));
    assert_eq!(read.items.find("hat-3"), None);
    assert_eq!(read.words, prepared.words);
    assert_eq!(read.catalogue, prepared.catalogue);
    assert_eq!(read.hidden, prepared.hidden);
    assert_eq!(read.options, prepared.options);
    assert_eq!(read.report, prepared.report);
    // Only the folder is left.
    assert_eq!(fs::read_dir(dir.path().join("deep")).unwrap().count(), 1);

    let mut prepare = of("mt-small", &["mt"]);
    prepare.options.split = None;
    prepare.options.word_ids = WordIds::Given;
    prepare.run(&folder).unwrap();
    let read = Prepared::load(&folder).unwrap();
    assert_eq!(read.dataset, prepare.prepare().unwrap().dataset);
    assert_eq!(read.words.encode("7 8").words, [7]);
    assert_eq!(read.words.encode("7 8").unmatched, ["8"]);
    assert_eq!(fs::read_dir(dir.path().join("deep")).unwrap().count(), 1);
}

#[test]
fn the_same_rows_give_the_same_bytes_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(fixture("events.csv")).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let mut rows: Vec<&str> = rows.lines().collect();
    let run = |rows: &[&str], out: &str| {
        let mut prepare = log(&dir, &format!("{header}\n{}\n", rows.join("\n")));
        prepare.options = shop().options;
        prepare.options.split = Some(SplitRule::Latest { valid: 0.2, test: 0.2 });
        prepare.options.negatives = 1;
        prepare.run(&dir.path().join(out)).unwrap();
        files(&dir.path().join(out))
    };
    let first = run(&rows, "a");
    assert_eq!(run(&rows, "b"), first);
    rows.reverse();
    let reversed = run(&rows, "c");
    for name in ["events.safetensors", "users.jsonl", "items.jsonl", "words.jsonl"] {
        assert_eq!(reversed[name], first[name], "{name}");
    }
    assert_ne!(reversed["report.json"], first["report.json"], "the order of the clock is reported");
}

#[test]
fn damage_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("shop");
    shop().run(&folder).unwrap();
    for name in files(&folder).keys() {
        let path = folder.join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&path, bad).unwrap();
        let error = Prepared::load(&folder).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{name}: {error}");
        if name != "prepare.json" {
            assert!(error.to_string().contains(name), "{error}");
        }
        fs::remove_file(&path).unwrap();
        let error = Prepared::load(&folder).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
        fs::write(&path, good).unwrap();
    }
    Prepared::load(&folder).unwrap();
}

#[test]
fn only_prepared_folders_are_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("photos");
    fs::create_dir(&folder).unwrap();
    shop().run(&folder).unwrap();
    shop().run(&folder).unwrap();
    fs::remove_file(folder.join("prepare.json")).unwrap();
    let before = files(&folder);
    let error = shop().run(&folder).unwrap_err().to_string();
    assert!(error.contains("other files than a prepared log"), "{error}");
    assert_eq!(files(&folder), before);
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(shop().run(&file).unwrap_err().to_string().contains("is no folder"));
    let mut nothing = of("events", &["bad.csv"]);
    nothing.options = everything();
    nothing.options.kinds = vec!["purchase".into()];
    assert!(nothing.run(&dir.path().join("new")).is_err());
    assert!(!dir.path().join("new").exists());
}

#[test]
fn options_survive_their_text_form() {
    let options = shop().prepare().unwrap().options;
    let json = serde_json::to_string(&options).unwrap();
    assert_eq!(serde_json::from_str::<uditsr::data::PrepareOptions>(&json).unwrap(), options);
    let error = serde_json::from_str::<uditsr::data::PrepareOptions>("{\"format\": \"x\"}");
    assert!(error.unwrap_err().to_string().contains("expected `events`, `mt-small`"));
}
