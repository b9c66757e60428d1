//! Sets of pictures: from files, or drawn by a teacher.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use trefoil_core::Seed;
use trefoil_diffusion::EdmSolverConfig;
use trefoil_eval::{PixelPca, Statistics};
use trefoil_train::data::{DataOptions, LabelledSet, OnProblem};
use trefoil_train::{Progress, StopFlag};
use uni_instruct::edm::{SampleRequest, Teacher};

use super::FidArgs;
use crate::output::Talk;

/// Pictures that a teacher draws unless `--count` says more.
const DRAWN: usize = 1000;

/// What is judged.
pub(super) enum Set {
    /// Pictures in files.
    Files(PathBuf),
    /// What a network draws.
    Teacher(Box<Teacher>),
}

/// How pictures are drawn or read.
pub(super) struct Drawing<'a> {
    pub(super) args: &'a FidArgs,
    pub(super) seed: u64,
    pub(super) side: u32,
    pub(super) device: &'a Device,
    pub(super) talk: Talk,
    pub(super) stop: &'a StopFlag,
}

impl Set {
    pub(super) fn open(path: &Path, device: &Device) -> anyhow::Result<Self> {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let is_network =
            ["pkl", "safetensors"].contains(&extension) || path.join("model.safetensors").is_file();
        if is_network {
            return Ok(Self::Teacher(Box::new(Teacher::open(path, device)?)));
        }
        Ok(Self::Files(path.into()))
    }

    /// Whether the pictures depend on a seed.
    pub(super) fn is_drawn(&self) -> bool {
        matches!(self, Self::Teacher(_))
    }

    /// How pictures are drawn, where they are.
    pub(super) fn solver(&self, steps: usize) -> Option<String> {
        match self {
            Self::Files(_) => None,
            Self::Teacher(teacher) => Some(match teacher.config.one_step {
                Some(_) => "one pass".into(),
                None => format!("Heun, {steps} steps"),
            }),
        }
    }

    /// The side of the pictures, where it is known.
    pub(super) fn resolution(&self) -> Option<u32> {
        match self {
            Self::Teacher(teacher) => Some(teacher.config.network.resolution as u32),
            Self::Files(_) => None,
        }
    }

    /// The side of its first picture.
    pub(super) fn first_side(&self, split: &str) -> anyhow::Result<u32> {
        match self {
            Self::Teacher(teacher) => Ok(teacher.config.network.resolution as u32),
            Self::Files(path) => first_side(path, split),
        }
    }

    /// All bytes of the pictures, `[count, side, side, 3]`; `None` when the user stopped it.
    pub(super) fn pictures(&self, drawing: &Drawing<'_>) -> anyhow::Result<Option<Vec<u8>>> {
        let &Drawing { args, seed, side, device, talk, stop } = drawing;
        let teacher = match self {
            Self::Files(path) => {
                return Ok(Some(load(path, &args.split, side, args.count.map(|n| (n, seed)))?));
            }
            Self::Teacher(teacher) => teacher,
        };
        let mut request = SampleRequest::new(Seed(seed), args.count.unwrap_or(DRAWN));
        request.batch = args.batch;
        request.solver = EdmSolverConfig { steps: args.steps, ..EdmSolverConfig::default() };
        let mut bar: Option<Progress> = None;
        let drawn = teacher.sample(&request, device, &mut |done, total| {
            bar.get_or_insert_with(|| Progress::new(talk.progress(), "passes", 0, total as u64))
                .update(done as u64, "drawing");
            if stop.is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Some(bar) = bar {
            bar.finish();
        }
        if stop.is_requested() {
            return Ok(None);
        }
        let mut pixels = Vec::new();
        for picture in drawn? {
            let same = (picture.width(), picture.height()) == (side, side);
            let filter = trefoil_core::image::Filter::Lanczos3;
            let picture = if same { picture } else { picture.resize(side, side, filter)? };
            pixels.extend_from_slice(picture.pixels());
        }
        Ok(Some(pixels))
    }
}

/// What it is compared with.
pub(super) enum Reference {
    /// Pictures.
    Pictures(Loaded),
    /// Mean and covariance of their features.
    Statistics(Box<Statistics>),
}

/// Pictures of the reference.
pub(super) struct Loaded {
    pub(super) pixels: Vec<u8>,
    pub(super) side: u32,
    /// Filled in when they are known.
    pub(super) features: Vec<f32>,
    /// Axes of the pixels, where those are the features.
    pub(super) axes: Option<PixelPca>,
}

impl Loaded {
    pub(super) fn view(&self) -> trefoil_eval::Result<trefoil_eval::Pictures<'_>> {
        trefoil_eval::Pictures::new(&self.pixels, self.side as usize, self.side as usize)
    }
}

impl Reference {
    pub(super) fn open(path: &Path, args: &FidArgs, side: Option<u32>) -> anyhow::Result<Self> {
        if path.extension().is_some_and(|e| e == "npz") {
            return Ok(Self::Statistics(Box::new(Statistics::read(path)?)));
        }
        let split = args.reference_split.as_ref().unwrap_or(&args.split);
        let side = side.map_or_else(|| first_side(path, split), Ok)?;
        let pixels = load(path, split, side, None)?;
        Ok(Self::Pictures(Loaded { pixels, side, features: Vec::new(), axes: None }))
    }

    /// The side of the pictures, where it is known.
    pub(super) fn side(&self) -> Option<u32> {
        match self {
            Self::Pictures(loaded) => Some(loaded.side),
            Self::Statistics(statistics) => {
                statistics.pixels.as_ref().map(|pixels| pixels.size()[0] as u32)
            }
        }
    }
}

/// Pictures of a source; with a limit, that many, chosen by a seed.
/// The side of the first picture.
fn first_side(path: &Path, split: &str) -> anyhow::Result<u32> {
    let options = DataOptions {
        on_problem: OnProblem::Skip,
        split: Some(split.into()),
        ..DataOptions::new(1)
    };
    Ok(LabelledSet::first_side(&[path.into()], &options)?)
}

fn load(
    path: &Path,
    split: &str,
    side: u32,
    limit: Option<(usize, u64)>,
) -> anyhow::Result<Vec<u8>> {
    let options = DataOptions {
        on_problem: OnProblem::Skip,
        split: Some(split.into()),
        ..DataOptions::new(side)
    };
    let set = LabelledSet::load(&[path.into()], &options)?;
    let count = set.pictures.len();
    let mut order: Vec<u32> = (0..count as u32).collect();
    if let Some((limit, seed)) = limit.filter(|(limit, _)| *limit < count) {
        order = Seed(seed).stream("subset", 0).permutation(count);
        order.truncate(limit);
    }
    let pictures = order.into_iter().map(|place| &set.pictures[place as usize].picture);
    Ok(pictures.flat_map(|picture| picture.pixels().iter().copied()).collect())
}
