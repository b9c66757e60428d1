//! Removing what was named from the shared cache, and nothing else.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::{HubCache, HubId};
use crate::error::{Error, Result};

/// What was removed of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Branches and tags that name nothing any more.
    pub references: Vec<String>,
    /// Commits whose files are gone.
    pub snapshots: Vec<String>,
    /// Number of the files in `blobs/` that no other snapshot has.
    pub files: usize,
    /// Whether nothing of the model is left.
    pub is_everything: bool,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let references = self.references.iter().map(|name| format!("reference {name}"));
        let snapshots = self.snapshots.iter().map(|commit| format!("snapshot {commit}"));
        let files = (self.files > 0).then(|| format!("{} file(s) in blobs", self.files));
        let folder = self.is_everything.then(|| "the folder itself".to_string());
        let parts: Vec<String> = references.chain(snapshots).chain(files).chain(folder).collect();
        f.write_str(&parts.join(", "))
    }
}

impl HubCache {
    /// Removes what was named, and says what that was; nothing when it is not here.
    ///
    /// | named | removed |
    /// |---|---|
    /// | no revision | the whole folder of the model |
    /// | a branch or a tag | that reference, and its snapshot where no other reference holds the same commit |
    /// | a commit | its snapshot and every reference that holds it |
    ///
    /// With a snapshot go the files that no other snapshot has, and with the last one everything.
    ///
    /// # Errors
    /// [`Error::Write`] with the path.
    pub fn remove(&self, id: &HubId) -> Result<Option<Removed>> {
        let folder = self.folder(id);
        if !folder.is_dir() {
            return Ok(None);
        }
        let Some(revision) = &id.revision else { return self.remove_all(id).map(Some) };
        let (references, snapshots) = (self.references(id), self.snapshots(id));
        // As in `find`: a name goes before a commit.
        let named = references.iter().find(|(name, _)| name == revision);
        let commit = named.map_or(revision, |(_, commit)| commit);
        let (gone, others): (Vec<String>, Vec<String>) = references
            .iter()
            .filter(|(_, held)| held == commit)
            .map(|(name, _)| name.clone())
            .partition(|name| named.is_none() || name == revision);
        let is_here = snapshots.contains(commit);
        if gone.is_empty() && !is_here {
            return Ok(None);
        }
        let goes = is_here && others.is_empty();
        if snapshots.len() == usize::from(goes) {
            return self.remove_all(id).map(Some);
        }
        let mut removed = Removed { references: gone, ..Removed::default() };
        // First, so that no reference ever leads to half a snapshot.
        for name in &removed.references {
            remove_file(&folder.join("refs").join(name))?;
        }
        if goes {
            let all = folder.join("snapshots");
            remove_folder(&all.join(commit))?;
            removed.snapshots.push(commit.clone());
            let used: BTreeSet<PathBuf> = contents(&all).into_iter().collect();
            for blob in blobs(&folder) {
                if !blob.canonicalize().is_ok_and(|target| used.contains(&target)) {
                    remove_file(&blob)?;
                    removed.files += 1;
                }
            }
        }
        Ok(Some(removed))
    }

    /// Removes the folder of a model and its locks.
    fn remove_all(&self, id: &HubId) -> Result<Removed> {
        let (folder, locks) = (self.folder(id), self.locks(id));
        let removed = Removed {
            references: self.references(id).into_iter().map(|(name, _)| name).collect(),
            snapshots: self.snapshots(id),
            files: blobs(&folder).len(),
            is_everything: true,
        };
        remove_folder(&folder)?;
        if locks.is_dir() {
            remove_folder(&locks)?;
        }
        Ok(removed)
    }
}

fn remove_file(path: &Path) -> Result<()> {
    std::fs::remove_file(path).map_err(|source| Error::Write { path: path.into(), source })
}

fn remove_folder(path: &Path) -> Result<()> {
    std::fs::remove_dir_all(path).map_err(|source| Error::Write { path: path.into(), source })
}

