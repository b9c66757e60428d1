//! The conversion of OpenMoji on a small archive of the same form.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use trefoil_core::{Picture, Seed, png};
use trefoil_train::Error;
use trefoil_train::data::{
    DataOptions, Dataset, Existing, OpenMojiOptions, Reason, convert_openmoji,
};

const TONES: [&str; 5] = ["light", "medium-light", "medium", "medium-dark", "dark"];
const MOTIFS: [&str; 4] = ["waving hand", "woman singer", "man running", "merperson"];

/// Four motifs in six versions each, two animals that look the same, one broken and one absent picture.
fn archive(folder: &Path) -> PathBuf {
    let mut entries = Vec::new();
    let mut pictures = Vec::new();
    let entry = |hexcode: &str, annotation: &str, tone: Value, base: &str| {
        json!({
            "emoji": "x", "hexcode": hexcode, "group": "people-body", "subgroups": "person-role",
            "annotation": annotation, "openmoji_tags": "", "unicode": 1,
            "tags": if hexcode == base { "tagged" } else { "" }, "skintone": tone,
            "skintone_combination": if base.is_empty() { "" } else { "single" },
            "skintone_base_hexcode": base,
        })
    };
    for (m, motif) in MOTIFS.iter().enumerate() {
        let base = format!("1F{m}");
        entries.push(entry(&base, motif, json!(""), &base));
        pictures.push((base.clone(), [m as u8, 0, 0]));
        for (t, tone) in (1_u8..).zip(TONES) {
            let hexcode = format!("{base}-{t}");
            let annotation = format!("{motif}: {tone} skin tone");
            entries.push(entry(&hexcode, &annotation, json!(t), &base));
            pictures.push((hexcode, [m as u8, t, 0]));
        }
    }
    for animal in ["ox", "cow", "broken", "absent"] {
        entries.push(entry(animal, animal, json!(""), ""));
    }
    pictures.extend([("ox".into(), [7; 3]), ("cow".into(), [7; 3])]);

    let mut tar =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    add("data/openmoji.json", Value::Array(entries).to_string().as_bytes());
    add("LICENSE.txt", b"Attribution-ShareAlike 4.0 International");
    for (hexcode, colour) in pictures {
        let bytes = png::encode(&Picture::filled(4, 4, colour), &[]).unwrap();
        add(&format!("openmoji-72x72-color/{hexcode}.png"), &bytes);
    }
    add("openmoji-72x72-color/broken.png", b"broken");
    let path = folder.join("openmoji.tar.gz");
    let bytes = tar.into_inner().unwrap().finish().unwrap();
    std::fs::File::create(&path).unwrap().write_all(&bytes).unwrap();
    path
}

fn rows(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join("metadata.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn words(row: &Value) -> HashSet<String> {
    let texts = row["text"].as_array().unwrap().iter().map(|t| t.as_str().unwrap());
    texts
        .flat_map(|t| t.split([' ', ',', ':']))
        .filter(|w| !w.is_empty())
        .map(ToString::to_string)
        .collect()
}

#[test]
fn the_archive_becomes_an_image_folder_with_a_split() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path());
    let out = folder.path().join("deep/openmoji");
    let options = OpenMojiOptions { holdout: 0.2, ..OpenMojiOptions::default() };
    let summary = convert_openmoji(&archive, &out, &options).unwrap();

    assert_eq!((summary.train, summary.held_out), (21, 5));
    assert_eq!(summary.identical, [["ox", "cow"]]);
    let mut reasons = summary.problems.iter().map(|p| (p.key.as_str(), &p.reason));
    assert!(matches!(reasons.next(), Some(("broken", Reason::BrokenPicture(_)))));
    assert_eq!(reasons.next(), Some(("absent", &Reason::Absent)));

    let rows = rows(&out);
    assert_eq!(rows.len(), 26);
    assert_eq!(rows[8]["file_name"], "images/1F1-2.png");
    assert_eq!(
        rows[8]["text"],
        json!([
            "woman singer: medium-light skin tone",
            "woman singer with medium-light skin tone, tagged",
            "woman singer with medium-light skin tone, person role, people"
        ])
    );
    // Each held-out picture is a new combination of words, a motif and a tone that training has.
    let is_train = |row: &&Value| row["split"] == "train";
    let known: HashSet<String> = rows.iter().filter(is_train).flat_map(words).collect();
    let split = |row: &Value| {
        let (motif, tone) = row["hexcode"].as_str().unwrap().split_once('-')?;
        Some((motif.to_string(), tone.to_string()))
    };
    let train: Vec<_> = rows.iter().filter(is_train).filter_map(split).collect();
    let held_out: Vec<&Value> = rows.iter().filter(|row| row["split"] == "held-out").collect();
    assert_eq!(held_out.len(), 5);
    for row in held_out {
        let (motif, tone) = split(row).expect("only pictures with a tone are held out");
        assert!(words(row).is_subset(&known), "{row}");
        assert!(train.iter().any(|(m, _)| *m == motif) && train.iter().any(|(_, t)| *t == tone));
        assert!(!train.contains(&(motif, tone)));
    }
    let license = std::fs::read_to_string(out.join("LICENSE.txt")).unwrap();
    assert!(license.contains("CC BY-SA 4.0") && license.contains("Attribution-ShareAlike"));
    assert!(std::fs::read_to_string(out.join("README.md")).unwrap().contains("openmoji.org"));

    let dataset = Dataset::load(&[out], &DataOptions::new(4)).unwrap();
    assert_eq!((dataset.samples.len(), dataset.problems.len()), (21, 0));
}

#[test]
fn it_is_deterministic_and_leaves_what_is_there_alone() {
    let folder = tempfile::tempdir().unwrap();
    let archive = archive(folder.path());
    let out = folder.path().join("out");
    let options = OpenMojiOptions { holdout: 0.2, size: Some(8), ..OpenMojiOptions::default() };
    convert_openmoji(&archive, &out, &options).unwrap();
    let first = rows(&out);
    assert_eq!(Picture::open(&out.join("images/ox.png")).unwrap().width(), 8);
    let error = convert_openmoji(&archive, &out, &options).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }));

    let replace = OpenMojiOptions { existing: Existing::Replace, ..options };
    convert_openmoji(&archive, &out, &replace).unwrap();
    assert_eq!(rows(&out), first);
    convert_openmoji(&archive, &out, &OpenMojiOptions { seed: Seed(1), ..replace.clone() })
        .unwrap();
    assert_ne!(rows(&out), first);
    let few = OpenMojiOptions { limit: Some(10), ..replace.clone() };
    let summary = convert_openmoji(&archive, &out, &few).unwrap();
    assert_eq!(summary.train + summary.held_out + summary.problems.len(), 10);

    let other = folder.path().join("photos");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("mine.txt"), "").unwrap();
    let error = convert_openmoji(&archive, &other, &replace).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { .. }));
    assert!(other.join("mine.txt").is_file());
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 3, "archive, out and photos");
}
