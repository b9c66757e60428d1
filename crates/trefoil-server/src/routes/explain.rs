//! Why an item is answered.

use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::search::json;
use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Input, Json};
use crate::names::{check_id, check_words};

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(explain))
}

/// An item, and for whom.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainRequest {
    /// The shop's id of the item
    #[schema(example = "1F3B8")]
    item: String,
    /// The shop's id of the user [default: nobody in particular]
    user: Option<String>,
    /// The query of a search [default: a recommendation]
    query: Option<String>,
}

/// Why an item is answered
///
/// The parts of its score, the inherent intent and the demand, the words nearest to the demand, and the events of the
/// user that speak most for it or against it.
#[utoipa::path(post, path = "/v1/explain", tag = "shop", request_body = ExplainRequest,
    responses((status = 200, body = Object), (status = 400, description = "No such item")))]
async fn explain(
    State(app): State<App>,
    Input(request): Input<ExplainRequest>,
) -> Result<Json<Value>, ApiError> {
    let ExplainRequest { item, user, query } = request;
    if let Some(user) = &user {
        check_id("user", user)?;
    }
    check_words("query", query.as_deref().unwrap_or_default())?;
    let shop = app.shop()?;
    let variant = shop.variant(shop.slot_of(user.as_deref()));
    let name = variant.name;
    let ask =
        move |shop: &uditsr::Recommender| shop.explain(user.as_deref(), &item, query.as_deref());
    let mut why = json(&shop.with(variant, ask).await?)?;
    why["model"] = name.into();
    Ok(Json(why))
}
