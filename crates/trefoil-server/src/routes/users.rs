//! What is kept of a user, and its erasure.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, blocking};
use crate::error::ApiError;
use crate::extract::{Json, Path};
use crate::names::check_id;

/// Events of a history.
const LATEST: usize = 1000;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(events)).routes(routes!(erase))
}

/// What a user did since the training.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct History {
    /// The recommender that answers this user
    model: &'static str,
    /// The latest events, oldest first
    events: Vec<PastEvent>,
}

/// An event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecordedEvent)]
pub(crate) struct PastEvent {
    number: u64,
    id: String,
    item: String,
    query: String,
    time: i64,
}

/// How much was erased.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Erased {
    /// Events that were deleted
    events: usize,
}

/// The latest events of a user
#[utoipa::path(get, path = "/v1/users/{id}/events", tag = "shop", params(("id" = String, Path)),
    responses((status = 200, body = History)))]
async fn events(State(app): State<App>, Path(id): Path) -> Result<Json<History>, ApiError> {
    check_id("id", &id)?;
    let shop = app.shop()?;
    let model = shop.variant(shop.slot_of(Some(&id))).name;
    let ledger = shop.ledger.clone();
    let events = blocking(move || Ok(ledger.of_user(&id, LATEST)?)).await?;
    let event = |(number, event): (u64, crate::store::ledger::StoredEvent)| PastEvent {
        number,
        id: event.id,
        item: event.item,
        query: event.query,
        time: event.time,
    };
    Ok(Json(History { model, events: events.into_iter().map(event).collect() }))
}

/// Forget a user
///
/// Deletes the user's events, here and in every model that is loaded later; what training knew of the user is not used
/// any more. Of the name only a hash is kept, to tell later models.
#[utoipa::path(delete, path = "/v1/users/{id}", tag = "shop", params(("id" = String, Path)),
    responses((status = 200, body = Erased)))]
async fn erase(State(app): State<App>, Path(id): Path) -> Result<Json<Erased>, ApiError> {
    check_id("id", &id)?;
    let events = app.shop()?.erase_user(id).await?;
    Ok(Json(Erased { events }))
}
