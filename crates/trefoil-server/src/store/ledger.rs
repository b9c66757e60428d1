//! What happened in the shop, in the order in which it happened.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uditsr::data::CatalogueItem;

use super::{Backend, Result, StoreError, Table, Transaction, after, decode, encode};

/// Entries of a user that are read at once.
const MANY: usize = 1 << 20;
/// Key of the number of the last change.
const LAST: &[u8] = b"last";

/// A user had to do with an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// The client's id, under which it is accepted once.
    pub id: String,
    /// Who.
    pub user: String,
    /// With what.
    pub item: String,
    /// The query that led there, empty if none did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Seconds since 1970 in UTC.
    pub time: i64,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Something happened.
    Event(StoredEvent),
    /// An item is new or has changed.
    Item(CatalogueItem),
    /// An item is gone.
    ItemRemoved(String),
    /// A user is to be forgotten: SHA-256 of the name, in hexadecimal digits.
    UserErased(String),
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its number, or that of the one that was there already.
    pub number: u64,
    /// Whether it was there already.
    pub is_duplicate: bool,
}

/// The log of changes.
#[derive(Clone)]
pub struct Ledger {
    backend: Arc<dyn Backend>,
}

/// What is kept of the name of an erased user.
pub fn hash_user(user: &str) -> String {
    hex(&Sha256::digest(user))
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn number(bytes: &[u8]) -> Result<u64> {
    let bytes = bytes.try_into();
    bytes.map(u64::from_be_bytes).map_err(|_| StoreError::Damaged("a number of a change".into()))
}

fn of_user(user: &str) -> Vec<u8> {
    [user.as_bytes(), &[0]].concat()
}

impl Ledger {
    /// The log in a database.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    /// Number of the last change, 0 before the first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last(&self) -> Result<u64> {
        self.backend.get(Table::Meta, LAST)?.map_or(Ok(0), |bytes| number(&bytes))
    }

    /// Adds changes; when this returns they are durable. An event whose id is there already, and an item that is as it
    /// was, add nothing.
    ///
    /// # Errors
    /// [`StoreError`]: then none of them was added.
    pub fn append(&self, changes: &[Change]) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        self.backend.write(&mut |transaction| {
            entries = append(transaction, changes)?;
            Ok(())
        })?;
        Ok(entries)
    }

    /// At most `limit` changes after a number, with theirs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read(&self, after: u64, limit: usize) -> Result<Vec<(u64, Change)>> {
        let (from, to) = ((after + 1).to_be_bytes(), [u8::MAX; 9]);
        let pairs = self.backend.scan(Table::Log, &from, &to, limit)?;
        let change =
            |(key, value): (Vec<u8>, Vec<u8>)| Ok((number(&key)?, decode(Table::Log, &value)?));
        pairs.into_iter().map(change).collect()
    }

    /// The latest events of a user with their numbers, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn of_user(&self, user: &str, limit: usize) -> Result<Vec<(u64, StoredEvent)>> {
        let prefix = of_user(user);
        let keys = self.backend.scan(Table::ByUser, &prefix, &after(&prefix), MANY)?;
        let latest = &keys[keys.len().saturating_sub(limit)..];
        let numbers: Vec<Vec<u8>> =
            latest.iter().map(|(key, _)| key[prefix.len()..].to_vec()).collect();
        let mut events = Vec::new();
        for (key, value) in numbers.iter().zip(self.backend.get_many(Table::Log, &numbers)?) {
            let Some(value) = value else { continue };
            if let Change::Event(event) = decode(Table::Log, &value)? {
                events.push((number(key)?, event));
            }
        }
        Ok(events)
    }

    /// Deletes the events of a user, and notes that the user is to be forgotten. Returns the number of events.
    ///
    /// # Errors
    /// [`StoreError`]: then nothing was deleted.
    pub fn erase_user(&self, user: &str) -> Result<usize> {
        let prefix = of_user(user);
        let mut count = 0;
        self.backend.write(&mut |transaction| {
            let keys = transaction.scan(Table::ByUser, &prefix, &after(&prefix), MANY)?;
            let keys: Vec<Vec<u8>> = keys.into_iter().map(|(key, _)| key).collect();
            let numbers: Vec<Vec<u8>> =
                keys.iter().map(|key| key[prefix.len()..].to_vec()).collect();
            let mut ids = Vec::new();
            for value in transaction.get_many(Table::Log, &numbers)?.into_iter().flatten() {
                if let Change::Event(event) = decode(Table::Log, &value)? {
                    ids.push(event.id.into_bytes());
                }
            }
            count = numbers.len();
            transaction.delete_many(Table::EventIds, &ids)?;
            transaction.delete_many(Table::Log, &numbers)?;
            transaction.delete_many(Table::ByUser, &keys)?;
            append(transaction, &[Change::UserErased(hash_user(user))])?;
            Ok(())
        })?;
        Ok(count)
    }

    /// An item that was put since the training.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn item(&self, id: &str) -> Result<Option<CatalogueItem>> {
        let value = self.backend.get(Table::Items, id.as_bytes())?;
        value.map(|value| decode(Table::Items, &value)).transpose()
    }

    /// The picture of an item that was put since the training, as PNG.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn picture(&self, id: &str) -> Result<Option<Vec<u8>>> {
        self.backend.get(Table::Pictures, id.as_bytes())
    }

    /// Keeps the picture of an item.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_picture(&self, id: &str, png: &[u8]) -> Result<()> {
        let pair = (id.as_bytes().to_vec(), png.to_vec());
        self.backend.write(&mut |t| t.put_many(Table::Pictures, std::slice::from_ref(&pair)))
    }
}

