//! Pictures and captions at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::{App, blocking};
use crate::drawing::{
    BlendRequest, CaptionRequest, Drawing, Drawn, EditRequest, ImageRequest, PairRequest,
    VariationRequest, render,
};
use crate::error::ApiError;
use crate::extract::{Form, Json};
use crate::paint::ticket::Work;

pub(super) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(generations))
        .routes(routes!(variations))
        .routes(routes!(edits))
        .routes(routes!(blends))
        .routes(routes!(captions))
        .routes(routes!(pairs))
}

/// Waits for a result; whoever leaves meanwhile takes the work along.
async fn draw(app: &App, request: impl Drawing) -> Result<Json<Drawn>, ApiError> {
    let order = request.order(app).await?;
    if let (true, Work::Samples(request)) = (app.config().logs_prompts, &order.work)
        && let Some(prompt) = &request.prompt
    {
        tracing::info!(prompt, seed = request.seed.0, "draw");
    }
    let waiting = app.queue.submit(Arc::clone(&order.model), order.work.clone())?;
    let seconds = app.config().limits.request_seconds;
    let result = tokio::time::timeout(Duration::from_secs(seconds), waiting.result()).await;
    let output = result.map_err(|_| ApiError::Timeout(seconds))??;
    blocking(move || render(&order, output)).await.map(Json)
}

/// Draw pictures for a prompt
#[utoipa::path(post, path = "/v1/images/generations", tag = "pictures", request_body = ImageRequest,
    responses((status = 200, body = Drawn), (status = 429, description = "The queue is full")))]
async fn generations(
    State(app): State<App>,
    Form(request): Form<ImageRequest>,
) -> Result<Json<Drawn>, ApiError> {
    draw(&app, request).await
}

/// Draw pictures with the meaning of a picture
#[utoipa::path(post, path = "/v1/images/variations", tag = "pictures",
    request_body(content((VariationRequest = "application/json"), (VariationRequest = "multipart/form-data"))),
    responses((status = 200, body = Drawn), (status = 429, description = "The queue is full")))]
async fn variations(
    State(app): State<App>,
    Form(request): Form<VariationRequest>,
) -> Result<Json<Drawn>, ApiError> {
    draw(&app, request).await
}

/// Change a picture, or a part of it
#[utoipa::path(post, path = "/v1/images/edits", tag = "pictures",
    request_body(content((EditRequest = "application/json"), (EditRequest = "multipart/form-data"))),
    responses((status = 200, body = Drawn), (status = 429, description = "The queue is full")))]
async fn edits(
    State(app): State<App>,
    Form(request): Form<EditRequest>,
) -> Result<Json<Drawn>, ApiError> {
    draw(&app, request).await
}

/// Draw pictures between two pictures
#[utoipa::path(post, path = "/v1/images/blends", tag = "pictures",
    request_body(content((BlendRequest = "application/json"), (BlendRequest = "multipart/form-data"))),
    responses((status = 200, body = Drawn), (status = 429, description = "The queue is full")))]
async fn blends(
    State(app): State<App>,
    Form(request): Form<BlendRequest>,
) -> Result<Json<Drawn>, ApiError> {
    draw(&app, request).await
}

/// Describe a picture
#[utoipa::path(post, path = "/v1/captions", tag = "pictures",
    request_body(content((CaptionRequest = "application/json"), (CaptionRequest = "multipart/form-data"))),
    responses((status = 200, body = Drawn), (status = 429, description = "The queue is full")))]
async fn captions(
    State(app): State<App>,
    Form(request): Form<CaptionRequest>,
) -> Result<Json<Drawn>, ApiError> {
    draw(&app, request).await
}

/// Draw pictures with captions, of anything
#[utoipa::path(post, path = "/v1/pairs", tag = "pictures", request_body = PairRequest,
    responses((status = 200, body = Drawn), (status = 429, description = "The queue is full")))]
async fn pairs(
    State(app): State<App>,
    Form(request): Form<PairRequest>,
) -> Result<Json<Drawn>, ApiError> {
    draw(&app, request).await
}