/// The files that snapshots link to.
fn blobs(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("blobs")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
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

    fn id(text: &str) -> HubId {
        text.parse().unwrap()
    }

    /// A model `o/n` with these references, each to a commit with a snapshot.
    fn cache(at: &Path, references: &[(&str, &str)]) -> HubCache {
        let cache = HubCache::at(at);
        let folder = cache.folder(&id("o/n"));
        std::fs::create_dir_all(cache.locks(&id("o/n"))).unwrap();
        for (name, commit) in references {
            let path = folder.join("refs").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, commit).unwrap();
            std::fs::create_dir_all(folder.join("snapshots").join(commit)).unwrap();
        }
        cache
    }

    /// What is in a part of the folder of `o/n`, sorted.
    fn left(cache: &HubCache, part: &str) -> Vec<String> {
        let entries = std::fs::read_dir(cache.folder(&id("o/n")).join(part)).unwrap().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_reference_takes_its_snapshot_only_when_it_is_the_last_that_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), &[("main", "abc"), ("v1", "abc"), ("fp16", "def")]);
        assert_eq!(cache.remove(&id("o/n@none")).unwrap(), None);
        let removed = cache.remove(&id("o/n@v1")).unwrap().unwrap();
        assert_eq!(removed.to_string(), "reference v1");
        assert_eq!(left(&cache, "refs"), ["fp16", "main"]);
        assert_eq!(left(&cache, "snapshots"), ["abc", "def"]);
        // `main` that was named is a reference like every other.
        let removed = cache.remove(&id("o/n@main")).unwrap().unwrap();
        assert_eq!(removed.to_string(), "reference main, snapshot abc");
        assert_eq!(left(&cache, "refs"), ["fp16"]);
        assert_eq!(left(&cache, "snapshots"), ["def"]);
        let removed = cache.remove(&id("o/n@fp16")).unwrap().unwrap();
        assert_eq!(removed.to_string(), "reference fp16, snapshot def, the folder itself");
        assert!(!cache.folder(&id("o/n")).exists() && !cache.locks(&id("o/n")).exists());
    }

    #[test]
    fn a_commit_takes_every_reference_that_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let references = [("main", "abc"), ("refs/pr/1", "abc"), ("fp16", "def")];
        let cache = cache(dir.path(), &references);
        let removed = cache.remove(&id("o/n@abc")).unwrap().unwrap();
        assert_eq!(removed.to_string(), "reference main, reference refs/pr/1, snapshot abc");
        assert_eq!(cache.find(&id("o/n")), None);
        assert!(cache.find(&id("o/n@fp16")).is_some());
        // A reference to nothing is removed alone.
        let evil = cache.folder(&id("o/n")).join("refs/evil");
        std::fs::write(&evil, "../..").unwrap();
        let removed = cache.remove(&id("o/n@evil")).unwrap().unwrap();
        assert_eq!(removed.to_string(), "reference evil");
        assert!(!evil.exists() && cache.find(&id("o/n@fp16")).is_some());
    }

    #[test]
    fn without_a_revision_everything_goes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), &[("main", "abc"), ("fp16", "def")]);
        let removed = cache.remove(&id("o/n")).unwrap().unwrap();
        let expected = Removed {
            references: vec!["fp16".into(), "main".into()],
            snapshots: vec!["abc".into(), "def".into()],
            files: 0,
            is_everything: true,
        };
        assert_eq!(removed, expected);
        assert!(!cache.folder(&id("o/n")).exists());
        assert_eq!(cache.remove(&id("o/n")).unwrap(), None);
    }

    /// Two revisions share a file; the first takes only its own with it.
    #[cfg(unix)]
    #[test]
    fn what_another_revision_has_too_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), &[("old", "abc"), ("main", "def")]);
        let folder = cache.folder(&id("o/n"));
        for part in ["blobs", "snapshots/abc/unet"] {
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
        let removed = cache.remove(&id("o/n@old")).unwrap().unwrap();
        assert_eq!(removed.to_string(), "reference old, snapshot abc, 2 file(s) in blobs");
        for (part, expected) in [("blobs", "both"), ("refs", "main"), ("snapshots", "def")] {
            assert_eq!(left(&cache, part), [expected]);
        }
        assert_eq!(std::fs::read_to_string(folder.join("snapshots/def/y")).unwrap(), "both");
        // The last commit takes everything with it.
        let removed = cache.remove(&id("o/n@def")).unwrap().unwrap();
        assert!(removed.is_everything && removed.files == 1, "{removed:?}");
        assert!(!folder.exists() && !cache.locks(&id("o/n")).exists());
    }
}
