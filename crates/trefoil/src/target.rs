//! Where pictures go: one file, numbered files, a folder, or standard output.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use trefoil_core::{Error as CoreError, fs};

use crate::hints::hinted;
use crate::output;

/// Where the pictures of one command go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// `-`.
    Stdout,
    /// One picture.
    File(PathBuf),
    /// `name-000.png`, `name-001.png`, ... beside each other.
    Numbered(PathBuf),
    /// `PREFIX-SEED-000.png`, ... in a folder.
    Folder(PathBuf),
}

impl Target {
    /// Reads `--output` for a number of pictures.
    pub(crate) fn new(output: &Path, count: usize) -> anyhow::Result<Self> {
        if output == Path::new("-") {
            if count > 1 {
                let message = format!("{count} pictures do not fit into standard output");
                return Err(hinted(message, "write them into a folder: `--output pictures/`"));
            }
            return Ok(Self::Stdout);
        }
        let text = output.to_string_lossy();
        let names_a_folder = text.ends_with('/') || text.ends_with(std::path::MAIN_SEPARATOR);
        if output.is_dir() || names_a_folder || (count > 1 && output.extension().is_none()) {
            return Ok(Self::Folder(output.into()));
        }
        if let Some(extension) = output.extension()
            && !extension.eq_ignore_ascii_case("png")
        {
            let message = format!("{}: pictures are written as PNG only", output.display());
            return Err(hinted(message, "let the name end in .png"));
        }
        Ok(if count > 1 { Self::Numbered(output.into()) } else { Self::File(output.into()) })
    }

    /// Makes sure, before the work begins, that its result can be written.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        let folder = match self {
            Self::Stdout => return Ok(()),
            Self::File(path) if is_special(path) => return Ok(()),
            Self::File(path) | Self::Numbered(path) => match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            },
            Self::Folder(folder) => folder,
        };
        fs::create_dir_all(folder)?;
        let probe = folder.join(format!(".trefoil-{}.tmp", std::process::id()));
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&probe)
            .and_then(|_| std::fs::remove_file(&probe))
            .map_err(|source| CoreError::Write { path: folder.into(), source }.into())
    }

    /// Name of a picture; `None` for standard output.
    pub(crate) fn path(&self, prefix: &str, seed: u64, index: usize) -> Option<PathBuf> {
        match self {
            Self::Stdout => None,
            Self::File(path) => Some(path.clone()),
            Self::Numbered(path) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                Some(path.with_file_name(format!("{stem}-{index:03}.png")))
            }
            Self::Folder(folder) => Some(folder.join(format!("{prefix}-{seed}-{index:03}.png"))),
        }
    }
}

/// Writes a finished file, or to standard output when there is no path.
pub(crate) fn write(path: Option<&Path>, bytes: &[u8]) -> anyhow::Result<()> {
    let Some(path) = path else { return output::print_bytes(bytes) };
    if is_special(path) {
        let fail = |source| CoreError::Write { path: path.into(), source };
        let mut file = OpenOptions::new().write(true).open(path).map_err(fail)?;
        file.write_all(bytes).map_err(fail)?;
        return Ok(());
    }
    Ok(fs::write_atomic(path, |out| out.write_all(bytes))?)
}

/// Whether something other than a file is there, such as a pipe or a device: nothing to be replaced.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| !m.is_file() && !m.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_output_decides_the_names() {
        let target = |output: &str, count| Target::new(Path::new(output), count).unwrap();
        let name = |target: Target| target.path("sample", 7, 2).unwrap().display().to_string();
        assert_eq!(target("-", 1), Target::Stdout);
        assert_eq!(name(target("cat.png", 1)), "cat.png");
        assert_eq!(name(target("a/cat.png", 3)), "a/cat-002.png");
        assert_eq!(name(target("new", 3)), "new/sample-7-002.png");
        assert_eq!(name(target("new/", 1)), "new/sample-7-002.png");
        assert_eq!(name(target(".", 1)), "./sample-7-002.png");
        for (output, count) in [("-", 2), ("cat.jpg", 1), ("cat.jpg", 2)] {
            assert!(Target::new(Path::new(output), count).is_err(), "{output}");
        }
    }
}
