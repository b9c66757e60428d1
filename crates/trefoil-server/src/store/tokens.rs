//! Tokens that were made with `trefoil state token`.

use std::sync::Arc;

use super::{Backend, Result, Table, decode, encode};
use crate::auth::Token;

/// All tokens of the state.
#[derive(Clone)]
pub struct TokenBook {
    backend: Arc<dyn Backend>,
}

impl TokenBook {
    /// The tokens in a database.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    /// Keeps a token, in place of an earlier one of its name.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub fn put(&self, token: &Token) -> Result<()> {
        let pair = (token.name.as_bytes().to_vec(), encode(Table::Tokens, token)?);
        self.backend.write(&mut |t| t.put_many(Table::Tokens, std::slice::from_ref(&pair)))
    }

    /// Deletes a token. Returns whether it was there.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub fn delete(&self, name: &str) -> Result<bool> {
        let is_there = self.backend.get(Table::Tokens, name.as_bytes())?.is_some();
        let key = name.as_bytes().to_vec();
        self.backend.write(&mut |t| t.delete_many(Table::Tokens, std::slice::from_ref(&key)))?;
        Ok(is_there)
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// [`super::StoreError`].
    pub fn all(&self) -> Result<Vec<Token>> {
        let pairs = self.backend.scan(Table::Tokens, &[], &[u8::MAX; 64], usize::MAX >> 1)?;
        pairs.into_iter().map(|(_, value)| decode(Table::Tokens, &value)).collect()
    }
}
