//! Pictures with captions: an image folder with `metadata.jsonl`, or WebDataset shards; and pictures with
//! classes ([`LabelledSet`]), from more kinds of sources.
//!
//! Nothing is unpacked to disk. Pictures are cropped to their central square, brought to the training
//! resolution and kept as bytes; the order is that of the keys, whatever the number of threads.

mod archive;
mod captions;
mod folder;
mod labelled;
mod openmoji;
mod openmoji_captions;
mod openmoji_split;
mod openmoji_write;
mod paths;
mod problems;
mod webdataset;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use trefoil_core::image::Filter;
use trefoil_core::{Error as CoreError, Picture};

use crate::error::{Error, Result};

pub use labelled::{LabelledPicture, LabelledSet};
pub use openmoji::{Existing, OpenMojiOptions, Summary, convert_openmoji};
pub use paths::expand;
pub use problems::{OnProblem, Problem, Problems, Reason};

/// A picture and what is said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Name in the dataset: the file name, or the key of the shard entry.
    pub key: String,
    /// Square, of the training resolution.
    pub picture: Picture,
    /// At least one.
    pub captions: Vec<String>,
}

/// How a dataset is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataOptions {
    /// Side of the pictures in pixels.
    pub resolution: u32,
    /// What transparent pixels are laid over.
    pub background: [u8; 3],
    /// What a broken sample leads to.
    pub on_problem: OnProblem,
    /// Keeps the rows of this `split`; rows without a split always stay. `None` keeps all.
    pub split: Option<String>,
}

impl DataOptions {
    /// Pictures of a resolution over white, bad samples skipped, split `train`.
    pub fn new(resolution: u32) -> Self {
        Self {
            resolution,
            background: [255; 3],
            on_problem: OnProblem::Skip,
            split: Some("train".into()),
        }
    }
}

/// A dataset in memory, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// The usable samples.
    pub samples: Vec<Sample>,
    /// What was skipped, and why.
    pub problems: Problems,
}

/// A sample before its picture is decoded.
struct Raw {
    /// The archive, or the picture file.
    path: PathBuf,
    key: String,
    picture: Source,
    captions: Vec<String>,
}

/// Where the bytes of a picture are.
enum Source {
    Memory(Vec<u8>),
    File,
}

impl Dataset {
    /// Reads one dataset from image folders, shard files, folders of shards, and patterns of them such as
    /// `shards/{000..007}.tar` or `shards/*.tar.gz`.
    ///
    /// # Errors
    /// [`Error::Problems`] with [`OnProblem::Stop`]; [`Error::NoSamples`]; [`CoreError::Read`] and
    /// [`CoreError::Format`] when a path is no dataset at all.
    pub fn load(sources: &[PathBuf], options: &DataOptions) -> Result<Self> {
        let mut problems = Problems::default();
        let mut samples = Vec::new();
        for source in sources {
            for path in expand(source)? {
                if let Some(root) = folder::root(&path, options.split.as_deref()) {
                    let raw = folder::read(&root, options, &mut problems)?;
                    samples.extend(decode(raw, options, &mut problems));
                } else {
                    for shard in shards(&path)? {
                        let raw = webdataset::read(&shard, options, &mut problems);
                        samples.extend(decode(raw, options, &mut problems));
                    }
                }
            }
        }
        // The sort is stable, so of two samples with one key the one that was read first stays.
        samples.sort_by(|(_, a), (_, b)| a.key.cmp(&b.key));
        let mut unique: Vec<Sample> = Vec::with_capacity(samples.len());
        for (path, sample) in samples {
            if unique.last().is_some_and(|last| last.key == sample.key) {
                problems.push(path, sample.key, Reason::Duplicate);
            } else {
                unique.push(sample);
            }
        }
        problems.sort();
        if options.on_problem == OnProblem::Stop && !problems.is_empty() {
            return Err(Error::Problems { problems });
        }
        if unique.is_empty() {
            let path = sources.first().cloned().unwrap_or_default();
            return Err(Error::NoSamples { path, problems });
        }
        if !problems.is_empty() {
            tracing::warn!("{problems}");
        }
        Ok(Self { samples: unique, problems })
    }
}

/// The shards behind a path that is not an image folder.
fn shards(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() && archive::is_archive(path) {
        return Ok(vec![path.into()]);
    }
    let mut shards = Vec::new();
    if path.is_dir() {
        let fail = |source| CoreError::Read { path: path.into(), source };
        for entry in std::fs::read_dir(path).map_err(fail)? {
            let entry = entry.map_err(fail)?.path();
            if entry.is_file() && archive::is_archive(&entry) {
                shards.push(entry);
            }
        }
    }
    if shards.is_empty() {
        let reason = "not a dataset: expected a folder with metadata.jsonl, or .tar, .tar.gz, .tgz \
                      or .tar.zst files";
        return Err(CoreError::format(path, reason).into());
    }
    shards.sort();
    Ok(shards)
}

/// Decodes in parallel, in order; failures go to the problems.
fn decode(raw: Vec<Raw>, options: &DataOptions, problems: &mut Problems) -> Vec<(PathBuf, Sample)> {
    let decoded: Vec<_> = raw
        .into_par_iter()
        .map(|raw| {
            let picture = picture(&raw, options);
            (raw, picture)
        })
        .collect();
    let mut samples = Vec::with_capacity(decoded.len());
    for (Raw { path, key, captions, .. }, picture) in decoded {
        match picture {
            Ok(picture) => samples.push((path, Sample { key, picture, captions })),
            Err(reason) => problems.push(path, key, reason),
        }
    }
    samples
}

fn picture(raw: &Raw, options: &DataOptions) -> Result<Picture, Reason> {
    let read;
    let bytes = match &raw.picture {
        Source::Memory(bytes) => bytes,
        Source::File => {
            read = std::fs::read(&raw.path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => Reason::Absent,
                _ => Reason::BrokenPicture(e.to_string()),
            })?;
            &read
        }
    };
    let broken = |e: CoreError| match e {
        CoreError::Image { reason, .. } => Reason::BrokenPicture(reason),
        other => Reason::BrokenPicture(other.to_string()),
    };
    let side = options.resolution;
    Picture::decode_over(bytes, &raw.key, options.background)
        .and_then(|picture| picture.center_crop_square().resize(side, side, Filter::Lanczos3))
        .map_err(broken)
}
