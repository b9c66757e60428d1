//! Models in the cache that the Hugging Face libraries share: `models--OWNER--NAME` with `refs/REVISION`, which holds
//! a commit, and `snapshots/COMMIT`, which holds the files.
//!
//! Looking needs no network; fetching is the feature `hub`. The cache is found as those libraries find it: `HF_HUB_CACHE`, else `HF_HOME/hub`, else
//! `XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`.

#[cfg(feature = "hub")]
mod choice;
#[cfg(feature = "hub")]
mod download;
#[cfg(feature = "hub")]
mod remote;

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::fs;

#[cfg(feature = "hub")]
pub use self::{download::Fetching, remote::Hub};

/// The revision that is meant when none is named.
const MAIN: &str = "main";
const PREFIX: &str = "models--";

/// `owner/name` or `owner/name@revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubId {
    /// Who it belongs to.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl FromStr for HubId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            let reason = format!("expected OWNER/NAME or OWNER/NAME@REVISION, found `{text}`");
            Error::config("model", reason)
        };
        let (id, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let (owner, name) = id.split_once('/').ok_or_else(wrong)?;
        // Names of folders: nothing that leads elsewhere.
        let plain = |part: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty()
                && !part.starts_with('.')
                && !part.contains("--")
                && part.chars().all(known)
        };
        let revision_is_plain = !revision.is_empty() && revision.split('/').all(plain);
        if !plain(owner) || !plain(name) || !revision_is_plain {
            return Err(wrong());
        }
        Ok(Self { owner: owner.into(), name: name.into(), revision: revision.into() })
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// Whether the user forbids the network by `HF_HUB_OFFLINE`.
pub fn is_offline() -> bool {
    is_true("HF_HUB_OFFLINE")
}

/// A variable of the environment that is not empty.
fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether a variable of the environment says yes, as the Python libraries read it.
fn is_true(name: &str) -> bool {
    let value = set(name).and_then(|value| value.into_string().ok()).unwrap_or_default();
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
}

/// The folder of the Hugging Face libraries.
fn home() -> Option<PathBuf> {
    let shared = |cache: PathBuf| cache.join("huggingface");
    let own = set("HF_HOME").map(PathBuf::from);
    let xdg = || set("XDG_CACHE_HOME").map(PathBuf::from).map(shared);
    let user = || env::home_dir().map(|home| shared(home.join(".cache")));
    own.or_else(xdg).or_else(user)
}

/// The shared cache.
#[derive(Debug, Clone)]
pub struct HubCache {
    root: PathBuf,
}

impl HubCache {
    /// The cache of this user, whether or not it exists; nothing when there is no home.
    pub fn of_user() -> Option<Self> {
        let own = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
        own.or_else(|| home().map(|home| home.join("hub"))).map(|root| Self { root })
    }

    /// A cache in this folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Everything that is kept of a model, all revisions.
    pub fn folder(&self, id: &HubId) -> PathBuf {
        self.root.join(format!("{PREFIX}{}--{}", id.owner, id.name))
    }

    /// Where the locks of a model's files are.
    fn locks(&self, id: &HubId) -> PathBuf {
        self.root.join(".locks").join(format!("{PREFIX}{}--{}", id.owner, id.name))
    }

    /// Removes a revision, or for `main` all of them; whether there was something to remove. Files that other revisions
    /// have too stay for them.
    ///
    /// # Errors
    /// [`Error::Write`] with the path.
    pub fn remove(&self, id: &HubId) -> Result<bool> {
        let folder = self.folder(id);
        let fail = |path: &Path| {
            let path = path.to_path_buf();
            |source| Error::Write { path, source }
        };
        if id.revision != MAIN {
            let Some(snapshot) = self.find(id) else { return Ok(false) };
            std::fs::remove_dir_all(&snapshot).map_err(fail(&snapshot))?;
            let others = folder.join("snapshots");
            let others = std::fs::read_dir(&others).map_err(fail(&others))?.flatten();
            let used: BTreeSet<PathBuf> =
                others.flat_map(|other| contents(&other.path())).collect();
            if !used.is_empty() {
                let reference = folder.join("refs").join(&id.revision);
                if reference.is_file() {
                    std::fs::remove_file(&reference).map_err(fail(&reference))?;
                }
                for blob in contents(&folder.join("blobs")) {
                    if !used.contains(&blob) {
                        std::fs::remove_file(&blob).map_err(fail(&blob))?;
                    }
                }
                return Ok(true);
            }
        } else if !folder.is_dir() {
            return Ok(false);
        }
        std::fs::remove_dir_all(&folder).map_err(fail(&folder))?;
        let locks = self.locks(id);
        if locks.is_dir() {
            std::fs::remove_dir_all(&locks).map_err(fail(&locks))?;
        }
        Ok(true)
    }

