//! What users do.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, now, random_id};
use crate::drawing::within;
use crate::error::ApiError;
use crate::extract::{Input, Json};
use crate::names::{check_id, check_words};
use crate::store::ledger::{Change, StoredEvent};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(events))
}

/// A user had to do with an item.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventBody {
    /// A name under which this event is accepted once, however often it is sent [default: random]
    id: Option<String>,
    /// The shop's id of the user
    #[schema(example = "visitor")]
    user: String,
    /// The shop's id of the item
    #[schema(example = "1F3B8")]
    item: String,
    /// The query that led to the item
    #[serde(default)]
    query: String,
    /// Seconds since 1970 in UTC [default: now]
    time: Option<i64>,
}

/// One event, or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "what the body may be, for the description")]
pub(crate) enum EventsRequest {
    /// Several
    Many(Batch),
    /// One
    One(EventBody),
}

/// Several events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    /// The events, in their order
    events: Vec<EventBody>,
}

/// What became of events: all of them are durable.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventsBody {
    /// One for each event, in their order
    events: Vec<Accepted>,
}

/// An event that is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// Its id
    id: String,
    /// Its number among all changes
    number: u64,
    /// Whether an event of this id was there already; then nothing has changed
    is_duplicate: bool,
}

/// Record what a user did, or several things
///
/// When the answer comes, the events are on the disk and the next answer knows them. Either all events of a request
/// are taken or none.
#[utoipa::path(post, path = "/v1/events", tag = "shop", request_body = EventsRequest,
    responses((status = 200, body = EventsBody), (status = 400, description = "No such item; nothing was recorded")))]
async fn events(
    State(app): State<App>,
    Input(value): Input<serde_json::Value>,
) -> Result<Json<EventsBody>, ApiError> {
    // Not by an untagged enum, whose errors do not say which field is wrong.
    let events = if value.get("events").is_some() {
        crate::extract::from_value::<Batch>(value)?.events
    } else {
        vec![crate::extract::from_value::<EventBody>(value)?]
    };
    within("events", events.len(), app.config().limits.events)?;
    let shop = app.shop()?;
    let mut changes = Vec::with_capacity(events.len());
    for event in events {
        let EventBody { id, user, item, query, time } = event;
        check_id("user", &user)?;
        check_words("query", &query)?;
        let id = match id {
            Some(id) => id,
            None => random_id("evt_")?,
        };
        check_id("id", &id)?;
        changes.push(Change::Event(StoredEvent {
            id,
            user,
            item,
            query,
            time: time.unwrap_or_else(now),
        }));
    }
    if let Some(item) = unknown(&app, &changes)? {
        // Another server may have added it a moment ago.
        shop.follow().await?;
        if unknown(&app, &changes)?.is_some() {
            return Err(ApiError::field("item", format!("`{item}` is not in the catalogue")));
        }
    }
    let ids: Vec<String> = changes.iter().map(id_of).collect();
    let entries = shop.append(changes).await?;
    let accepted = ids.into_iter().zip(entries).map(|(id, entry)| Accepted {
        id,
        number: entry.number,
        is_duplicate: entry.is_duplicate,
    });
    Ok(Json(EventsBody { events: accepted.collect() }))
}

fn id_of(change: &Change) -> String {
    match change {
        Change::Event(event) => event.id.clone(),
        _ => String::new(),
    }
}

/// The first item that the catalogue does not have.
fn unknown(app: &App, changes: &[Change]) -> Result<Option<String>, ApiError> {
    let variant = app.shop()?.variant(0);
    let recommender = variant.recommender.read();
    let items = changes.iter().filter_map(|change| match change {
        Change::Event(event) => Some(&event.item),
        _ => None,
    });
    Ok(items.into_iter().find(|item| recommender.item(item).is_none()).cloned())
}
