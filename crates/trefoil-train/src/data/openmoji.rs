//! Turns an OpenMoji archive into an image folder.

use std::collections::HashMap;
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;
use trefoil_core::image::Filter;
use trefoil_core::{Error as CoreError, Picture, Seed, png};

use super::openmoji_captions::Description;
use super::openmoji_split::{Candidate, hold_out};
use super::openmoji_write::{check_target, write};
use super::{Problems, Reason, archive};
use crate::error::{Error, Result};

/// What happens when the target folder is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// A folder with something in it is an error.
    #[default]
    Refuse,
    /// A folder with a `metadata.jsonl` is replaced; any other with something in it is an error.
    Replace,
}

/// Settings of [`convert_openmoji`].
#[derive(Debug, Clone, PartialEq)]
pub struct OpenMojiOptions {
    /// What transparent pixels are laid over.
    pub background: [u8; 3],
    /// Side in pixels; `None` keeps the size of the archive.
    pub size: Option<u32>,
    /// Fraction of all pictures that is held out.
    pub holdout: f64,
    /// Decides which pictures are held out, and which are taken under a limit.
    pub seed: Seed,
    /// Takes at most this many pictures.
    pub limit: Option<usize>,
    /// What happens when the target folder is there already.
    pub existing: Existing,
}

impl Default for OpenMojiOptions {
    fn default() -> Self {
        Self {
            background: [255; 3],
            size: None,
            holdout: 0.05,
            seed: Seed(0),
            limit: None,
            existing: Existing::Refuse,
        }
    }
}

/// What [`convert_openmoji`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Pictures with `split` `train`.
    pub train: usize,
    /// Pictures with `split` `held-out`.
    pub held_out: usize,
    /// Entries that were left out.
    pub problems: Problems,
    /// Hexcodes of pictures with equal pixels, group by group; none of them is held out.
    pub identical: Vec<Vec<String>>,
}

/// An entry of `openmoji.json`; other fields are ignored.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Entry {
    pub(super) hexcode: String,
    pub(super) group: String,
    pub(super) subgroups: String,
    annotation: String,
    tags: String,
    openmoji_tags: String,
    /// Empty, a number, or numbers separated by commas.
    skintone: serde_json::Value,
    skintone_combination: String,
    skintone_base_hexcode: String,
}

impl Entry {
    /// The tone of a picture that shows exactly one.
    fn tone(&self) -> Option<u8> {
        (self.skintone_combination == "single").then(|| self.skintone.as_u64())?.map(|t| t as u8)
    }
}

/// A picture that is ready to be written.
pub(super) struct Prepared {
    pub(super) entry: Entry,
    pub(super) captions: Vec<String>,
    pub(super) png: Vec<u8>,
    pixels: u64,
}

/// Reads an OpenMoji archive (`openmoji.json` and PNG files named by hexcode, at any depth) and writes
/// `images/HEXCODE.png`, `metadata.jsonl`, `README.md` and `LICENSE.txt` to `out`, all or nothing.
///
/// # Errors
/// [`CoreError::Config`], [`CoreError::Read`] or [`CoreError::Format`] for the archive,
/// [`Error::NotEmpty`] for the folder, [`Error::NoSamples`].
pub fn convert_openmoji(archive: &Path, out: &Path, options: &OpenMojiOptions) -> Result<Summary> {
    if !(0.0..0.5).contains(&options.holdout) {
        let reason = format!("must be in [0, 0.5), found {}", options.holdout);
        return Err(CoreError::config("holdout", reason).into());
    }
    check_target(out, options.existing)?;
    let Contents { entries, pictures, license } = read(archive)?;
    let mut problems = Problems::default();
    let prepared = prepare(archive, select(entries, options), &pictures, options, &mut problems);
    if prepared.is_empty() {
        return Err(Error::NoSamples { path: archive.into(), problems });
    }
    let candidates: Vec<Candidate> = prepared
        .iter()
        .map(|p| Candidate {
            base: p.entry.skintone_base_hexcode.clone(),
            tone: p.entry.tone(),
            caption: p.captions[0].clone(),
            pixels: p.pixels,
        })
        .collect();
    let held_out = hold_out(&candidates, options.holdout, options.seed);
    write(out, &prepared, &held_out, license.as_deref())?;
    let count = held_out.iter().filter(|h| **h).count();
    let identical = identical(&prepared);
    Ok(Summary { train: prepared.len() - count, held_out: count, problems, identical })
}

struct Contents {
    entries: Vec<Entry>,
    pictures: HashMap<String, Vec<u8>>,
    license: Option<String>,
}

