//! Errors of configuration ([`Error`]) and of a sampling run ([`SolveError`]).

use crate::SolverKind;

/// Result of this crate's constructors.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A schedule, solver or guidance setting that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number lies outside its range.
    #[error("`{field}` must be {expected}, found {found}")]
    OutOfRange {
        /// Name of the setting.
        field: &'static str,
        /// The accepted range, in words.
        expected: &'static str,
        /// The value that was given.
        found: f64,
    },

    /// An option was changed that the chosen solver does not have.
    #[error("`{field}` has no meaning for the solver `{kind}`; leave it at its default")]
    NotApplicable {
        /// Name of the setting.
        field: &'static str,
        /// The chosen solver.
        kind: SolverKind,
    },

    /// The grid would visit a noise level twice, or one that does not exist.
    #[error(
        "{steps} steps do not give distinct noise levels among {num_train_timesteps}; \
         use fewer steps or another spacing"
    )]
    Timesteps {
        /// Requested number of steps.
        steps: usize,
        /// Number of levels of the training process.
        num_train_timesteps: usize,
    },

    /// A grid of noise levels is not strictly decreasing, or has fewer than two entries.
    #[error("noise levels must decrease strictly and be at least two; failed at entry {index}")]
    Grid {
        /// First entry that breaks the rule.
        index: usize,
    },

    /// A name is not one of [`SolverKind::ALL`].
    #[error(
        "unknown solver `{found}`; expected one of: dpm-fast, dpm-multistep, ddim, euler, heun"
    )]
    UnknownSolver {
        /// The name that was given.
        found: String,
    },
}

/// Why a sampling run ended early. `step` counts from zero.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError<E> {
    /// The noise predictor failed.
    #[error("the noise predictor failed at step {step}")]
    Model {
        /// The step that was being computed.
        step: usize,
        /// The predictor's own error.
        source: E,
    },

    /// The step callback asked to stop.
    #[error("sampling was cancelled after step {step}")]
    Cancelled {
        /// The last completed step.
        step: usize,
    },

    /// The state holds an infinity or a NaN.
    #[error("the sample is not finite after step {step}")]
    NonFinite {
        /// The step that produced it.
        step: usize,
    },

    /// A predictor or a noise source returned a tensor of another shape than the state.
    #[error("expected a tensor of shape {expected:?} at step {step}, found {found:?}")]
    Shape {
        /// The step that was being computed.
        step: usize,
        /// Shape of the state.
        expected: [usize; 2],
        /// Shape of the returned tensor.
        found: [usize; 2],
    },

    /// A stochastic solver was run without a source of noise.
    #[error("this solver draws noise; call `sample_with_noise`")]
    MissingNoise,
}
