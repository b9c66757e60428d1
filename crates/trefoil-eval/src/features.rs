//! A checked view of feature vectors.

use crate::error::{Error, Result};

/// Feature vectors of equal dimension, one per row; every value is finite.
///
/// # Shapes
/// `[rows, dim]`, row-major.
#[derive(Debug, Clone, Copy)]
pub struct Features<'a> {
    what: &'static str,
    values: &'a [f32],
    dim: usize,
}

impl<'a> Features<'a> {
    /// Views `values` as rows of `dim`; `what` names the input in errors.
    ///
    /// # Errors
    /// A dimension of zero, an incomplete row, a value that is not finite.
    pub fn new(what: &'static str, values: &'a [f32], dim: usize) -> Result<Self> {
        if dim == 0 {
            return Err(Error::ZeroDimension { what });
        }
        if !values.len().is_multiple_of(dim) {
            return Err(Error::RaggedRows { what, length: values.len(), dim });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite { what, row: index / dim, column: index % dim });
        }
        Ok(Self { what, values, dim })
    }

    /// Number of vectors.
    pub fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Dimension of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All values, row-major.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// Name of this input in errors.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// One vector. `index` must be below [`Self::rows`].
    pub(crate) fn row(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.dim..][..self.dim]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_slices_of_the_buffer() {
        let features = Features::new("test", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3).unwrap();
        assert_eq!((features.rows(), features.dim()), (2, 3));
        assert_eq!(features.row(1), [4.0, 5.0, 6.0]);
    }

    #[test]
    fn bad_buffers_are_refused_with_their_place() {
        assert!(matches!(
            Features::new("test", &[1.0], 0),
            Err(Error::ZeroDimension { what: "test" })
        ));
        assert!(matches!(
            Features::new("test", &[1.0; 5], 2),
            Err(Error::RaggedRows { length: 5, dim: 2, .. })
        ));
        assert!(matches!(
            Features::new("test", &[0.0, 1.0, 2.0, f32::NAN], 2),
            Err(Error::NotFinite { row: 1, column: 1, .. })
        ));
    }
}
