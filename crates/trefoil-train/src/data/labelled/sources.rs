//! Folders and archives of pictures with classes.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::Deserialize;
use trefoil_core::{Error as CoreError, fs};

use super::super::folder::{self, is_picture};
use super::super::problems::{Problems, Reason};
use super::super::webdataset::split_name;
use super::super::{DataOptions, archive};
use super::{Found, Source, cifar};
use crate::error::Result;

/// Folders above classes that are taken for splits.
const SPLITS: [&str; 8] =
    ["train", "training", "test", "testing", "val", "valid", "validation", "held-out"];

/// A label as people write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Label {
    Number(u64),
    Text(String),
}

impl Label {
    fn name(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// A line of `metadata.jsonl`, or the `KEY.json` of a shard; other fields are ignored.
#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    file_name: String,
    label: Option<Label>,
    split: Option<String>,
}

/// All pictures of a path.
pub(super) fn read(
    path: &Path,
    options: &DataOptions,
    problems: &mut Problems,
) -> Result<Vec<Found>> {
    if let Some(root) = folder::root(path, options.split.as_deref()) {
        return listed(&root, options, problems);
    }
    if path.is_file() && archive::is_archive(path) {
        return Ok(packed(path, options, problems));
    }
    let mut found = Vec::new();
    if path.is_dir() {
        walk(path, Path::new(""), options, problems, &mut found)?;
    } else if let Some(name) = path.file_name().and_then(|n| n.to_str())
        && cifar::split_of(name).is_some()
    {
        found = cifar::read(path, name, &fs::read(path)?, problems);
    }
    if found.is_empty() && problems.is_empty() {
        let reason = "no pictures: expected a folder of PNG or JPEG files, a .tar, .tar.gz, .tgz or \
                      .tar.zst archive of them, or the data_batch_*.bin files of CIFAR-10";
        return Err(CoreError::format(path, reason).into());
    }
    Ok(found)
}

/// The rows of `metadata.jsonl` in the wanted split.
fn listed(root: &Path, options: &DataOptions, problems: &mut Problems) -> Result<Vec<Found>> {
    let list = root.join(folder::METADATA);
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let text = fs::read_to_string(&list)?;
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let row: Row = match serde_json::from_str(line) {
            Ok(row) => row,
            Err(e) => {
                problems.push(&list, "", Reason::Malformed(format!("line {number}: {e}")));
                continue;
            }
        };
        if is_other(row.split.as_deref(), options) {
            continue;
        }
        let (key, path) = (row.file_name, root);
        let inside = |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
        if key.is_empty() || !Path::new(&key).components().all(inside) {
            problems.push(&list, key, Reason::Outside);
            continue;
        }
        let (path, class) = (path.join(&key), row.label.map(Label::name));
        // A picture with several captions has a line for each.
        found.insert(key.clone(), Found { path, key, source: Source::File, class });
    }
    Ok(found.into_values().collect())
}

/// Whether a split is named on both sides and differs.
fn is_other(split: Option<&str>, options: &DataOptions) -> bool {
    matches!((split, options.split.as_deref()), (Some(found), Some(wanted)) if found != wanted)
}

/// Split and class that the folders above a picture stand for.
fn of_folders(path: &Path) -> (Option<String>, Option<String>) {
    let names = path.parent().into_iter().flat_map(Path::components).filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    });
    let (splits, classes): (Vec<String>, Vec<String>) =
        names.partition(|name| SPLITS.contains(&name.as_str()));
    (splits.into_iter().next(), classes.into_iter().next_back())
}

/// A folder and those below it; links are not followed.
fn walk(
    root: &Path,
    below: &Path,
    options: &DataOptions,
    problems: &mut Problems,
    out: &mut Vec<Found>,
) -> Result<()> {
    let folder = root.join(below);
    let fail = |source| CoreError::Read { path: folder.clone(), source };
    for entry in std::fs::read_dir(&folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let (path, inner) = (entry.path(), below.join(entry.file_name()));
        let name = entry.file_name().to_string_lossy().into_owned();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if entry.file_type().map_err(fail)?.is_dir() {
            if !is_other(split_of_folder(&name), options) {
                walk(root, &inner, options, problems, out)?;
            }
        } else if is_picture(extension) {
            let (_, class) = of_folders(&inner);
            let key = inner.to_string_lossy().into_owned();
            out.push(Found { path, key, source: Source::File, class });
        } else if let Some(split) = cifar::split_of(&name) {
            if !is_other(Some(split), options) {
                out.extend(cifar::read(&path, &name, &fs::read(&path)?, problems));
            }
        } else if archive::is_archive(&path) {
            out.extend(packed(&path, options, problems));
        }
    }
    Ok(())
}

fn split_of_folder(name: &str) -> Option<&str> {
    SPLITS.contains(&name).then_some(name)
}

/// The pictures of an archive: a WebDataset shard, class folders, or CIFAR-10.
fn packed(path: &Path, options: &DataOptions, problems: &mut Problems) -> Vec<Found> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut classes: BTreeMap<String, String> = BTreeMap::new();
    let mut others: Vec<String> = Vec::new();
    let mut records = Vec::new();
    let wanted = |name: &str| {
        let (_, extension) = split_name(name);
        let split = of_folders(Path::new(name)).0;
        !is_other(split.as_deref(), options)
            && (is_picture(extension) || ["cls", "json", "bin"].contains(&extension))
    };
    let outcome = archive::for_each(path, wanted, |name, bytes| {
        let (key, extension) = split_name(&name);
        let file = Path::new(&name).file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let key = key.to_string();
        match extension {
            "cls" => {
                classes.insert(key, String::from_utf8_lossy(&bytes).trim().to_string());
            }
            "json" => match serde_json::from_slice::<Row>(&bytes) {
                Ok(row) => {
                    if is_other(row.split.as_deref(), options) {
                        others.push(key.clone());
                    }
                    if let Some(label) = row.label {
                        classes.insert(key, label.name());
                    }
                }
                Err(e) => problems.push(path, key, Reason::Malformed(e.to_string())),
            },
            "bin" => {
                if cifar::split_of(file).is_some_and(|split| !is_other(Some(split), options)) {
                    records.extend(cifar::read(path, file, &bytes, problems));
                }
            }
            _ => {
                let (_, class) = of_folders(Path::new(&name));
                let (path, source) = (path.into(), Source::Encoded(bytes));
                let whole = Found { path, key: name.clone(), source, class };
                if found.insert(key, whole).is_some() {
                    problems.push(name.clone(), name, Reason::Duplicate);
                }
            }
        }
    });
    if let Err(error) = outcome {
        problems.push(path, "", Reason::BrokenArchive(error.to_string()));
    }
    for (key, class) in classes {
        if let Some(found) = found.get_mut(&key) {
            found.class = Some(class);
        }
    }
    for key in others {
        found.remove(&key);
    }
    records.extend(found.into_values());
    records
}
