//! What is remembered of a result, read from files that the user names.

use std::path::Path;

use trefoil_core::fs;

pub(crate) use unidiffuser::record::{PARAMETERS, Record, TREFOIL};

use crate::hints::hinted;

/// The record of a PNG file that Trefoil wrote.
pub(crate) fn read(path: &Path) -> anyhow::Result<Record> {
    let name = path.display().to_string();
    Record::of_png(&fs::read(path)?, &name)?.ok_or_else(|| {
        let message = format!("{name} carries no settings of Trefoil");
        hinted(message, "`--from` needs a PNG file that trefoil wrote, unchanged")
    })
}