    /// The files of a revision, when they are here.
    pub fn find(&self, id: &HubId) -> Option<PathBuf> {
        let folder = self.folder(id);
        let commit = fs::read_to_string(&folder.join("refs").join(&id.revision)).ok();
        let commit = commit.as_deref().map_or(id.revision.as_str(), str::trim);
        // A reference is a file that anybody may have written: a name only.
        let is_name = Path::new(commit).file_name().is_some_and(|name| name == commit);
        let snapshot = folder.join("snapshots").join(commit);
        (is_name && snapshot.is_dir()).then_some(snapshot)
    }

    /// All models that are here, sorted.
    pub fn list(&self) -> Vec<HubId> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let id = |entry: std::fs::DirEntry| -> Option<HubId> {
            let name = entry.file_name().into_string().ok()?;
            let (owner, name) = name.strip_prefix(PREFIX)?.split_once("--")?;
            format!("{owner}/{name}").parse().ok()
        };
        let mut all: Vec<HubId> = entries.filter_map(id).collect();
        all.sort_by_key(ToString::to_string);
        all
    }
}

/// The files below a folder, as they are called where links lead.
fn contents(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |path: PathBuf| {
        if path.is_dir() { contents(&path) } else { path.canonicalize().into_iter().collect() }
    };
    entries.flat_map(|entry| of(entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_nothing_else_is() {
        let id: HubId = "thu-ml/unidiffuser-v1@fp16".parse().unwrap();
        assert_eq!((&*id.owner, &*id.name, &*id.revision), ("thu-ml", "unidiffuser-v1", "fp16"));
        assert_eq!(id.to_string(), "thu-ml/unidiffuser-v1@fp16");
        let id: HubId = "a/b".parse().unwrap();
        assert_eq!((&*id.revision, id.to_string()), ("main", "a/b".to_string()));
        assert!("a/b@refs/pr/1".parse::<HubId>().is_ok());
        for text in
            ["a", "a/", "/b", "a/b/c", "../b", "a/..", "a/b@", "a/b@../c", "a b/c", "a--x/b"]
        {
            assert!(text.parse::<HubId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_revision_is_a_reference_or_a_commit() {
        let dir = tempfile::tempdir().unwrap();
        let cache = HubCache::at(dir.path());
        let id = |text: &str| text.parse::<HubId>().unwrap();
        let folder = cache.folder(&id("o/n"));
        assert!(folder.ends_with("models--o--n"));
        std::fs::create_dir_all(folder.join("refs")).unwrap();
        std::fs::create_dir_all(folder.join("snapshots/abc")).unwrap();
        std::fs::write(folder.join("refs/main"), "abc\n").unwrap();
        std::fs::write(folder.join("refs/evil"), "../..").unwrap();
        let snapshot = Some(folder.join("snapshots/abc"));
        assert_eq!(cache.find(&id("o/n")), snapshot);
        assert_eq!(cache.find(&id("o/n@abc")), snapshot);
        assert_eq!(cache.find(&id("o/n@def")), None);
        assert_eq!(cache.find(&id("o/n@evil")), None);
        assert_eq!(cache.find(&id("o/other")), None);
        assert_eq!(cache.list(), [id("o/n")]);
        assert!(HubCache::at(dir.path().join("absent")).list().is_empty());
    }

    /// Two revisions share a file; the first takes only its own with it.
    #[cfg(unix)]
    #[test]
    fn what_another_revision_has_too_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = HubCache::at(dir.path());
        let id = |text: &str| text.parse::<HubId>().unwrap();
        let folder = cache.folder(&id("o/n"));
        for part in ["refs", "blobs", "snapshots/abc/unet", "snapshots/def"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        for blob in ["own", "both", "half.incomplete"] {
            std::fs::write(folder.join("blobs").join(blob), blob).unwrap();
        }
        let link = |to: &str, at: &str| {
            std::os::unix::fs::symlink(to, folder.join("snapshots").join(at)).unwrap();
        };
        link("../../../blobs/own", "abc/unet/x");
        link("../../blobs/both", "abc/y");
        link("../../blobs/both", "def/y");
        std::fs::write(folder.join("refs/old"), "abc").unwrap();
        std::fs::write(folder.join("refs/main"), "def").unwrap();
        std::fs::create_dir_all(cache.locks(&id("o/n"))).unwrap();
        assert!(!cache.remove(&id("o/n@none")).unwrap());
        assert!(cache.remove(&id("o/n@old")).unwrap());
        let left = |part: &str| -> Vec<String> {
            let entries = std::fs::read_dir(folder.join(part)).unwrap().flatten();
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
        };
        assert_eq!(
            (left("blobs"), left("refs"), left("snapshots")),
            (vec!["both".into()], vec!["main".into()], vec!["def".into()])
        );
        assert_eq!(std::fs::read_to_string(folder.join("snapshots/def/y")).unwrap(), "both");
        // The last revision takes everything with it.
        assert!(cache.remove(&id("o/n@def")).unwrap());
        assert!(!folder.exists() && !cache.locks(&id("o/n")).exists());
        assert!(!cache.remove(&id("o/n")).unwrap());
    }
}
