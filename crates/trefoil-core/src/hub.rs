//! Models in the cache that the Hugging Face libraries share: `models--OWNER--NAME` with `refs/REVISION`, which holds
//! a commit, and `snapshots/COMMIT`, which holds the files.
//!
//! Looking needs no network; fetching is the feature `hub`. The cache is found as those libraries find it: `HF_HUB_CACHE`, else `HF_HOME/hub`, else
//! `XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`.

#[cfg(feature = "hub")]
mod choice;
#[cfg(feature = "hub")]
mod download;
mod id;
#[cfg(feature = "hub")]
mod remote;
mod remove;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use self::id::MAIN;
use crate::fs;

pub use self::id::HubId;
pub use self::remove::Removed;
#[cfg(feature = "hub")]
pub use self::{download::Fetching, remote::Hub};

const PREFIX: &str = "models--";

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

    /// The files of a revision, when they are here.
    pub fn find(&self, id: &HubId) -> Option<PathBuf> {
        let folder = self.folder(id);
        let commit = fs::read_to_string(&folder.join("refs").join(id.revision())).ok();
        let commit = commit.as_deref().map_or(id.revision(), str::trim);
        // A reference is a file that anybody may have written: a name only.
        let is_name = Path::new(commit).file_name().is_some_and(|name| name == commit);
        let snapshot = folder.join("snapshots").join(commit);
        (is_name && snapshot.is_dir()).then_some(snapshot)
    }

    /// Every revision of every model that is here, sorted: branches and tags, `main` without its name, and commits that
    /// none of them holds.
    pub fn list(&self) -> Vec<HubId> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let model = |entry: std::fs::DirEntry| -> Option<HubId> {
            let name = entry.file_name().into_string().ok()?;
            let (owner, name) = name.strip_prefix(PREFIX)?.split_once("--")?;
            format!("{owner}/{name}").parse().ok()
        };
        let mut all: Vec<HubId> =
            entries.filter_map(model).flat_map(|id| self.revisions(&id)).collect();
        all.sort_by_key(ToString::to_string);
        all
    }

    /// The revisions of a model whose files are here.
    fn revisions(&self, id: &HubId) -> Vec<HubId> {
        let (references, snapshots) = (self.references(id), self.snapshots(id));
        let named = references.iter().filter(|(_, commit)| snapshots.contains(commit));
        let is_named = |commit: &String| references.iter().any(|(_, held)| held == commit);
        let unnamed = snapshots.iter().filter(|commit| !is_named(commit));
        let whole = |revision: &String| -> Option<HubId> {
            let model = format!("{}/{}", id.owner, id.name);
            let text = if revision == MAIN { model } else { format!("{model}@{revision}") };
            text.parse().ok()
        };
        named.map(|(name, _)| name).chain(unnamed).filter_map(whole).collect()
    }

    /// Branches and tags of a model with the commits that they hold, sorted.
    fn references(&self, id: &HubId) -> Vec<(String, String)> {
        let mut all = references(&self.folder(id).join("refs"), "");
        all.sort();
        all
    }

    /// Commits of a model of which there are files, sorted.
    fn snapshots(&self, id: &HubId) -> Vec<String> {
        let folder = self.folder(id).join("snapshots");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        let mut all: Vec<String> =
            folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        all.sort();
        all
    }
}

/// The references below a folder; the names of those of pull requests have slashes.
fn references(folder: &Path, prefix: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| -> Vec<(String, String)> {
        let Ok(name) = entry.file_name().into_string() else { return Vec::new() };
        let (path, name) = (entry.path(), format!("{prefix}{name}"));
        if path.is_dir() {
            return references(&path, &format!("{name}/"));
        }
        let commit = fs::read_to_string(&path).ok();
        commit.map(|commit| (name, commit.trim().to_string())).into_iter().collect()
    };
    entries.flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn every_revision_is_listed_once() {
        let dir = tempfile::tempdir().unwrap();
        let cache = HubCache::at(dir.path());
        let make = |model: &str, snapshots: &[&str], references: &[(&str, &str)]| {
            let folder = dir.path().join(model);
            std::fs::create_dir_all(folder.join("refs/refs/pr")).unwrap();
            for commit in snapshots {
                std::fs::create_dir_all(folder.join("snapshots").join(commit)).unwrap();
            }
            for (name, commit) in references {
                std::fs::write(folder.join("refs").join(name), commit).unwrap();
            }
        };
        let references =
            [("main", "abc"), ("fp16", "def\n"), ("refs/pr/1", "abc"), ("gone", "789")];
        make("models--o--n", &["abc", "def", "456"], &references);
        make("models--o--a", &["1"], &[("fp16", "1")]);
        make("datasets--o--n", &["1"], &[("main", "1")]);
        let found: Vec<String> = cache.list().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["o/a@fp16", "o/n", "o/n@456", "o/n@fp16", "o/n@refs/pr/1"]);
        assert!(cache.list().iter().all(|id| cache.find(id).is_some()));
    }
}
