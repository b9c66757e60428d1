//! The binary version of CIFAR-10: records of one byte for the class and 3,072 bytes of planes.

use std::path::Path;

use trefoil_core::Picture;

use super::super::problems::{Problems, Reason};
use super::{Found, Source};

/// Side of the pictures.
const SIDE: usize = 32;
/// Bytes of a record.
const RECORD: usize = 1 + 3 * SIDE * SIDE;

/// The classes in the order of their numbers.
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The split of a file, by its name.
pub(super) fn split_of(name: &str) -> Option<&'static str> {
    match name {
        "test_batch.bin" => Some("test"),
        name => {
            let stem = name.strip_suffix(".bin")?;
            stem.starts_with("data_batch").then_some("train")
        }
    }
}

/// All records of a file; `path` is where it was found, `name` its own name.
pub(super) fn read(path: &Path, name: &str, bytes: &[u8], problems: &mut Problems) -> Vec<Found> {
    let mut found = Vec::with_capacity(bytes.len() / RECORD);
    for (number, record) in bytes.chunks(RECORD).enumerate() {
        let key = format!("{name}:{number:05}");
        let [class, planes @ ..] = record else { continue };
        let Some(class) = CLASSES.get(usize::from(*class)).filter(|_| record.len() == RECORD)
        else {
            let reason = format!("expected {RECORD} bytes that begin with a class below 10");
            problems.push(path, key, Reason::Malformed(reason));
            continue;
        };
        let area = SIDE * SIDE;
        let pixels = (0..area).flat_map(|i| [planes[i], planes[area + i], planes[2 * area + i]]);
        let source = match Picture::new(SIDE as u32, SIDE as u32, pixels.collect()) {
            Ok(picture) => Source::Decoded(picture),
            Err(error) => {
                problems.push(path, key, Reason::BrokenPicture(error.to_string()));
                continue;
            }
        };
        found.push(Found { path: path.into(), key, source, class: Some((*class).into()) });
    }
    found
}
