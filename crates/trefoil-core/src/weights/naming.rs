//! How the names in a file follow from the names that its tensors were given.

use std::fmt;
use std::sync::Arc;

/// The parts in a file of a tensor of this name and shape.
type Describe = dyn Fn(&str, &[usize]) -> Vec<(String, Vec<usize>)> + Send + Sync;

/// The way back from the names of a network to those of a file; none where nothing was renamed.
#[derive(Clone, Default)]
pub(super) struct Naming(Option<Arc<Describe>>);

impl Naming {
    /// What the file has, under these names and in these shapes, of a tensor of the network.
    pub(super) fn parts(&self, name: &str, shape: &[usize]) -> Vec<(String, Vec<usize>)> {
        match &self.0 {
            Some(describe) => describe(name, shape),
            None => vec![(name.to_string(), shape.to_vec())],
        }
    }

    /// First another way, then this one.
    pub(super) fn before(
        self,
        describe: impl Fn(&str, &[usize]) -> Vec<(String, Vec<usize>)> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(move |name, shape| {
            let parts = describe(name, shape).into_iter();
            parts.flat_map(|(name, shape)| self.parts(&name, &shape)).collect()
        })))
    }
}

impl fmt::Debug for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Naming(..)" } else { "Naming" })
    }
}
