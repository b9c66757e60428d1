//! Search and recommendation: a log is prepared, a model trained, asked, told of events and measured.

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::path::Path;
use std::sync::Once;

use tempfile::TempDir;

use crate::support::{Run, copy_folder, json_lines, lines, run, trefoil};

const TOPICS: [&str; 4] = ["shoes", "lamps", "tents", "books"];

/// Users search for items of all topics by their names, and in the feed see those of their own.
fn write_shop(folder: &Path) {
    let mut events = "user,item,time,query\n".to_owned();
    for n in 0..800 {
        let (user, turn) = (n % 40, n / 40);
        let topic = if turn % 2 == 0 { (user + turn / 2) % 4 } else { user % 4 };
        let item = topic + 4 * ((user * 7 + turn / 2) % 10);
        let query = if turn % 2 == 0 { TOPICS[topic] } else { "" };
        writeln!(events, "u{user},i{item},{},{query}", 1_700_000_000 + n).unwrap();
    }
    std::fs::write(folder.join("events.csv"), events).unwrap();
    let mut items = "item,title,tags\n".to_owned();
    for item in 0..48 {
        let colour = ["red", "blue"][item % 2];
        writeln!(items, "i{item},{} nr{item},{colour}", TOPICS[item % 4]).unwrap();
    }
    std::fs::write(folder.join("items.csv"), items).unwrap();
}

const SMALL: [&str; 8] = [
    "--set",
    "model.dim=16",
    "--set",
    "train.epochs=20",
    "--set",
    "train.batch_size=64",
    "--set",
    "train.optimizer.learning_rate=0.01",
];

/// A folder with `events.csv`, `items.csv`, `data`, and `run/model`, made once.
fn trained() -> &'static Path {
    static IS_MADE: Once = Once::new();
    // In the place of a temporary folder, which would be left behind: what is `static` is never dropped.
    let folder = Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/shop"));
    IS_MADE.call_once(|| {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder).unwrap();
        write_shop(folder);
        let prepare =
            ["prepare", "events.csv", "--catalog", "items.csv", "-o", "data", "--negatives", "5"];
        let report = lines(folder, &prepare).join("\n");
        assert!(report.contains("800  kept") && report.contains("48  items in the"), "{report}");
        let train = ["train", "uditsr", "--data", "data", "--run", "run"];
        assert_eq!(lines(folder, &[&train[..], &SMALL].concat()), ["run/model"]);
    });
    folder
}

/// A copy of the model in a folder of its own.
fn model() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&trained().join("run/model"), &folder.path().join("model"));
    folder
}

fn ask(folder: &Path, args: &[&str]) -> Run {
    run(folder, &[args, &["--model", "model"]].concat())
}

/// Fields of the lines of an answer.
fn rows(run: &Run) -> Vec<Vec<&str>> {
    run.out.lines().map(|line| line.split('\t').collect()).collect()
}

/// Runs, and expects one line of an error that contains `parts`.
fn refused(folder: &Path, args: &[&str], parts: &[&str]) {
    let run = run(folder, args);
    assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{args:?}: {run:?}");
    assert!(run.err.starts_with("error: "), "{}", run.err);
    for part in parts {
        assert!(run.err.contains(part), "`{part}` is not in {}", run.err);
    }
    let message = run.err.split("\n\n").next().unwrap();
    assert_eq!(message.trim_end().lines().count(), 1, "one line: {}", run.err);
}

#[test]
fn a_search_finds_and_says_how() {
    let folder = model();
    let found = ask(folder.path(), &["search", "Lamps!", "--user", "u0", "-k", "4"]);
    assert_eq!(found.code, Some(0), "{found:?}");
    assert_eq!(
        found.err,
        "user: known from the training; ordered by the model and BM25 among all items\n"
    );
    assert_eq!(rows(&found).len(), 4);
    for row in rows(&found) {
        assert!(row[1].starts_with("lamps nr") && row[2].parse::<f64>().is_ok(), "{row:?}");
        assert!(row[3].starts_with("model+text"), "{row:?}");
    }
    // The same as an option, as one object, for nobody.
    let args = ["search", "--query", "lamps qqq", "--json", "--tag", "blue", "--model", "model"];
    let answer = &json_lines(folder.path(), &args)[0];
    assert_eq!(answer["user"], "stranger");
    assert_eq!(answer["unmatched_terms"], serde_json::json!(["qqq"]));
    assert_eq!(answer["hits"].as_array().unwrap().len(), 10);
    // Words that only titles have, and words that nothing has.
    let found = ask(folder.path(), &["search", "nr13", "-q"]);
    assert_eq!((rows(&found)[0][0], rows(&found)[0][3]), ("i13", "text"));
    assert_eq!(found.err, "");
    let nothing = ask(folder.path(), &["search", "qqq"]);
    assert_eq!((nothing.code, nothing.out.as_str()), (Some(1), ""));
    assert!(nothing.err.contains("warning: nothing has these words: qqq"), "{}", nothing.err);
}

