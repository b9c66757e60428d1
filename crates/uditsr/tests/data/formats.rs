//! Each format gives the events that its file says.

use std::fs;

use uditsr::data::{CatalogueItem, MinWeight, Prepare, SplitRule, WordIds};

use super::{everything, fixture, of, rows};

#[test]
fn events_with_a_header_and_a_catalogue() {
    let mut prepare = of("events", &["events.csv"]);
    prepare.catalogue = Some(fixture("items.csv"));
    let prepared = prepare.prepare().unwrap();
    assert_eq!(
        rows(&prepared, &prepared.dataset.train),
        [
            "ana shoe-1 1709287200: running shoes red",
            "ana shoe-2 1709290800:",
            "bo shoe-1 1709290900: running shoes",
            "bo sock-7 1709291000:",
            "cy 鞋-9 1709291200: 跑 步 鞋",
            "cy shoe-1 1709291300:",
        ]
    );
    assert_eq!(prepared.users.iter().collect::<Vec<_>>(), ["bo", "cy", "ana"]);
    assert_eq!(prepared.items.iter().collect::<Vec<_>>(), ["鞋-9", "shoe-1", "shoe-2", "sock-7"]);
    let words = |item| {
        let words = prepared.dataset.item_words.row(item).iter();
        words.map(|&w| prepared.words.words()[w as usize].as_str()).collect::<Vec<_>>()
    };
    assert_eq!(words(1), ["red", "running", "shoes", "size", "42", "shoes", "sport"]);
    assert_eq!(words(3), [""; 0]);
    let ids: Vec<&str> = prepared.catalogue.iter().map(|item| item.id.as_str()).collect();
    assert_eq!(ids, ["hat-3", "shoe-1", "shoe-2"]);
    assert_eq!(
        prepared.catalogue[1],
        CatalogueItem {
            id: "shoe-1".into(),
            title: "Red running shoes, size 42".into(),
            tags: vec!["Shoes".into(), "Sport".into()],
            picture: Some("img/shoe-1.png".into()),
            caption: String::new(),
        }
    );
    let report = prepared.report;
    assert_eq!((report.rows.read, report.rows.not_positive, report.rows.kept), (7, 1, 6));
    assert_eq!(report.log.items_not_in_catalogue, 2);
    assert_eq!(report.log.items_without_events, 1);
}

/// The rows of `events.csv` in other clothes.
#[test]
fn tables_of_all_kinds_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = csv::Reader::from_path(fixture("events.csv")).unwrap();
    let header = reader.headers().unwrap().clone();
    let (mut tsv, mut json) = (String::new(), String::new());
    tsv += "User ID\tITEM\tts\tEvent\tQuery_Text\tlabel\r\n";
    for record in reader.records() {
        let record = record.unwrap();
        tsv += &record.iter().collect::<Vec<_>>().join("\t");
        tsv += "\r\n";
        let fields = header.iter().zip(&record);
        let object: serde_json::Map<_, _> = fields
            .map(|(name, value)| {
                let number = value.parse::<i64>().ok().map(serde_json::Value::from);
                (name.to_owned(), number.unwrap_or_else(|| value.into()))
            })
            .chain([("other".to_owned(), serde_json::json!({"nested": [1, 2]}))])
            .collect();
        json += &serde_json::to_string(&object).unwrap();
        json += "\n\n";
    }
    fs::write(dir.path().join("events.tsv"), "\u{feff}".to_owned() + &tsv).unwrap();
    fs::write(dir.path().join("events.jsonl"), json).unwrap();
    let zst = zstd::encode_all(fs::read(fixture("events.csv")).unwrap().as_slice(), 3).unwrap();
    fs::write(dir.path().join("events.csv.zst"), zst).unwrap();
    let expected = of("events", &["events.csv"]).prepare().unwrap();
    for name in ["events.tsv", "events.jsonl", "events.csv.zst"] {
        let mut prepare = Prepare::new([dir.path().join(name)]);
        prepare.options = everything();
        let prepared = prepare.prepare().unwrap();
        assert_eq!(prepared.dataset, expected.dataset, "{name}");
        assert_eq!(prepared.words, expected.words, "{name}");
    }
}

