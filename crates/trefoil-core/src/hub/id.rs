//! What a model of the Hub is called.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The revision that is meant when none is named.
pub(super) const MAIN: &str = "main";

/// `owner/name` or `owner/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// Who it belongs to.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// A branch, a tag or a commit, where one was named; [`HubId::revision`] has the default.
    pub revision: Option<String>,
}

impl HubId {
    /// The revision that is meant: the one that was named, else `main`.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }
}

impl FromStr for HubId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let reason = format!("expected OWNER/NAME or OWNER/NAME@REVISION, found `{text}`");
            Error::config("model", reason)
        };
        let (id, revision) = match text.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (text, None),
        };
        let (owner, name) = id.split_once('/').ok_or_else(wrong)?;
        // Names of folders: nothing that leads elsewhere.
        let plain = |part: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty()
                && !part.starts_with('.')
                && !part.contains("--")
                && part.chars().all(known)
        };
        let revision_is_plain = revision.is_none_or(|revision| revision.split('/').all(plain));
        if !plain(owner) || !plain(name) || !revision_is_plain {
            return Err(wrong());
        }
        let revision = revision.map(String::from);
        Ok(Self { owner: owner.into(), name: name.into(), revision })
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        self.revision.as_ref().map_or(Ok(()), |revision| write!(f, "@{revision}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_nothing_else_is() {
        let id: HubId = "thu-ml/unidiffuser-v1@fp16".parse().unwrap();
        assert_eq!((&*id.owner, &*id.name, id.revision()), ("thu-ml", "unidiffuser-v1", "fp16"));
        assert_eq!(id.to_string(), "thu-ml/unidiffuser-v1@fp16");
        // Whether a revision was named is known, though the default is the same.
        for (text, named) in [("a/b", None), ("a/b@main", Some("main"))] {
            let id: HubId = text.parse().unwrap();
            assert_eq!((id.revision(), id.revision.as_deref()), ("main", named));
            assert_eq!(id.to_string(), text);
        }
        assert!("a/b@refs/pr/1".parse::<HubId>().is_ok());
        for text in
            ["a", "a/", "/b", "a/b/c", "../b", "a/..", "a/b@", "a/b@../c", "a b/c", "a--x/b"]
        {
            assert!(text.parse::<HubId>().is_err(), "{text}");
        }
    }
}
