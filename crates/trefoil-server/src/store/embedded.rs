//! The tables in one file of redb.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use redb::{Builder, Database, ReadableDatabase as _, ReadableTable, TableDefinition};

use super::{Backend, Pair, Result, StoreError, Table, Transaction, Visit};

/// Name of the file in the folder of the state.
pub const FILE: &str = "state.redb";
/// Pages that are kept in memory, in bytes.
const CACHE: usize = 64 << 20;
/// Between two attempts to open a file that failed: each reads all of it.
const PAUSE: Duration = Duration::from_secs(1);

/// The file.
pub struct Embedded {
    path: PathBuf,
    place: String,
    /// None after a failure that needs the file to be opened again.
    database: RwLock<Option<Database>>,
    /// When that was tried last.
    tried: Mutex<Option<Instant>>,
}

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

fn unavailable(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Corrupted(reason) => StoreError::Damaged(reason),
        error => StoreError::Unavailable(error.to_string()),
    }
}

impl Embedded {
    /// Opens or creates the file in `folder`. Every page is checked, so that damage is found now and not by a request.
    ///
    /// # Errors
    /// [`StoreError::Open`]: the folder cannot be made, another process has the file, or it is damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let place = path.display().to_string();
        let fail = |reason: String| StoreError::Open { place: place.clone(), reason };
        std::fs::create_dir_all(folder).map_err(|error| fail(error.to_string()))?;
        let database = database(&path).map_err(fail)?;
        Ok(Self { path, place, database: RwLock::new(Some(database)), tried: Mutex::default() })
    }

    /// In memory only, for tests and for a server that keeps nothing.
    ///
    /// # Errors
    /// [`StoreError::Open`].
    pub fn in_memory() -> Result<Self> {
        let place = "memory".to_owned();
        let database = Builder::new().create_with_backend(redb::backends::InMemoryBackend::new());
        let database = database
            .map_err(|e| StoreError::Open { place: place.clone(), reason: e.to_string() })?;
        create_tables(&database).map_err(unavailable)?;
        Ok(Self {
            path: PathBuf::new(),
            place,
            database: RwLock::new(Some(database)),
            tried: Mutex::default(),
        })
    }

    /// Runs `work` with the open file; opens it again when an earlier failure has closed it.
    fn with<T>(&self, work: &mut dyn FnMut(&Database) -> Result<T>) -> Result<T> {
        let result = self.database.read().as_ref().map(&mut *work);
        let result = if let Some(result) = result {
            result
        } else {
            self.open_again()?;
            match &*self.database.read() {
                Some(database) => work(database),
                None => Err(StoreError::Unavailable("it is being opened again".into())),
            }
        };
        // After a failed write redb refuses everything until the file is opened again.
        if matches!(result, Err(StoreError::Unavailable(_))) && !self.path.as_os_str().is_empty() {
            *self.database.write() = None;
        }
        result
    }

    fn open_again(&self) -> Result<()> {
        let mut slot = self.database.write();
        if slot.is_none() {
            let mut tried = self.tried.lock();
            if tried.is_some_and(|tried| tried.elapsed() < PAUSE) {
                return Err(StoreError::Unavailable("a write has failed".into()));
            }
            *tried = Some(Instant::now());
            *slot = Some(database(&self.path).map_err(StoreError::Unavailable)?);
        }
        Ok(())
    }
}

/// Opens a file; whatever goes wrong is said in words.
fn database(path: &Path) -> Result<Database, String> {
    let open = || {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        let database = builder.create(path).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => {
                "it is in use by another process".to_owned()
            }
            error => error.to_string(),
        })?;
        create_tables(&database).map_err(|error| error.to_string())?;
        Ok(database)
    };
    // A file of arbitrary bytes may trip an assertion of redb before it finds a wrong checksum.
    catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|_| Err("it is damaged".into()))
}

fn create_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for &table in Table::ALL {
        transaction.open_table(definition(table))?;
    }
    transaction.commit()?;
    Ok(())
}

fn range<T>(table: &T, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>>
where
    T: ReadableTable<&'static [u8], &'static [u8]>,
{
    let bounds = (Bound::Included(from), Bound::Excluded(to));
    let pairs = table.range::<&[u8]>(bounds).map_err(unavailable)?;
    let owned = |pair: redb::Result<(redb::AccessGuard<'_, _>, redb::AccessGuard<'_, _>), _>| {
        let (key, value): (redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, &[u8]>) =
            pair.map_err(|error: redb::StorageError| unavailable(error))?;
        Ok((key.value().to_vec(), value.value().to_vec()))
    };
    pairs.take(limit).map(owned).collect()
}

impl Backend for Embedded {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.with(&mut |database| {
            let transaction = database.begin_read().map_err(unavailable)?;
            let table = transaction.open_table(definition(table)).map_err(unavailable)?;
            Ok(table.get(key).map_err(unavailable)?.map(|value| value.value().to_vec()))
        })
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.with(&mut |database| {
            let transaction = database.begin_read().map_err(unavailable)?;
            let table = transaction.open_table(definition(table)).map_err(unavailable)?;
            range(&table, from, to, limit)
        })
    }

    fn write(&self, work: &mut dyn FnMut(&mut dyn Transaction) -> Result<()>) -> Result<()> {
        self.with(&mut |database| {
            let mut transaction = Writing(database.begin_write().map_err(unavailable)?);
            match work(&mut transaction) {
                Ok(()) => transaction.0.commit().map_err(unavailable),
                Err(error) => {
                    // The error to report is that of the work.
                    let _ = transaction.0.abort();
                    Err(error)
                }
            }
        })
    }

    fn snapshot(&self, visit: Visit<'_>) -> Result<()> {
        self.with(&mut |database| {
            let transaction = database.begin_read().map_err(unavailable)?;
            for &name in Table::ALL {
                let table = transaction.open_table(definition(name)).map_err(unavailable)?;
                for pair in table.iter().map_err(unavailable)? {
                    let (key, value) = pair.map_err(unavailable)?;
                    visit(name, key.value(), value.value())?;
                }
            }
            Ok(())
        })
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn place(&self) -> &str {
        &self.place
    }
}

struct Writing(redb::WriteTransaction);

impl Transaction for Writing {
    fn get_many(&mut self, table: Table, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let table = self.0.open_table(definition(table)).map_err(unavailable)?;
        let value = |key: &Vec<u8>| {
            let value = table.get(&**key).map_err(unavailable)?;
            Ok(value.map(|value| value.value().to_vec()))
        };
        keys.iter().map(value).collect()
    }

    fn scan(&mut self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let table = self.0.open_table(definition(table)).map_err(unavailable)?;
        range(&table, from, to, limit)
    }

    fn put_many(&mut self, table: Table, pairs: &[Pair]) -> Result<()> {
        let mut table = self.0.open_table(definition(table)).map_err(unavailable)?;
        for (key, value) in pairs {
            table.insert(&**key, &**value).map_err(unavailable)?;
        }
        Ok(())
    }

    fn delete_many(&mut self, table: Table, keys: &[Vec<u8>]) -> Result<()> {
        let mut table = self.0.open_table(definition(table)).map_err(unavailable)?;
        for key in keys {
            table.remove(&**key).map_err(unavailable)?;
        }
        Ok(())
    }
}
