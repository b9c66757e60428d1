//! A network with eight parameters, small enough to follow by hand.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use trefoil_train::{Batch, Losses, Position, Result, RunFolder, Task};

/// `y = W x + b`.
#[derive(Module, Debug)]
pub(crate) struct Affine {
    pub(crate) weight: Param<Tensor<2>>,
    pub(crate) bias: Param<Tensor<1>>,
}

impl Affine {
    pub(crate) fn new() -> Self {
        let device = Device::flex();
        Self {
            weight: Param::from_tensor(Tensor::from_floats([[0.5, -1.0], [2.0, 0.25]], &device)),
            bias: Param::from_tensor(Tensor::from_floats([0.1, -0.2], &device)),
        }
    }

    /// # Shapes
    /// - `x`: `[B, 2]`
    /// - returns: `[B, 2]`
    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val().transpose()) + self.bias.val().unsqueeze()
    }

    pub(crate) fn values(&self) -> Vec<f32> {
        let data = trefoil_core::params::export(self);
        data.into_iter().flat_map(|(_, data)| data.try_to_vec::<f32>().unwrap()).collect()
    }
}

/// Learns `y = 3 x + index / 10` from noisy inputs.
pub(crate) struct Regression {
    pub(crate) samples: usize,
    /// The update whose loss fails, as a stand-in for a kill.
    pub(crate) dies_at: Option<u64>,
    /// Asked for when the loss of this update is computed.
    pub(crate) stops_at: Option<(u64, trefoil_train::StopFlag)>,
    /// Positions at which samples were asked for.
    pub(crate) sampled: Vec<u64>,
}

impl Regression {
    pub(crate) fn new() -> Self {
        Self { samples: 10, dies_at: None, stops_at: None, sampled: Vec::new() }
    }
}

impl Task for Regression {
    type Model = Affine;

    fn samples(&self) -> usize {
        self.samples
    }

    fn loss(&self, model: &Affine, batch: &Batch) -> Result<Losses> {
        if self.dies_at == Some(batch.step) {
            return Err(trefoil_train::Error::task("killed"));
        }
        if let Some((step, stop)) = &self.stops_at
            && *step == batch.step
        {
            stop.request();
        }
        let device = model.weight.val().device();
        let x = burn::tensor::TensorData::new(batch.normals("input", 2), [batch.items.len(), 2]);
        let x = Tensor::<2>::from_data(x, &device);
        let target: Vec<f32> = batch.items.iter().map(|item| item.index as f32 / 10.0).collect();
        let target = Tensor::<1>::from_floats(&target[..], &device).unsqueeze_dim::<2>(1);
        let error = model.forward(x.clone()) - x * 3.0 - target;
        let fit = error.powi_scalar(2).mean();
        let size = model.weight.val().powi_scalar(2).mean() * 0.01;
        Ok(Losses { total: fit.clone() + size.clone(), parts: vec![("fit", fit), ("size", size)] })
    }

    fn on_sample(&mut self, model: &Affine, run: &RunFolder, at: Position) -> Result<()> {
        assert!(!model.weight.val().is_autodiff());
        self.sampled.push(at.samples);
        run.log_scalars(at.samples, &[("eval/first", f64::from(model.values()[0]))])
    }

    fn fingerprint(&self) -> serde_json::Value {
        serde_json::json!({ "samples": self.samples })
    }
}