#[test]
fn files_of_the_authors_keep_their_numbers() {
    let mut prepare = of("mt-small", &["mt"]);
    prepare.options.split = None;
    prepare.options.word_ids = WordIds::Given;
    prepare.options.sizes.users = Some(5);
    let data = prepare.prepare().unwrap().dataset;
    assert_eq!((data.users, data.items, data.words), (5, 5, 8));
    // The row with label 0 is no positive; the repeated row is a second edge.
    assert_eq!(data.train.users, [0, 0, 1, 1, 2, 1]);
    assert_eq!(data.train.items, [1, 3, 2, 1, 4, 1]);
    let queries: Vec<&[u32]> = data.train.queries.iter().collect();
    assert_eq!(queries, [&[6, 2][..], &[], &[0], &[], &[3, 4, 5, 7], &[]]);
    assert_eq!(data.valid.positives.items, [2, 3]);
    assert_eq!(data.valid.positives.queries.row(0), [2]);
    let negatives: Vec<&[u32]> = data.valid.negatives.iter().collect();
    assert_eq!(negatives, [[4, 0], [0, 4]]);
    assert_eq!(data.test.negatives.row(0), [2, 3]);

    // With a vocabulary of our own, 0 is padding and what was word 0 is another word.
    prepare.options.word_ids = WordIds::Learned;
    let prepared = prepare.prepare().unwrap();
    let word = prepared.dataset.train.queries.row(2)[0];
    assert!(word > 1);
    assert_eq!(prepared.words.words()[word as usize], "0");
}

#[test]
fn kuaisar_keeps_clicks_on_what_the_feed_can_show() {
    let prepared = of("kuaisar", &["kuaisar"]).prepare().unwrap();
    assert_eq!(
        rows(&prepared, &prepared.dataset.train),
        [
            // Times without a timestamp are of Beijing.
            "2 100 1684686600:",
            "1 100 1684742000:",
            "1 100 1684800000: 20 34 3",
            "2 101 1684886400: 20 7",
        ]
    );
    // A result that comes three times in one search was clicked if it was clicked once.
    assert_eq!(prepared.report.rows.duplicates, 2);
    let item = &prepared.catalogue[0];
    assert_eq!((item.title.as_str(), item.tags.as_slice()), ("20 5", &["美食".to_owned()][..]));
    assert_eq!(prepared.catalogue.len(), 2);

    let mut prepare = of("kuaisar", &["kuaisar"]);
    prepare.options.split = Some(SplitRule::Days { valid: 1, test: 1 });
    let report = prepare.check().unwrap();
    // 24 May is test, and its item is unknown; 23 May is validation.
    assert_eq!((report.split.valid.searches, report.split.unseen_items), (0, 1));
    prepare.options.negatives = 0;
    assert_eq!(prepare.check().unwrap().split.valid.searches, 1);
}

#[test]
fn jdsearch_lines_are_users() {
    let prepared = of("jdsearch", &["jdsearch"]).prepare().unwrap();
    let user = "user_behavior_data_sample.txt:2";
    assert_eq!(
        rows(&prepared, &prepared.dataset.train),
        [
            format!("{user} 889 0: 323 328"),
            "user_behavior_data_sample.txt:3 889 0:".into(),
            format!("{user} 256 12:"),
            format!("{user} 345 16: 12"),
            format!("{user} 456 21: 12 32"),
            format!("{user} 789 21: 12 32"),
        ]
    );
    let report = &prepared.report;
    let kinds: Vec<(&str, usize)> =
        report.log.kinds.iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
    assert_eq!(kinds, [("CART", 1), ("CLICK", 2), ("FLW", 1), ("ORD", 2)]);
    assert_eq!(
        report.problems[0].to_string(),
        "user_behavior_data_sample.txt:4: `history_wid_list`: 1 items, 2 queries, 1 types"
    );
    let item = &prepared.catalogue[0];
    assert_eq!((item.title.as_str(), item.tags.join(",")), ("5 12 28", "77,8,9 10".to_owned()));
}

