//! The addresses. A new one is a function with `#[utoipa::path]` in a file here and its name in the list of its file.

mod backup;
mod docs;
mod embeddings;
mod events;
mod explain;
mod health;
mod images;
mod items;
mod jobs;
mod models;
mod runs;
mod search;
pub(crate) mod studio;
mod users;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{from_fn, from_fn_with_state};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::error::ApiError;
use crate::http::{guard, trace};

#[derive(OpenApi)]
#[openapi(info(
    title = "Trefoil",
    description = "Pictures, captions, search and recommendations. Errors have the envelope of OpenAI: \
                   `{\"error\": {\"message\", \"type\", \"param\", \"code\"}}`."
))]
struct Api;

/// All routes with their description.
pub(crate) fn router(app: &App) -> Router {
    let (open, mut api) = described(app).split_for_parts();
    api.info.version = env!("CARGO_PKG_VERSION").into();
    let components = api.components.get_or_insert_default();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.add_security_scheme("token", bearer);
    let document = serde_json::to_vec(&api).unwrap_or_default();
    open.merge(docs::router(document))
        .merge(studio::router())
        .fallback(async |request: Request| ApiError::NoRoute(request.uri().path().into()))
        .method_not_allowed_fallback(async |request: Request| {
            ApiError::Method(request.method().to_string())
        })
        .layer(from_fn_with_state(app.clone(), guard::guard))
        .layer(from_fn_with_state(app.clone(), trace::trace))
        .layer(from_fn(trace::request_id))
        .with_state(app.clone())
}

/// All routes that programs use.
fn described(app: &App) -> OpenApiRouter<App> {
    // These wait for a database at most; the others have limits of their own, or take as long as a model is large.
    let prompt = OpenApiRouter::new()
        .merge(search::router())
        .merge(explain::router())
        .merge(events::router())
        .merge(items::router())
        .merge(users::router())
        .merge(jobs::router())
        .merge(health::router())
        .layer(from_fn_with_state(app.clone(), trace::limit));
    OpenApiRouter::with_openapi(Api::openapi())
        .merge(images::router())
        .merge(embeddings::router())
        .merge(prompt)
        .merge(models::router())
        .merge(runs::router())
        .merge(backup::router())
}

/// What is answered until the models are loaded.
pub(crate) fn starting() -> Router {
    let alive = axum::routing::get(health::livez);
    let wait = async || ApiError::Unavailable("the server is starting".into());
    Router::new().route("/livez", alive).fallback(wait)
}
