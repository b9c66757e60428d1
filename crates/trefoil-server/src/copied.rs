//! Models are read from copies that nobody else writes to: weights stay mapped into memory, and a file that another
//! program shortens or overwrites in place would end the process, or change its pictures.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::chain;

/// Deepest folder of a model.
const DEPTH: usize = 8;
/// Largest model that is copied when the server starts, in bytes.
const LARGEST: u64 = 1 << 30;

/// A folder to read a model from. The copy goes with this; what is mapped stays.
pub(crate) struct Copied {
    original: PathBuf,
    copy: Option<TempDir>,
}

impl Copied {
    /// Copies a folder.
    ///
    /// # Errors
    /// Those of reading it and of writing to the folder for temporary files.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let copy = tempfile::tempdir()?;
        copy_folder(folder, copy.path(), 0)?;
        Ok(Self { original: folder.into(), copy: Some(copy) })
    }

    /// As [`Self::of`] where that is quick and possible, otherwise the folder itself: a server starts with models of any
    /// size.
    pub(crate) fn if_small(folder: &Path) -> Self {
        let itself = Self { original: folder.into(), copy: None };
        if !size(folder, 0).is_ok_and(|size| size <= LARGEST) {
            return itself;
        }
        Self::of(folder).unwrap_or_else(|error| {
            tracing::warn!("{} is read where it is: no copy: {error}", folder.display());
            itself
        })
    }

    /// Where to read.
    pub(crate) fn path(&self) -> &Path {
        self.copy.as_ref().map_or(&self.original, TempDir::path)
    }

    /// An error and its causes, with the path of the original, which is the one that people know.
    pub(crate) fn explain(&self, error: &dyn std::error::Error) -> String {
        let text = chain(error);
        let Some(copy) = &self.copy else { return text };
        text.replace(&*copy.path().to_string_lossy(), &self.original.to_string_lossy())
    }
}

/// Bytes of the files of a folder.
fn size(folder: &Path, depth: usize) -> io::Result<u64> {
    if depth > DEPTH {
        return Err(too_deep());
    }
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let about = fs::metadata(&path)?;
        total += if about.is_dir() { size(&path, depth + 1)? } else { about.len() };
    }
    Ok(total)
}

fn copy_folder(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth > DEPTH {
        return Err(too_deep());
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if fs::metadata(entry.path())?.is_dir() {
            fs::create_dir(&target)?;
            copy_folder(&entry.path(), &target, depth + 1)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn too_deep() -> io::Error {
    io::Error::other("its folders are too deep")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_every_file_and_speaks_of_the_original() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("unet")).unwrap();
        fs::write(folder.path().join("unet/weights"), "1234").unwrap();
        assert_eq!(size(folder.path(), 0).unwrap(), 4);
        let copied = Copied::if_small(folder.path());
        assert_ne!(copied.path(), folder.path());
        let file = copied.path().join("unet/weights");
        fs::write(folder.path().join("unet/weights"), "").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "1234");
        let error = io::Error::other(format!("{}: damaged", file.display()));
        let expected = format!("{}: damaged", folder.path().join("unet/weights").display());
        assert_eq!(copied.explain(&error), expected);
        let missing = folder.path().join("none");
        assert!(Copied::of(&missing).is_err());
        assert_eq!(Copied::if_small(&missing).path(), missing);
    }
}
