//! Samplers: one file each, one signature.
//!
//! A solver is a grid of [`Level`]s and a rule for one step. It sees the network through
//! [`Run::predict`] and reports each step through [`Run::finish_step`]; cancellation, the check for
//! non-finite states, thresholding and the network's error are handled there once. To add a
//! sampler, write one file with a [`Solver`] and give it a variant of [`SolverKind`].

mod config;
mod ddim;
mod dpm_multi;
mod dpm_single;
mod edm;
mod euler;
mod grid;
mod heun;
mod run;
mod threshold;

use std::ops::ControlFlow;

use burn::tensor::Tensor;
pub use config::{FinalSigma, SigmaGrid, SolverConfig, SolverKind, SolverType, TimestepSpacing};
pub use ddim::Ddim;
pub use dpm_multi::DpmSolverPlusPlusMulti;
pub use dpm_single::DpmSolverPlusPlusSingle;
pub use edm::{Churn, EdmSolverConfig, HeunChurn};
pub use euler::Euler;
pub use grid::{discrete_levels, edm_levels, vp_levels};
pub use heun::Heun;
pub use run::{Estimate, Halt, Run, Step};
pub use threshold::Thresholding;

use crate::{Level, NoisePredictor, SolveError};

/// The rule of one sampler.
pub trait Solver: std::fmt::Debug + Send + Sync {
    /// The grid, from the level of the initial state on.
    fn levels(&self) -> &[Level];

    /// Number of steps that are reported.
    fn steps(&self) -> usize {
        self.levels().len() - 1
    }

    /// Number of network evaluations of a whole run.
    fn evaluations(&self) -> usize {
        self.steps()
    }

    /// The level of the initial state.
    fn start(&self) -> Level {
        self.levels()[0]
    }

    /// Whether the run draws noise.
    fn is_stochastic(&self) -> bool {
        false
    }

    /// Integrates from the first level to the last.
    ///
    /// # Shapes
    /// - `x`: `[B, D]`
    /// - returns: `[B, D]`
    ///
    /// # Errors
    /// Only what [`Run`] returned.
    fn run(&self, x: Tensor<2>, run: &mut Run<'_>) -> Result<Tensor<2>, Halt>;
}

/// A solver ready to run with any network.
#[derive(Debug)]
pub struct Sampler {
    solver: Box<dyn Solver>,
    thresholding: Option<Thresholding>,
}

impl Sampler {
    /// Wraps a solver.
    pub fn new(solver: impl Solver + 'static) -> Self {
        Self { solver: Box::new(solver), thresholding: None }
    }

    /// Clips every predicted clean sample.
    #[must_use]
    pub fn with_thresholding(mut self, thresholding: Option<Thresholding>) -> Self {
        self.thresholding = thresholding;
        self
    }

    /// Number of steps that are reported to the callback.
    pub fn steps(&self) -> usize {
        self.solver.steps()
    }

    /// Number of network evaluations of a whole run.
    pub fn evaluations(&self) -> usize {
        self.solver.evaluations()
    }

    /// The level of the initial state: `x = alpha x_0 + sigma eps`.
    pub fn start(&self) -> Level {
        self.solver.start()
    }

    /// Whether [`sample_with_noise`](Self::sample_with_noise) is required.
    pub fn is_stochastic(&self) -> bool {
        self.solver.is_stochastic()
    }

    /// Integrates from noise to data.
    ///
    /// # Shapes
    /// - `x`: `[B, D]`, the initial noise
    /// - returns: `[B, D]`
    ///
    /// # Errors
    /// [`SolveError`]; in particular [`SolveError::MissingNoise`] for a stochastic solver.
    pub fn sample<M: NoisePredictor + ?Sized>(
        &self,
        model: &mut M,
        x: Tensor<2>,
        on_step: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Tensor<2>, SolveError<M::Error>> {
        self.drive(model, x, None, on_step)
    }

    /// Integrates from noise to data with the noise of each step given by the caller.
    ///
    /// `noise(step, [B, D])` returns standard normal numbers. Because they come from outside, a run
    /// can be replayed, and a source with one stream per row makes rows independent of the batch.
    ///
    /// # Shapes
    /// - `x`: `[B, D]`, the initial noise
    /// - returns: `[B, D]`
    ///
    /// # Errors
    /// [`SolveError`].
    pub fn sample_with_noise<M: NoisePredictor + ?Sized>(
        &self,
        model: &mut M,
        x: Tensor<2>,
        noise: &mut dyn FnMut(usize, [usize; 2]) -> Tensor<2>,
        on_step: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Tensor<2>, SolveError<M::Error>> {
        self.drive(model, x, Some(noise), on_step)
    }

    fn drive<M: NoisePredictor + ?Sized>(
        &self,
        model: &mut M,
        x: Tensor<2>,
        noise: Option<run::NoiseSource<'_>>,
        on_step: &mut dyn FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<Tensor<2>, SolveError<M::Error>> {
        if self.solver.is_stochastic() && noise.is_none() {
            return Err(SolveError::MissingNoise);
        }
        let mut failure = None;
        let mut predict = |x: Tensor<2>, n: f64| match model.predict_noise(x, n) {
            Ok(noise) => Some(noise),
            Err(error) => {
                failure = Some(error);
                None
            }
        };
        let mut run = Run::new(&mut predict, on_step, self.solver.steps());
        run.noise = noise.map(|source| source as run::NoiseSource<'_>);
        run.thresholding = self.thresholding;
        let halt = match self.solver.run(x, &mut run) {
            Ok(x) => return Ok(x),
            Err(halt) => halt,
        };
        Err(halt.into_error(failure))
    }
}
