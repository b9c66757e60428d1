//! Fresh weights: the distributions with which the published networks started.

use trefoil_core::nn::{Bias, Conv2d, Conv2dOptions, Init, Linear};

use super::config::Family;

/// What a layer is for, as far as its first weights depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Most layers.
    Plain,
    /// Queries, keys and values.
    Attention,
    /// Ends a residual branch or the network: starts at zero, or nearly.
    Closing,
    /// The class embedding.
    Label,
    /// The embedding of the augmentation.
    Augment,
}

/// Makes the layers of a family.
#[derive(Debug)]
pub(super) struct Layers<'a> {
    pub(super) family: Family,
    pub(super) init: &'a mut Init,
}

impl Layers<'_> {
    /// An affine map.
    pub(super) fn linear(&mut self, [d_in, d_out]: [usize; 2], bias: Bias, role: Role) -> Linear {
        let weight = match (self.family, role) {
            // Normal of variance 1 / fan_in, times sqrt(fan_in).
            (Family::Adm, Role::Label) => self.init.normal([d_out, d_in], 1.0),
            _ => self.init.uniform([d_out, d_in], self.bound([d_in, d_out], role)),
        };
        let bias = (bias == Bias::Yes).then(|| {
            let bound = self.bias_bound(d_in, role);
            self.init.uniform([d_out], bound)
        });
        Linear { weight, bias }
    }

    /// A convolution that keeps the size.
    pub(super) fn conv(&mut self, [c_in, c_out]: [usize; 2], kernel: usize, role: Role) -> Conv2d {
        let Conv2dOptions { stride, padding, .. } = Conv2dOptions::same(kernel);
        let area = kernel * kernel;
        let bound = self.bound([c_in * area, c_out * area], role);
        let weight = self.init.uniform([c_out, c_in, kernel, kernel], bound);
        let bound = self.bias_bound(c_in * area, role);
        Conv2d { weight, bias: Some(self.init.uniform([c_out], bound)), stride, padding }
    }

    /// Xavier's bound, or for ADM Kaiming's times `sqrt(1/3)`, each with the factor of the role.
    fn bound(&self, [fan_in, fan_out]: [usize; 2], role: Role) -> f64 {
        if self.family.is_adm() {
            return match role {
                Role::Closing | Role::Augment => 0.0,
                _ => (fan_in as f64).sqrt().recip(),
            };
        }
        let factor = match role {
            Role::Attention => 0.2_f64.sqrt(),
            Role::Closing => 1e-5,
            _ => 1.0,
        };
        factor * (6.0 / (fan_in + fan_out) as f64).sqrt()
    }

    fn bias_bound(&self, fan_in: usize, role: Role) -> f64 {
        if self.family.is_adm() && role != Role::Closing {
            (fan_in as f64).sqrt().recip()
        } else {
            0.0
        }
    }
}
