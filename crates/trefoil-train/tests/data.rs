//! Datasets that are made here, in every form that is read, with every defect that is reported.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use trefoil_core::{Picture, png};
use trefoil_train::Error;
use trefoil_train::data::{DataOptions, Dataset, OnProblem, Reason};

fn png_of(colour: [u8; 3]) -> Vec<u8> {
    png::encode(&Picture::filled(6, 4, colour), &[]).unwrap()
}

fn tar_of(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    archive.into_inner().unwrap()
}

fn shard() -> Vec<u8> {
    tar_of(&[
        ("b/0001.png", png_of([0, 0, 255])),
        ("b/0001.txt", b"a blue\n picture ".to_vec()),
        ("a/0000.png", png_of([255, 0, 0])),
        ("a/0000.json", br#"{"caption": ["a red picture", "red"], "width": 6}"#.to_vec()),
    ])
}

fn load(source: &Path) -> Result<Dataset, Error> {
    Dataset::load(&[source.into()], &DataOptions::new(2))
}

fn captions(dataset: &Dataset) -> Vec<(&str, Vec<&str>)> {
    dataset
        .samples
        .iter()
        .map(|s| (s.key.as_str(), s.captions.iter().map(String::as_str).collect()))
        .collect()
}

/// Problems as `(file name, key, reason)`.
fn problems(dataset: &Dataset) -> Vec<(String, &str, &Reason)> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    dataset.problems.iter().map(|p| (name(&p.path), p.key.as_str(), &p.reason)).collect()
}

#[test]
fn shards_are_read_plain_and_compressed_one_or_many() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&shard()).unwrap();
    let gzip = gzip.finish().unwrap();
    std::fs::write(path("1.tar"), shard()).unwrap();
    std::fs::write(path("2.tar.gz"), &gzip).unwrap();
    std::fs::write(path("3.tgz"), gzip).unwrap();
    std::fs::write(path("4.tar.zst"), zstd::encode_all(&shard()[..], 1).unwrap()).unwrap();
    let expected = [("a/0000", vec!["a red picture", "red"]), ("b/0001", vec!["a blue picture"])];
    for name in ["1.tar", "2.tar.gz", "3.tgz", "4.tar.zst"] {
        let dataset = load(&path(name)).unwrap();
        assert_eq!(captions(&dataset), expected, "{name}");
        assert!(dataset.problems.is_empty());
        assert_eq!(dataset.samples[0].picture, Picture::filled(2, 2, [255, 0, 0]));
        assert_eq!(dataset.samples[1].picture, Picture::filled(2, 2, [0, 0, 255]));
    }
    // The same samples in four shards: three of each are duplicates.
    let all = load(folder.path()).unwrap();
    assert_eq!((all.samples.len(), all.problems.len()), (2, 6));
    assert_eq!(problems(&all)[0], ("2.tar.gz".into(), "a/0000", &Reason::Duplicate));
    assert_eq!(load(&path("*.tar*")).unwrap().problems.len(), 4);
    assert!(load(&path("{1..2}.tar")).unwrap_err().to_string().contains("2.tar: no such file"));
}