fn append(transaction: &mut dyn Transaction, changes: &[Change]) -> Result<Vec<Entry>> {
    let last = transaction.get_many(Table::Meta, &[LAST.to_vec()])?;
    let mut last = last.into_iter().next().flatten().map_or(Ok(0), |bytes| number(&bytes))?;
    let events: Vec<Vec<u8>> = changes.iter().filter_map(event_id).collect();
    let items: Vec<Vec<u8>> = changes.iter().filter_map(item_id).collect();
    let mut known: HashMap<Vec<u8>, u64> = HashMap::new();
    for (id, found) in events.iter().zip(transaction.get_many(Table::EventIds, &events)?) {
        if let Some(found) = found {
            known.insert(id.clone(), number(&found)?);
        }
    }
    let found = transaction.get_many(Table::Items, &items)?;
    let mut current: HashMap<Vec<u8>, Option<Vec<u8>>> = items.into_iter().zip(found).collect();

    let (mut log, mut ids, mut by_user) = (Vec::new(), Vec::new(), Vec::new());
    let mut entries = Vec::new();
    for change in changes {
        let mut is_duplicate = false;
        let mut at = last + 1;
        match change {
            Change::Event(event) => {
                let id = event.id.as_bytes().to_vec();
                if let Some(&earlier) = known.get(&id) {
                    (is_duplicate, at) = (true, earlier);
                } else {
                    known.insert(id.clone(), at);
                    ids.push((id, at.to_be_bytes().to_vec()));
                    by_user.push((
                        [of_user(&event.user), at.to_be_bytes().to_vec()].concat(),
                        Vec::new(),
                    ));
                }
            }
            Change::Item(item) => {
                let value = Some(encode(Table::Items, item)?);
                let slot = current.entry(item.id.as_bytes().to_vec()).or_default();
                is_duplicate = *slot == value;
                *slot = value;
            }
            Change::ItemRemoved(id) => {
                current.insert(id.as_bytes().to_vec(), None);
            }
            Change::UserErased(_) => {}
        }
        if !is_duplicate {
            last = at;
            log.push((at.to_be_bytes().to_vec(), encode(Table::Log, change)?));
        } else if matches!(change, Change::Item(_)) {
            at = last;
        }
        entries.push(Entry { number: at, is_duplicate });
    }
    let (mut put, mut gone) = (Vec::new(), Vec::new());
    for (id, value) in current {
        match value {
            Some(value) => put.push((id, value)),
            None => gone.push(id),
        }
    }
    transaction.put_many(Table::Log, &log)?;
    transaction.put_many(Table::EventIds, &ids)?;
    transaction.put_many(Table::ByUser, &by_user)?;
    transaction.put_many(Table::Items, &put)?;
    transaction.delete_many(Table::Items, &gone)?;
    transaction.delete_many(Table::Pictures, &gone)?;
    transaction.put_many(Table::Meta, &[(LAST.to_vec(), last.to_be_bytes().to_vec())])?;
    Ok(entries)
}

fn event_id(change: &Change) -> Option<Vec<u8>> {
    match change {
        Change::Event(event) => Some(event.id.as_bytes().to_vec()),
        _ => None,
    }
}

fn item_id(change: &Change) -> Option<Vec<u8>> {
    match change {
        Change::Item(item) => Some(item.id.as_bytes().to_vec()),
        Change::ItemRemoved(id) => Some(id.as_bytes().to_vec()),
        _ => None,
    }
}
