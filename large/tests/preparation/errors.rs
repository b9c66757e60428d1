//! What cannot be prepared is said in the words of the preparation in memory.

use uditsr::data::Prepare;
use uditsr_large::{Engine, LocalOptions, Preparation};

use crate::{files_and_folders, fixtures, runtime};

/// The messages of both preparations.
fn messages(prepare: &Prepare) -> [String; 2] {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let in_memory = prepare.run(&out).unwrap_err().to_string();
    let on_engine = runtime().block_on(async {
        let engine = Engine::local(folder.path(), &LocalOptions::default()).unwrap();
        Preparation::new(prepare, engine).run(&out).await.unwrap_err().to_string()
    });
    assert_eq!(files_and_folders(folder.path()), [""; 0], "something is left");
    [in_memory, on_engine]
}

fn prepare(name: &str) -> Prepare {
    Prepare::new([fixtures().join(name)])
}

#[test]
fn errors_are_those_of_the_preparation_in_memory() {
    let mut strict = prepare("bad.csv");
    strict.options.max_bad_rows = 1;
    let mut nothing = prepare("events.csv");
    nothing.options.kinds = vec!["no such kind".into()];
    let mut undated = Prepare::new([fixtures().join("hetrec/user_artists.dat")]);
    undated.options.format = "hetrec-lastfm".parse().unwrap();
    undated.options.split = Some("days:1,1".parse().unwrap());
    let mut wrong = prepare("events.csv");
    wrong.options.max_words = 2;
    for (prepare, expected) in [
        (prepare("missing.csv"), "cannot read"),
        (strict, "more than 1 bad rows"),
        (nothing, "nothing is left for training of"),
        (undated, "needs times, and no event has one"),
        (wrong, "invalid configuration `max_words`"),
    ] {
        let [in_memory, on_engine] = messages(&prepare);
        assert_eq!(in_memory, on_engine);
        assert!(in_memory.contains(expected), "{in_memory}");
    }
}

#[test]
fn the_order_of_rows_is_for_memory_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut prepare = prepare("mt");
    prepare.options.format = "mt-small".parse().unwrap();
    let error = runtime().block_on(async {
        let engine = Engine::local(folder.path(), &LocalOptions::default()).unwrap();
        Preparation::new(&prepare, engine).check().await.unwrap_err()
    });
    assert_eq!(
        error.to_string(),
        "invalid configuration `split`: `given` files are prepared in memory only"
    );
}