#[test]
fn defects_of_shards_are_listed_and_the_rest_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    let mut bytes = tar_of(&[
        ("good.png", png_of([1, 2, 3])),
        ("good.txt", b"good".to_vec()),
        ("good.json", br#"{"text": "good"}"#.to_vec()),
        ("broken.png", b"\x89PNG\r\n\x1a\nnothing".to_vec()),
        ("broken.txt", b"broken".to_vec()),
        ("mute.png", png_of([0; 3])),
        ("empty.png", png_of([0; 3])),
        ("empty.txt", b" \n".to_vec()),
        ("blind.txt", b"no picture".to_vec()),
        ("json.png", png_of([0; 3])),
        ("json.json", b"{".to_vec()),
        ("json.txt", b"kept".to_vec()),
        ("cut.png", vec![0; 4096]),
    ]);
    bytes.truncate(bytes.len() - 3072);
    std::fs::write(&path, bytes).unwrap();
    let dataset = load(&path).unwrap();
    assert_eq!(captions(&dataset), [("good", vec!["good"]), ("json", vec!["kept"])]);
    let found = problems(&dataset);
    let keys: Vec<&str> = found.iter().map(|(_, key, _)| *key).collect();
    assert_eq!(keys, ["", "blind", "broken", "empty", "json", "mute"]);
    assert!(matches!(found[0].2, Reason::BrokenArchive(_)));
    assert_eq!(found[1].2, &Reason::MissingPicture);
    assert!(matches!(found[2].2, Reason::BrokenPicture(_)));
    assert_eq!(found[3].2, &Reason::EmptyCaption);
    assert!(matches!(found[4].2, Reason::Malformed(_)));
    assert_eq!(found[5].2, &Reason::MissingCaption);
    let text = dataset.problems.to_string();
    assert!(text.starts_with("6 problems in the dataset (1 broken archive, "), "{text}");
    assert!(text.contains("x.tar, `mute`: no caption"), "{text}");
}

#[test]
fn image_folders_follow_the_hugging_face_convention() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    for name in ["b.png", "sub/a.png", "c.png", "unlisted.png", "test.png"] {
        write(name, &png_of([9, 9, 9]));
    }
    write("bad.png", b"GIF89a");
    write(
        "metadata.jsonl",
        br#"{"file_name": "sub/a.png", "text": ["one", "two"], "other": 1}
{"file_name": "b.png", "text": "first", "split": "train"}
{"file_name": "b.png", "text": "second"}

{"file_name": "b.png", "text": "first"}
{"file_name": "test.png", "text": "test", "split": "held-out"}
{"file_name": "absent.png", "text": "x"}
{"file_name": "bad.png", "text": "x"}
{"file_name": "c.png", "text": " "}
{"file_name": "../up.png", "text": "x"}
{"text": "x"}
"#,
    );
    let dataset = load(folder.path()).unwrap();
    assert_eq!(
        captions(&dataset),
        [("b.png", vec!["first", "second"]), ("sub/a.png", vec!["one", "two"])]
    );
    let found: Vec<(&str, &Reason)> =
        dataset.problems.iter().map(|p| (p.key.as_str(), &p.reason)).collect();
    let of = |key: &str| found.iter().find(|(k, _)| *k == key).unwrap().1;
    assert_eq!(found.len(), 7, "{found:?}");
    assert_eq!((of("absent.png"), of("b.png")), (&Reason::Absent, &Reason::Duplicate));
    assert_eq!((of("c.png"), of("../up.png")), (&Reason::EmptyCaption, &Reason::Outside));
    assert_eq!(of("unlisted.png"), &Reason::MissingCaption);
    assert!(matches!(of("bad.png"), Reason::BrokenPicture(_)));
    assert!(matches!(of(""), Reason::Malformed(why) if why.starts_with("line 11:")));

    let options = DataOptions { split: Some("held-out".into()), ..DataOptions::new(2) };
    let held_out = Dataset::load(&[folder.path().into()], &options).unwrap();
    assert!(held_out.samples.iter().any(|s| s.key == "test.png"));
    let options = DataOptions { on_problem: OnProblem::Stop, ..DataOptions::new(2) };
    let error = Dataset::load(&[folder.path().into()], &options).unwrap_err();
    assert!(matches!(&error, Error::Problems { problems } if problems.len() == 7), "{error}");
}

#[test]
fn what_is_no_dataset_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("expected a folder with metadata.jsonl"), "{error}");
    std::fs::write(folder.path().join("metadata.jsonl"), "{\"file_name\": \"a.png\"}\n").unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(matches!(error, Error::NoSamples { .. }));
    assert!(error.to_string().contains("a.png: no caption"), "{error}");
}