#[test]
fn recommendations_leave_out_what_was_seen_and_explain_themselves() {
    let folder = model();
    let own = ask(folder.path(), &["event", "list", "--user", "u3"]);
    let seen: Vec<&str> = rows(&own).iter().map(|row| row[2]).collect();
    assert_eq!((own.code, seen.len()), (Some(0), 20));
    let answer = ask(folder.path(), &["recommend", "--user", "u3", "-k", "48"]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    assert!(!rows(&answer).is_empty());
    assert!(rows(&answer).iter().all(|row| !seen.contains(&row[0])), "{answer:?}");
    let all = ask(folder.path(), &["recommend", "--user", "u3", "-k", "99", "--seen", "keep"]);
    assert_eq!(rows(&all).len(), 48);
    let new: Vec<_> = rows(&all).into_iter().filter(|row| row[3].ends_with(" new")).collect();
    assert_eq!(new.len(), 8, "items 40 to 47 have no event");
    let few = ["recommend", "--only", "i1", "--only", "i2", "--without", "i2", "--user", "u3"];
    assert_eq!(rows(&ask(folder.path(), &few)).len(), 1);
    // Nobody gets what is popular, somebody with a history does not.
    let popular = ask(folder.path(), &["recommend", "--user", "nobody", "-k", "1"]);
    assert_eq!(popular.err, "user: nobody in particular; ordered by popularity among all items\n");
    let session = ["recommend", "--history", "i3", "--history", "i7=books", "-k", "2"];
    let session = ask(folder.path(), &session);
    assert!(session.err.starts_with("user: known from the history"), "{session:?}");
    // Reasons below each item add up.
    let explained = ask(folder.path(), &["recommend", "--user", "u3", "-k", "1", "--explain"]);
    let mut lines = explained.out.lines();
    let score = lines.next().unwrap().split('\t').nth(2).unwrap();
    let first = lines.next().unwrap();
    assert!(first.starts_with(&format!("    score {score} = head ")), "{first}");
    assert!(explained.out.contains("demand intent (what is wanted now)"), "{explained:?}");
    let why = ["explain", "--user", "u3", "--item", "i3", "--query", "books", "--json"];
    let why = ask(folder.path(), &why);
    let why: serde_json::Value = serde_json::from_str(&why.out).unwrap();
    assert_eq!(why["demand_words"][0]["word"], "books");
    let sum = why["head"].as_f64().unwrap() + why["translation"].as_f64().unwrap();
    assert!((sum - why["score"].as_f64().unwrap()).abs() < 1e-6);
    let similar = ask(folder.path(), &["similar", "--item", "i2", "-k", "3"]);
    assert!(rows(&similar).iter().all(|row| row[1].starts_with("tents")), "{similar:?}");
}

#[test]
fn events_change_answers_until_they_are_deleted() {
    let folder = model();
    let path = folder.path();
    // A new item is found by the words of its caption.
    let item = ["event", "item", "fresh", "--title", "tents", "--caption", "a canvas dome"];
    assert_eq!(ask(path, &item).code, Some(0));
    let found = ask(path, &["search", "dome"]);
    assert_eq!(rows(&found)[0][0], "fresh", "{found:?}");
    let ask_new = || ask(path, &["recommend", "--user", "new", "-k", "5", "--json"]).out;
    let before = ask_new();
    let add = ["event", "add", "--user", "new", "--item"];
    let added = ask(path, &[&add[..], &["i3", "--query", "books odd", "--key", "k1"]].concat());
    assert_eq!((added.code, added.out.as_str()), (Some(0), "800\n"), "{added:?}");
    assert_eq!(added.err, "the model does not know these words: odd\n");
    assert!(path.join("model.journal").is_file());
    let after = ask_new();
    assert_ne!(before, after);
    assert!(after.contains(r#""user":"recorded""#), "{after}");
    // The same key is the same event.
    let again = ask(path, &[&add[..], &["i3", "--key", "k1"]].concat());
    assert_eq!((again.out.as_str(), ask_new()), ("800\n", after.clone()));
    // A file: good lines are recorded, others named.
    let events = "{\"user\": \"new\", \"item\": \"i7\", \"time\": 5}\n\
                  {\"user\": \"new\", \"item\": \"none\", \"time\": 6}\n";
    std::fs::write(path.join("more.jsonl"), events).unwrap();
    let file = ask(path, &["event", "add", "--from", "more.jsonl"]);
    assert_eq!((file.code, file.out.as_str()), (Some(1), "801\n"));
    assert!(file.err.contains("more.jsonl:2:") && file.err.contains("`none`"), "{}", file.err);
    // All events, for the next training.
    assert_eq!(ask(path, &["event", "export", "all.jsonl"]).code, Some(0));
    let prepared = lines(path, &["prepare", "all.jsonl", "--check", "--negatives", "5"]).join("\n");
    assert!(prepared.contains("802  kept"), "{prepared}");
    let deleted = ask(path, &["event", "delete", "--id", "801"]);
    assert_eq!((deleted.code, deleted.out.as_str()), (Some(0), "1\n"), "{deleted:?}");
    assert_eq!(ask_new(), after);
    assert_eq!(ask(path, &["event", "delete", "--user", "new"]).out, "1\n");
    assert_eq!(ask_new(), before);
    assert_eq!(ask(path, &["event", "list", "--user", "new"]).code, Some(1));
    let journal = std::fs::read(path.join("model.journal")).unwrap();
    assert!(!String::from_utf8_lossy(&journal).contains("\"new\""), "nothing is left of a user");
}

/// The program is killed while it records; what it said that it recorded is there.
#[test]
fn events_survive_the_end_of_the_process() {
    let folder = model();
    let path = folder.path();
    let mut events = String::new();
    for n in 0..60_000 {
        let (user, item) = (n % 1000, n % 40);
        writeln!(events, "{{\"user\": \"k{user}\", \"item\": \"i{item}\", \"time\": {n}}}")
            .unwrap();
    }
    std::fs::write(path.join("many.jsonl"), events).unwrap();
    let program = trefoil(path).get_program().to_owned();
    let mut child = std::process::Command::new(program)
        .args(["event", "add", "--from", "many.jsonl", "--model", "model", "-q"])
        .current_dir(path)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut said = 0;
    let mut line = String::new();
    while said < 1500 && out.read_line(&mut line).unwrap() > 0 {
        said += 1;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(said, 1500, "killed before the end");
    assert_eq!(ask(path, &["event", "export", "all.jsonl"]).code, Some(0));
    let kept = std::fs::read_to_string(path.join("all.jsonl")).unwrap().lines().count() - 800;
    assert!((1500..60_000).contains(&kept), "{kept} of 60,000");
    // And the journal goes on.
    let more = ask(path, &["event", "add", "--user", "k1", "--item", "i1"]);
    assert_eq!(more.out, format!("{}\n", 800 + kept));
}

#[test]
fn a_model_is_measured_beside_baselines() {
    let folder = model();
    let args = ["evaluate", "uditsr", "--model", "model", "--baseline", "popularity", "-o", "out"];
    let table = lines(folder.path(), &args).join("\n");
    assert!(table.starts_with("Ranked among all items"), "{table}");
    assert!(table.contains("| UDITSR | search | 40 |"), "{table}");
    assert!(table.contains("| popularity | recommendation | 40 |"), "{table}");
    assert!(table.contains("Candidates have of the exact first 20: search 1.0000"), "{table}");
    let report = std::fs::read_to_string(folder.path().join("out/report.md")).unwrap();
    assert_eq!(report.trim_end(), table);
    let json = ["evaluate", "uditsr", "--model", "model", "--protocol", "sampled", "--json"];
    let json = &json_lines(folder.path(), &json)[0];
    let hit = json["rows"][0]["search"]["at"][1]["hit"]["value"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&hit) && json["rows"][0]["protocol"] == "sampled", "{json}");
}

#[test]
fn a_training_that_is_done_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&trained().join("run"), &folder.path().join("run"));
    copy_folder(&trained().join("data"), &folder.path().join("data"));
    let train = ["train", "uditsr", "--data", "data", "--run", "run"];
    let before = std::fs::read(folder.path().join("run/model/model/model.safetensors")).unwrap();
    assert_eq!(lines(folder.path(), &[&train[..], &SMALL].concat()), ["run/model"]);
    let after = std::fs::read(folder.path().join("run/model/model/model.safetensors")).unwrap();
    assert!(before == after, "the same bits");
    let metrics = std::fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    assert!(!metrics.is_empty());
    let other = [&train[..], &SMALL[..], &["--set", "train.seed=1"]].concat();
    refused(folder.path(), &other, &["`train`: differs from that of", "\n\nhint: undo the change"]);
    let recipe = lines(folder.path(), &["train", "uditsr", "--dry-run", "--set", "model.dim=7"]);
    assert!(recipe.contains(&"dim = 7".to_owned()), "{recipe:?}");
}

#[test]
fn bad_rows_are_named_and_a_check_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    write_shop(folder.path());
    let good = ["prepare", "events.csv", "--catalog", "items.csv", "--check", "--negatives", "5"];
    let report = run(folder.path(), &good);
    assert_eq!(report.code, Some(0), "{report:?}");
    let path = folder.path().join("events.csv");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("u1,,5,\nu1,i1,yesterday,\n");
    std::fs::write(&path, text).unwrap();
    let report = run(folder.path(), &good);
    assert_eq!(report.code, Some(1), "{report:?}");
    for part in ["events.csv:802: `item`: empty", "events.csv:803: `time`: ", "2  bad"] {
        assert!(report.out.contains(part), "{}", report.out);
    }
    let json = [&good[..], &["--json", "-o", "data"]].concat();
    let json: serde_json::Value = serde_json::from_str(&run(folder.path(), &json).out).unwrap();
    assert_eq!((&json["rows"]["bad"], &json["problems"][0]["line"]), (&2.into(), &802.into()));
    assert!(!folder.path().join("data").exists(), "--check writes nothing");
    let give_up = ["prepare", "events.csv", "-o", "data", "--max-bad-rows", "1"];
    refused(
        folder.path(),
        &give_up,
        &["more than 1 bad rows, the first: events.csv:802", "hint: "],
    );
    assert!(!folder.path().join("data").exists());
    std::fs::create_dir(folder.path().join("mine")).unwrap();
    std::fs::write(folder.path().join("mine/file"), "").unwrap();
    let mine = ["prepare", "events.csv", "-o", "mine", "--negatives", "5"];
    refused(folder.path(), &mine, &["mine"]);
    refused(
        folder.path(),
        &["prepare", "absent.csv", "--check"],
        &["cannot read absent.csv: No such file", "\n\nhint: check the spelling"],
    );
    let split = run(folder.path(), &["prepare", "events.csv", "--check", "--split", "weekly"]);
    assert_eq!(split.code, Some(2));
    assert!(split.err.contains("expected `leave-one-out`"), "{}", split.err);
    let format = run(folder.path(), &["prepare", "events.csv", "--check", "--format", "xml"]);
    assert_eq!(format.code, Some(2));
    assert!(format.err.contains("hetrec-lastfm"), "{}", format.err);
    assert_eq!(run(folder.path(), &["prepare", "events.csv"]).code, Some(2), "-o is missing");
}

