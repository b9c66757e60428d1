//! What is trained, and the optimiser: AdamW with clipping and a moving average, its state on the host.

use burn::module::Module;
use burn::tensor::{Gradients, Tensor, TensorData};
use rayon::prelude::*;
use trefoil_core::params;
use trefoil_kernels::AdamWStep;

use crate::config::TrainConfig;
use crate::error::Result;
use crate::run::RunFolder;
use crate::sampler::{Batch, Position};

/// A loss and its named parts; the mean over the samples of a batch.
#[derive(Debug)]
pub struct Losses {
    /// What is minimised.
    ///
    /// # Shapes
    /// - `[1]`
    pub total: Tensor<1>,
    /// What the log shows beside it; each of shape `[1]`.
    pub parts: Vec<(&'static str, Tensor<1>)>,
}

/// What a system tells the [`crate::Trainer`]: its data and its loss.
pub trait Task {
    /// The network.
    type Model: Module;

    /// Number of training samples.
    fn samples(&self) -> usize;

    /// Mean loss over a batch. All randomness comes from the batch's streams, so that a batch can be
    /// replayed.
    ///
    /// # Errors
    /// Whatever prevents the loss from being computed; use [`crate::Error::task`].
    fn loss(&self, model: &Self::Model, batch: &Batch) -> Result<Losses>;

    /// Called every `sample_every` samples with the averaged weights, without gradients.
    ///
    /// # Errors
    /// Whatever prevents the samples from being drawn or written.
    fn on_sample(&mut self, model: &Self::Model, run: &RunFolder, position: Position)
    -> Result<()>;

    /// Whether a parameter is trained; the others keep their values and need no state.
    fn trainable(&self, _name: &str) -> bool {
        true
    }

    /// What else must be equal to resume a run: the network's configuration, the data.
    fn fingerprint(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

/// Sum of the gradients of micro-batches, in the order in which they were added.
#[derive(Debug, Default)]
pub struct GradientSum {
    sums: Vec<Vec<f32>>,
    count: usize,
}

impl GradientSum {
    /// Adds the gradients of one micro-batch.
    pub fn add<M: Module>(&mut self, model: &M, gradients: Gradients) {
        let new = params::gradients(model, gradients).into_iter().map(|(_, data)| values(data));
        if self.count == 0 {
            self.sums = new.collect();
        } else {
            let new: Vec<_> = new.collect();
            self.sums.par_iter_mut().zip(&new).for_each(|(sum, new)| {
                sum.iter_mut().zip(new).for_each(|(s, g)| *s += g);
            });
        }
        self.count += 1;
    }
}

/// Moments and moving average of a trained parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moments {
    pub(crate) m: Vec<f32>,
    pub(crate) v: Vec<f32>,
    pub(crate) ema: Vec<f32>,
}

/// A parameter on the host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) value: Vec<f32>,
    /// Absent when the parameter is frozen.
    pub(crate) moments: Option<Moments>,
}

/// A gradient that is not finite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadGradient {
    /// The first parameter that has one.
    pub parameter: String,
}

/// AdamW (Loshchilov and Hutter, arXiv 1711.05101), in the order of operations of PyTorch:
///
/// ```text
/// g = min(1, clip / |g|) g
/// p = p - lr weight_decay p
/// m = m + (1 - beta1) (g - m)
/// v = beta2 v + (1 - beta2) g^2
/// p = p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
/// ema = ema_decay ema + (1 - ema_decay) p
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    pub(crate) parameters: Vec<Parameter>,
}

impl Optimizer {
    /// Fresh state: zero moments, the moving average equal to the parameters.
    pub fn new<M: Module>(model: &M, trainable: impl Fn(&str) -> bool) -> Self {
        let parameters = params::export(model)
            .into_iter()
            .map(|(name, data)| {
                let shape = data.shape().to_vec();
                let value = values(data);
                let moments = trainable(&name).then(|| Moments {
                    m: vec![0.0; value.len()],
                    v: vec![0.0; value.len()],
                    ema: value.clone(),
                });
                Parameter { name, shape, value, moments }
            })
            .collect();
        Self { parameters }
    }

