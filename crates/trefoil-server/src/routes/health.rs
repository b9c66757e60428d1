//! Whether the server lives, and what it counts.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, blocking};
use crate::error::ApiError;
use crate::extract::Json;
use crate::store::Table;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(healthz))
        .routes(routes!(metrics))
}

/// All is well.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`
    status: &'static str,
}

/// Whether the process answers
#[utoipa::path(get, path = "/livez", tag = "server", responses((status = 200, body = Health)))]
pub(super) async fn livez() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether the models are loaded and have drawn once
#[utoipa::path(get, path = "/readyz", tag = "server",
    responses((status = 200, body = Health), (status = 503, description = "Not yet, or not any more")))]
async fn readyz(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    check(&app).await
}

/// Whether the database can be read
#[utoipa::path(get, path = "/healthz", tag = "server",
    responses((status = 200, body = Health), (status = 503, description = "It cannot")))]
async fn healthz(State(app): State<App>) -> Result<Json<Health>, ApiError> {
    check(&app).await
}

async fn check(app: &App) -> Result<Json<Health>, ApiError> {
    let backend = Arc::clone(&app.backend);
    blocking(move || Ok(backend.get(Table::Meta, b"version").map(drop)?)).await?;
    Ok(Json(Health { status: "ok" }))
}

/// Counters and times, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "server",
    responses((status = 200, content_type = "text/plain", body = String)))]
async fn metrics(State(app): State<App>) -> Response {
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], app.metrics.text()).into_response()
}
