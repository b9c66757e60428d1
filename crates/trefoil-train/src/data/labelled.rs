//! Pictures with a class each, or with none: what class-conditional and unconditional models learn from.
//!
//! | source | class |
//! |---|---|
//! | folder of pictures | name of the first folder below it, none for pictures in it |
//! | image folder with `metadata.jsonl` | field `label` of its lines, a name or a number |
//! | tar archive | `KEY.cls` or field `label` of `KEY.json` (WebDataset), else the folder that the picture is in |
//! | CIFAR-10 binary, as files `*.bin` in a folder or an archive | its first byte |
//!
//! Folders `train`, `test`, `val` and so on above the classes are splits. Classes are sorted by name, those
//! that are numbers by their value.

mod cifar;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use rayon::prelude::*;
use trefoil_core::{Error as CoreError, Picture};

use super::problems::{OnProblem, Problems, Reason};
use super::{DataOptions, expand};
use crate::error::{Error, Result};

/// A picture and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledPicture {
    /// Name in its source.
    pub key: String,
    /// Square, of the training resolution.
    pub picture: Picture,
    /// Place in [`LabelledSet::classes`].
    pub class: Option<usize>,
}

/// Pictures in memory, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledSet {
    /// The usable pictures.
    pub pictures: Vec<LabelledPicture>,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// What was left out, and why.
    pub problems: Problems,
}

/// A picture before it is decoded.
struct Found {
    /// The archive, or the file itself.
    path: PathBuf,
    key: String,
    source: Source,
    class: Option<String>,
}

/// Where a picture is.
enum Source {
    File,
    Encoded(Vec<u8>),
    Decoded(Picture),
}

impl LabelledSet {
    /// Reads pictures from all sources; captions are not needed and not read.
    ///
    /// # Errors
    /// [`Error::Problems`] with [`OnProblem::Stop`]; [`Error::NoSamples`]; [`CoreError::Read`] and
    /// [`CoreError::Format`] when a path is no source of pictures at all.
    pub fn load(sources: &[PathBuf], options: &DataOptions) -> Result<Self> {
        let (found, mut problems) = find(sources, options)?;
        let names: BTreeSet<&String> = found.iter().filter_map(|f| f.class.as_ref()).collect();
        let classes = sorted(names.into_iter().cloned().collect());
        let place: BTreeMap<&String, usize> = classes.iter().zip(0..).collect();
        let decoded: Vec<(Found, Result<Picture, Reason>)> = found
            .into_par_iter()
            .map(|mut found| {
                let picture =
                    decode(&mut found, options).and_then(|picture| square(picture, options));
                (found, picture)
            })
            .collect();
        let mut pictures: Vec<LabelledPicture> = Vec::with_capacity(decoded.len());
        for (Found { path, key, class, .. }, picture) in decoded {
            let class = class.and_then(|name| place.get(&name).copied());
            match picture {
                Ok(_) if pictures.last().is_some_and(|last| last.key == key) => {
                    problems.push(path, key, Reason::Duplicate);
                }
                Ok(picture) => pictures.push(LabelledPicture { key, picture, class }),
                Err(reason) => problems.push(path, key, reason),
            }
        }
        problems.sort();
        if options.on_problem == OnProblem::Stop && !problems.is_empty() {
            return Err(Error::Problems { problems });
        }
        if pictures.is_empty() {
            let path = sources.first().cloned().unwrap_or_default();
            return Err(Error::NoSamples { path, problems });
        }
        if !problems.is_empty() {
            tracing::warn!("{problems}");
        }
        Ok(Self { pictures, classes, problems })
    }

    /// The side of the square that the first usable picture is cut to, in pixels.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn first_side(sources: &[PathBuf], options: &DataOptions) -> Result<u32> {
        let (found, mut problems) = find(sources, options)?;
        for mut found in found {
            match decode(&mut found, options) {
                Ok(picture) => return Ok(picture.width().min(picture.height())),
                Err(reason) => problems.push(found.path, found.key, reason),
            }
        }
        let path = sources.first().cloned().unwrap_or_default();
        Err(Error::NoSamples { path, problems })
    }

    /// A checksum of all pixels and classes.
    pub fn checksum(&self) -> u32 {
        self.pictures.iter().fold(0, |crc, LabelledPicture { picture, class, .. }| {
            let class = class.map_or(u64::MAX, |class| class as u64).to_le_bytes();
            crc32c::crc32c_append(crc32c::crc32c_append(crc, picture.pixels()), &class)
        })
    }
}

/// All pictures of the sources, sorted by key, and what is wrong with others.
fn find(sources: &[PathBuf], options: &DataOptions) -> Result<(Vec<Found>, Problems)> {
    let mut problems = Problems::default();
    let mut found = Vec::new();
    for source in sources {
        for path in expand(source)? {
            found.extend(sources::read(&path, options, &mut problems)?);
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok((found, problems))
}

/// Names in order; when all of them are numbers, in the order of their values.
fn sorted(mut names: Vec<String>) -> Vec<String> {
    if names.iter().all(|name| name.parse::<u64>().is_ok()) {
        names.sort_by_key(|name| name.parse::<u64>().unwrap_or_default());
    } else {
        names.sort();
    }
    names
}

/// The picture as it is.
fn decode(found: &mut Found, options: &DataOptions) -> Result<Picture, Reason> {
    let of_bytes = |bytes: &[u8]| Picture::decode_over(bytes, &found.key, options.background);
    let picture = match std::mem::replace(&mut found.source, Source::File) {
        Source::Decoded(picture) => Ok(picture),
        Source::Encoded(bytes) => of_bytes(&bytes),
        Source::File => {
            let bytes = std::fs::read(&found.path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => Reason::Absent,
                _ => Reason::BrokenPicture(e.to_string()),
            })?;
            of_bytes(&bytes)
        }
    };
    picture.map_err(broken)
}

/// The picture at the training resolution.
fn square(picture: Picture, options: &DataOptions) -> Result<Picture, Reason> {
    let side = options.resolution;
    if (picture.width(), picture.height()) == (side, side) {
        return Ok(picture);
    }
    let filter = trefoil_core::image::Filter::Lanczos3;
    picture.center_crop_square().resize(side, side, filter).map_err(broken)
}

fn broken(error: CoreError) -> Reason {
    match error {
        CoreError::Image { reason, .. } => Reason::BrokenPicture(reason),
        other => Reason::BrokenPicture(other.to_string()),
    }
}
