//! A residual block of a U-Net as a case.

use std::hint::black_box;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde_json::json;
use trefoil_core::Seed;
use trefoil_core::nn::{Bias, Conv2d, Conv2dOptions, GroupNorm, Init, Linear, WeightInit};

use trefoil_kernels::{GroupNormOptions, NormActivation, group_norm_scale_shift};

use super::{Case, Step, Work, uvit};

const BATCH: usize = 16;
const CHANNELS: usize = 128;
const EMBEDDING: usize = 512;
const GROUPS: usize = 32;
const SIDE: usize = 32;

/// Residual block with scale and shift from an embedding (arXiv 2206.00364, appendix F).
#[derive(Module, Debug)]
struct UNetBlock {
    norm0: GroupNorm,
    conv0: Conv2d,
    affine: Linear,
    norm1: GroupNorm,
    conv1: Conv2d,
}

impl UNetBlock {
    fn new(init: &mut Init) -> Self {
        let norm = |init: &mut Init| GroupNorm::new(init, GROUPS, CHANNELS, 1e-6);
        let conv = |init: &mut Init| Conv2d::new(init, [CHANNELS; 2], Conv2dOptions::same(3));
        Self {
            norm0: norm(init),
            conv0: conv(init),
            affine: Linear::new(init, [EMBEDDING, 2 * CHANNELS], Bias::Yes, WeightInit::FanIn),
            norm1: norm(init),
            conv1: conv(init),
        }
    }

    /// `x`: `[B, C, H, W]`, `embedding`: `[B, E]`.
    fn forward(&self, x: Tensor<4>, embedding: Tensor<2>) -> Tensor<4> {
        let h = self.conv0.forward(self.norm0.forward_silu(x.clone()));
        let moved: [Tensor<2>; 2] = {
            let both = self.affine.forward(embedding);
            [0, 1].map(|part| both.clone().narrow(1, part * CHANNELS, CHANNELS))
        };
        let affine = [self.norm1.weight.val(), self.norm1.bias.val()];
        let options =
            GroupNormOptions { groups: GROUPS, epsilon: 1e-6, activation: NormActivation::Silu };
        let h = group_norm_scale_shift(h, affine, moved, options);
        (self.conv1.forward(h) + x) * std::f64::consts::FRAC_1_SQRT_2
    }
}

/// One pass.
pub(crate) fn forward(id: &str) -> Case {
    case(id, "forward", 1.0, || {
        let device = Device::flex();
        let block = UNetBlock::new(&mut Init::random(Seed(0), &device));
        let (x, embedding) = inputs(&device);
        Box::new(move || drop(black_box(block.forward(x.clone(), embedding.clone()))))
    })
}

/// One pass and all gradients.
pub(crate) fn backward(id: &str) -> Case {
    case(id, "backward", uvit::BACKWARD, || {
        let block = UNetBlock::new(&mut Init::random(Seed(0), &Device::flex())).train();
        let (x, embedding) = inputs(&Device::flex().autodiff());
        let (x, embedding) = (x.require_grad(), embedding.require_grad());
        Box::new(move || {
            drop(black_box(block.forward(x.clone(), embedding.clone()).sum().backward()));
        })
    })
}

fn inputs(device: &Device) -> (Tensor<4>, Tensor<2>) {
    let mut stream = Seed(1).stream("input", 0);
    let x = stream.normal_tensor([BATCH, CHANNELS, SIDE, SIDE], device);
    (x, stream.normal_tensor([BATCH, EMBEDDING], device))
}

fn case(id: &str, operation: &str, passes: f64, step: fn() -> Step) -> Case {
    let convolutions = 2 * 9 * BATCH * CHANNELS * CHANNELS * SIDE * SIDE;
    let parameters = || UNetBlock::new(&mut Init::zeros(&Device::flex())).num_params();
    let torch = json!({
        "case": "unet",
        "operations": [operation],
        "batch": BATCH,
        "channels": CHANNELS,
        "embedding": EMBEDDING,
        "groups": GROUPS,
        "size": SIDE,
    });
    Case {
        id: id.into(),
        shape: format!("batch {BATCH}, {CHANNELS} channels, {SIDE}x{SIDE}"),
        work: Work::operations(2.0 * convolutions as f64).times(passes),
        torch,
        prepare: Box::new(move || (step(), parameters())),
    }
}
