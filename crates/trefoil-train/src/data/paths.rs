//! Lists of files from patterns, for shells and configuration files that do not expand them.

use std::path::{Path, PathBuf};

use trefoil_core::Error as CoreError;

use crate::error::Result;

/// The paths behind a pattern: `{000..012}` counts, with leading zeros, and `*` in the last component
/// stands for any characters. A path that exists is itself.
///
/// # Errors
/// [`CoreError::Read`] when the folder of a `*` cannot be listed, [`CoreError::Format`] when nothing fits.
pub fn expand(pattern: &Path) -> Result<Vec<PathBuf>> {
    if pattern.exists() {
        return Ok(vec![pattern.into()]);
    }
    let text = pattern.to_string_lossy();
    let mut paths = Vec::new();
    for path in count(&text) {
        let path = PathBuf::from(path);
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_string();
        if !name.contains('*') {
            paths.push(path);
            continue;
        }
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let fail = |source| CoreError::Read { path: folder.into(), source };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            if fits(&name, &entry.file_name().to_string_lossy()) {
                found.push(entry.path());
            }
        }
        found.sort();
        paths.extend(found);
    }
    if let Some(absent) = paths.iter().find(|path| !path.exists()) {
        return Err(CoreError::format(absent, "no such file or folder").into());
    }
    if paths.is_empty() {
        return Err(CoreError::format(pattern, "no file has a name of this form").into());
    }
    Ok(paths)
}

/// Replaces each `{first..last}` by its numbers.
fn count(pattern: &str) -> Vec<String> {
    let range = || {
        let open = pattern.find('{')?;
        let close = open + pattern[open..].find('}')?;
        let (first, last) = pattern[open + 1..close].split_once("..")?;
        let numbers = first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?;
        Some((&pattern[..open], numbers, first.len(), &pattern[close + 1..]))
    };
    let Some((before, numbers, width, after)) = range() else {
        return vec![pattern.into()];
    };
    numbers
        .flat_map(|n| {
            count(after).into_iter().map(move |after| format!("{before}{n:0width$}{after}"))
        })
        .collect()
}

/// Whether a name has the form of a pattern with `*`.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_with_leading_zeros() {
        assert_eq!(count("a/{008..010}.tar"), ["a/008.tar", "a/009.tar", "a/010.tar"]);
        assert_eq!(count("{1..2}-{0..1}"), ["1-0", "1-1", "2-0", "2-1"]);
        assert_eq!(count("{a}"), ["{a}"]);
    }

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, name, expected) in [
            ("*.tar", "a.tar", true),
            ("*.tar", "a.tar.gz", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXYc", false),
            ("a*a", "a", false),
            ("a", "a", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
