//! Affine maps and table look-ups.

use burn::module::{Module, Param};
use burn::tensor::{DType, Int, Tensor};
use trefoil_kernels::{gather_rows, linear};

use super::activation::Activation;
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
    pub fn new(
        init: &mut Init,
        [d_in, d_out]: [usize; 2],
        bias: Bias,
        weights: WeightInit,
    ) -> Self {
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

    /// A row's result does not depend on how many rows travel with it, bit for bit on the CPU.
    ///
    /// # Shapes
    /// - `x`: `[..., in]`
    /// - returns: `[..., out]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        linear(x, self.weight.val(), self.bias.as_ref().map(Param::val), None)
    }

    /// `f(x W^T + b)`, fused.
    ///
    /// # Shapes
    /// - `x`: `[..., in]`
    /// - returns: `[..., out]`
    pub fn forward_activated<const D: usize>(&self, x: Tensor<D>, f: Activation) -> Tensor<D> {
        linear(x, self.weight.val(), self.bias.as_ref().map(Param::val), Some(f.into()))
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
        let ([b, l], [_, d]) = (ids.dims(), self.weight.dims());
        gather_rows(self.weight.val(), ids.reshape([b * l])).reshape([b, l, d])
    }

    /// Some neighbouring rows, as f32.
    ///
    /// # Shapes
    /// - returns: `[count, d]`
    pub fn rows(&self, start: usize, count: usize) -> Tensor<2> {
        let table = self.weight.val();
        if table.dtype() == DType::F32 {
            return table.narrow(0, start, count);
        }
        let device = table.device();
        gather_rows(table, Tensor::arange(start as i64..(start + count) as i64, &device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use burn::tensor::Device;

    #[test]
    fn a_row_does_not_see_the_others() {
        let device = Device::flex();
        for [d_in, d_out] in [[20, 48], [64, 192], [192, 16], [48, 300]] {
            let init = &mut Init::random(Seed(1), &device);
            let layer = Linear::new(init, [d_in, d_out], Bias::Yes, WeightInit::FanIn);
            let x = Seed(2).stream("x", 0).normal_tensor([7, 1, d_in], &device);
            let all = layer.forward(x.clone());
            for count in [1, 2, 3] {
                let some = layer.forward(x.clone().narrow(0, 0, count)).into_data();
                assert_eq!(
                    some,
                    all.clone().narrow(0, 0, count).into_data(),
                    "{d_in} {d_out} {count}"
                );
            }
        }
    }
}
