//! Noise schedules, solvers and guidance of diffusion models.
//!
//! A network enters through one trait, [`NoisePredictor`]; a [`SolverConfig`] and a [`VpSchedule`]
//! make a [`Sampler`], which moves a flat state `[B, D]` from noise to data. Every schedule and
//! solver coefficient is computed in `f64` on the host, so the precision of the state is the
//! precision of its tensor.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use burn::tensor::{Device, Tensor};
//! use trefoil_diffusion::{DiscreteSchedule, SolverConfig, VpSchedule, from_fn};
//!
//! // Data N(0, I) under a variance-preserving process stays N(0, I): the exact noise
//! // prediction is `sigma x`, and the exact flow is the identity.
//! let schedule = VpSchedule::new(DiscreteSchedule::default());
//! let sampler = SolverConfig::default().build(&schedule)?;
//! let mut model = from_fn(|x, n| Ok::<_, std::convert::Infallible>(x * schedule.level(n / 1e3).sigma));
//! let start = Tensor::<2>::from_floats([[0.5, -1.5]], &Device::flex());
//! let end = sampler.sample(&mut model, start, &mut |_| ControlFlow::Continue(()))?;
//! assert!((end.into_data().try_to_vec::<f32>()?[0] - 0.5).abs() < 1e-2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod denoiser;
mod error;
mod guidance;
mod precondition;
mod prediction;
mod schedule;
pub mod solver;

pub use denoiser::{
    Denoiser, EdmNoise, GaussianDenoiser, NoisePredictor, RowDenoiser, VpDenoiser, from_fn,
};
pub use error::{Error, Result, SolveError};
pub use guidance::GuidanceScale;
pub use precondition::{EdmPreconditioner, Preconditioning};
pub use prediction::Prediction;
pub use schedule::{DiscreteSchedule, Level, ScheduleConfig, VpSchedule, karras_sigmas};
pub use solver::{
    Churn, EdmSolverConfig, FinalSigma, Sampler, SigmaGrid, Solver, SolverConfig, SolverKind,
    SolverType, Step, Thresholding, TimestepSpacing,
};
