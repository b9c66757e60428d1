//! Pictures with classes, from every kind of source.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use trefoil_core::{Picture, png};
use trefoil_train::data::{DataOptions, LabelledSet, OnProblem};

fn options(split: &str) -> DataOptions {
    DataOptions { split: Some(split.into()), ..DataOptions::new(4) }
}

fn encoded(colour: [u8; 3]) -> Vec<u8> {
    png::encode(&Picture::filled(4, 4, colour), &[]).unwrap()
}

fn load(path: &Path, options: &DataOptions) -> LabelledSet {
    LabelledSet::load(&[PathBuf::from(path)], options).unwrap()
}

/// Key, class and first pixel of each picture.
fn rows(set: &LabelledSet) -> Vec<(String, Option<&str>, [u8; 3])> {
    let class = |place: Option<usize>| place.map(|place| set.classes[place].as_str());
    let pixel = |picture: &Picture| [0, 1, 2].map(|i| picture.pixels()[i]);
    set.pictures.iter().map(|p| (p.key.clone(), class(p.class), pixel(&p.picture))).collect()
}

fn archive(path: &Path, entries: &[(&str, Vec<u8>)]) {
    let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.finish().unwrap();
}

#[test]
fn folders_name_the_classes_and_the_splits() {
    let folder = tempfile::tempdir().unwrap();
    for (path, colour) in [
        ("train/dog/a.png", [1, 2, 3]),
        ("train/cat/b.png", [4, 5, 6]),
        ("test/cat/c.png", [7, 8, 9]),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, encoded(colour)).unwrap();
    }
    let set = load(folder.path(), &options("train"));
    assert_eq!(set.classes, ["cat", "dog"]);
    let expected = [
        ("train/cat/b.png".to_string(), Some("cat"), [4, 5, 6]),
        ("train/dog/a.png".to_string(), Some("dog"), [1, 2, 3]),
    ];
    assert_eq!(rows(&set), expected);
    assert_eq!(load(folder.path(), &options("test")).pictures.len(), 1);

    // The same as an archive.
    let path = folder.path().join("pictures.tar");
    let entries = [
        ("train/dog/a.png", encoded([1, 2, 3])),
        ("train/cat/b.png", encoded([4, 5, 6])),
        ("test/cat/c.png", encoded([7, 8, 9])),
    ];
    archive(&path, &entries);
    assert_eq!(rows(&load(&path, &options("train"))), expected);
}

#[test]
fn lists_and_shards_have_labels() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("listed");
    std::fs::create_dir_all(&images).unwrap();
    std::fs::write(images.join("a.png"), encoded([1, 1, 1])).unwrap();
    std::fs::write(images.join("b.png"), encoded([2, 2, 2])).unwrap();
    let lines = "{\"file_name\": \"a.png\", \"label\": 10, \"split\": \"train\"}\n\
                 {\"file_name\": \"b.png\", \"label\": 9, \"text\": \"a caption\"}\n\
                 {\"file_name\": \"c.png\", \"label\": 9, \"split\": \"test\"}\n";
    std::fs::write(images.join("metadata.jsonl"), lines).unwrap();
    let set = load(&images, &options("train"));
    assert_eq!(set.classes, ["9", "10"]);
    assert_eq!(
        rows(&set),
        [("a.png".into(), Some("10"), [1; 3]), ("b.png".into(), Some("9"), [2; 3])]
    );

    let shard = folder.path().join("shard.tar");
    archive(
        &shard,
        &[
            ("000.png", encoded([3, 3, 3])),
            ("000.cls", b"7\n".to_vec()),
            ("001.json", b"{\"label\": \"frog\"}".to_vec()),
            ("001.png", encoded([4, 4, 4])),
            ("002.png", encoded([5, 5, 5])),
            ("003.png", encoded([6, 6, 6])),
            ("003.json", b"{\"split\": \"test\"}".to_vec()),
        ],
    );
    let set = load(&shard, &options("train"));
    let classes: Vec<_> = rows(&set).into_iter().map(|(_, class, _)| class).collect();
    assert_eq!(classes, [Some("7"), Some("frog"), None]);
}

#[test]
fn cifar_records_are_planes_after_a_class() {
    let folder = tempfile::tempdir().unwrap();
    let record = |class: u8, colour: [u8; 3]| {
        let planes = colour.into_iter().flat_map(|v| [v; 1024]);
        [class].into_iter().chain(planes).collect::<Vec<u8>>()
    };
    let train = [record(9, [10, 20, 30]), record(0, [40, 50, 60])].concat();
    std::fs::write(folder.path().join("data_batch_1.bin"), &train).unwrap();
    std::fs::write(folder.path().join("test_batch.bin"), record(3, [70, 80, 90])).unwrap();
    let options = |split| DataOptions { resolution: 32, ..options(split) };
    let set = load(folder.path(), &options("train"));
    let expected = [
        ("data_batch_1.bin:00000".to_string(), Some("truck"), [10, 20, 30]),
        ("data_batch_1.bin:00001".to_string(), Some("airplane"), [40, 50, 60]),
    ];
    assert_eq!(rows(&set), expected);
    assert_eq!(rows(&load(folder.path(), &options("test")))[0].1, Some("cat"));
    let elsewhere = tempfile::tempdir().unwrap();
    let packed = elsewhere.path().join("cifar-10-binary.tar");
    archive(&packed, &[("cifar-10-batches-bin/data_batch_1.bin", train.clone())]);
    let of_archive = load(&packed, &options("train"));
    assert_eq!(rows(&of_archive), expected);

    // A record that is cut off, and a class that there is not.
    let mut file = std::fs::File::create(folder.path().join("data_batch_2.bin")).unwrap();
    file.write_all(&record(12, [0; 3])).unwrap();
    file.write_all(&train[..100]).unwrap();
    let set = load(folder.path(), &options("train"));
    assert_eq!((set.pictures.len(), set.problems.len()), (2, 2));
    let strict = DataOptions { on_problem: OnProblem::Stop, ..options("train") };
    let error = LabelledSet::load(&[folder.path().into()], &strict).unwrap_err().to_string();
    assert!(error.contains("expected 3073 bytes that begin with a class below 10"), "{error}");
}

#[test]
fn what_is_no_source_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &Path| LabelledSet::load(&[path.into()], &options("train"));
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("no pictures: expected a folder of PNG or JPEG files"), "{error}");
    std::fs::write(folder.path().join("a.png"), b"no picture").unwrap();
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("has no usable sample"), "{error}");
}
