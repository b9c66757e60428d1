//! What a solver sees of the outside during one run.

use std::ops::ControlFlow;

use burn::tensor::Tensor;

use super::Thresholding;
use crate::{Level, Prediction, SolveError};

/// What the step callback is shown.
#[derive(Debug)]
pub struct Step<'a> {
    /// The completed step, from zero.
    pub index: usize,
    /// Number of steps of the run.
    pub count: usize,
    /// Network evaluations so far.
    pub evaluations: usize,
    /// The level that was reached, on the network's scale.
    pub n: f64,
    /// The state at that level, `[B, D]`.
    pub x: &'a Tensor<2>,
    /// The latest estimate of the clean sample, `[B, D]`: a preview.
    pub x0: &'a Tensor<2>,
}

/// One evaluation of the network.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// The noise in the state, `[B, D]`; consistent with `x0` when that was clipped.
    pub noise: Tensor<2>,
    /// The clean sample `(x - sigma eps) / alpha`, `[B, D]`.
    pub x0: Tensor<2>,
}

/// Why a run ends early; solvers only hand it on.
#[derive(Debug)]
pub struct Halt(Cause);

#[derive(Debug)]
enum Cause {
    Model { step: usize },
    Cancelled { step: usize },
    NonFinite { step: usize },
    Shape { step: usize, expected: [usize; 2], found: [usize; 2] },
    MissingNoise,
}

impl Halt {
    /// `failure` is what the model reported, present exactly when it failed.
    pub(super) fn into_error<E>(self, failure: Option<E>) -> SolveError<E> {
        match (self.0, failure) {
            (Cause::Model { step }, Some(source)) => SolveError::Model { step, source },
            // A solver that hands on the failure of another run has stopped without a reason.
            (Cause::Cancelled { step } | Cause::Model { step }, _) => {
                SolveError::Cancelled { step }
            }
            (Cause::NonFinite { step }, _) => SolveError::NonFinite { step },
            (Cause::Shape { step, expected, found }, _) => {
                SolveError::Shape { step, expected, found }
            }
            (Cause::MissingNoise, _) => SolveError::MissingNoise,
        }
    }
}

pub(super) type NoiseSource<'a> = &'a mut dyn FnMut(usize, [usize; 2]) -> Tensor<2>;
type Predict<'a> = &'a mut dyn FnMut(Tensor<2>, f64) -> Option<Tensor<2>>;
type OnStep<'a> = &'a mut dyn FnMut(Step<'_>) -> ControlFlow<()>;

/// The network, the noise source and the callback of one run.
pub struct Run<'a> {
    predict: Predict<'a>,
    on_step: OnStep<'a>,
    pub(super) noise: Option<NoiseSource<'a>>,
    pub(super) thresholding: Option<Thresholding>,
    index: usize,
    count: usize,
    evaluations: usize,
}

impl<'a> Run<'a> {
    pub(super) fn new(predict: Predict<'a>, on_step: OnStep<'a>, count: usize) -> Self {
        Self { predict, on_step, noise: None, thresholding: None, index: 0, count, evaluations: 0 }
    }

    /// Evaluates the network on the state `x` at `level`.
    ///
    /// # Shapes
    /// - `x`: `[B, D]`
    ///
    /// # Errors
    /// When the network fails or returns another shape.
    pub fn predict(&mut self, x: &Tensor<2>, level: Level) -> Result<Estimate, Halt> {
        let step = self.index;
        let Some(noise) = (self.predict)(x.clone(), level.n) else {
            return Err(Halt(Cause::Model { step }));
        };
        self.evaluations += 1;
        self.check_shape(x.dims(), noise.dims())?;
        let x0 = Prediction::Epsilon.to_sample(noise.clone(), x.clone(), level);
        let Some(thresholding) = self.thresholding else {
            return Ok(Estimate { noise, x0 });
        };
        let x0 = thresholding.apply(x0);
        let noise = Prediction::Sample.to_noise(x0.clone(), x.clone(), level);
        Ok(Estimate { noise, x0 })
    }

    /// Standard normal noise for the current step.
    ///
    /// # Shapes
    /// - returns: `shape`
    ///
    /// # Errors
    /// When the run has no noise source, or it returned another shape.
    pub fn noise(&mut self, shape: [usize; 2]) -> Result<Tensor<2>, Halt> {
        let Some(source) = self.noise.as_mut() else {
            return Err(Halt(Cause::MissingNoise));
        };
        let noise = source(self.index, shape);
        self.check_shape(shape, noise.dims())?;
        Ok(noise)
    }

    /// Ends the current step: checks the state `x` at `level` and calls back.
    ///
    /// # Shapes
    /// - `x`, `x0`: `[B, D]`
    ///
    /// # Errors
    /// When the state is not finite, or the callback breaks.
    pub fn finish_step(&mut self, level: Level, x: &Tensor<2>, x0: &Tensor<2>) -> Result<(), Halt> {
        let index = self.index;
        // A tensor that cannot be read back counts as broken.
        if !x.clone().is_finite().all().try_into_scalar::<bool>().unwrap_or(false) {
            return Err(Halt(Cause::NonFinite { step: index }));
        }
        self.index += 1;
        let evaluations = self.evaluations;
        let step = Step { index, count: self.count, evaluations, n: level.n, x, x0 };
        match (self.on_step)(step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Halt(Cause::Cancelled { step: index })),
        }
    }

    fn check_shape(&self, expected: [usize; 2], found: [usize; 2]) -> Result<(), Halt> {
        if expected == found {
            Ok(())
        } else {
            Err(Halt(Cause::Shape { step: self.index, expected, found }))
        }
    }
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("index", &self.index)
            .field("count", &self.count)
            .field("evaluations", &self.evaluations)
            .finish_non_exhaustive()
    }
}
