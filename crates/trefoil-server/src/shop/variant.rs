//! A recommender and how far it has followed the log.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use uditsr::recommender::{Erase, Event, RequestOptions};
use uditsr::{Recommender, RecommenderOptions};

use crate::error::ApiError;
use crate::metrics::{Metrics, Model};
use crate::store::ledger::{Change, Ledger, StoredEvent, hash_user};

/// Changes that are read at once.
const PAGE: usize = 10_000;
/// Changes after which waiting requests are let in.
const CHUNK: usize = 16;

/// A recommender that answers.
pub(crate) struct Variant {
    pub(crate) name: &'static str,
    /// Where it was loaded from.
    pub(crate) folder: PathBuf,
    pub(crate) recommender: RwLock<Recommender>,
    followed: AtomicU64,
}

impl Variant {
    /// Opens the recommender of a folder; `shown` is what the folder is called.
    pub(crate) fn open(name: &'static str, folder: &Path, shown: &Path) -> Result<Self, ApiError> {
        // The database has the events; the recommender needs no journal of its own.
        let recommender = Recommender::open(folder, RecommenderOptions::default())?;
        Ok(Self {
            name,
            folder: shown.into(),
            recommender: RwLock::new(recommender),
            followed: AtomicU64::new(0),
        })
    }

    /// Number of the last change that it knows.
    pub(crate) fn followed(&self) -> u64 {
        self.followed.load(Ordering::Acquire)
    }

    /// Applies what the log has after the last change that it knows. Only one thread may do so at a time.
    pub(crate) fn follow(&self, ledger: &Ledger, metrics: &Metrics) -> Result<(), ApiError> {
        loop {
            let changes = ledger.read(self.followed(), PAGE)?;
            let Some(&(last, _)) = changes.last() else { return Ok(()) };
            let names = self.names(&changes);
            for chunk in changes.chunks(CHUNK) {
                self.apply(chunk, &names, metrics);
            }
            self.followed.store(last, Ordering::Release);
        }
    }

    /// Users whose names are in the log as hashes only.
    fn names(&self, changes: &[(u64, Change)]) -> HashMap<String, String> {
        if !changes.iter().any(|(_, change)| matches!(change, Change::UserErased(_))) {
            return HashMap::new();
        }
        let recommender = self.recommender.read();
        recommender.user_ids().map(|name| (hash_user(name), name.to_owned())).collect()
    }

    fn apply(&self, changes: &[(u64, Change)], names: &HashMap<String, String>, metrics: &Metrics) {
        let mut recommender = self.recommender.write();
        let mut skipped = 0;
        let mut rest = changes;
        while let Some((_, first)) = rest.first() {
            let events: Vec<Event> = rest.iter().map_while(|(_, change)| event(change)).collect();
            let applied = if events.is_empty() {
                rest = &rest[1..];
                match first {
                    Change::Event(_) => Ok(()),
                    Change::Item(item) => recommender.put_item(item.clone()),
                    // What is not there need not be removed.
                    Change::ItemRemoved(id) if recommender.item(id).is_none() => Ok(()),
                    Change::ItemRemoved(id) => recommender.remove_item(id),
                    Change::UserErased(hash) => match names.get(hash) {
                        Some(name) => recommender.erase(&Erase::User(name.clone())).map(drop),
                        None => Ok(()),
                    },
                }
            } else {
                rest = &rest[events.len()..];
                recommender.record_all(events).map(|receipts| {
                    skipped += receipts.iter().filter(|receipt| receipt.is_err()).count() as u64;
                })
            };
            if let Err(error) = applied {
                tracing::warn!("a change could not be applied: {error}");
            }
        }
        if skipped > 0 {
            metrics.skipped.get_or_create(&Model { model: self.name.into() }).inc_by(skipped);
        }
        metrics.items.set(recommender.available_items() as i64);
    }

    /// Whether it answers as a recommender should.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        let recommender = self.recommender.read();
        let answer = recommender.recommend(None, 10, &RequestOptions::default())?;
        let wrong = answer.hits.iter().any(|hit| !hit.score.is_finite());
        if answer.hits.is_empty() || wrong {
            return Err(ApiError::Conflict("the recommender gives no usable answer".into()));
        }
        let first = answer.hits[0].item.clone();
        let title = recommender.item(&first).map(|item| item.title.clone()).unwrap_or_default();
        if !title.trim().is_empty() {
            recommender.search(None, &title, 10, &RequestOptions::default())?;
        }
        recommender.similar(&first, 10, &RequestOptions::default())?;
        Ok(())
    }
}

fn event(change: &Change) -> Option<Event> {
    let Change::Event(StoredEvent { user, item, query, time, .. }) = change else { return None };
    let (user, item, query) = (user.clone(), item.clone(), query.clone());
    // The id was looked at by the database.
    Some(Event { user, item, query, time: *time, key: None })
}
