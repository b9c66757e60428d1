//! WebDataset shards: tar archives in which the files of a sample share a key, the path up to the first
//! dot of the file name.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::captions::{Texts, accept};
use super::folder::is_picture;
use super::{DataOptions, Problems, Raw, Reason, Source, archive};

/// `KEY.json`; other fields are allowed and ignored.
#[derive(Deserialize)]
struct Fields {
    text: Option<Texts>,
    caption: Option<Texts>,
    split: Option<String>,
}

/// What was found of a sample.
#[derive(Default)]
struct Parts {
    picture: Option<Vec<u8>>,
    text: Option<String>,
    fields: Option<Fields>,
}

/// Reads a shard; what comes before a defect of the archive is kept.
pub(super) fn read(shard: &Path, options: &DataOptions, problems: &mut Problems) -> Vec<Raw> {
    let mut samples: BTreeMap<String, Parts> = BTreeMap::new();
    let wanted = |name: &str| {
        let (_, extension) = split_name(name);
        is_picture(extension) || extension == "txt" || extension == "json"
    };
    let outcome = archive::for_each(shard, wanted, |name, bytes| {
        let (key, extension) = split_name(&name);
        let parts = samples.entry(key.into()).or_default();
        if let Err(reason) = add(parts, extension, bytes) {
            problems.push(shard, key, reason);
        }
    });
    if let Err(error) = outcome {
        problems.push(shard, "", Reason::BrokenArchive(error.to_string()));
    }
    let mut raw = Vec::with_capacity(samples.len());
    for (key, parts) in samples {
        let split = parts.fields.as_ref().and_then(|fields| fields.split.as_ref());
        if split.is_some() && options.split.is_some() && split != options.split.as_ref() {
            continue;
        }
        let Some(picture) = parts.picture else {
            problems.push(shard, key, Reason::MissingPicture);
            continue;
        };
        let fields = parts.fields.into_iter().flat_map(|f| [f.text, f.caption]).flatten();
        let texts: Vec<String> =
            parts.text.into_iter().chain(fields.flat_map(Texts::into_vec)).collect();
        if texts.is_empty() {
            problems.push(shard, key, Reason::MissingCaption);
            continue;
        }
        let mut captions: Vec<String> = Vec::new();
        for caption in accept(texts, shard, &key, problems) {
            // The same text in `.txt` and `.json` is usual and no mistake.
            if !captions.contains(&caption) {
                captions.push(caption);
            }
        }
        if !captions.is_empty() {
            raw.push(Raw { path: shard.into(), key, picture: Source::Memory(picture), captions });
        }
    }
    raw
}

fn add(parts: &mut Parts, extension: &str, bytes: Vec<u8>) -> Result<(), Reason> {
    let malformed = |e: &dyn std::fmt::Display| Reason::Malformed(format!(".{extension}: {e}"));
    let taken = match extension {
        "txt" => parts.text.is_some(),
        "json" => parts.fields.is_some(),
        _ => parts.picture.is_some(),
    };
    if taken {
        return Err(Reason::Duplicate);
    }
    match extension {
        "txt" => parts.text = Some(String::from_utf8(bytes).map_err(|e| malformed(&e))?),
        "json" => parts.fields = Some(serde_json::from_slice(&bytes).map_err(|e| malformed(&e))?),
        _ => parts.picture = Some(bytes),
    }
    Ok(())
}

/// Key and ending of an entry; the ending is empty when there is none.
pub(super) fn split_name(name: &str) -> (&str, &str) {
    let name = name.strip_prefix("./").unwrap_or(name);
    let base = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[base..].find('.') {
        Some(dot) => (&name[..base + dot], &name[base + dot + 1..]),
        None => (name, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::split_name;

    #[test]
    fn keys_end_at_the_first_dot_of_the_file_name() {
        assert_eq!(split_name("./a.b/0001.jpg"), ("a.b/0001", "jpg"));
        assert_eq!(split_name("x.seg.png"), ("x", "seg.png"));
        assert_eq!(split_name("LICENSE"), ("LICENSE", ""));
    }
}