#[test]
fn wrong_questions_are_refused_in_a_line() {
    let folder = model();
    let path = folder.path();
    refused(path, &["search", "x"], &["no recommender was named", "\n\nhint: train one"]);
    refused(path, &["recommend", "--model", "none"], &["no such model folder: none"]);
    let with = |args: &[&str], parts: &[&str]| {
        refused(path, &[args, &["--model", "model"]].concat(), parts);
    };
    with(&["search", " ?! "], &["`query`: has no words"]);
    with(&["similar", "--item", "i99"], &["`item`: `i99` is not in the catalogue"]);
    with(&["explain", "--item", "i99"], &["`i99` is not in the catalogue"]);
    with(&["explain", "--item", "i1", "--query", "qqq"], &["has no word that the model knows"]);
    with(&["recommend", "--history", "i99"], &["`i99` is not in the catalogue"]);
    with(&["recommend", "--diversity", "3"], &["`diversity`: between 0 and 1, found 3"]);
    with(&["event", "add", "--user", "a", "--item", "i99"], &["`i99` is not in the catalogue"]);
    with(&["event", "delete", "--id", "4444"], &["event 4444 is not known", "\n\nhint: "]);
    with(&["event", "delete", "--user", "nobody"], &["user `nobody` is not known"]);
    with(&["event", "item", "i1"], &["`i1` is in the catalogue already"]);
    std::fs::write(path.join("bad.jsonl"), "{\"user\": 3}\n").unwrap();
    with(&["event", "add", "--from", "bad.jsonl"], &["bad.jsonl:1: not an event", "\n\nhint: "]);
    with(&["event", "add", "--from", "none.jsonl"], &["cannot read none.jsonl"]);
    assert_eq!(ask(path, &["event", "add", "--user", "a"]).code, Some(2));
    std::fs::write(path.join("foreign"), "not a journal at all").unwrap();
    with(&["recommend", "--journal", "foreign"], &["foreign: not a journal of events"]);
    // A model whose bytes changed.
    let weights = path.join("model/model/model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    with(&["recommend"], &["model: changed since it was written"]);
    let recipe = ["train", "uditsr", "--dry-run", "--set", "model.deep=3"];
    refused(path, &recipe, &["unknown field `deep`", "\n\nhint: `trefoil train uditsr --dry-run`"]);
    refused(
        path,
        &["train", "uditsr", "--data", "none", "--run", "r"],
        &["none is not a prepared log: cannot read none/"],
    );
}
