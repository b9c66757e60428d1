//! Activations by the names that `config.json` files use.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// An element-wise nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Exact GELU, `x Phi(x)`.
    Gelu,
    /// GELU with the tanh approximation of GPT-2.
    #[serde(rename = "gelu_new")]
    GeluTanh,
    /// CLIP's `x sigmoid(1.702 x)`.
    QuickGelu,
    /// `x sigmoid(x)`.
    Silu,
}

impl Activation {
    /// Applies it to every element.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        trefoil_kernels::activate(x, self.into())
    }
}

impl From<Activation> for trefoil_kernels::Activation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Gelu => Self::Gelu,
            Activation::GeluTanh => Self::GeluTanh,
            Activation::QuickGelu => Self::QuickGelu,
            Activation::Silu => Self::Silu,
        }
    }
}
