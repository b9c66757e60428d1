//! The folder that the conversion of OpenMoji leaves, written all or nothing.

use std::path::Path;

use rayon::prelude::*;
use trefoil_core::{Error as CoreError, fs};

use super::openmoji::{Existing, Prepared};
use crate::error::{Error, Result};

const README: &str = "\
# OpenMoji pictures with captions

Pictures: [OpenMoji](https://openmoji.org/), the open-source emoji and icon project, designed at HfG
Schwaebisch Gmuend. License: [CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/), text in
`LICENSE.txt`. Changes: transparent pixels were laid over a background colour, pictures may have been resized,
and captions were made from the annotations, tags and groups of the OpenMoji catalogue.

`metadata.jsonl` has one line per picture: `file_name`, `text` (a list of captions), `hexcode`, `group`,
`subgroup` and `split` (`train` or `held-out`). A held-out picture shows a motif and a skin tone that both occur in
`train`, but not together.
";

const LICENSE: &str = "\
OpenMoji pictures by the OpenMoji project (https://openmoji.org/),
license CC BY-SA 4.0: https://creativecommons.org/licenses/by-sa/4.0/
";

/// Whether the target may be written.
pub(super) fn check_target(out: &Path, existing: Existing) -> Result<()> {
    let empty = match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
        Err(source) => return Err(CoreError::Read { path: out.into(), source }.into()),
    };
    let ours = existing == Existing::Replace && out.join("metadata.jsonl").is_file();
    if empty || ours { Ok(()) } else { Err(Error::NotEmpty { path: out.into() }) }
}

/// Writes everything, all or nothing.
pub(super) fn write(
    out: &Path,
    prepared: &[Prepared],
    held_out: &[bool],
    license: Option<&str>,
) -> Result<()> {
    let license = license.map_or_else(|| LICENSE.to_string(), |text| format!("{LICENSE}\n{text}"));
    let fail = |source| CoreError::Write { path: out.into(), source };
    fs::write_folder(out, |new| {
        fs::create_dir_all(&new.join("images"))?;
        prepared.par_iter().try_for_each(|p| {
            std::fs::write(new.join(format!("images/{}.png", p.entry.hexcode)), &p.png)
                .map_err(fail)
        })?;
        let mut lines = String::new();
        for (p, held_out) in prepared.iter().zip(held_out) {
            let row = serde_json::json!({
                "file_name": format!("images/{}.png", p.entry.hexcode),
                "text": p.captions,
                "hexcode": p.entry.hexcode,
                "group": p.entry.group,
                "subgroup": p.entry.subgroups,
                "split": if *held_out { "held-out" } else { "train" },
            });
            lines.push_str(&row.to_string());
            lines.push('\n');
        }
        for (name, text) in
            [("metadata.jsonl", &*lines), ("README.md", README), ("LICENSE.txt", &*license)]
        {
            fs::write_atomic(&new.join(name), |file| file.write_all(text.as_bytes()))?;
        }
        Ok(())
    })
}