    /// Applies the mean of the summed gradients as the update at `position`, and returns the global norm
    /// of that mean before clipping.
    ///
    /// # Errors
    /// [`BadGradient`] with the first parameter whose gradient is not finite; nothing is changed then.
    pub fn update(
        &mut self,
        gradients: &GradientSum,
        config: &TrainConfig,
        position: Position,
    ) -> Result<f64, BadGradient> {
        let mean = 1.0 / gradients.count.max(1) as f64;
        let norm = self.norm(gradients)? * mean;
        // The small term is that of `torch.nn.utils.clip_grad_norm_`.
        let clip = config.clip_norm.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0));
        let t = i32::try_from(position.step + 1).unwrap_or(i32::MAX);
        let [beta1, beta2] = config.betas;
        let step = AdamWStep {
            lr: config.learning_rate(position.samples),
            beta1,
            beta2,
            eps: config.eps,
            weight_decay: config.weight_decay,
            bias_correction1: 1.0 - beta1.powi(t),
            bias_correction2: 1.0 - beta2.powi(t),
            grad_scale: mean * clip,
            ema_decay: Some(config.ema_decay(position.samples)),
        };
        self.parameters.par_iter_mut().zip(&gradients.sums).for_each(|(parameter, gradient)| {
            if let Some(moments) = &mut parameter.moments {
                let Moments { m, v, ema } = moments;
                step.apply(&mut parameter.value, gradient, m, v, Some(ema));
            }
        });
        Ok(norm)
    }

    /// Euclidean norm of all gradients, each parameter summed in order in f64 and then the parameters in
    /// order, so that the number of threads changes nothing.
    fn norm(&self, gradients: &GradientSum) -> Result<f64, BadGradient> {
        let squares: Vec<f64> = self
            .parameters
            .par_iter()
            .zip(&gradients.sums)
            .map(|(parameter, gradient)| match parameter.moments {
                Some(_) => gradient.iter().map(|&g| f64::from(g) * f64::from(g)).sum(),
                None => 0.0,
            })
            .collect();
        if let Some(bad) = squares.iter().position(|square| !square.is_finite()) {
            return Err(BadGradient { parameter: self.parameters[bad].name.clone() });
        }
        Ok(squares.iter().sum::<f64>().sqrt())
    }

    /// Puts the parameters into a module.
    ///
    /// # Errors
    /// [`trefoil_core::Error::Config`] when the module is not the one that was exported.
    pub fn write_to<M: Module>(&self, module: M) -> Result<M> {
        self.import(module, |parameter| &parameter.value)
    }

    /// Puts the moving average of the parameters into a module.
    ///
    /// # Errors
    /// [`trefoil_core::Error::Config`] when the module is not the one that was exported.
    pub fn write_average_to<M: Module>(&self, module: M) -> Result<M> {
        self.import(module, |parameter| match &parameter.moments {
            Some(moments) => &moments.ema,
            None => &parameter.value,
        })
    }

    fn import<M: Module>(&self, module: M, pick: impl Fn(&Parameter) -> &Vec<f32>) -> Result<M> {
        let mut next = self.parameters.iter();
        let module = params::import(module, &mut |name, shape| match next.next() {
            Some(parameter) if parameter.name == name && parameter.shape == shape => {
                Ok(TensorData::new(pick(parameter).clone(), shape.to_vec()))
            }
            _ => {
                Err(trefoil_core::Error::config(name, "is not the next parameter of the optimiser"))
            }
        })?;
        Ok(module)
    }
}

/// The numbers of an f32 tensor.
fn values(data: TensorData) -> Vec<f32> {
    data.try_into_vec().expect("trefoil_core::params exports f32")
}
