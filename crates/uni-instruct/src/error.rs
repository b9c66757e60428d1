//! The error of this crate.

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a recipe and a one-step generator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file, a configuration value or a tensor.
    #[error(transparent)]
    Core(#[from] trefoil_core::Error),

    /// A run folder, a checkpoint, or a loss that is not finite.
    #[error(transparent)]
    Train(#[from] trefoil_train::Error),

    /// The network of a teacher, a fake score or a student failed.
    #[error(transparent)]
    Network(Box<dyn std::error::Error + Send + Sync>),

    /// The method asks for something that the problem does not have.
    #[error("the method needs {needed}, which {problem} does not have")]
    Unsupported {
        /// What is missing.
        needed: &'static str,
        /// The problem.
        problem: String,
    },

    /// The discriminator tells teacher and student apart everywhere, so the density ratio is only its clamp.
    #[error(
        "the density ratio is saturated at step {step}: {:.0} % of the logits are at their limit of \
         {limit}; warm the discriminator up for longer, raise the smallest noise level, or take a \
         bounded divergence",
        100.0 * share
    )]
    Saturated {
        /// Update of the student.
        step: u64,
        /// Share of logits at the limit.
        share: f64,
        /// The limit.
        limit: f64,
    },

    /// The student gives nearly the same sample for every noise.
    #[error(
        "the student has collapsed at step {step}: its samples spread {found:.2e} around their mean, \
         the teacher's {expected:.2e}; lower the student's learning rate or update the fake score \
         more often"
    )]
    Collapsed {
        /// Update of the student.
        step: u64,
        /// Root mean square distance of samples from their mean.
        found: f64,
        /// The same of the teacher.
        expected: f64,
    },

    /// The student has left the teacher's range.
    #[error(
        "the student diverges at step {step}: its samples spread {found:.2e} around their mean, the \
         teacher's {expected:.2e}; lower the student's learning rate, update the fake score more often, \
         or take a smaller alpha"
    )]
    Diverged {
        /// Update of the student.
        step: u64,
        /// Root mean square distance of samples from their mean.
        found: f64,
        /// The same of the teacher.
        expected: f64,
    },
}

impl Error {
    /// What a network, or a metric on its features, reports.
    pub fn network(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Network(Box::new(error))
    }
}

impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}
