//! Low-rank changes of a network (LoRA, arXiv 2106.09685), `W + B A` for every matrix and convolution.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;

use super::init::Init;
use crate::params;

/// The changes, in the order of the parameters that they belong to.
///
/// ```text
/// W' = W + B A,   A: [r, inputs], uniform;   B: [outputs, r], zero at the start
/// ```
#[derive(Module, Debug)]
pub struct Adapters {
    /// `A` of each matrix.
    pub down: Vec<Param<Tensor<2>>>,
    /// `B` of each matrix.
    pub up: Vec<Param<Tensor<2>>>,
}

impl Adapters {
    /// Changes of rank `rank`, none so far, for the parameters of two and more axes of a network.
    pub fn new<M: Module>(network: &M, rank: usize, init: &mut Init) -> Self {
        let (mut down, mut up) = (Vec::new(), Vec::new());
        for (_, shape) in params::shapes(network) {
            if let [outputs, inputs @ ..] = &shape[..]
                && !inputs.is_empty()
            {
                let inputs: usize = inputs.iter().product();
                down.push(init.uniform([rank, inputs], (inputs.max(1) as f64).sqrt().recip()));
                up.push(init.full([*outputs, rank], 0.0));
            }
        }
        Self { down, up }
    }

    /// The network with its changes; gradients flow to both. It is as good as the original for a forward pass, and
    /// not meant to be kept.
    #[must_use]
    pub fn apply<M: Module>(&self, network: M) -> M {
        let pairs = self.down.iter().zip(&self.up);
        network.map(&mut Changed { pairs: pairs.collect::<Vec<_>>().into_iter() })
    }
}

/// Hands the changes out in the order of the parameters.
struct Changed<'a> {
    pairs: std::vec::IntoIter<(&'a Param<Tensor<2>>, &'a Param<Tensor<2>>)>,
}

impl ModuleMapper for Changed<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D < 2 {
            return param;
        }
        let Some((down, up)) = self.pairs.next() else { return param };
        let weight = param.val();
        let change = up.val().matmul(down.val()).reshape(weight.dims());
        Param::initialized(param.id, weight + change)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, Tolerance};

    use super::*;
    use crate::nn::{Bias, Linear, WeightInit};
    use crate::rng::Seed;

    /// Nothing is changed at first; then `y = x (W + B A)^T + b`, and gradients reach `A` and `B`.
    #[test]
    fn a_change_is_the_product_of_its_factors() {
        let device = Device::flex().autodiff();
        let init = &mut Init::random(Seed(1), &device);
        let layer = Linear::new(init, [3, 2], Bias::Yes, WeightInit::FanIn);
        let mut adapters = Adapters::new(&layer, 1, init);
        assert_eq!((adapters.down.len(), adapters.up.len()), (1, 1));
        let x = Tensor::<2>::from_floats([[1.0, -2.0, 0.5]], &device);
        let plain = layer.forward(x.clone());
        let same = adapters.apply(layer.clone()).forward(x.clone());
        plain.clone().into_data().assert_eq(&same.into_data(), true);

        adapters.down[0] = Param::from_tensor(Tensor::from_floats([[0.5, 0.25, 1.0]], &device));
        adapters.up[0] = Param::from_tensor(Tensor::from_floats([[2.0], [-1.0]], &device));
        let changed = adapters.apply(layer).forward(x);
        // A x = 0.5: y changes by [1, -0.5].
        let expected = plain + Tensor::from_floats([[1.0, -0.5]], &device);
        let tolerance = Tolerance::absolute(1e-6);
        changed.clone().into_data().assert_approx_eq::<f32>(&expected.into_data(), tolerance);
        let gradients = changed.sum().backward();
        // d/dB = A x for both outputs; d/dA = (2 - 1) x.
        let up = adapters.up[0].val().grad(&gradients).expect("a gradient").into_data();
        up.assert_approx_eq::<f32>(
            &Tensor::<2>::from_floats([[0.5], [0.5]], &Device::flex()).into_data(),
            tolerance,
        );
        let down = adapters.down[0].val().grad(&gradients).expect("a gradient").into_data();
        let expected = Tensor::<2>::from_floats([[1.0, -2.0, 0.5]], &Device::flex()).into_data();
        down.assert_approx_eq::<f32>(&expected, tolerance);
    }
}
