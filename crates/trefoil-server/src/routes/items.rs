//! The catalogue.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use trefoil_core::png;
use uditsr::data::CatalogueItem;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, blocking};
use crate::drawing::{bytes, within};
use crate::error::ApiError;
use crate::extract::{Input, Json, Path, Query};
use crate::names::{check_id, check_words};
use crate::store::ledger::Change;

/// Tags of an item.
const TAGS: usize = 64;
/// Items of a page that does not say how many.
const PAGE: usize = 100;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(put, list))
        .routes(routes!(get, delete))
        .routes(routes!(picture))
}

/// An item.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemBody {
    /// The shop's id
    #[schema(example = "drawn-1")]
    id: String,
    /// Title
    #[serde(default)]
    title: String,
    /// Tags and categories
    #[serde(default)]
    tags: Vec<String>,
    /// What its picture shows, in words
    #[serde(default)]
    caption: String,
    /// Its picture, PNG or JPEG in base64
    #[serde(default)]
    picture: Option<String>,
}

/// Items.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemsRequest {
    /// The items
    items: Vec<ItemBody>,
}

/// How many items were put.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PutBody {
    /// Items that are new or have changed
    changed: usize,
    /// Items that were so already
    unchanged: usize,
}

/// An item of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Item {
    id: String,
    title: String,
    tags: Vec<String>,
    caption: String,
    /// Whether `GET /v1/items/{id}/picture` has a picture
    has_picture: bool,
}

/// A page of the catalogue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ItemsBody {
    /// The items
    items: Vec<Item>,
    /// What to ask for next, nothing after the last page
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Number of all items
    count: usize,
}

/// Which page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// The `next` of the page before
    after: Option<String>,
    /// Number of items [default: 100]
    limit: Option<usize>,
}

fn shown(app: &App, item: &CatalogueItem) -> Item {
    let has = app.pictures.has(&item.id) || item.picture.is_some();
    let CatalogueItem { id, title, tags, caption, .. } = item.clone();
    Item { id, title, tags, caption, has_picture: has }
}

/// Add items, or replace what is known of them
///
/// When the answer comes, the items are on the disk and the next search finds them.
#[utoipa::path(post, path = "/v1/items", tag = "shop", request_body = ItemsRequest,
    responses((status = 200, body = PutBody)))]
async fn put(
    State(app): State<App>,
    Input(request): Input<ItemsRequest>,
) -> Result<Json<PutBody>, ApiError> {
    within("items", request.items.len(), app.config().limits.events)?;
    let shop = app.shop()?;
    let (mut changes, mut pictures) = (Vec::new(), Vec::new());
    for ItemBody { id, title, tags, caption, picture } in request.items {
        check_id("id", &id)?;
        check_words("title", &title)?;
        check_words("caption", &caption)?;
        if tags.len() > TAGS {
            let message = format!("expected at most {TAGS}, found {}", tags.len());
            return Err(ApiError::field("tags", message));
        }
        tags.iter().try_for_each(|tag| check_id("tags", tag))?;
        let kept = match picture {
            None => {
                let (ledger, wanted) = (shop.ledger.clone(), id.clone());
                let item = blocking(move || Ok(ledger.item(&wanted)?)).await?;
                item.and_then(|item| item.picture)
            }
            Some(picture) => {
                let picture = app.decode("picture", bytes("picture", &picture)?).await?;
                pictures.push((id.clone(), png::encode(&picture, &[])?));
                Some(format!("/v1/items/{}/picture", escape(&id)))
            }
        };
        changes.push(Change::Item(CatalogueItem { id, title, tags, caption, picture: kept }));
    }
    let ledger = shop.ledger.clone();
    blocking(move || Ok(pictures.iter().try_for_each(|(id, png)| ledger.put_picture(id, png))?))
        .await?;
    let entries = shop.append(changes).await?;
    let unchanged = entries.iter().filter(|entry| entry.is_duplicate).count();
    Ok(Json(PutBody { changed: entries.len() - unchanged, unchanged }))
}

/// An id as part of an address.
fn escape(id: &str) -> String {
    let mut text = String::new();
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(byte as char);
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The catalogue, page by page
#[utoipa::path(get, path = "/v1/items", tag = "shop", params(PageQuery),
    responses((status = 200, body = ItemsBody)))]
async fn list(
    State(app): State<App>,
    Query(query): Query<PageQuery>,
) -> Result<Json<ItemsBody>, ApiError> {
    let limit = query.limit.unwrap_or(PAGE);
    within("limit", limit, app.config().limits.items)?;
    let variant = app.shop()?.variant(0);
    let recommender = variant.recommender.read();
    let page: Vec<&CatalogueItem> =
        recommender.items_after(query.after.as_deref()).take(limit).collect();
    let next = page.last().filter(|_| page.len() == limit).map(|item| item.id.clone());
    let items = page.into_iter().map(|item| shown(&app, item)).collect();
    Ok(Json(ItemsBody { items, next, count: recommender.available_items() }))
}

/// An item
#[utoipa::path(get, path = "/v1/items/{id}", tag = "shop", params(("id" = String, Path)),
    responses((status = 200, body = Item), (status = 404, description = "No such item")))]
async fn get(State(app): State<App>, Path(id): Path) -> Result<Json<Item>, ApiError> {
    let variant = app.shop()?.variant(0);
    let recommender = variant.recommender.read();
    match recommender.item(&id) {
        Some(item) => Ok(Json(shown(&app, item))),
        None => Err(ApiError::NotFound { what: "item", id }),
    }
}

/// Take an item out of the catalogue
#[utoipa::path(delete, path = "/v1/items/{id}", tag = "shop", params(("id" = String, Path)),
    responses((status = 204, description = "It is gone"), (status = 404, description = "No such item")))]
async fn delete(State(app): State<App>, Path(id): Path) -> Result<Response, ApiError> {
    let shop = app.shop()?;
    let is_there = shop.variant(0).recommender.read().item(&id).is_some();
    if !is_there {
        return Err(ApiError::NotFound { what: "item", id });
    }
    shop.append(vec![Change::ItemRemoved(id)]).await?;
    Ok(axum::http::StatusCode::NO_CONTENT.into_response())
}

/// The picture of an item, as PNG
#[utoipa::path(get, path = "/v1/items/{id}/picture", tag = "shop", params(("id" = String, Path)),
    responses((status = 200, content_type = "image/png"), (status = 404, description = "No such item, or no picture")))]
async fn picture(State(app): State<App>, Path(id): Path) -> Result<Response, ApiError> {
    let (ledger, wanted) = (app.shop()?.ledger.clone(), id.clone());
    let kept = blocking(move || Ok(ledger.picture(&wanted)?)).await?;
    let Some(png) = kept.or_else(|| app.pictures.png(&id)) else {
        return Err(ApiError::NotFound { what: "picture of the item", id });
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("image/png")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=60")),
    ];
    Ok((headers, png).into_response())
}
