//! Events after the training, and what remains of them in the journal.

use serde::{Deserialize, Serialize};

use crate::data::CatalogueItem;

/// A user had to do with an item.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The shop's id of the user; a new one makes a new user.
    pub user: String,
    /// The shop's id of the item, which must be in the catalogue.
    pub item: String,
    /// The query that led to the item, empty if none did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// Seconds since 1970 in UTC.
    pub time: i64,
    /// A name under which the same event is accepted only once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Number of an event in the order of all events, those of the training included.
pub type EventId = u64;

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its number.
    pub id: EventId,
    /// Whether an event of the same key was there already; then this is the number of that one.
    pub is_duplicate: bool,
    /// Words of the query that the model has no vector for.
    pub unmatched_terms: Vec<String>,
}

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Erase {
    /// One event.
    Event(EventId),
    /// All events of a user.
    User(String),
}

/// One record of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Record {
    /// The model that all this came after.
    Base { model: String },
    /// Something happened.
    Event { id: EventId, event: Event },
    /// Training events, sorted, and a user of the training that are to be forgotten.
    Erased { ids: Vec<EventId>, user: Option<u32> },
    /// An item is new, or has changed.
    Item { item: CatalogueItem },
    /// An item is no longer in the catalogue.
    Removed { item: String },
}
