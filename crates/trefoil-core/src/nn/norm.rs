//! Normalisation layers.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use trefoil_kernels::{GroupNormOptions, NormActivation, group_norm};

use super::init::Init;

/// Layer normalisation over the last axis.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[d]`
    pub weight: Param<Tensor<1>>,
    /// `[d]`
    pub bias: Param<Tensor<1>>,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// Scale one, shift zero.
    pub fn new(init: &mut Init, dim: usize, eps: f64) -> Self {
        Self { weight: init.full([dim], 1.0), bias: init.full([dim], 0.0), eps }
    }

    /// # Shapes
    /// - `x`: `[..., d]`
    /// - returns: `[..., d]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        trefoil_kernels::layer_norm(x, self.weight.val(), self.bias.val(), self.eps)
    }

    /// `LN(x + residual)`.
    ///
    /// # Shapes
    /// - `x`, `residual`: `[..., d]`
    /// - returns: `[..., d]`
    pub fn forward_add<const D: usize>(&self, x: Tensor<D>, residual: Tensor<D>) -> Tensor<D> {
        trefoil_kernels::add_layer_norm(x, residual, self.weight.val(), self.bias.val(), self.eps)
    }
}

/// Group normalisation of `[B, C, H, W]`.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[C]`
    pub weight: Param<Tensor<1>>,
    /// `[C]`
    pub bias: Param<Tensor<1>>,
    /// Number of groups; divides `C`.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl GroupNorm {
    /// Scale one, shift zero.
    pub fn new(init: &mut Init, groups: usize, channels: usize, eps: f64) -> Self {
        Self { weight: init.full([channels], 1.0), bias: init.full([channels], 0.0), groups, eps }
    }

    /// # Shapes
    /// - `x`: `[B, C, H, W]`
    /// - returns: `[B, C, H, W]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.apply(x, NormActivation::Identity)
    }

    /// `SiLU(GN(x))`, fused.
    ///
    /// # Shapes
    /// - `x`: `[B, C, H, W]`
    /// - returns: `[B, C, H, W]`
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        self.apply(x, NormActivation::Silu)
    }

    fn apply(&self, x: Tensor<4>, activation: NormActivation) -> Tensor<4> {
        let options = GroupNormOptions { groups: self.groups, epsilon: self.eps, activation };
        group_norm(x, self.weight.val(), self.bias.val(), options)
    }
}
