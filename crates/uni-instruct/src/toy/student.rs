//! What turns noise into samples of a mixture in one step, or is the samples.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::network::Network;

/// A Gaussian `m + z A`.
#[derive(Module, Debug)]
pub struct Affine {
    /// `m`, `[1, D]`.
    pub mean: Param<Tensor<2>>,
    /// `A`, `[D, D]`.
    pub map: Param<Tensor<2>>,
}

/// A student: a network, a Gaussian or points.
#[derive(Module, Debug)]
pub struct ToyStudent {
    /// The network.
    pub network: Option<Network>,
    /// The Gaussian.
    pub gaussian: Option<Affine>,
    /// The points, `[N, D]`.
    pub points: Option<Param<Tensor<2>>>,
}

impl ToyStudent {
    /// A student that is a network.
    pub(super) fn network(network: Network) -> Self {
        Self { network: Some(network), gaussian: None, points: None }
    }

    /// A student that is a Gaussian.
    pub(super) fn gaussian(gaussian: Affine) -> Self {
        Self { network: None, gaussian: Some(gaussian), points: None }
    }

    /// A student that is points, `[N, D]`.
    pub(super) fn points(points: Tensor<2>) -> Self {
        Self { network: None, gaussian: None, points: Some(Param::from_tensor(points)) }
    }
}
