//! Recipes in files, with the changes of the command line.

use std::error::Error;
use std::path::Path;

use anyhow::Context as _;
use trefoil_core::fs;

use crate::hints::hinted;

/// The recipe of a file with changes: `open` reads a file, `parse` a text.
pub(crate) fn recipe<R, E: Error + Send + Sync + 'static>(
    path: &Path,
    changes: &[String],
    open: impl FnOnce(&Path) -> Result<R, E>,
    parse: impl FnOnce(&str) -> Result<R, E>,
) -> anyhow::Result<R> {
    if changes.is_empty() {
        return Ok(open(path)?);
    }
    let text = fs::read_to_string(path)?;
    let mut table = table(path, &text)?;
    for change in changes {
        set(&mut table, change)?;
    }
    parse(&toml::to_string(&table)?).with_context(|| format!("{} with changes", path.display()))
}

/// The table of a file.
pub(crate) fn table(path: &Path, text: &str) -> anyhow::Result<toml::Table> {
    text.parse().with_context(|| format!("{} is not TOML", path.display()))
}

/// Applies `a.b.c=value`; a value that is no TOML is a text.
pub(crate) fn set(table: &mut toml::Table, change: &str) -> anyhow::Result<()> {
    let wrong = |why: &str| {
        let message = format!("`--set {change}`: {why}");
        hinted(message, "write it as TABLE.KEY=VALUE, such as clip.train.batch_size=32")
    };
    let (key, value) = change.split_once('=').ok_or_else(|| wrong("there is no `=`"))?;
    let value = format!("value = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.into()));
    let mut path: Vec<&str> = key.split('.').map(str::trim).collect();
    let last = path.pop().filter(|key| !key.is_empty()).ok_or_else(|| wrong("there is no key"))?;
    let mut at = table;
    for part in path {
        let inner = at.entry(part).or_insert_with(|| toml::Table::new().into());
        at = inner.as_table_mut().ok_or_else(|| wrong(&format!("`{part}` is not a table")))?;
    }
    at.insert(last.into(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_reach_tables_and_keep_their_types() {
        let mut table: toml::Table = "[clip.train]\nbatch_size = 8".parse().unwrap();
        for change in ["clip.train.batch_size=32", "data.split=held-out", "data.background=[0,0,0]"]
        {
            set(&mut table, change).unwrap();
        }
        let expected = "[clip.train]\nbatch_size = 32\n[data]\nsplit = \"held-out\"\n\
                        background = [0, 0, 0]";
        assert_eq!(table, expected.parse().unwrap());
        for bad in ["data", "=3", "clip.train.batch_size.x=1"] {
            assert!(set(&mut table, bad).is_err(), "{bad}");
        }
    }
}
