//! Why a pickle is refused.

/// Opcodes that are known and refused: those that build classes from text, extension codes, out-of-band
/// buffers and the textual forms of protocol 0.
const REFUSED: [(u8, &str); 15] = [
    (b'i', "INST"),
    (b'o', "OBJ"),
    (0x82, "EXT1"),
    (0x83, "EXT2"),
    (0x84, "EXT4"),
    (0x97, "NEXT_BUFFER"),
    (0x98, "READONLY_BUFFER"),
    (b'P', "PERSID"),
    (b'S', "STRING"),
    (b'V', "UNICODE"),
    (b'F', "FLOAT"),
    (b'I', "INT"),
    (b'L', "LONG"),
    (b'g', "GET"),
    (b'p', "PUT"),
];

/// A pickle that is damaged, or that asks for more than reading.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// The program ends before its last opcode.
    #[error("the pickle ends at byte {offset} in the middle of an instruction")]
    Truncated {
        /// Where more was needed.
        offset: usize,
    },

    /// An instruction that is not on the list.
    #[error("pickle opcode {name} at byte {offset} is not allowed")]
    Opcode {
        /// Its name, or its number.
        name: String,
        /// Its place.
        offset: usize,
    },

    /// A global that the format does not have.
    #[error("pickle global `{module}.{name}` at byte {offset} is not allowed")]
    Global {
        /// The module.
        module: String,
        /// The name within it.
        name: String,
        /// Its place.
        offset: usize,
    },

    /// An instruction that does not find what it needs on the stack or in the memo.
    #[error("pickle opcode {name} at byte {offset}: expected {expected}")]
    Operand {
        /// Its name.
        name: &'static str,
        /// Its place.
        offset: usize,
        /// What was needed.
        expected: &'static str,
    },

    /// More values than any checkpoint has.
    #[error("the pickle has more than {limit} values")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
}

impl PickleError {
    /// An instruction that is not executed.
    pub(super) fn opcode(code: u8, offset: usize) -> Self {
        let known = REFUSED.iter().find(|(refused, _)| *refused == code);
        let name = known.map_or_else(|| format!("{code:#04x}"), |(_, name)| (*name).to_string());
        Self::Opcode { name, offset }
    }
}
