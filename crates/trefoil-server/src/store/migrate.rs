//! From the tables of earlier versions to those of this one.
//!
//! Each step runs in one transaction together with the new version number, so that a step that was interrupted has not
//! begun. A database of a newer program is refused and left alone.

use super::ledger::Change;
use super::{Backend, Pair, Result, StoreError, Table, Transaction, decode};

/// Key of the version.
pub(super) const VERSION: &[u8] = b"version";

type Step = fn(&mut dyn Transaction) -> Result<()>;

/// Step `n` makes version `n + 1` of version `n`; version 0 is an empty database.
const STEPS: &[Step] = &[|_| Ok(()), index_by_user];

/// The version that this program reads and writes.
pub const CURRENT: u32 = STEPS.len() as u32;

/// Brings the tables to [`CURRENT`]. Returns the version that was found.
///
/// # Errors
/// [`StoreError::Version`] when a newer program has been here.
pub fn migrate(backend: &dyn Backend) -> Result<u32> {
    let found = backend.get(Table::Meta, VERSION)?.map_or(Ok(0), |bytes| version(&bytes))?;
    if found > CURRENT {
        return Err(StoreError::Version { found, known: CURRENT });
    }
    for (number, step) in (0..).zip(STEPS).skip(found as usize) {
        backend.write(&mut |transaction| {
            // Another server may have done it in the meantime.
            let now = transaction.get_many(Table::Meta, &[VERSION.to_vec()])?;
            let now = now.into_iter().next().flatten().map_or(Ok(0), |bytes| version(&bytes))?;
            if now > number {
                return Ok(());
            }
            step(transaction)?;
            let next = (number + 1).to_be_bytes().to_vec();
            transaction.put_many(Table::Meta, &[(VERSION.to_vec(), next)])
        })?;
        tracing::info!("database: version {}", number + 1);
    }
    Ok(found)
}

fn version(bytes: &[u8]) -> Result<u32> {
    let bytes = bytes.try_into();
    bytes.map(u32::from_be_bytes).map_err(|_| StoreError::Damaged("its version".into()))
}

/// Version 1 had the log alone; the events of a user were found by reading all of it.
fn index_by_user(transaction: &mut dyn Transaction) -> Result<()> {
    const PAGE: usize = 10_000;
    let mut from = Vec::new();
    loop {
        let page = transaction.scan(Table::Log, &from, &[u8::MAX; 9], PAGE)?;
        let mut keys: Vec<Pair> = Vec::new();
        for (key, value) in &page {
            if let Change::Event(event) = decode(Table::Log, value)? {
                keys.push(([event.user.as_bytes(), &[0], key].concat(), Vec::new()));
            }
        }
        transaction.put_many(Table::ByUser, &keys)?;
        match page.last() {
            Some((key, _)) if page.len() == PAGE => from = [&**key, &[0]].concat(),
            _ => return Ok(()),
        }
    }
}
