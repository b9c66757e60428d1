//! Python's pickle format, read as data: nothing is imported and nothing is called.
//!
//! A pickle is a program for a small stack machine that builds values. This machine keeps what a program
//! would *call* as a [`Call`](Value::call) with its arguments, and refuses every global name that the reader
//! of a format does not expect. Strings and bytes are borrowed from the input. Values live in one arena, so
//! cycles and deep nesting cost no recursion, and their number is limited by [`MAX_VALUES`].
//!
//! The opcodes are those of protocols 2 to 5 (Python's `pickletools` documents each).

mod error;
mod input;
mod machine;
mod value;

pub use self::error::PickleError;
pub use self::value::{Entries, Items, Value};

use self::value::{Id, Node};

/// Most values that one pickle may have: far above the index of any checkpoint, and small enough that a
/// damaged file cannot ask for gigabytes.
pub const MAX_VALUES: usize = 1 << 22;

/// A pickle that has been read.
#[derive(Debug)]
pub struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    root: Id,
    length: usize,
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the start of `bytes`; what follows it is left alone.
    ///
    /// `allowed` is asked for the module and the name of every global.
    ///
    /// # Errors
    /// [`PickleError`] with the place in bytes from the start.
    pub fn read(
        bytes: &'a [u8],
        allowed: &dyn Fn(&str, &str) -> bool,
    ) -> Result<Self, PickleError> {
        machine::run(bytes, allowed)
    }

    /// The value that the program leaves.
    pub fn root(&self) -> Value<'_, 'a> {
        Value::new(self, self.root)
    }

    /// Every value that the program made, in the order of making.
    pub fn values(&self) -> impl Iterator<Item = Value<'_, 'a>> {
        (0..self.nodes.len() as u32).map(|id| Value::new(self, Id(id)))
    }

    /// Number of bytes of the program, its last opcode included.
    pub fn length(&self) -> usize {
        self.length
    }

    fn node(&self, id: Id) -> &Node<'a> {
        &self.nodes[id.0 as usize]
    }
}

#[cfg(test)]
mod tests;
