//! Everything that can be wrong with the data a metric is given.

/// Why a metric could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A feature dimension of zero.
    #[error("{what}: the feature dimension is 0")]
    ZeroDimension {
        /// The input that was checked.
        what: &'static str,
    },
    /// A row-major buffer that is not a whole number of rows.
    #[error("{what}: {length} values are not whole rows of {dim}")]
    RaggedRows {
        /// The input that was checked.
        what: &'static str,
        /// Number of values in the buffer.
        length: usize,
        /// Feature dimension.
        dim: usize,
    },
    /// Two inputs that must have the same size and do not.
    #[error("{what}: expected {expected}, found {found}")]
    SizeMismatch {
        /// The size that was checked.
        what: &'static str,
        /// Size asked for.
        expected: usize,
        /// Size found.
        found: usize,
    },
    /// Not enough samples for the statistic.
    #[error("{what}: at least {needed} samples are needed, found {found}")]
    TooFewSamples {
        /// The statistic.
        what: &'static str,
        /// Smallest number of samples.
        needed: usize,
        /// Number of samples found.
        found: usize,
    },
    /// A NaN or an infinity.
    #[error("{what}: the value in row {row}, column {column} is not finite")]
    NotFinite {
        /// The input that was checked.
        what: &'static str,
        /// Row of the first such value.
        row: usize,
        /// Column of the first such value.
        column: usize,
    },
    /// A value outside of its range.
    #[error("{what}: value {value} at position {position} is outside of [{low}, {high}]")]
    OutOfRange {
        /// The input that was checked.
        what: &'static str,
        /// Position of the first such value.
        position: usize,
        /// The value.
        value: f64,
        /// Smallest value allowed.
        low: f64,
        /// Largest value allowed.
        high: f64,
    },
    /// A matrix that should be symmetric and is not.
    #[error("{what}: entries ({row}, {column}) and ({column}, {row}) differ by {difference:e}")]
    NotSymmetric {
        /// The matrix.
        what: &'static str,
        /// Row of the first such pair.
        row: usize,
        /// Column of the first such pair.
        column: usize,
        /// Absolute difference of the two entries.
        difference: f64,
    },
    /// A matrix with an eigenvalue that is negative beyond rounding, so not a covariance.
    #[error("{what}: eigenvalue {smallest:e} is negative (the largest is {largest:e})")]
    NotPositiveSemidefinite {
        /// The matrix.
        what: &'static str,
        /// Smallest eigenvalue.
        smallest: f64,
        /// Largest eigenvalue.
        largest: f64,
    },
    /// An iterative decomposition that did not converge.
    #[error("{what}: the decomposition did not converge")]
    NoConvergence {
        /// The matrix.
        what: &'static str,
    },
    /// An index past the end.
    #[error("{what}: entry {position} is {index}, but there are {length}")]
    IndexOutOfRange {
        /// The list of indices.
        what: &'static str,
        /// Position in the list.
        position: usize,
        /// The index found there.
        index: usize,
        /// Number of things that can be indexed.
        length: usize,
    },
    /// A zero vector, which has no direction and so no cosine similarity.
    #[error("{what}: row {row} is zero, its cosine similarity is undefined")]
    ZeroNorm {
        /// The input that was checked.
        what: &'static str,
        /// Row of the zero vector.
        row: usize,
    },
    /// A generated caption without any reference.
    #[error("caption {sample} has no reference")]
    NoReference {
        /// Position of the caption.
        sample: usize,
    },
    /// A network that could not compute features.
    #[error("features by {network}: {source}")]
    Network {
        /// Its name.
        network: String,
        /// Its own error.
        source: crate::network::NetworkError,
    },
    /// A file that could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file whose contents are not what was expected.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: std::path::PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// A report that could not be written as JSON.
    #[error("cannot write the report as JSON")]
    Json(#[from] serde_json::Error),
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Fails unless `found` equals `expected`.
pub(crate) fn same_size(what: &'static str, expected: usize, found: usize) -> Result<()> {
    if expected == found { Ok(()) } else { Err(Error::SizeMismatch { what, expected, found }) }
}

/// Fails unless there are `needed` samples.
pub(crate) fn enough(what: &'static str, needed: usize, found: usize) -> Result<()> {
    if found >= needed { Ok(()) } else { Err(Error::TooFewSamples { what, needed, found }) }
}
