//! Reading the bytes of a program.

use super::PickleError;
use super::machine::Machine;

type Result<T> = std::result::Result<T, PickleError>;

/// Newest protocol.
const PROTOCOL: u8 = 5;

impl<'a> Machine<'a, '_> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(PickleError::Truncated { offset: self.bytes.len() })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A length of `N` bytes, little-endian.
    pub(super) fn size<const N: usize>(&mut self) -> Result<usize> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(self.take(N)?);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|_| self.operand("a smaller length"))
    }

    pub(super) fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(PickleError::Truncated { offset: self.bytes.len() });
        };
        let line = self.take(length)?;
        self.at += 1;
        std::str::from_utf8(line).map_err(|_| self.operand("UTF-8"))
    }

    pub(super) fn protocol(&mut self) -> Result<()> {
        if self.byte()? > PROTOCOL { Err(self.operand("protocol 5 or older")) } else { Ok(()) }
    }
}
