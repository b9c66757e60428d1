//! Files: every error names its path, and nothing is ever half written.

use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Reads a whole file.
///
/// # Errors
/// [`Error::Read`] with the path.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.into(), source })
}

/// Reads a whole UTF-8 file.
///
/// # Errors
/// [`Error::Read`] with the path.
pub fn read_to_string(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.into(), source })
}

/// Reads a JSON file.
///
/// # Errors
/// [`Error::Read`], or [`Error::Format`] with line and field.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&read_to_string(path)?).map_err(|e| Error::format(path, e.to_string()))
}

/// Reads a JSON file that Python may have written: its bare words `NaN`, `Infinity` and `-Infinity`, which JSON does
/// not have, become `null`.
///
/// # Errors
/// As [`read_json`].
pub fn read_python_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = strict_json(&read_to_string(path)?);
    serde_json::from_str(&text).map_err(|e| Error::format(path, e.to_string()))
}

fn strict_json(text: &str) -> String {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let (mut quoted, mut escaped) = (false, false);
    while let Some(c) = rest.chars().next() {
        if !quoted && let Some(word) = WORDS.iter().find(|word| rest.starts_with(**word)) {
            out.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// Writes a value as indented JSON, atomically.
///
/// # Errors
/// [`Error::Write`] with the path.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write_atomic(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })
}

/// Creates a folder and its parents.
///
/// # Errors
/// [`Error::Write`] with the path.
pub fn create_dir_all(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|source| Error::Write { path: path.into(), source })
}

/// Writes a file under a temporary name in the same folder, syncs it and renames it into place, so
/// that a reader sees the old file or the new one and a full disk leaves the old one.
///
/// # Errors
/// [`Error::Write`] with the final path.
pub fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let fail = |source| Error::Write { path: path.into(), source };
    let parent = parent_of(path);
    let file = tempfile::Builder::new()
        .prefix(".trefoil-")
        .suffix(".tmp")
        .tempfile_in(parent)
        .map_err(fail)?;
    let mut out = BufWriter::new(file);
    write(&mut out).map_err(fail)?;
    let file = out.into_inner().map_err(|e| fail(e.into_error()))?;
    file.as_file().sync_all().map_err(fail)?;
    set_default_permissions(file.as_file()).map_err(fail)?;
    file.persist(path).map_err(|e| fail(e.error))?;
    Ok(())
}

/// Whether a folder can be made at a path without losing anything: nothing is there, or an empty folder.
pub fn is_free(path: &Path) -> bool {
    match std::fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => !path.exists(),
    }
}

/// Fills a new folder beside `out` and puts it into place, so that a reader sees all of it or what was there before.
///
/// # Errors
/// Those of `fill`; [`Error::Write`] with the final path.
pub fn write_folder<T, E: From<Error>>(
    out: &Path,
    fill: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let fail = |source| Error::Write { path: out.into(), source };
    let parent = parent_of(out);
    create_dir_all(parent)?;
    let work = tempfile::Builder::new().prefix(".trefoil-").tempdir_in(parent).map_err(fail)?;
    let new = work.path().join("new");
    create_dir_all(&new)?;
    let filled = fill(&new)?;
    // The old folder leaves with the temporary one, but only after the new one is complete.
    if out.exists() {
        std::fs::rename(out, work.path().join("old")).map_err(fail)?;
    }
    std::fs::rename(&new, out).map_err(fail)?;
    Ok(filled)
}

/// The folder that a path is in.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Temporary files are private by default; what we leave behind should be an ordinary file.
#[cfg(unix)]
fn set_default_permissions(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_default_permissions(_: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_words_of_python_become_null_outside_of_strings() {
        let text = r#"{"a": -Infinity, "NaN\" Infinity": [NaN, "NaN"], "é": Infinity, "b\\": NaN}"#;
        let expected = r#"{"a": null, "NaN\" Infinity": [null, "NaN"], "é": null, "b\\": null}"#;
        assert_eq!(strict_json(text), expected);
    }

    #[test]
    fn nothing_and_an_empty_folder_are_free() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_free(dir.path()) && is_free(&dir.path().join("absent")));
        let file = dir.path().join("a.txt");
        std::fs::write(&file, "a").unwrap();
        assert!(!is_free(dir.path()) && !is_free(&file));
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        write_atomic(&path, |out| out.write_all(b"old")).unwrap();
        let error = write_atomic(&path, |out| {
            out.write_all(b"new")?;
            Err(std::io::Error::other("the disk is full"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("a.txt"), "{error}");
        assert_eq!(read_to_string(&path).unwrap(), "old");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
