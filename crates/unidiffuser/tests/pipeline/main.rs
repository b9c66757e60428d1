//! Sampling: parity with the authors' samplers, and what a request promises.

#[path = "../support/mod.rs"]
mod support;

mod edits;
mod fast;
mod parity;
mod requests;
mod traps;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use burn::tensor::{Device, TensorData};
use trefoil_core::Picture;
use trefoil_core::weights::WeightFile;
use trefoil_diffusion::SolverConfig;
use unidiffuser::mode::Mode;
use unidiffuser::model::{Codes, ImageCode, UniDiffuser};
use unidiffuser::pipeline::{Progress, Request};

use support::{fixture, tensor};

fn model() -> UniDiffuser {
    UniDiffuser::load(&fixture("hf-v1"), &Device::flex()).unwrap()
}

/// Eight evaluations, as the recorded runs.
fn request(mode: Mode) -> Request {
    Request { solver: SolverConfig { steps: 8, ..SolverConfig::default() }, ..Request::new(mode) }
}

fn picture(shift: u32) -> Picture {
    let pixels = (0..40u32 * 36 * 3).map(|i| ((i * 37 + shift * i * i) % 251) as u8).collect();
    Picture::new(40, 36, pixels).unwrap()
}

fn keep_going(_: &Progress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn recorded_image(file: &WeightFile, prefix: &str) -> Option<ImageCode> {
    file.shape(&format!("{prefix}.z")).unwrap()?;
    let z = tensor(file, &format!("{prefix}.z"));
    Some(ImageCode { z, clip: tensor(file, &format!("{prefix}.clip")) })
}

fn parts(codes: Codes) -> BTreeMap<&'static str, TensorData> {
    let mut parts = BTreeMap::new();
    if let Some(image) = codes.image {
        parts.insert("z", image.z.into_data());
        parts.insert("clip", image.clip.into_data());
    }
    if let Some(text) = codes.text {
        parts.insert("text", text.into_data());
    }
    parts
}

fn largest_difference(a: &Picture, b: &Picture) -> u8 {
    assert_eq!((a.width(), a.height()), (b.width(), b.height()));
    a.pixels().iter().zip(b.pixels()).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}
