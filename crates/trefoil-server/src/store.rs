//! What survives the process: events, items, jobs and tokens.
//!
//! Everything is kept as keys and values in a few ordered [`Table`]s, and what it means is written once, in
//! [`Ledger`](ledger::Ledger), [`JobBook`](jobs::JobBook) and [`TokenBook`](tokens::TokenBook). A [`Backend`] is where
//! the tables are: a file of redb, or PostgreSQL. redb, because it is written in Rust like the rest, needs one file,
//! keeps a checksum of every page (a damaged file is found when it is opened) and lets only one process in.

pub mod dump;
pub mod embedded;
pub mod jobs;
pub mod ledger;
pub mod migrate;
pub mod postgres;
pub mod tokens;

use std::path::PathBuf;
use std::sync::Arc;

pub use self::embedded::Embedded;
pub use self::postgres::Postgres;

/// Result of this module.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What is shown table, key and value.
pub type Visit<'a> = &'a mut dyn FnMut(Table, &[u8], &[u8]) -> Result<()>;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Why something could not be kept or found.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be opened.
    #[error("cannot open the database {place}: {reason}")]
    Open {
        /// File or address, without a password.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The database cannot be read or written now: the disk is full, the connection is gone.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// What was read is not what was written.
    #[error("the database is damaged: {0}")]
    Damaged(String),
    /// The tables are of a newer version of Trefoil.
    #[error("the database has version {found}, this program knows versions up to {known}")]
    Version {
        /// In the database.
        found: u32,
        /// Of this program.
        known: u32,
    },
    /// A file of a backup cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A restore would mix two states.
    #[error("the database is not empty: it has {0} entries")]
    NotEmpty(usize),
}

macro_rules! tables {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// An ordered table of bytes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Table {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Table {
            /// Every table.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its name in files and in PostgreSQL.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

tables! {
    /// Version, and the number of the last change.
    Meta = "meta",
    /// Changes by number (eight bytes, the highest first), as JSON.
    Log = "log",
    /// Numbers of events by the id that the client gave them.
    EventIds = "event_ids",
    /// Empty values by user, a zero byte and number of the event.
    ByUser = "by_user",
    /// Items by id, as JSON: the latest of each.
    Items = "items",
    /// Pictures of items by id, as PNG.
    Pictures = "pictures",
    /// Jobs by id, as JSON.
    Jobs = "jobs",
    /// Results of jobs by id, as JSON.
    Results = "results",
    /// Tokens by name, as JSON; of the secret only a hash.
    Tokens = "tokens",
}

/// Where the tables are.
pub trait Backend: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The values of some keys.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get_many(&self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        keys.iter().map(|key| self.get(table, key)).collect()
    }

    /// The first `limit` pairs whose keys are in `from..to`, in the order of the keys.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>>;

    /// Runs `work` in a transaction that no other can come between, and makes what it did durable; when either fails,
    /// nothing has changed. `work` may be called again when a connection broke, so what it does must bear to be done twice.
    ///
    /// # Errors
    /// Those of `work`, or [`StoreError::Unavailable`].
    fn write(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()>;

    /// Shows every pair of one moment.
    ///
    /// # Errors
    /// Those of `visit`, or [`StoreError`].
    fn snapshot(&self, visit: Visit<'_>) -> Result<()>;

    /// Whether other processes may change the tables.
    fn is_shared(&self) -> bool;

    /// File or address, without a password.
    fn place(&self) -> &str;
}

/// What can be done within [`Backend::write`].
pub trait Transaction {
    /// The values of some keys.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get_many(&mut self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>>;

    /// As [`Backend::scan`], with what this transaction has changed.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(&mut self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>>;

    /// Sets values.
    ///
    /// # Errors
    /// [`StoreError`].
    fn put_many(&mut self, table: Table, pairs: &[Pair]) -> Result<()>;

    /// Removes keys, those that are not there too.
    ///
    /// # Errors
    /// [`StoreError`].
    fn delete_many(&mut self, table: Table, keys: &[Vec<u8>]) -> Result<()>;
}

/// The key after every key that starts with `prefix`.
pub(crate) fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // Nothing sorts after 0xff...; keys are at most this long.
    vec![u8::MAX; 1024]
}

/// Reads a value that this program has written as JSON.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| StoreError::Damaged(format!("table `{}`: {error}", table.name())))
}

/// A value as JSON.
pub(crate) fn encode<T: serde::Serialize>(table: Table, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| StoreError::Damaged(format!("table `{}`: {error}", table.name())))
}

/// Opens what a place names: an address that begins with `postgres:` or `postgresql:`, or a folder; and brings the
/// tables to the version of this program.
///
/// # Errors
/// [`StoreError`].
pub fn open(place: &str) -> Result<Arc<dyn Backend>> {
    let is_address = ["postgres:", "postgresql:"].iter().any(|name| place.starts_with(name));
    let backend: Arc<dyn Backend> = if is_address {
        Arc::new(Postgres::open(place)?)
    } else {
        Arc::new(Embedded::open(place.as_ref())?)
    };
    migrate::migrate(&*backend)?;
    Ok(backend)
}

#[cfg(test)]
mod tests;
