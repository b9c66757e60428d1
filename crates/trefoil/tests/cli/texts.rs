//! Texts: captions, samples, variations.

use crate::support::{json_lines, lines, run, write_picture};

const FAST: [&str; 4] = ["--steps", "3", "--seed", "7"];

#[test]
fn captions_are_lines_and_name_their_file_when_there_are_several() {
    let folder = tempfile::tempdir().unwrap();
    write_picture(&folder.path().join("a.png"), [200, 10, 10]);
    write_picture(&folder.path().join("b.png"), [10, 10, 200]);
    let one = lines(folder.path(), &[&["caption", "a.png"][..], &FAST].concat());
    assert_eq!(one.len(), 1);
    let both = lines(folder.path(), &[&["caption", "a.png", "b.png"][..], &FAST].concat());
    assert_eq!(both.len(), 2);
    assert_eq!(both[0], format!("a.png\t{}", one[0]));
    assert!(both[1].starts_with("b.png\t"), "{both:?}");
    let json = ["caption", "a.png", "-n", "2", "--json"];
    let rows = json_lines(folder.path(), &[&json[..], &FAST].concat());
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[0]["text"], &rows[1]["index"]), (&one[0].as_str().into(), &1.into()));
    assert_eq!(rows[0]["mode"], "image-to-text");
}

#[test]
fn texts_are_sampled_varied_and_written_to_files() {
    let folder = tempfile::tempdir().unwrap();
    let sampled = lines(folder.path(), &[&["sample", "--text", "-n", "3"][..], &FAST].concat());
    assert_eq!(sampled.len(), 3);
    let to_file = ["sample", "--text", "-n", "3", "-o", "texts.txt"];
    assert_eq!(lines(folder.path(), &[&to_file[..], &FAST].concat()).len(), 0);
    let written = std::fs::read_to_string(folder.path().join("texts.txt")).unwrap();
    assert_eq!(written.lines().collect::<Vec<_>>(), sampled);
    let varied = ["vary", "--text", "a cat", "--json"];
    let rows = json_lines(folder.path(), &[&varied[..], &FAST].concat());
    assert_eq!((&rows[0]["mode"], &rows[0]["prompt"]), (&"text-variation".into(), &"a cat".into()));
    assert!(rows[0]["text"].is_string());
}

#[test]
fn guidance_is_refused_where_it_has_no_meaning() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), &["sample", "--text", "--guidance", "3"]);
    assert_eq!(run.code, Some(2));
    assert!(
        run.err.starts_with("error: `--guidance` has no meaning for the mode `text`"),
        "{run:?}"
    );
}
