//! Captions in JSON: one text or a list of them.

use serde::Deserialize;

use super::{Problems, Reason};

/// One text or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Texts {
    pub(super) fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// White space as single spaces.
pub(super) fn clean(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cleans captions; empty ones become problems of `key` in `path`.
pub(super) fn accept(
    texts: Vec<String>,
    path: &std::path::Path,
    key: &str,
    problems: &mut Problems,
) -> Vec<String> {
    let mut captions = Vec::with_capacity(texts.len());
    for text in texts {
        let caption = clean(&text);
        if caption.is_empty() {
            problems.push(path, key, Reason::EmptyCaption);
        } else {
            captions.push(caption);
        }
    }
    captions
}
