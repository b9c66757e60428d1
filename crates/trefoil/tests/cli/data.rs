//! `trefoil data`.

use std::path::Path;

use serde_json::{Value, json};
use trefoil_core::{Picture, png};

use crate::support::{json_lines, lines, run, write_picture};

/// Two motifs in six versions each, and an entry without a picture.
fn archive(folder: &Path) {
    let mut entries = Vec::new();
    let mut pictures = Vec::new();
    let tones = ["light", "medium-light", "medium", "medium-dark", "dark"];
    let entry = |hexcode: &str, annotation: &str, tone: Value, base: &str| {
        json!({
            "hexcode": hexcode, "group": "people-body", "subgroups": "person-role",
            "annotation": annotation, "openmoji_tags": "", "tags": "tagged", "skintone": tone,
            "skintone_combination": "single", "skintone_base_hexcode": base,
        })
    };
    for (m, motif) in ["waving hand", "merperson"].into_iter().enumerate() {
        let base = format!("1F{m}");
        entries.push(entry(&base, motif, json!(""), &base));
        pictures.push((base.clone(), [m as u8 * 100, 0, 0]));
        for (t, tone) in (1_u8..).zip(tones) {
            let hexcode = format!("{base}-{t}");
            entries.push(entry(&hexcode, &format!("{motif}: {tone}"), json!(t), &base));
            pictures.push((hexcode, [m as u8 * 100, t * 40, 0]));
        }
    }
    entries.push(entry("absent", "absent", json!(""), ""));
    let level = flate2::Compression::fast();
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), level));
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    add("data/openmoji.json", Value::Array(entries).to_string().as_bytes());
    for (hexcode, colour) in pictures {
        let bytes = png::encode(&Picture::filled(8, 8, colour), &[]).unwrap();
        add(&format!("color/{hexcode}.png"), &bytes);
    }
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    std::fs::write(folder.join("openmoji.tar.gz"), bytes).unwrap();
}

#[test]
fn an_openmoji_archive_becomes_a_dataset() {
    let folder = tempfile::tempdir().unwrap();
    archive(folder.path());
    let make = ["data", "openmoji", "openmoji.tar.gz", "out", "--size", "4", "--holdout", "0.1"];
    let made = run(folder.path(), &make);
    assert_eq!((made.code, made.out.as_str()), (Some(0), "out\n"), "{made:?}");
    assert!(made.err.contains("11 pictures for training, 1 held out"), "{}", made.err);
    assert!(made.err.contains("warning: left out openmoji.tar.gz, `absent`"), "{}", made.err);
    let picture = Picture::open(&folder.path().join("out/images/1F0.png")).unwrap();
    assert_eq!((picture.width(), picture.pixels()[0]), (4, 0));

    let again = run(folder.path(), &make);
    assert_eq!(again.code, Some(2));
    assert!(again.err.starts_with("error: out is not empty\n\nhint: "), "{}", again.err);
    assert!(again.err.contains("--overwrite"), "{}", again.err);
    let replaced = [&make[..], &["--overwrite", "--limit", "5", "--json"]].concat();
    let row = &json_lines(folder.path(), &replaced)[0];
    let count = |key: &str| row[key].as_u64().unwrap();
    assert_eq!(
        count("train") + count("held_out") + row["problems"].as_array().unwrap().len() as u64,
        5
    );

    let none = run(folder.path(), &["data", "openmoji", "none.tar", "x"]);
    assert_eq!(none.code, Some(2));
    assert!(none.err.starts_with("error: cannot read none.tar: No such file"), "{}", none.err);
    let colour = run(folder.path(), &["data", "openmoji", "a.tar", "x", "--background", "red"]);
    assert!(colour.err.contains("expected six hexadecimal digits"), "{}", colour.err);
}

#[test]
fn problems_are_listed_with_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("set");
    std::fs::create_dir(&data).unwrap();
    write_picture(&data.join("good.png"), [5; 3]);
    std::fs::write(data.join("broken.png"), "no picture").unwrap();
    let rows = "{\"file_name\": \"good.png\", \"text\": \"good\"}\n\
                {\"file_name\": \"broken.png\", \"text\": \"broken\"}\n\
                {\"file_name\": \"gone.png\", \"text\": \"gone\"}\n";
    std::fs::write(data.join("metadata.jsonl"), rows).unwrap();
    let found = run(folder.path(), &["data", "check", "set"]);
    assert_eq!(found.code, Some(0), "{found:?}");
    let listed: Vec<&str> = found.out.lines().collect();
    assert_eq!(listed.len(), 2, "{found:?}");
    assert!(listed[0].starts_with("set/broken.png: broken picture"), "{found:?}");
    assert_eq!(listed[1], "set/gone.png: listed but absent");
    assert_eq!(found.err, "1 usable samples, 2 problems\n");
    assert_eq!(run(folder.path(), &["data", "check", "set", "--strict"]).code, Some(1));
    let rows = json_lines(folder.path(), &["data", "check", "set", "--json"]);
    assert_eq!(
        rows[1],
        json!({"file": "set/gone.png", "sample": "gone.png", "reason": "listed but absent"})
    );

    std::fs::write(
        data.join("metadata.jsonl"),
        "{\"file_name\": \"good.png\", \"text\": \"good\"}\n",
    )
    .unwrap();
    std::fs::remove_file(data.join("broken.png")).unwrap();
    assert_eq!(lines(folder.path(), &["data", "check", "set", "--strict"]).len(), 0);
    let nothing = run(folder.path(), &["data", "check", "nowhere"]);
    assert_eq!(nothing.code, Some(2));
    assert!(nothing.err.starts_with("error: ") && nothing.err.contains("nowhere"), "{nothing:?}");
}
