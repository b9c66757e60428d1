//! Affine maps and table look-ups.

use burn::module::{Module, Param};
use burn::tensor::module::{embedding, linear};
use burn::tensor::{Int, Tensor};

use super::init::Init;

/// Whether a layer adds a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Distribution of a fresh weight matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WeightInit {
    /// Normal with this standard deviation; the bias starts at zero.
    Normal(f64),
    /// Uniform within `1 / sqrt(fan_in)`, weight and bias: the default of PyTorch's layers.
    FanIn,
}

/// `y = x W^T + b` over the last axis.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// A fresh layer.
    pub fn new(init: &mut Init, [d_in, d_out]: [usize; 2], bias: Bias, weights: WeightInit) -> Self {
        let bound = (d_in as f64).sqrt().recip();
        let weight = match weights {
            WeightInit::Normal(std) => init.normal([d_out, d_in], std),
            WeightInit::FanIn => init.uniform([d_out, d_in], bound),
        };
        let bias = (bias == Bias::Yes).then(|| match weights {
            WeightInit::Normal(_) => init.full([d_out], 0.0),
            WeightInit::FanIn => init.uniform([d_out], bound),
        });
        Self { weight, bias }
    }

    /// # Shapes
    /// - `x`: `[..., in]`
    /// - returns: `[..., out]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        linear(x, self.weight.val().transpose(), self.bias.as_ref().map(Param::val))
    }
}

/// A table of vectors.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[n, d]`
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// A fresh table, normal with this standard deviation.
    pub fn new(init: &mut Init, [n, d]: [usize; 2], std: f64) -> Self {
        Self { weight: init.normal([n, d], std) }
    }

    /// # Shapes
    /// - `ids`: `[B, L]`, each below `n`
    /// - returns: `[B, L, d]`
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        embedding(self.weight.val(), ids)
    }
}
