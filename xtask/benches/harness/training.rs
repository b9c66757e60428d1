//! A training step, as the trainer does it.

use std::hint::black_box;

use burn::module::Module;
use burn::tensor::Tensor;
use trefoil_train::optim::{GradientSum, Optimizer};
use trefoil_train::{Position, TrainConfig};

/// What a training step needs and changes.
pub(crate) struct Training<M> {
    model: Option<M>,
    optimizer: Optimizer,
    config: TrainConfig,
    position: Position,
}

impl<M: Module> Training<M> {
    /// Before the first step.
    pub(crate) fn new(model: M, config: &TrainConfig) -> Self {
        let model = model.train();
        let optimizer = Optimizer::new(&model, |_| true);
        let position = Position::default();
        Self { model: Some(model), optimizer, config: config.clone(), position }
    }

    /// Number of parameters.
    pub(crate) fn parameters(&self) -> usize {
        self.model.as_ref().map_or(0, Module::num_params)
    }

    /// Loss, gradients, clipping, AdamW, moving average.
    pub(crate) fn step(&mut self, loss: impl FnOnce(&M) -> Tensor<1>) {
        let model = self.model.take().expect("each step puts the network back");
        let mut sum = GradientSum::default();
        sum.add(&model, loss(&model).backward());
        let norm = self.optimizer.update(&sum, &self.config, self.position);
        black_box(norm.expect("gradients are finite"));
        self.position.step += 1;
        self.position.samples += self.config.batch_size as u64;
        self.model = Some(self.optimizer.write_to(model).expect("the network it was made for"));
    }

    /// Loss and gradients alone.
    pub(crate) fn backward(&mut self, loss: impl FnOnce(&M) -> Tensor<1>) {
        let model = self.model.as_ref().expect("each step puts the network back");
        black_box(loss(model).backward());
    }
}