fn read(path: &Path) -> Result<Contents> {
    let (mut catalogue, mut license, mut pictures) = (None, None, HashMap::new());
    let file_name = |name: &str| name.rsplit('/').next().unwrap_or_default().to_string();
    let wanted = |name: &str| {
        let name = file_name(name);
        name == "openmoji.json" || name == "LICENSE.txt" || name.strip_suffix(".png").is_some()
    };
    archive::for_each(path, wanted, |name, bytes| {
        let name = file_name(&name);
        if name == "openmoji.json" {
            catalogue = Some(bytes);
        } else if name == "LICENSE.txt" {
            license = String::from_utf8(bytes).ok();
        } else if let Some(hexcode) = name.strip_suffix(".png") {
            pictures.insert(hexcode.to_string(), bytes);
        }
    })
    .map_err(|source| CoreError::Read { path: path.into(), source })?;
    let Some(catalogue) = catalogue else {
        let reason = "not an OpenMoji archive: it has no openmoji.json";
        return Err(CoreError::format(path, reason).into());
    };
    let entries = serde_json::from_slice(&catalogue)
        .map_err(|e| CoreError::format(path, format!("openmoji.json: {e}")))?;
    Ok(Contents { entries, pictures, license })
}

/// Entries with the tags that captions use, at most as many as the limit, in the catalogue's order.
fn select(mut entries: Vec<Entry>, options: &OpenMojiOptions) -> Vec<Entry> {
    // Only the base of a family of skin tones has tags.
    let tags: HashMap<String, [String; 2]> = entries
        .iter()
        .map(|e| (e.hexcode.clone(), [e.tags.clone(), e.openmoji_tags.clone()]))
        .collect();
    for entry in &mut entries {
        if entry.tags.is_empty()
            && entry.openmoji_tags.is_empty()
            && let Some(base) = tags.get(&entry.skintone_base_hexcode)
        {
            [entry.tags, entry.openmoji_tags] = base.clone();
        }
    }
    if let Some(limit) = options.limit
        && limit < entries.len()
    {
        let mut chosen = options.seed.stream("openmoji limit", 0).permutation(entries.len());
        chosen.truncate(limit);
        chosen.sort_unstable();
        entries = chosen.into_iter().map(|i| entries[i as usize].clone()).collect();
    }
    entries
}

fn prepare(
    archive: &Path,
    entries: Vec<Entry>,
    pictures: &HashMap<String, Vec<u8>>,
    options: &OpenMojiOptions,
    problems: &mut Problems,
) -> Vec<Prepared> {
    let mut seen = std::collections::HashSet::new();
    let mut usable = Vec::new();
    for entry in entries {
        if seen.insert(entry.hexcode.clone()) {
            usable.push(entry);
        } else {
            problems.push(archive, entry.hexcode, Reason::Duplicate);
        }
    }
    let one = |entry: Entry| -> Result<Prepared, Box<(Entry, Reason)>> {
        let description = Description {
            annotation: &entry.annotation,
            tags: vec![&entry.tags, &entry.openmoji_tags],
            group: &entry.group,
            subgroup: &entry.subgroups,
        };
        let captions = description.captions();
        if captions.is_empty() {
            return Err(Box::new((entry, Reason::EmptyCaption)));
        }
        let Some(bytes) = pictures.get(&entry.hexcode) else {
            return Err(Box::new((entry, Reason::Absent)));
        };
        let picture = Picture::decode_over(bytes, &entry.hexcode, options.background)
            .and_then(|p| match options.size {
                Some(side) => p.center_crop_square().resize(side, side, Filter::Lanczos3),
                None => Ok(p),
            })
            .and_then(|p| Ok((png::encode(&p, &[])?, hash(p.pixels()))));
        match picture {
            Ok((png, pixels)) => Ok(Prepared { entry, captions, png, pixels }),
            Err(error) => Err(Box::new((entry, Reason::BrokenPicture(error.to_string())))),
        }
    };
    let results: Vec<_> = usable.into_par_iter().map(one).collect();
    let mut prepared = Vec::with_capacity(results.len());
    for result in results {
        match result {
            Ok(p) => prepared.push(p),
            Err(problem) => {
                let (entry, reason) = *problem;
                problems.push(archive, entry.hexcode, reason);
            }
        }
    }
    prepared
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

fn identical(prepared: &[Prepared]) -> Vec<Vec<String>> {
    let mut groups: std::collections::BTreeMap<u64, Vec<String>> =
        std::collections::BTreeMap::new();
    for p in prepared {
        groups.entry(p.pixels).or_default().push(p.entry.hexcode.clone());
    }
    let mut groups: Vec<_> = groups.into_values().filter(|group| group.len() > 1).collect();
    groups.sort();
    groups
}