#[test]
fn movielens_with_and_without_headers() {
    let mut prepare = of("movielens", &["movielens"]);
    prepare.options.min_weights = None;
    let prepared = prepare.prepare().unwrap();
    assert_eq!(
        rows(&prepared, &prepared.dataset.train),
        [
            "2 10 964982224:",
            "1 10 964982703:",
            "1 20 964983000: dark comedy",
            "2 30 964983002: noir"
        ]
    );
    assert_eq!(prepared.report.rows.not_positive, 1);
    assert_eq!(prepared.report.problems[0].to_string(), "tags.csv:2: `tag`: empty");
    // The file is in Latin-1.
    assert_eq!(prepared.catalogue[0].title, "Café (1995)");
    assert_eq!(prepared.catalogue[0].tags, ["Comedy", "Drama"]);
    assert_eq!(prepared.catalogue[1].tags, [""; 0]);

    prepare.options.min_weights = Some(vec!["4.5".parse::<MinWeight>().unwrap()]);
    assert_eq!(prepare.check().unwrap().rows.kept, 1);
}

#[test]
fn hetrec_tags_are_searches() {
    let prepared = of("hetrec-lastfm", &["hetrec"]).prepare().unwrap();
    assert_eq!(
        rows(&prepared, &prepared.dataset.train),
        [
            "2 51 -1:",
            "2 52 -1:",
            "3 52 -1:",
            "2 52 1238544000: chillout",
            "2 52 1238544000: down tempo",
        ]
    );
    let problems: Vec<String> = prepared.report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "user_taggedartists.dat:4: `tagID`: `99` is not in tags.dat",
            "user_taggedartists.dat:5: `day`: no such date: 31/2/2009",
            "user_taggedartists.dat:6: `day`: no such date: 1/9/1956",
        ]
    );
    assert_eq!(prepared.report.rows.bad, 3);
    assert_eq!(prepared.catalogue[0].title, "Duran \"Duran");
    assert_eq!(prepared.catalogue[0].picture.as_deref(), Some("http://p/51.jpg"));
}

#[test]
fn retrotech_codes_have_their_zeros_again() {
    let mut prepare = of("retrotech", &["retrotech"]);
    prepare.options.split = None;
    let report = prepare.check().unwrap();
    assert_eq!((report.rows.read, report.rows.not_positive, report.rows.kept), (5, 1, 3));
    assert_eq!(report.log.items_not_in_catalogue, 1);
    prepare.options.split = everything().split;
    let prepared = prepare.prepare().unwrap();
    assert_eq!(
        rows(&prepared, &prepared.dataset.train),
        ["2 048231011402 -1: dryer", "2 084691226727 -1: dryer", "3 084691226727 -1: gas dryer"]
    );
    assert_eq!(
        prepared.report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["dryer_sessions.csv:6: `clicked`: not a number, found `perhaps`"]
    );
    assert_eq!(prepared.catalogue[0].id, "012505451713");
    assert_eq!(prepared.catalogue[1].tags, ["GE"]);
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_rows_are_those_of_the_other_tables() {
    use std::sync::Arc;

    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    let schema = "message log {
        required binary user_id (UTF8); required binary extra (UTF8); optional binary query (UTF8);
        required int64 timestamp (TIMESTAMP_MILLIS); required binary item_id (UTF8);
        required double weight; }";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.parquet");
    let file = fs::File::create(&path).unwrap();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let text = |texts: &[&str]| texts.iter().map(|&t| ByteArray::from(t)).collect::<Vec<_>>();
    for (values, levels) in [
        (text(&["ana", "bo"]), None),
        (text(&["x", "y"]), None),
        (text(&["red shoes"]), Some(&[1, 0][..])),
    ] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, levels, None).unwrap();
        column.close().unwrap();
    }
    let mut column = group.next_column().unwrap().unwrap();
    let times = [1_709_290_800_000, 1_709_290_900_000];
    column.typed::<Int64Type>().write_batch(&times, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let items = text(&["shoe-1", "shoe-2"]);
    column.typed::<ByteArrayType>().write_batch(&items, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<DoubleType>().write_batch(&[1.0, 2.5], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();

    let mut prepare = Prepare::new([path]);
    prepare.options = everything();
    let prepared = prepare.prepare().unwrap();
    assert_eq!(
        rows(&prepared, &prepared.dataset.train),
        ["ana shoe-1 1709290800: red shoes", "bo shoe-2 1709290900:"]
    );
}
