//! An image folder: pictures, and `metadata.jsonl` with `file_name` and `text` in each line, as Hugging
//! Face datasets write it. `text` may be a list, and several lines may name the same file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use trefoil_core::{Error as CoreError, fs};

use super::captions::{Texts, accept};
use super::{DataOptions, Problems, Raw, Reason, Source};
use crate::error::Result;

pub(super) const METADATA: &str = "metadata.jsonl";

/// A line; other fields are allowed and ignored.
#[derive(Deserialize)]
struct Row {
    file_name: String,
    text: Option<Texts>,
    split: Option<String>,
}

/// The folder with the list: the path itself, or its subfolder with the name of the split.
pub(super) fn root(path: &Path, split: Option<&str>) -> Option<PathBuf> {
    let inner = split.map(|split| path.join(split));
    [Some(path.to_path_buf()), inner].into_iter().flatten().find(|p| p.join(METADATA).is_file())
}

/// Reads the list. Pictures of the folder that it does not name are problems.
pub(super) fn read(
    root: &Path,
    options: &DataOptions,
    problems: &mut Problems,
) -> Result<Vec<Raw>> {
    let list = root.join(METADATA);
    let text = fs::read_to_string(&list)?;
    let mut captions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let row: Row = match serde_json::from_str(line) {
            Ok(row) => row,
            Err(e) => {
                let reason = Reason::Malformed(format!("line {number}: {e}"));
                problems.push(&list, "", reason);
                continue;
            }
        };
        let key = row.file_name;
        let other_split = match (&row.split, &options.split) {
            (Some(split), Some(wanted)) => split != wanted,
            _ => false,
        };
        let path = root.join(&key);
        named.insert(path.clone());
        if other_split {
            continue;
        }
        if Path::new(&key)
            .components()
            .any(|c| !matches!(c, Component::Normal(_) | Component::CurDir))
        {
            problems.push(&list, key, Reason::Outside);
            continue;
        }
        let Some(texts) = row.text else {
            problems.push(path, key, Reason::MissingCaption);
            continue;
        };
        let new = accept(texts.into_vec(), &path, &key, problems);
        let of_key = captions.entry(key.clone()).or_default();
        for caption in new {
            if of_key.contains(&caption) {
                problems.push(&path, &key, Reason::Duplicate);
            } else {
                of_key.push(caption);
            }
        }
    }
    let mut found = Vec::new();
    pictures(root, &mut found)?;
    for path in found.into_iter().filter(|path| !named.contains(path)) {
        let key = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        problems.push(path, key, Reason::MissingCaption);
    }
    let usable = captions.into_iter().filter(|(_, captions)| !captions.is_empty());
    Ok(usable
        .map(|(key, captions)| Raw { path: root.join(&key), key, picture: Source::File, captions })
        .collect())
}

/// All pictures below a folder; links are not followed.
fn pictures(folder: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    let fail = |source| CoreError::Read { path: folder.into(), source };
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(fail)?);
        if kind.is_dir() {
            pictures(&path, out)?;
        } else if path.extension().and_then(|e| e.to_str()).is_some_and(is_picture) {
            out.push(path);
        }
    }
    Ok(())
}

/// Whether an ending is that of a picture that can be decoded.
pub(super) fn is_picture(extension: &str) -> bool {
    ["png", "jpg", "jpeg"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}
